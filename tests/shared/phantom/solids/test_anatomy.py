"""A whole person: soft tissue around the person's own bones."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import pytest

from shared.phantom.person.generator import GENERATORS
from shared.phantom.person.person import Person, draw_person
from shared.phantom.population import POPULATIONS
from shared.phantom.solids.anatomy import Anatomy, build_anatomy
from shared.phantom.solids.distance import floats
from shared.phantom.solids.skeleton import Lie
from shared.phantom.solids.tissue import SUBSTANCES
from shared.phantom.solids.tissues.slices import axial_labels


@lru_cache(maxsize=64)
def person(number: int, generator: str = "near_to_life") -> Person:
    return draw_person(number, 7, POPULATIONS["generic"], GENERATORS[generator])


@lru_cache(maxsize=8)
def anatomy(number: int, generator: str = "near_to_life") -> Anatomy:
    return build_anatomy(person(number, generator))


def test_the_same_person_has_the_same_tissues() -> None:
    again = build_anatomy(person(0))
    x, y = floats(np.arange(-160, 160, 4)), floats(np.arange(-160, 110, 4))
    for z in (-60.0, 0.0, 90.0):
        first, second = (axial_labels(one.tissues, x, y, z) for one in (anatomy(0), again))
        assert np.array_equal(first, second)


@pytest.mark.parametrize("lumbar", [4, 5, 6])
def test_any_number_of_lumbar_vertebrae_has_a_body_around_it(lumbar: int) -> None:
    number = next(n for n in range(400) if person(n).variants.lumbar == lumbar)
    found = build_anatomy(person(number))
    assert {"skin", "aorta", "psoas_muscle"} <= {one.name for one in found.tissues}


def test_arms_lie_beside_the_trunk_or_above_it() -> None:
    beside = build_anatomy(person(0), Lie(arms="beside"))
    x, y = floats(np.arange(-260, 260, 4)), floats(np.arange(-160, 110, 4))
    arm = SUBSTANCES["arm_muscle"].code
    for level, arms in (("L1", [beside]), ("T2", [beside, anatomy(0)])):
        for one in (beside, anatomy(0)):
            z = float(one.skeleton.spine[level].centre[2])
            assert (axial_labels(one.tissues, x, y, z) == arm).any() == any(
                one is other for other in arms
            )
