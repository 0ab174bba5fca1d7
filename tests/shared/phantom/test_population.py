"""Digital persons: the population has the figures of the design."""

import functools
from dataclasses import replace

import numpy as np
import pytest

from shared.phantom.population import (
    CORRELATION,
    POPULATIONS,
    SITES,
    PhantomPatient,
    draw_patient,
    expected_bmd,
    fracture_probability,
)
from shared.regions import VERTEBRAE

COMMUNITY = POPULATIONS["community"]


@functools.lru_cache(maxsize=4)
def _people(sex: str, referral: float = 1.0) -> tuple[PhantomPatient, ...]:
    profile = replace(
        COMMUNITY, female_share=float(sex == "F"), fracture_referral=referral, age_sd=9.0
    )
    return tuple(draw_patient(number, 7, profile) for number in range(2500))


@pytest.mark.parametrize("name", ["generic", "urban", "rural", "university", "northern"])
def test_hospital_population_exists(name: str) -> None:
    assert POPULATIONS[name].name == name


@pytest.mark.parametrize("sex", ["F", "M"])
@pytest.mark.parametrize("site", SITES)
def test_bmd_has_the_regression_mean_and_spread(sex: str, site: str) -> None:
    people = _people(sex)
    figures = [expected_bmd(sex, p.age_years, p.bmi, site) for p in people]
    z = [(p.bmd[site] - mean) / sd for p, (mean, sd) in zip(people, figures, strict=True)]
    assert abs(np.mean(z)) < 0.08
    assert np.std(z) == pytest.approx(1.0, abs=0.06)


def test_expected_bmd_is_the_table_of_the_design() -> None:
    assert expected_bmd("F", 65, 24, "L1-L4")[0] == pytest.approx(0.851)
    assert expected_bmd("M", 75, 26, "femoral_neck")[0] == pytest.approx(0.920 - 0.046 + 2 * 0.0154)
    assert expected_bmd("F", 30, 24, "total_hip")[0] == pytest.approx(0.942)


@pytest.mark.parametrize("sex", ["F", "M"])
def test_residuals_of_the_sites_correlate(sex: str) -> None:
    people = _people(sex)
    z = np.array(
        [[p.bmd[s] - expected_bmd(sex, p.age_years, p.bmi, s)[0] for s in SITES] for p in people]
    )
    table = np.corrcoef(z.T)
    np.testing.assert_allclose([table[0, 1], table[0, 2], table[1, 2]], CORRELATION[sex], atol=0.06)


def test_odds_of_fracture_double_with_each_sd_of_low_bmd() -> None:
    probabilities = [fracture_probability("F", 70, z, 1.0) for z in (0.0, -1.0, -2.0)]
    odds = [p / (1 - p) for p in probabilities]
    assert odds[1] / odds[0] == pytest.approx(2.0)
    assert odds[2] / odds[1] == pytest.approx(2.0)


@pytest.mark.parametrize(("low", "high", "share"), [(50, 60, 0.05), (65, 75, 0.125)])
def test_share_of_fractured_women_is_that_of_the_design(
    low: float, high: float, share: float
) -> None:
    risks = [p.fracture_risk for p in _people("F") if low <= p.age_years < high]
    assert np.mean(risks) == pytest.approx(share, rel=0.25)


def test_fractures_are_drawn_as_often_as_their_risk_says() -> None:
    people = _people("F", 4.0)
    fractured = [any(f.grade for f in p.findings.values()) for p in people]
    assert np.mean(fractured) == pytest.approx(np.mean([p.fracture_risk for p in people]), abs=0.03)


def test_fractures_are_most_frequent_at_the_known_levels() -> None:
    counts = dict.fromkeys(VERTEBRAE, 0)
    for person in _people("F", 4.0):
        for level, finding in person.findings.items():
            counts[level] += finding.grade > 0
    common = np.mean([counts[level] for level in ("T7", "T8", "T12", "L1")])
    assert common > 1.8 * np.mean([counts[level] for level in ("T5", "T10", "L3", "L4")])


def test_deformity_that_is_no_fracture_has_grade_zero_and_a_loss_below_the_first_grade() -> None:
    deformed = [
        finding
        for person in _people("F")
        for finding in person.findings.values()
        if finding.kind in ("scheuermann", "short")
    ]
    assert deformed
    assert all(finding.grade == 0 for finding in deformed)
    assert max(max(f.anterior, f.middle, f.posterior) for f in deformed) < 0.2


@pytest.mark.parametrize(("grade", "low", "high"), [(1, 0.20, 0.25), (2, 0.25, 0.40), (3, 0.4, 1)])
def test_loss_of_height_lies_in_the_range_of_its_grade(grade: int, low: float, high: float) -> None:
    losses = [
        max(f.anterior, f.middle, f.posterior)
        for p in _people("F", 4.0)
        for f in p.findings.values()
        if f.grade == grade
    ]
    assert losses
    assert low <= min(losses)
    assert max(losses) <= high


def test_degeneration_grows_with_age() -> None:
    people = _people("F")
    old = np.mean([bool(p.degenerative) for p in people if p.age_years > 72])
    young = np.mean([bool(p.degenerative) for p in people if p.age_years < 58])
    assert 0.3 < old < 0.5
    assert young < 0.2


def test_ages_above_89_are_capped_in_the_covariates() -> None:
    profile = replace(COMMUNITY, age_mean=93.0, age_sd=1.0, age_range=(91.0, 95.0))
    person = draw_patient(0, 1, profile)
    assert person.age_years > 90
    assert person.covariates.age_years == 89


def test_patient_depends_on_seed_and_number_only() -> None:
    assert draw_patient(3, 5, COMMUNITY) == draw_patient(3, 5, COMMUNITY)
    assert draw_patient(3, 5, COMMUNITY) != draw_patient(4, 5, COMMUNITY)
    assert draw_patient(3, 5, COMMUNITY) != draw_patient(3, 6, COMMUNITY)
