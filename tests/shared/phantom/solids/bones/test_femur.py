"""The proximal femur weighs what one weighs, on any lattice, and both sides are one shape."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from shared.phantom.solids.bone import mineral_of
from shared.phantom.solids.bones.femur import (
    HEAD_END,
    HEAD_RADIUS,
    LENGTH,
    NECK_AXIS,
    NECK_END,
    SHAFT_X,
    FemurForm,
    FemurMineral,
    PlacedFemur,
    place_femur,
)
from shared.phantom.solids.distance import Floats, floats, vector

from .weighing import LATTICES, around, densities, depths, grams

FORMS = (
    FemurForm(),
    FemurForm(size=0.92, neck=1.12, angle=0.1, turn=-0.25, tilt=0.05),
    FemurForm(size=1.08, neck=0.88, angle=-0.1, turn=0.15, tilt=-0.05),
)
HEAD = vector(88, -30, 12)


def less_mineral(core: float, cortex: float) -> FemurMineral:
    """A young man's densities times these."""
    usual = FemurMineral()
    return FemurMineral(
        usual.head_core * core, usual.neck_core * core, usual.trochanter_core * core, cortex, cortex
    )


def neck_and_total(femur: PlacedFemur) -> tuple[float, float]:
    """Areal BMD of the neck and of the total hip with regions as scanners draw them, g/cm²."""
    lattice = around([], (-45, -60, -45), (100, 60, 115), (1, 1, 1))
    areal = mineral_of([femur.bone], lattice).sum(axis=2) / 10
    x, z = lattice.x[0, :, 0][None], lattice.z[:, 0, 0][:, None]
    along = x * femur.neck_axis[0] + z * femur.neck_axis[2]
    bone = areal > 0.1
    neck = bone & (along >= 24.5) & (along < 38.5) & (z < 40)
    rest = bone & (along >= 38.5) & (z < 100)
    return float(areal[neck].mean()), float(areal[neck | rest].mean())


@pytest.mark.parametrize("form", FORMS)
def test_the_mass_does_not_depend_on_the_lattice(form: FemurForm) -> None:
    femur = place_femur(form, HEAD, left=True)
    masses = [grams([femur.bone], steps, shift) for steps, shift in LATTICES]
    assert max(masses) / min(masses) < 1.01
    # The upper 18 cm of a man's femur: about a third of its 250 g of mineral.
    assert 55 < masses[0] < 125


@pytest.mark.parametrize("form", FORMS)
def test_right_is_the_mirror_image_of_left(form: FemurForm) -> None:
    flip = vector(-1, 1, 1)
    left = place_femur(form, HEAD, left=True)
    right = place_femur(form, floats(HEAD * flip), left=False)
    points = HEAD + floats(np.random.default_rng(1).uniform(-30, 120, (20000, 3)))
    assert np.allclose(depths(left.bone, points), depths(right.bone, points * flip), atol=1e-3)
    assert np.allclose(left.neck_axis * flip, right.neck_axis, atol=1e-5)
    assert np.allclose(left.shaft_axis * flip, right.shaft_axis, atol=1e-5)


def test_projected_bone_mineral_is_a_young_mans_and_follows_core_and_cortex() -> None:
    head = vector(0, 0, 0)
    neck, total = neck_and_total(place_femur(FemurForm(), head, left=True))
    # Men of 65: neck about 0.74–0.85, total hip 0.89 (design/anatomy.md).
    assert 0.72 < neck < 0.88
    assert 0.82 < total < 0.98
    for core, cortex in ((0.6, 1.0), (1.0, 0.7)):
        mineral = less_mineral(core, cortex)
        less = neck_and_total(place_femur(FemurForm(), head, left=True, mineral=mineral))
        assert 0.65 < less[0] / neck < 0.93
        assert 0.65 < less[1] / total < 0.93


@pytest.mark.parametrize("part", ["head_core", "neck_core", "trochanter_core"])
def test_the_mean_core_of_a_part_is_what_it_was_given(part: str) -> None:
    mineral = replace(FemurMineral(), **{part: 0.1})
    bone = place_femur(FemurForm(), vector(0, 0, 0), left=True, mineral=mineral).bone
    points = floats(np.random.default_rng(4).uniform((-26, -26, -26), (66, 26, 78), (60000, 3)))
    along = points @ vector(*NECK_AXIS)
    within = {
        "head_core": along < HEAD_END - 4,
        "neck_core": (along > HEAD_END + 4) & (along < NECK_END - 4),
        "trochanter_core": along > NECK_END + 4,
    }[part]
    typical = float(getattr(FemurMineral(), part))
    found = [
        densities(one, points[within & (depths(bone, points) < -7)], (0.1, 0.1, 0.1)).mean()
        for one in (bone, place_femur(FemurForm(), vector(0, 0, 0), left=True).bone)
    ]
    assert found[0] / found[1] == pytest.approx(0.1 / typical, rel=0.02)
    assert found[1] == pytest.approx(typical, rel=0.25)  # the deep part alone


def test_the_necks_cortex_is_its_own() -> None:
    head = vector(0, 0, 0)
    before = neck_and_total(place_femur(FemurForm(), head, left=True))
    thin = neck_and_total(
        place_femur(FemurForm(), head, left=True, mineral=FemurMineral(neck_cortex=0.6))
    )
    assert thin[0] / before[0] < 0.86
    assert 0.93 < (thin[1] - before[1]) / before[1] + 1 < 0.99


def test_the_shafts_cortex_is_thick_and_the_heads_is_thin() -> None:
    femur = place_femur(FemurForm(), vector(0, 0, 0), left=True)

    def thickness(start: Floats, inwards: Floats) -> float:
        steps = floats(np.arange(-3, 12, 0.1))
        points = start + steps[:, None] * inwards
        return float((densities(femur.bone, points, (0.1, 0.1, 0.1)) > 0.8).sum()) * 0.1

    shaft = thickness(vector(SHAFT_X + 14.5, 0, 130), vector(-1, 0, 0))
    assert 3.5 < shaft < 7
    assert thickness(vector(-HEAD_RADIUS, 0, 0), vector(1, 0, 0)) < 1.2
    n = vector(*NECK_AXIS)
    triangle = n * 42 + vector(-n[2], 0, n[0]) * 3
    cores = densities(femur.bone, np.stack([n * 0, triangle]), (1, 1, 1))
    assert cores[1] < 0.6 * cores[0]


@pytest.mark.parametrize("form", FORMS)
def test_landmarks_lie_in_the_bone_and_nothing_lies_beyond_its_reach(form: FemurForm) -> None:
    femur = place_femur(form, HEAD, left=False)
    assert depths(femur.bone, HEAD[None]) < -0.9 * HEAD_RADIUS * form.size
    on_neck = HEAD + femur.neck_axis * np.float32(30 * form.size)
    assert depths(femur.bone, on_neck[None]) < -9
    far = floats(np.random.default_rng(2).normal(size=(20000, 3)))
    far = far / np.linalg.norm(far, axis=1, keepdims=True)
    assert (depths(femur.bone, HEAD + far * np.float32(femur.bone.reach)) > 0).all()
    assert femur.bone.reach < 1.25 * LENGTH * form.size
