"""Ribs, clavicles, sternum and scapulae weigh what they weigh, on any lattice."""

from __future__ import annotations

import numpy as np
import pytest

from shared.phantom.solids.bone import Bone
from shared.phantom.solids.bones.chest import place_scapula, place_sternum
from shared.phantom.solids.bones.rib import RIBS, place_clavicle, place_rib
from shared.phantom.solids.distance import Floats, floats, vector

from .weighing import LATTICES, depths, grams, surface

FLIP = vector(-1, 1, 1)
HEAD = vector(18, 10, -30)


def left_bones() -> list[Bone]:
    """One of each kind, away from the middle."""
    ribs = [place_rib(n, HEAD, left=True, droop=1.1) for n in (1, 2, 7, 10, 12)]
    return [
        *ribs,
        place_clavicle(vector(14, -85, -145), vector(150, -20, -160), left=True),
        place_sternum(vector(0, -100, -120), 0.5, 0.95),
        place_scapula(vector(160, -10, -120), 1.0, left=True),
    ]


#: Mineral in g; dry bones of men, of which a little over half is mineral: rib 7 18–22 g, rib 1
#: 7–9 g, clavicle 20–25 g, sternum 25–35 g, scapula 55–70 g.
MASSES = {
    "rib_1_left": (2.5, 6), "rib_2_left": (4, 9), "rib_7_left": (7, 13), "rib_10_left": (5, 11),
    "rib_12_left": (0.8, 4), "clavicle_left": (8, 15), "sternum": (12, 22),
    "scapula_left": (24, 42),
}  # fmt: skip


@pytest.mark.parametrize("bone", left_bones(), ids=lambda bone: bone.name)
def test_the_mass_does_not_depend_on_the_lattice(bone: Bone) -> None:
    masses = [grams([bone], steps, shift) for steps, shift in LATTICES]
    assert max(masses) / min(masses) < 1.01
    low, high = MASSES[bone.name]
    assert low < masses[0] < high


def test_right_bones_are_mirror_images_of_left_ones() -> None:
    points = floats(np.random.default_rng(1).uniform(-170, 170, (30000, 3)))
    pairs = [
        (place_rib(n, HEAD, left=True, size=0.9), place_rib(n, HEAD * FLIP, left=False, size=0.9))
        for n in RIBS
    ]
    outer, inner = vector(150, -20, -160), vector(14, -85, -145)
    pairs += [
        (
            place_clavicle(inner, outer, left=True),
            place_clavicle(inner * FLIP, outer * FLIP, left=False),
        ),
        (
            place_scapula(outer, 1.0, left=True, turn=0.2),
            place_scapula(outer * FLIP, 1.0, left=False, turn=0.2),
        ),
    ]
    for left, right in pairs:
        assert right.name == left.name.replace("left", "right")
        assert np.allclose(depths(left, points), depths(right, points * FLIP), atol=2e-3)


@pytest.mark.parametrize("bone", left_bones(), ids=lambda bone: bone.name)
def test_nothing_of_a_bone_lies_beyond_its_reach(bone: Bone) -> None:
    away = np.linalg.norm(surface(bone, 200000) - bone.centre, axis=1)
    assert away.max() < bone.reach
    if not bone.name.startswith("sternum"):
        assert away.max() > 0.75 * bone.reach


def test_a_shorter_rib_is_the_beginning_of_the_whole_one() -> None:
    whole, short = (place_rib(12, HEAD, left=True, short=share) for share in (1.0, 0.6))
    assert 0.45 < grams([short]) / grams([whole]) < 0.75

    def ends(bone: Bone) -> Floats:
        points = surface(bone, 200000)
        return np.array([points[:, 0].min(), points[:, 0].max()], np.float32)

    first, last = ends(whole), ends(short)
    assert abs(first[0] - last[0]) < 1
    assert last[1] < first[1] - 15


def test_the_rib_cage_is_as_wide_and_deep_as_a_mans() -> None:
    rib = surface(place_rib(8, vector(16, 12, 0), left=True), 200000)
    # Outer width at the eighth rib 26–30 cm, depth 16–22 cm; rib 1 lies flat, rib 7 on edge.
    assert 125 < rib[:, 0].max() < 155
    assert 130 < np.ptp(rib[:, 1]) < 220
    heights = []
    for number in (1, 7):
        bone = place_rib(number, vector(0, 0, 0), left=True)
        points = surface(bone, 200000)
        outermost = points[points[:, 0] > points[:, 0].max() - 1.0]
        assert len(outermost) > 5
        heights.append(float(np.ptp(outermost[:, 2])))
    assert heights[0] < heights[1]
