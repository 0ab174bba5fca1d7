"""Fat and muscle go with age, sex and build, and a little with bone."""

import numpy as np
import pytest

from tests.shared.phantom.person.cohorts import cohort, columns
from tests.verify.calibration.cohort import Column, partial


def index(sex: str) -> Column:
    return np.array([p.composition.muscle_index(p.height_cm) for p in cohort(sex)])


@pytest.mark.parametrize("sex", ["F", "M"])
def test_muscle_goes_with_bone_a_little(sex: str) -> None:
    mine = columns(sex)
    found = partial(index(sex), mine.areal["total_hip"], mine.age, mine.bmi)
    assert found == pytest.approx(0.15, abs=3.5 / np.sqrt(len(mine.age)))


def test_men_have_more_muscle_and_less_fat() -> None:
    fat = [np.mean([p.composition.fat_share for p in cohort(sex)]) for sex in ("F", "M")]
    assert index("M").mean() > index("F").mean() + 5
    assert fat[0] > fat[1] + 0.05


@pytest.mark.parametrize("sex", ["F", "M"])
def test_muscle_shrinks_and_turns_to_fat_with_age(sex: str) -> None:
    age = columns(sex).age
    fatty = np.array([p.composition.muscles["paraspinal"].infiltration for p in cohort(sex)])
    assert np.corrcoef(age, index(sex))[0, 1] < -0.1
    assert np.corrcoef(age, fatty)[0, 1] > 0.2


@pytest.mark.parametrize("sex", ["F", "M"])
def test_muscle_without_much_fat_has_the_hu_of_the_design(sex: str) -> None:
    psoas = [p.composition.muscles["psoas"].mean_hu for p in cohort(sex)]
    assert 40 < np.mean(psoas) < 60


@pytest.mark.parametrize(("low", "high", "least", "most"), [(21, 23, 180, 220), (29, 31, 240, 280)])
def test_the_trunk_is_as_deep_as_the_design_says(
    low: float, high: float, least: float, most: float
) -> None:
    people = [p for sex in "FM" for p in cohort(sex) if low < p.bmi < high]
    assert least < np.mean([p.composition.trunk_depth for p in people]) < most
