"""A person's skeleton: every bone once, where it belongs, with the person's own densities."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache

import numpy as np
import pytest

from shared.phantom.person.generator import NEAR_TO_LIFE
from shared.phantom.person.person import Person, draw_person
from shared.phantom.population import POPULATIONS
from shared.phantom.solids.bone import mineral_of
from shared.phantom.solids.lattice import straight
from shared.phantom.solids.skeleton import Lie, Skeleton, build_skeleton, shape_of

URBAN = POPULATIONS["urban"]


@lru_cache(maxsize=8)
def person(number: int) -> Person:
    return draw_person(number, 1, URBAN, NEAR_TO_LIFE)


@lru_cache(maxsize=8)
def skeleton(number: int) -> Skeleton:
    return build_skeleton(person(number))


@pytest.mark.parametrize("number", range(4))
def test_every_bone_is_there_once(number: int) -> None:
    found = skeleton(number)
    names = [bone.name for bone in found.bones]
    assert len(names) == len(set(names))
    assert set(person(number).variants.levels) <= set(names)
    assert {"sacrum", "hip_left", "hip_right", "femur_left", "femur_right", "sternum"} <= set(names)
    assert 22 <= sum(name.startswith("rib_") for name in names) <= 26
    assert found.bone("L3").centre == pytest.approx(np.zeros(3))
    with pytest.raises(KeyError, match="no bone L9"):
        found.bone("L9")


@pytest.mark.parametrize("number", range(4))
def test_it_stands_as_people_stand(number: int) -> None:
    found = skeleton(number)
    left, right = found.hips
    assert left[0] > 0 > right[0]
    assert 140 <= left[0] - right[0] <= 210
    assert found.spine["T4"].centre[2] < found.spine["L1"].centre[2] < left[2]
    sternum, back = found.bone("sternum").centre, found.spine["T6"].centre
    assert sternum[1] < back[1] - 50  # in front
    assert found.bone("scapula_left").centre[0] > found.spine["T3"].centre[0] + 100


def test_the_same_person_has_the_same_skeleton() -> None:
    again = build_skeleton(person(0))
    for one, other in zip(skeleton(0).bones, again.bones, strict=True):
        assert (one.name, one.core, one.cortex) == (other.name, other.core, other.cortex)
        assert np.array_equal(one.centre, other.centre)
    body = skeleton(0).spine["L2"].bone
    x, y, z = np.random.default_rng(1).normal(0, 15, (3, 500)).astype(np.float32)
    first, second = (
        one.matter(x, y, z, (1.0, 1.0, 1.0)).mineral for one in (body, again.spine["L2"].bone)
    )
    assert np.array_equal(first, second)


def test_densities_are_the_persons() -> None:
    one = person(0)
    more = replace(
        one,
        levels={
            level: replace(density, core=density.core * 1.2)
            for level, density in one.levels.items()
        },
    )
    rows, columns, ways = (
        np.arange(low, high, 1.5, dtype=np.float32)
        for low, high in ((-20, 20), (-40, 40), (-40, 90))
    )
    lattice = straight(rows, columns, ways)
    masses = [
        float(mineral_of([build_skeleton(who).bone("L3")], lattice).sum()) for who in (one, more)
    ]
    assert 1.03 < masses[1] / masses[0] < 1.15  # the core is a part of a vertebra's mineral


def test_roll_and_legs_are_how_somebody_lies() -> None:
    rolled = build_skeleton(person(0), Lie(roll_degrees=10.0, legs={"left": (20.0, 0.0)}))
    straight_one = skeleton(0)
    assert rolled.spine["L3"].rotation[1, 0] > straight_one.spine["L3"].rotation[1, 0] + 0.1
    turned = rolled.femora["left"].neck_axis @ straight_one.femora["left"].neck_axis
    assert turned < 0.99
    assert rolled.femora["right"].neck_axis == pytest.approx(
        straight_one.femora["right"].neck_axis, abs=1e-5
    )


def test_fractures_and_degeneration_are_in_the_form() -> None:
    broken = next(
        who for who in map(person, range(200))
        if any(one.grade and one.kind == "wedge" for one in who.findings.vertebrae.values())
    )  # fmt: skip
    level, loss = next(
        (level, one) for level, one in broken.findings.vertebrae.items()
        if one.grade and one.kind == "wedge"
    )  # fmt: skip
    shape = shape_of(broken, level)
    whole = shape_of(replace(broken, findings=replace(broken.findings, vertebrae={})), level)
    assert shape.anterior == pytest.approx(whole.anterior * (1 - loss.anterior))
    assert shape.healthy == whole.healthy


def test_metal_is_where_it_was_put() -> None:
    one = person(0)
    operated = replace(
        one,
        findings=replace(
            one.findings, screws=("L3", "L4"), hip_implant=("right",), cement={"L1": 3.0}
        ),
    )
    names = [implant.name for implant in build_skeleton(operated).implants]
    assert sum(name.startswith("screw_") for name in names) == 4
    assert any("cement" in name for name in names)
    assert any("right" in name and "L" not in name for name in names)
