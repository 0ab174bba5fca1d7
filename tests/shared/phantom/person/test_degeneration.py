"""Degeneration grows with age, more in men, and leaves the core alone."""

import numpy as np
import pytest

from shared.phantom.person.degeneration import expected_wear
from shared.regions import LUMBAR
from tests.shared.phantom.person.cohorts import cohort, columns
from tests.verify.calibration.cohort import Column, partial, regression


def severity(sex: str) -> Column:
    return np.array([np.mean([p.worn(k).severity for k in LUMBAR]) for p in cohort(sex)])


@pytest.mark.parametrize("sex", ["F", "M"])
def test_its_share_grows_with_age(sex: str) -> None:
    worn, age = severity(sex) > 0.1, columns(sex).age
    assert worn[age > 75].mean() > worn[age < 60].mean() + 0.1


def test_men_have_more() -> None:
    assert severity("M").mean() > 1.5 * severity("F").mean()


@pytest.mark.parametrize("sex", ["F", "M"])
def test_it_does_not_go_with_the_core(sex: str) -> None:
    found = partial(severity(sex), columns(sex).core, columns(sex).age)
    assert abs(found) < 4 / np.sqrt(len(cohort(sex)))


def test_mens_areal_bmd_rises_while_their_core_falls() -> None:
    mine = columns("M")
    assert regression(mine, "L1-L4").b > 0.0
    assert np.polyfit(mine.age, mine.core, 1)[0] < -0.001


def test_single_levels_stand_out() -> None:
    most = [max(p.worn(k).severity for k in LUMBAR) for p in cohort("M")]
    assert np.mean(most) > 1.3 * severity("M").mean()


def test_the_mean_of_what_is_above_nothing() -> None:
    draws = np.random.default_rng(1).normal(size=200_000)
    for liability in (-1.0, 0.0, 1.5):
        found = np.maximum(liability + draws, 0).mean()
        assert expected_wear(liability) == pytest.approx(found, abs=0.01)


def test_the_aortas_calcium_grows_with_age() -> None:
    calcium = np.array([p.wear.aortic_calcium for p in cohort("F")])
    assert np.corrcoef(calcium, columns("F").age)[0, 1] > 0.3
