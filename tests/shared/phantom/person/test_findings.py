"""Fractures and the rest, at the rates of the design."""

import numpy as np
import pytest

from tests.shared.phantom.person.cohorts import cohort
from tests.verify.persons import rates_of

RARE = ("unusual numbers", "scoliosis over 10", "fractured", "deformed", "implant")


@pytest.mark.parametrize(("band", "low", "high"), [("50-60", 0.03, 0.07), ("65-75", 0.08, 0.18)])
def test_share_of_fractured_women(band: str, low: float, high: float) -> None:
    assert low < rates_of(cohort("F"))[f"fractured {band}"] < high


def test_fractures_are_drawn_as_often_as_their_risk_says() -> None:
    people = (*cohort("F"), *cohort("M"))
    risk = np.mean([p.findings.fracture_risk for p in people])
    assert np.mean([p.findings.fractured for p in people]) == pytest.approx(risk, abs=0.03)


def test_fragile_bones_break() -> None:
    women = [p for p in cohort("F") if p.age_years > 65]
    cores = {
        broken: np.mean([p.levels["L1"].core for p in women if p.findings.fractured == broken])
        for broken in (True, False)
    }
    assert cores[True] < cores[False]


@pytest.mark.parametrize("sex", ["F", "M"])
def test_plain_patients_have_little_of_it(sex: str) -> None:
    rates = rates_of(cohort(sex, "plain"))
    # twenty-five in a thousand at most are meant; chance adds some in six hundred
    assert max(rates[name] for name in RARE) < 0.065


def test_what_is_found_is_in_vertebrae_that_are_there() -> None:
    for person in (*cohort("F"), *cohort("M")):
        found = person.findings
        named = {*found.vertebrae, *found.cement, *found.screws}
        named |= {lesion.level for lesion in found.lesions}
        assert named <= set(person.levels)
        assert set(found.cement) <= set(found.vertebrae)


def test_lesions_lie_inside_the_body() -> None:
    lesions = [one for p in cohort("F") for one in p.findings.lesions]
    assert lesions
    assert max(max(map(abs, one.place)) for one in lesions) <= 0.5
