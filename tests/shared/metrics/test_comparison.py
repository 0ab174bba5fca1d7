"""Comparison of two models: against all pairs by hand, and against resampling."""

from __future__ import annotations

import math

import numpy as np
import pytest

from shared.metrics.comparison import (
    area_under_curve,
    brier_score,
    calibration_error,
    compare_areas,
    net_benefit,
)
from shared.metrics.ranking import auc, score_sums

RNG = np.random.default_rng(3)
TRUTH = RNG.random(90) < 0.35
FIRST = np.round(1 / (1 + np.exp(-(1.5 * TRUTH - 0.7 + RNG.normal(size=90)))), 2)  # with ties
SECOND = np.round(1 / (1 + np.exp(-(0.6 * TRUTH - 0.3 + RNG.normal(size=90)))), 2)


def wins(scores: np.ndarray) -> np.ndarray:
    """Who ranks higher in every pair of a case and another, (cases, others)."""
    cases, others = scores[TRUTH][:, None], scores[~TRUTH][None]
    return (cases > others) + 0.5 * (cases == others)


def by_all_pairs(first: np.ndarray, second: np.ndarray) -> tuple[float, float]:
    """Difference and its error as DeLong 1988 writes them, pair by pair."""
    one, other = wins(first), wins(second)
    error = 0.0
    for axis in (1, 0):
        difference = one.mean(axis) - other.mean(axis)
        error += float(difference.var(ddof=1)) / len(difference)
    return float(one.mean() - other.mean()), math.sqrt(error)


def test_the_test_of_delong_is_that_of_all_pairs() -> None:
    difference, error = by_all_pairs(FIRST, SECOND)
    found = compare_areas(FIRST, SECOND, TRUTH)
    assert found.difference == pytest.approx(difference, abs=1e-12)
    assert found.error == pytest.approx(error, rel=1e-9)
    assert found.p == pytest.approx(math.erfc(abs(difference / error) / math.sqrt(2)), rel=1e-9)
    back = compare_areas(SECOND, FIRST, TRUTH)
    assert (back.difference, back.p) == pytest.approx((-found.difference, found.p))


def test_an_auc_is_the_share_of_pairs_and_its_interval_holds_it() -> None:
    found = area_under_curve(FIRST, TRUTH)
    assert found.auc == pytest.approx(float(wins(FIRST).mean()), abs=1e-12)
    assert found.low < found.auc < found.high < 1
    assert found.auc == pytest.approx(auc(score_sums(FIRST, TRUTH)), abs=0.02)  # binned


def test_its_error_is_that_of_drawing_patients_again() -> None:
    places = [np.flatnonzero(TRUTH), np.flatnonzero(~TRUTH)]
    drawn = np.random.default_rng(5)
    areas = []
    for _ in range(400):
        chosen = np.concatenate([drawn.choice(one, len(one)) for one in places])
        areas.append(area_under_curve(FIRST[chosen], TRUTH[chosen]).auc)
    assert area_under_curve(FIRST, TRUTH).error == pytest.approx(float(np.std(areas)), rel=0.12)


def test_models_that_rank_alike_do_not_differ() -> None:
    same = compare_areas(FIRST, 2 * FIRST - 1, TRUTH)
    assert (same.difference, same.p) == (0.0, 1.0)


def test_what_cannot_be_known_is_no_number_or_one_sentence() -> None:
    perfect = area_under_curve([0.1, 0.2, 0.8, 0.9], [False, False, True, True])
    assert perfect.auc == 1.0
    assert math.isnan(perfect.low)
    assert math.isnan(area_under_curve([0.1, 0.2, 0.8], [False, False, True]).error)
    with pytest.raises(ValueError, match="0 positive and 2 negative"):
        area_under_curve([0.1, 0.2], [False, False])
    with pytest.raises(ValueError, match=r"scores \(3,\) and truth \(2,\)"):
        brier_score([0.1, 0.2, 0.3], [True, False])


def test_brier_and_calibration_of_four_patients() -> None:
    chances, truth = [0.1, 0.1, 0.9, 1.0], [False, True, True, True]
    assert brier_score(chances, truth) == pytest.approx((0.01 + 0.81 + 0.01 + 0) / 4)
    # two of 0.1, half of them cases; two of 0.95 on average, all of them cases
    assert calibration_error(chances, truth) == pytest.approx((2 * 0.4 + 2 * 0.05) / 4)


def test_acting_on_everybody_costs_the_false_alarms() -> None:
    truth = np.array([True] * 3 + [False] * 7)
    everybody = net_benefit(np.full(10, 0.9), truth, 0.2)
    assert everybody == pytest.approx(0.3 - 0.7 * 0.25)
    assert net_benefit(np.full(10, 0.1), truth, 0.2) == 0.0
    assert net_benefit(truth.astype(float), truth, 0.2) == pytest.approx(0.3)
    with pytest.raises(ValueError, match="must lie between 0 and 1"):
        net_benefit([0.5], [True], 1.0)
