"""Hip bones and sacrum fit: joints have their gaps, and nothing lies in anything else."""

from __future__ import annotations

import math

import numpy as np
import pytest

from shared.phantom.solids.bone import Bone
from shared.phantom.solids.bones.femur import HEAD_RADIUS, FemurForm, place_femur
from shared.phantom.solids.bones.hip_bone import place_hip_bone
from shared.phantom.solids.bones.sacrum import SLOPE, hip_joint, place_sacrum
from shared.phantom.solids.distance import Floats, floats, vector

from .weighing import LATTICES, densities, depths, grams, surface

TOP = vector(3, 20, 60)
FLIP = vector(-1, 1, 1)


def pelvis(slope: float, tilt: float, size: float) -> tuple[Bone, Bone, Bone, Floats]:
    """Left and right hip bone, sacrum, and the left hip joint."""
    joint = hip_joint(slope, tilt, size)
    left = place_hip_bone(floats(TOP + joint), size, left=True, tilt=tilt)
    right = place_hip_bone(floats(TOP + joint * FLIP), size, left=False, tilt=tilt)
    return left, right, place_sacrum(TOP, slope, size), floats(TOP + joint)


@pytest.mark.parametrize("name", ["hip_left", "sacrum"])
def test_the_mass_does_not_depend_on_the_lattice(name: str) -> None:
    bone = {b.name: b for b in pelvis(SLOPE, 0.0, 1.0)[:3]}[name]
    masses = [grams([bone], steps, shift) for steps, shift in LATTICES]
    assert max(masses) / min(masses) < 1.01
    # Dry bones of a man: a hip bone 150–190 g, the sacrum with the coccyx 60–80 g, of which
    # mineral is a little over half.
    low, high = {"hip_left": (65, 115), "sacrum": (28, 50)}[name]
    assert low < masses[0] < high


def test_right_is_the_mirror_image_of_left_and_the_sacrum_its_own() -> None:
    left, right, sacrum, _ = pelvis(SLOPE + 0.05, 0.02, 0.95)
    points = floats(np.random.default_rng(1).uniform(-150, 150, (40000, 3)))
    mirrored = points * FLIP
    assert np.allclose(depths(left, TOP + points), depths(right, TOP + mirrored), atol=1e-3)
    assert np.allclose(depths(sacrum, TOP + points), depths(sacrum, TOP + mirrored), atol=1e-3)
    here = densities(sacrum, floats(TOP + points), (1, 0.7, 1.5))
    there = densities(sacrum, floats(TOP + mirrored), (1, 0.7, 1.5))
    assert np.allclose(here, there, atol=1e-3)


@pytest.mark.parametrize(("slope", "tilt"), [(0, 0), (6, 1), (-6, -1), (12, 8), (-12, -8)])
@pytest.mark.parametrize("size", [0.85, 1.0])
def test_the_sacroiliac_joint_is_a_gap_of_two_to_four_millimetres(
    slope: float, tilt: float, size: float
) -> None:
    left, _, sacrum, _ = pelvis(SLOPE + math.radians(slope), math.radians(tilt), size)
    gaps = depths(left, surface(sacrum))
    assert gaps.min() > 0.8 * size
    facing = gaps[gaps < 5.5 * size]
    assert len(facing) > 40
    if abs(slope - tilt) < 1:
        assert gaps.min() > 1.8 * size
        assert 2.0 * size < np.median(facing) < 4.4 * size


@pytest.mark.parametrize("ratio", [0.95, 1.0, 1.05])
def test_there_is_a_joint_space_around_the_femoral_head(ratio: float) -> None:
    left, _, _, joint = pelvis(SLOPE, 0.0, 1.0)
    for turn, tilt in ((0.0, 0.0), (0.4, 0.1), (-0.3, -0.1)):
        form = FemurForm(size=ratio, turn=turn, tilt=tilt)
        femur = place_femur(form, joint, left=True).bone
        gaps = depths(left, surface(femur))
        assert gaps.min() > 1.2
    roof = joint + vector(0, 0, -HEAD_RADIUS)
    assert 2.0 < float(depths(left, roof[None])[0]) < 4.5


def test_the_pubic_bones_meet_at_the_symphysis() -> None:
    left, right, _, _ = pelvis(SLOPE, 0.0, 1.0)
    points = surface(left)
    width = 2 * float((points[:, 0] - TOP[0]).min())
    assert 3 < width < 8
    assert depths(right, points).min() > 3


def test_the_pelvis_is_as_wide_and_as_high_as_a_mans() -> None:
    left, right, sacrum, joint = pelvis(SLOPE, 0.0, 1.0)
    points = surface(left)
    # Between the crests 27–29 cm, crest to sitting bone 20–23 cm; the joints 17–18 cm apart.
    assert 230 < 2 * float((points[:, 0] - TOP[0]).max()) < 290
    assert 195 < float(np.ptp(points[:, 2])) < 235
    # Upper end plate to hip joint: incidence 45–65 degrees.
    back, up = TOP[1] - joint[1], joint[2] - TOP[2]
    assert 45 < math.degrees(SLOPE + math.atan2(back, up)) < 65
    for bone in (left, right, sacrum):
        far = surface(bone) - bone.centre
        assert np.linalg.norm(far, axis=1).max() < bone.reach
