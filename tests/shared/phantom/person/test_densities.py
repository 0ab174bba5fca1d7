"""Densities are quantities of their own that go together as in life."""

import numpy as np
import pytest

from shared.phantom.person.densities import CORE_PROFILE, SPINE
from tests.shared.phantom.person.cohorts import cohort, columns
from tests.verify.calibration.cohort import Column, fitted, partial

SEXES = ("F", "M")


def cores(sex: str, level: str) -> Column:
    return np.array([person.levels[level].core for person in cohort(sex)])


@pytest.mark.parametrize("sex", SEXES)
@pytest.mark.parametrize("level", ["T6", "T12", "L2", "L4"])
def test_cores_of_neighbours_go_together(sex: str, level: str) -> None:
    above = SPINE[SPINE.index(level) - 1]
    found = partial(cores(sex, above), cores(sex, level), columns(sex).age)
    assert 0.93 < found < 0.97


@pytest.mark.parametrize("sex", SEXES)
def test_far_levels_go_together_less(sex: str) -> None:
    assert 0.80 < partial(cores(sex, "T4"), cores(sex, "L1"), columns(sex).age) < 0.90


def test_the_spine_is_denser_towards_the_head() -> None:
    chest = [CORE_PROFILE[level] for level in SPINE[: SPINE.index("L1") + 1]]
    assert chest == sorted(chest, reverse=True)
    assert cores("F", "T4").mean() > 1.2 * cores("F", "L1").mean()


@pytest.mark.parametrize("sex", SEXES)
@pytest.mark.parametrize("level", ["T4", "T8", "T12"])
def test_no_thoracic_level_goes_with_the_hip_except_through_the_lumbar_spine(
    sex: str, level: str
) -> None:
    lumbar = [cores(sex, f"L{number}") for number in range(1, 5)]
    known = (*lumbar, columns(sex).areal["L1-L4"], columns(sex).age, columns(sex).bmi)
    found = partial(cores(sex, level), columns(sex).areal["total_hip"], *known)
    assert abs(found) < 4 / np.sqrt(len(cohort(sex)))


@pytest.mark.parametrize("sex", SEXES)
@pytest.mark.parametrize("name", ["sacrum", "hip_bones", "ribs"])
def test_other_bones_have_a_residual_of_their_own(sex: str, name: str) -> None:
    bone = np.array([person.bones[name].core for person in cohort(sex)])
    mine = columns(sex)
    alone = partial(bone, mine.areal["total_hip"], mine.age, mine.bmi)
    beside = partial(bone, mine.areal["total_hip"], mine.age, mine.bmi, mine.areal["L1-L4"])
    assert alone > 0.2
    assert abs(beside) < 0.30


@pytest.mark.parametrize("sex", SEXES)
def test_the_core_does_not_go_with_body_mass(sex: str) -> None:
    mine = columns(sex)
    assert abs(partial(mine.l1_hu, mine.bmi, mine.age)) < 0.12


@pytest.mark.parametrize("sex", SEXES)
def test_core_wall_plate_and_arch_are_four_quantities(sex: str) -> None:
    values = np.array([list(vars(p.levels["L2"]).values()) for p in cohort(sex)])
    left = np.stack([fitted(column, columns(sex).age)[1] for column in values.T])
    together = np.asarray(np.corrcoef(left))[np.triu_indices(4, 1)]
    assert together.min() > 0.4
    assert together.max() < 0.85


def test_right_and_left_femur_are_alike_and_not_the_same() -> None:
    sides = np.array([[p.femora[s].neck_core for s in ("left", "right")] for p in cohort("F")])
    assert 0.95 < np.corrcoef(sides.T)[0, 1] < 1.0
