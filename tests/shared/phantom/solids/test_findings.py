"""What a person has is in the bones: osteophytes by mass, lesions, grown together vertebrae."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from shared.phantom.person.degeneration import NO_WEAR
from shared.phantom.person.findings import FocalLesion
from shared.phantom.person.fractures import VertebralFinding
from shared.phantom.person.generator import NEAR_TO_LIFE
from shared.phantom.person.person import Person, draw_person
from shared.phantom.population import POPULATIONS
from shared.phantom.solids.bone import Bone, mineral_of
from shared.phantom.solids.distance import Floats, floats
from shared.phantom.solids.lattice import straight
from shared.phantom.solids.skeleton import build_skeleton, shape_of

#: Rows, columns, along the ray, mm: CT and DXA.
GRIDS = ((1.0, 1.0, 1.0), (1.05, 0.6, 1.5))
WEDGE = VertebralFinding("wedge", 2, 0.32, 0.18, 0.03)


def somebody() -> Person:
    """A person without findings or wear."""
    one = draw_person(0, 1, POPULATIONS["urban"], NEAR_TO_LIFE)
    nothing = replace(one.findings, vertebrae={}, lesions=(), fused=(), cement={}, screws=())
    return replace(one, findings=nothing, wear=replace(one.wear, levels={}))


def worn(grams: float, level: str, finding: VertebralFinding | None = None) -> Person:
    one = somebody()
    wear = replace(NO_WEAR, severity=0.2, osteophytes_g=grams, right=0.65)
    findings = replace(one.findings, vertebrae={level: finding} if finding else {})
    return replace(one, wear=replace(one.wear, levels={level: wear}), findings=findings)


def grams(bone: Bone, steps: tuple[float, float, float]) -> float:
    sides = [
        floats(np.arange(bone.centre[axis] - bone.reach, bone.centre[axis] + bone.reach, step))
        for axis, step in zip((2, 0, 1), steps, strict=True)
    ]
    total = float(mineral_of([bone], straight(*sides)).sum(dtype=np.float64))
    return total * math.prod(steps) / 1000


def mineral_at(bone: Bone, points: Floats, side: float) -> Floats:
    """Mineral of world points (N, 3), each a cube of `side` mm."""
    x, y, z = floats(points).T
    return bone.matter(x, y, z, (side, side, side)).mineral


@pytest.mark.parametrize("steps", GRIDS)
@pytest.mark.parametrize(
    ("level", "mass", "finding"),
    [("L3", 0.3, None), ("L3", 1.5, None), ("T8", 0.25, None), ("L1", 0.6, WEDGE)],
)
def test_osteophytes_weigh_what_was_drawn(
    level: str, mass: float, finding: VertebralFinding | None, steps: tuple[float, float, float]
) -> None:
    smooth, grown = (
        build_skeleton(worn(drawn, level, finding)).bone(level) for drawn in (0.0, mass)
    )
    assert grams(grown, steps) - grams(smooth, steps) == pytest.approx(mass, rel=0.08, abs=0.01)


def test_osteophytes_are_on_the_rims_and_more_on_their_side() -> None:
    smooth, grown = (build_skeleton(worn(mass, "L3")).bone("L3") for mass in (0.0, 1.0))
    half = shape_of(worn(0.0, "L3"), "L3").healthy / 2
    x, y, z = floats(np.random.default_rng(2).uniform((-40, -30, -16), (40, 16, 16), (60000, 3))).T
    turned = grown.rotation @ np.stack([x, y, z])
    at = turned + grown.centre[:, None]
    added = mineral_at(grown, at.T, 1.0) - mineral_at(smooth, at.T, 1.0)
    assert added.min() > -1e-5
    assert added[np.abs(z) < 0.4 * half].max() < 1e-5
    assert 1.4 < added[x < 0].sum() / added[x > 0].sum() < 2.3  # 65 % on the right


@pytest.mark.parametrize("core", [0.25, 4.0])
def test_a_lesion_changes_the_core_where_it_is_and_nothing_else(core: float) -> None:
    one = somebody()
    lesion = FocalLesion("any", "L2", (0.3, -0.2, 0.1), 6.0, core)
    ill = replace(one, findings=replace(one.findings, lesions=(lesion,)))
    before, after = (build_skeleton(who).bone("L2") for who in (one, ill))
    shape = shape_of(one, "L2")
    half = np.array([shape.width, shape.depth, shape.middle]) / 2
    middle = np.array(lesion.place) * half
    points = floats(np.random.default_rng(1).uniform(-0.75, 0.75, (30000, 3)) * half)
    away = np.linalg.norm(points - middle, axis=1)
    at = points @ before.rotation.T + before.centre
    whole, changed = (mineral_at(bone, at, 0.1) for bone in (before, after))
    inside = away < 5
    assert changed[inside] == pytest.approx(whole[inside] * core, rel=1e-3)
    assert np.array_equal(changed[away > 7.1], whole[away > 7.1])


@pytest.mark.parametrize("side", ["left", "right"])
def test_a_transitional_vertebra_is_joined_to_the_sacrum_on_its_side(side: str) -> None:
    one = somebody()
    joined = replace(one, variants=replace(one.variants, transitional="L5", joined=(side,)))
    found = build_skeleton(joined)
    names = {bone.name for bone in found.others if bone.name.startswith("bridge_")}
    assert names == {f"bridge_{side}"}
    bridge = found.bone(f"bridge_{side}")
    assert (bridge.centre[0] > 0) == (side == "left")
    # It touches both: some point is in the bridge and in each of them.
    points = floats(np.random.default_rng(3).uniform(-30, 30, (40000, 3))) + bridge.centre

    def inside(bone: Bone) -> np.ndarray:
        return bone.looked_up(*bone.frame(*points.T))[:, 0] < 0

    for other in ("L5", "sacrum"):
        assert (inside(bridge) & inside(found.bone(other))).any()
    usual = build_skeleton(one).spine["L5"].disc_below
    assert found.spine["L5"].disc_below == pytest.approx(usual / 2)
