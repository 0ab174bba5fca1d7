"""Implants have their volume on any lattice, lie where surgeons put them, and name a material."""

from __future__ import annotations

import math

import numpy as np
import pytest

from shared.phantom.solids.bones.femur import FemurForm, place_femur
from shared.phantom.solids.distance import floats, vector
from shared.phantom.solids.implants import (
    MATERIALS,
    Implant,
    Operated,
    cage,
    cement,
    clip,
    fixation,
    hip_prosthesis,
    shares_of,
)
from shared.phantom.solids.lattice import straight

STRAIGHT = floats(np.eye(3))
SPINE = [
    Operated(level, vector(0, y, z), STRAIGHT, 45, 35, 25)
    for level, y, z in (("L3", 0, 0), ("L4", -3, 36), ("L5", 0, 72))
]
FEMUR = place_femur(FemurForm(), vector(0, 0, 0), left=True, resected=True)


def volume(implant: Implant, step: float = 0.7, shift: float = 0.0) -> float:
    """Millilitres."""
    sides = [
        floats(np.arange(c - implant.reach - 3 + shift * step, c + implant.reach + 3, step))
        for c in implant.centre
    ]
    shares = shares_of([implant], straight(sides[2], sides[0], sides[1]))
    return float(shares[implant.material].sum(dtype=np.float64)) * step**3 / 1000


def every() -> list[Implant]:
    return [
        *fixation(SPINE)[:4], *hip_prosthesis(FEMUR), cage(SPINE[1], 11),
        cement(SPINE[0], 4.0, np.random.default_rng(2)), clip(1, vector(40, -60, 10), 0.7),
    ]  # fmt: skip


@pytest.mark.parametrize("implant", every(), ids=lambda implant: implant.name)
def test_the_volume_does_not_depend_on_the_lattice(implant: Implant) -> None:
    # A clip is no thicker than a sample of the coarser lattice.
    limit = 0.20 if implant.name.startswith("clip") else 0.015
    found = [volume(implant, 0.6), volume(implant, 1.0, 0.4)]
    assert found[0] > 0
    assert abs(found[1] / found[0] - 1) < limit
    assert implant.material in MATERIALS


def test_a_clip_and_a_rod_weigh_what_they_weigh() -> None:
    # A clip of 7 mm about 0.1 g; a rod of 5.5 mm over 90 mm about 9.5 g.
    grams = volume(clip(1, vector(0, 0, 0), 0.3), 0.3) * MATERIALS["titanium"].density
    assert 0.04 < grams < 0.2
    rod = next(one for one in fixation(SPINE) if one.name == "rod_left")
    long = 72 + 2 * 9
    assert volume(rod) == pytest.approx(math.pi * 2.75**2 * long / 1000, rel=0.08)


@pytest.mark.parametrize("millilitres", [2.0, 4.0, 6.0])
def test_cement_stays_in_its_body_and_is_about_as_much_as_was_injected(millilitres: float) -> None:
    for seed in range(4):
        blob = cement(SPINE[0], millilitres, np.random.default_rng(seed))
        assert 0.45 * millilitres < volume(blob) < 1.3 * millilitres
        points = floats(np.random.default_rng(1).uniform(-30, 30, (60000, 3)))
        inside = points[blob.looked_up(*points.T)[:, 0] < 0]
        assert (np.abs(inside) < (22.5, 17.5, 12.5)).all()


def test_screws_go_through_the_pedicles_into_the_body() -> None:
    screws = [one for one in fixation(SPINE) if one.name.startswith("screw_L4")]
    assert {one.name for one in screws} == {"screw_L4_left", "screw_L4_right"}
    for one in screws:
        side = 1 if one.name.endswith("left") else -1
        # The pedicles of the template: 13.5–14.2 mm beside the middle, 13–31 mm behind it.
        on_pedicle = one.looked_up(*floats([[side * 14.0, 27, -5]]).T)[0, 0]
        in_body = one.looked_up(*floats([[side * 10.0, 0, -4]]).T)[0, 0]
        assert on_pedicle < 2.5
        assert in_body < 1.5


def test_a_prosthesis_replaces_the_head_and_fills_the_shaft_without_leaving_it() -> None:
    whole = place_femur(FemurForm(), vector(0, 0, 0), left=True).bone
    stem, head, cup = hip_prosthesis(FEMUR)
    points = floats(np.random.default_rng(3).uniform((-30, -30, -30), (70, 30, 150), (200000, 3)))

    def inside(solid: Implant) -> np.ndarray:
        return solid.looked_up(*solid.frame(*points.T))[:, 0] < 0

    left_over = FEMUR.bone.looked_up(*FEMUR.bone.frame(*points.T))[:, 0] < 0
    assert not (left_over & inside(head)).any()
    assert not (inside(head) & inside(stem)).any()
    assert not (inside(head) & inside(cup)).any()
    below = points[inside(stem) & (points[:, 2] > 60)]
    assert (whole.looked_up(*whole.frame(*below.T))[:, 0] < 0).all()
    assert (np.linalg.norm(points[inside(cup)], axis=1) < 26.7).all()


def test_mass_fractions_sum_to_one() -> None:
    for material in MATERIALS.values():
        assert sum(material.elements.values()) == pytest.approx(1.0)
