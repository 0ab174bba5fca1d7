"""A vertebra has the heights, the widths and the mineral that it was given."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from shared.phantom.solids.bone import mineral_of
from shared.phantom.solids.bones.vertebra import (
    BodyMineral,
    BodyShape,
    VertebraBone,
    body_size,
    make_vertebra,
)
from shared.phantom.solids.distance import Floats, floats, vector
from shared.phantom.solids.lattice import straight

STEP = 0.5
GRIDS = ((1.05, 0.6, 1.5), (1.0, 1.0, 1.0), (0.7, 0.7, 0.7), (0.7, 0.7, 2.5))


def healthy(level: str = "L2") -> BodyShape:
    width, depth, height, _ = body_size(level)
    return BodyShape(level, width, depth, height, height, height, height)


PLAIN = BodyMineral(0.15)


def placed(shape: BodyShape, mineral: BodyMineral = PLAIN) -> VertebraBone:
    return make_vertebra(shape, mineral, vector(0, 0, 0), floats(np.eye(3)))


def axis(low: float, high: float, step: float) -> Floats:
    return np.arange(low, high, step, dtype=np.float32)


def mass(bone: VertebraBone, grid: tuple[float, float, float], begin: float = 0.0) -> float:
    rows, columns, ways = (
        axis(low + begin * step, high, step)
        for (low, high), step in zip(((-45, 45), (-65, 65), (-40, 100)), grid, strict=True)
    )
    found = mineral_of([bone], straight(rows, columns, ways))
    return float(found.sum(dtype=np.float64)) * float(np.prod(grid)) / 1000


@pytest.mark.parametrize("level", ["C7", "T2", "T6", "T12", "L3", "L6"])
def test_the_mineral_is_the_same_on_every_grid(level: str) -> None:
    bone = placed(healthy(level))
    fine = mass(bone, (0.4, 0.4, 0.4))
    for grid in GRIDS:
        for begin in (0.0, 0.43):
            assert mass(bone, grid, begin) == pytest.approx(fine, rel=0.02)


@pytest.mark.parametrize(
    ("anterior", "middle", "posterior"),
    [(24.5, 24.5, 24.5), (16.0, 20.5, 24.0), (22.0, 15.0, 23.5), (13.0, 13.0, 13.5)],
    ids=["healthy", "wedge", "biconcave", "crush"],
)
@pytest.mark.parametrize("collapse", [0.5, 0.8])
@pytest.mark.parametrize("level", ["L2", "T8", "T1"])
def test_the_outline_from_the_side_has_the_heights_given(
    level: str, anterior: float, middle: float, posterior: float, collapse: float
) -> None:
    given = healthy(level)
    part = given.healthy / 24.5
    shape = replace(
        given, anterior=anterior * part, middle=middle * part, posterior=posterior * part,
        collapse=collapse,
    )  # fmt: skip
    bone = placed(shape)
    x, z = axis(-24, 24, STEP), axis(-18, 18, 0.1)
    for share in (-0.75, -0.3, 0.0, 0.3):
        at = share * shape.depth / 2
        grid = np.meshgrid(x, floats([at]), z, indexing="ij")
        rows = bone.looked_up(*(values.ravel() for values in grid))
        there = z[(rows[:, 0].reshape(len(x), len(z)) < 0).any(axis=0)]
        height = float(shape.height_at(floats(share)))
        assert there.max() - there.min() + 0.1 == pytest.approx(height, abs=0.5)


def test_width_and_depth_are_those_given() -> None:
    shape = replace(healthy(), width=40.0, depth=30.0)
    bone = placed(shape)
    x, y = axis(-30, 30, 0.1), axis(-25, 10, 0.1)
    z = axis(-12, 12, 0.5)
    for values, given in ((x, 40.0), (y, 30.0)):
        across, down = np.meshgrid(values, z, indexing="ij")
        level, zero = down.ravel(), np.zeros(down.size, np.float32)
        places = (across.ravel(), zero) if values is x else (zero, across.ravel())
        inside = bone.looked_up(*places, level)[:, 0].reshape(down.shape) < 0
        there = values[inside.any(axis=1)]
        found = there.max() - there.min() if values is x else -2 * there.min()
        assert found == pytest.approx(given, abs=0.8)


def test_each_density_is_a_part_of_its_own() -> None:
    """Mineral is linear in core, wall, plate and arch, and each of them counts."""
    grid, shape = (1.0, 1.0, 1.0), healthy()
    base = BodyMineral(0.15)
    whole = mass(placed(shape, base), grid)
    more = {
        "core": mass(placed(shape, replace(base, core=0.18)), grid),
        "wall": mass(placed(shape, replace(base, wall=1.2)), grid),
        "plate": mass(placed(shape, replace(base, plate=1.2)), grid),
        "arch": mass(placed(shape, replace(base, arch=1.2)), grid),
    }
    gains = {name: (value - whole) / whole for name, value in more.items()}
    assert all(gain > 0.005 for gain in gains.values()), gains
    double = mass(placed(shape, replace(base, core=0.21)), grid)
    assert double - whole == pytest.approx(2 * (more["core"] - whole), rel=0.01)
    # Posterior elements carry about 40 to 45 % of a lumbar vertebra's mineral (anatomy.md [U]).
    bare = mass(placed(shape, replace(base, arch=0.0)), grid)
    assert 0.33 < 1 - bare / whole < 0.52


def test_a_fracture_keeps_the_arch() -> None:
    crushed = replace(healthy(), anterior=14.0, middle=14.0, posterior=14.0, healthy=24.5)
    for bone in (placed(healthy()), placed(crushed)):
        z = axis(-30, 35, 0.2)
        behind = bone.looked_up(np.zeros_like(z), np.full_like(z, np.float32(54)), z)
        inside = z[behind[:, 0] < 0]
        assert inside.max() - inside.min() == pytest.approx(15.5, abs=2.0)


def test_osteophytes_widen_one_side_only() -> None:
    bone = placed(replace(healthy(), flare=(0.2, 0.0)))
    x = axis(-40, 40, 0.1)
    rim = bone.looked_up(x, np.zeros_like(x), np.full_like(x, np.float32(10.5)))
    inside = x[rim[:, 0] < 0]
    assert inside.max() > -inside.min() + 2.0
