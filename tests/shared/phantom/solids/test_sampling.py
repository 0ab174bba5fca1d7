"""Volumes and line integrals of solids against closed forms, at each grid, wherever it begins."""

from __future__ import annotations

import math

import numpy as np
import pytest

from shared.phantom.solids.bone import CORTICAL, Bone, mineral_of, straight_through
from shared.phantom.solids.distance import Distance, Floats, floats, vector
from shared.phantom.solids.lattice import Lattice, diverging, straight
from shared.phantom.solids.template import sample_near

SHELL_MM, CORE = 0.5, 0.15
#: Rows, columns and samples along the ray, mm: DXA, CT thin and thick, film.
GRIDS = ((1.05, 0.6, 1.5), (1.0, 1.0, 1.0), (0.7, 0.7, 3.0), (2.0, 2.0, 2.0), (0.3, 0.3, 1.0))
BEGINNINGS = (0.0, 0.31, 0.77)


def bone_of(distance: Distance, reach: float, centre: Floats, rotation: Floats) -> Bone:
    def traits(points: Floats, found: Floats) -> Floats:
        return floats(np.stack([np.full(len(points), SHELL_MM), np.ones(len(points))], axis=1))

    side = reach + 6
    template = sample_near(distance, (-side,) * 3, (side,) * 3, traits, 1.0)
    return Bone("solid", template, centre, rotation, straight_through, reach, 1.0, CORE)


def around(grid: tuple[float, float, float], begin: float, half: float) -> Lattice:
    rows, columns, ways = (np.arange(-half + begin * s, half, s, dtype=np.float32) for s in grid)
    return straight(rows, columns, ways)


def mass_g(mineral: Floats, grid: tuple[float, float, float]) -> float:
    return float(mineral.sum(dtype=np.float64)) * math.prod(grid) / 1000


def turned(degrees: float) -> Floats:
    c, s = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    return floats(np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]]) @ [[1, 0, 0], [0, c, -s], [0, s, c]])


@pytest.mark.parametrize("begin", BEGINNINGS)
@pytest.mark.parametrize("grid", GRIDS)
def test_a_sphere_with_a_shell(grid: tuple[float, float, float], begin: float) -> None:
    radius = 20.0
    sphere = bone_of(
        lambda p: np.sqrt((p**2).sum(axis=1)) - np.float32(radius),
        radius, vector(0.4, -0.2, 0.1), turned(25),
    )  # fmt: skip
    lattice = around(grid, begin, 24)
    found = mineral_of([sphere], lattice)
    outer, inner = (4 / 3 * math.pi * r**3 / 1000 for r in (radius, radius - SHELL_MM))
    assert mass_g(found, grid) == pytest.approx((outer - inner) * CORTICAL + inner * CORE, rel=0.01)
    # Through the middle: two shells and a core.
    row = int(np.abs(lattice.z.ravel() - 0.1).argmin())
    column = int(np.abs(lattice.x.ravel() - 0.4).argmin())
    line = found[row, column].sum() * grid[2] / 10
    exact = 2 * (SHELL_MM * CORTICAL + (radius - SHELL_MM) * CORE) / 10
    assert line == pytest.approx(exact, rel=0.01)


@pytest.mark.parametrize("begin", BEGINNINGS)
@pytest.mark.parametrize("grid", GRIDS)
def test_an_elliptic_cylinder_with_a_shell(grid: tuple[float, float, float], begin: float) -> None:
    a, b, half = 18.0, 12.0, 15.0

    def distance(p: Floats) -> Floats:
        scaled = np.sqrt((p[:, 0] / a) ** 2 + (p[:, 1] / b) ** 2)
        slope = np.sqrt((p[:, 0] / a**2) ** 2 + (p[:, 1] / b**2) ** 2)
        side = scaled * (scaled - 1) / np.maximum(slope, 1e-6)
        return floats(np.maximum(side, np.abs(p[:, 2]) - half))

    bone = bone_of(distance, math.hypot(a, half), vector(0, 0, 0), floats(np.eye(3)))
    found = mineral_of([bone], around(grid, begin, 28))
    # Ramanujan's perimeter, and Steiner's area of what lies a shell further in.
    perimeter = math.pi * (3 * (a + b) - math.sqrt((3 * a + b) * (a + 3 * b)))
    within = math.pi * a * b - perimeter * SHELL_MM + math.pi * SHELL_MM**2
    outer, inner = math.pi * a * b * 2 * half / 1000, within * 2 * (half - SHELL_MM) / 1000
    assert mass_g(found, grid) == pytest.approx((outer - inner) * CORTICAL + inner * CORE, rel=0.01)


@pytest.mark.parametrize("degrees", [0.0, 17.0, 40.0])
@pytest.mark.parametrize("grid", GRIDS)
def test_a_tilted_plate(grid: tuple[float, float, float], degrees: float) -> None:
    """Its shell is thinner than a sample, and its rays cross it at a slant."""
    half, thick = 20.0, 5.0

    def distance(p: Floats) -> Floats:
        away = np.abs(p) - vector(half, thick / 2, half)
        return floats(away.max(axis=1))

    rotation = turned(degrees)
    plate = bone_of(distance, math.hypot(half, half), vector(0, 0, 0), rotation)
    lattice = around(grid, 0.4, 32)
    found = mineral_of([plate], lattice)
    through = (2 * SHELL_MM * CORTICAL + (thick - 2 * SHELL_MM) * CORE) / 10
    slant = abs(float(rotation[1, 1]))  # cosine between the plate's normal and the rays
    middle = found.sum(axis=2)[np.abs(lattice.z.ravel()) < 6][:, np.abs(lattice.x.ravel()) < 6]
    assert middle.mean() * grid[2] / 10 == pytest.approx(through / slant, rel=0.01)


def test_rays_from_a_point_magnify_and_keep_the_line_integral() -> None:
    radius, source, film = 20.0, (0.0, -900.0, 0.0), 100.0
    ball = bone_of(
        lambda p: np.sqrt((p**2).sum(axis=1)) - np.float32(radius),
        radius, vector(0, 0, 0), floats(np.eye(3)),
    )  # fmt: skip
    pixels = np.arange(-30, 30, 0.5, dtype=np.float32)
    ways = np.arange(-24, 24, 1.0, dtype=np.float32)
    lattice = diverging(pixels, pixels, ways, source, film)
    found = mineral_of([ball], lattice).sum(axis=2) / 10
    exact = 2 * (SHELL_MM * CORTICAL + (radius - SHELL_MM) * CORE) / 10
    assert found[60, 60] == pytest.approx(exact, rel=0.01)
    wide = np.count_nonzero(found[60] > 0.02) * 0.5
    # The ball's edge is seen at 1000 mm from the source, its middle 900 mm from it.
    assert wide == pytest.approx(2 * radius * 1000 / 900, abs=1.0)
