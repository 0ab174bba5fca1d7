"""Visits go wrong as often as design/anatomy.md says, and plain ones less often."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import pytest

from shared.phantom.imaging.dxa.looks import (
    LUNAR_PIXEL,
    SOLID_SCANNERS,
    generic_look,
    look_of,
)
from shared.phantom.imaging.dxa.visit import WRONG_ROTATION, DxaVisit, draw_visit
from shared.phantom.person.generator import GENERATORS, NEAR_TO_LIFE, PLAIN
from shared.records import DXA_VIEWS, View
from tests.shared.phantom.imaging.bodies import person


@lru_cache(maxsize=2)
def visits(generator: str) -> list[DxaVisit]:
    rng = np.random.default_rng(7)
    return [draw_visit(person(0), GENERATORS[generator], rng) for _ in range(3000)]


def test_positioning_motion_and_objects_are_as_frequent_as_in_life() -> None:
    found = visits(NEAR_TO_LIFE.name)
    roll = np.array([one.lie.roll_degrees for one in found])
    assert np.mean(np.abs(roll) <= 5) > 0.94
    assert 0.02 < np.mean(np.abs(roll) > WRONG_ROTATION[View.SPINE_PA]) < 0.04
    for view in DXA_VIEWS:
        assert 0.02 < np.mean([view in one.moving for one in found]) < 0.03
    assert 0.013 < np.mean([one.cut_off is not None for one in found]) < 0.028
    assert 0.02 < np.mean([bool(one.objects) for one in found]) < 0.04
    kinds = {kind for one in found for kind in one.objects}
    assert {"clips", "button", "zip", "piercing"} <= kinds
    assert 0.45 < np.mean([one.facing == "left" for one in found]) < 0.55


def test_plain_visits_go_wrong_less_often() -> None:
    plain, life = visits(PLAIN.name), visits(NEAR_TO_LIFE.name)
    for what in (
        lambda one: bool(one.objects),
        lambda one: bool(one.moving),
        lambda one: one.cut_off is not None,
        lambda one: abs(one.lie.roll_degrees) > 8,
    ):
        assert sum(map(what, plain)) < 0.6 * sum(map(what, life))
    turns = [np.std([one.lie.leg("left")[0] for one in some]) for some in (plain, life)]
    assert turns[0] < 0.7 * turns[1]


def test_looks_change_the_picture_and_neither_beams_nor_bmd() -> None:
    lunar = SOLID_SCANNERS["lunar"]
    assert look_of(lunar, 0) is lunar
    other = look_of(lunar, 3)
    assert other.window != lunar.window
    assert (other.physics, other.density_scale, other.calibration, other.photons) == (
        lunar.physics, lunar.density_scale, lunar.calibration, lunar.photons,
    )  # fmt: skip
    assert look_of(lunar, 3) == other
    assert lunar.spacing_mm == LUNAR_PIXEL == pytest.approx((0.6, 1.05))
    assert SOLID_SCANNERS["hologic"].spacing_mm == (1.0, 1.0)


def test_plain_patients_see_one_look_a_vendor() -> None:
    names = {
        name: {generic_look(number, 5, settings).name for number in range(60)}
        for name, settings in GENERATORS.items()
    }
    assert len(names["plain"]) == 4
    assert len(names["near_to_life"]) == 24
