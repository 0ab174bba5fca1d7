"""Metrics from sums equal those from pooled arrays, however the patients are split."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import stats
from sklearn import metrics as reference

from shared.metrics import agreement, ranking, regression
from shared.metrics.overlap import dice, overlaps
from shared.metrics.statistics import add_statistics

RANDOM = np.random.default_rng(8)
CONSTANTS = tuple(np.round(np.arange(0.5, 1.6, 0.05), 2))


def split_sums(
    sums: Callable[[NDArray[Any], NDArray[Any]], Mapping[str, float]],
    a: NDArray[Any],
    b: NDArray[Any],
    cuts: list[int],
) -> dict[str, float]:
    """Sums of the parts, added up."""
    total: dict[str, float] = {}
    for one, other in zip(np.split(a, cuts), np.split(b, cuts), strict=True):
        total = add_statistics(total, sums(one, other))
    return total


splits = st.lists(st.integers(0, 200), max_size=6).map(sorted)


# --- regression ----------------------------------------------------------------------


@settings(max_examples=20, deadline=None)
@given(cuts=splits, seed=st.integers(0, 1000))
def test_regression_from_any_split_equals_the_pooled_one(cuts: list[int], seed: int) -> None:
    random = np.random.default_rng(seed)
    true = random.normal(1.0, 0.15, 200)
    predicted = 0.6 * true + 0.4 + random.normal(0, 0.07, 200)
    sums = split_sums(regression.regression_sums, predicted, true, cuts)
    assert regression.mae(sums) == pytest.approx(reference.mean_absolute_error(true, predicted))
    assert regression.rmse(sums) ** 2 == pytest.approx(
        reference.mean_squared_error(true, predicted)
    )
    assert regression.pearson_r(sums) == pytest.approx(stats.pearsonr(true, predicted)[0])
    assert regression.bias(sums) == pytest.approx(float((predicted - true).mean()))


def test_concordance_is_one_only_for_identity() -> None:
    values = RANDOM.normal(1, 0.2, 50)
    assert regression.concordance(regression.regression_sums(values, values)) == pytest.approx(1)
    shifted = regression.regression_sums(values + 0.2, values)
    assert regression.pearson_r(shifted) == pytest.approx(1)
    mean_x, mean_y = float(values.mean() + 0.2), float(values.mean())
    expected = 2 * values.var() / (2 * values.var() + (mean_x - mean_y) ** 2)
    assert regression.concordance(shifted) == pytest.approx(expected)


def test_correlation_without_spread_is_not_a_number() -> None:
    assert math.isnan(regression.pearson_r(regression.regression_sums([1, 1, 1], [1, 2, 3])))


@pytest.mark.parametrize("constant", [0.3, 0.5, 0.97, 1.0, 1.31, 1.8])
def test_error_of_a_constant_is_tight_and_never_too_small(constant: float) -> None:
    true = np.clip(RANDOM.normal(1.0, 0.15, 300), 0.5, 1.55)
    sums = regression.regression_sums(true, true, CONSTANTS)
    exact = float(np.abs(true - constant).mean())
    assert exact - 1e-9 <= regression.error_of_constant(sums, constant) <= exact + 0.004


# --- AUC -----------------------------------------------------------------------------


@settings(max_examples=20, deadline=None)
@given(cuts=splits, seed=st.integers(0, 1000))
def test_auc_from_any_split_equals_the_pooled_one_after_binning(cuts: list[int], seed: int) -> None:
    random = np.random.default_rng(seed)
    positive = random.random(200) < 0.1
    positive[0], positive[1] = True, False
    scores = 1 / (1 + np.exp(-random.normal(-4 + 2.5 * positive, 1.5)))
    sums = split_sums(ranking.score_sums, scores, positive, cuts)
    pooled = reference.roc_auc_score(positive, ranking.bin_of(scores))
    assert ranking.auc(sums) == pytest.approx(pooled, abs=1e-12)
    assert ranking.auc(sums) == pytest.approx(reference.roc_auc_score(positive, scores), abs=0.01)


def test_auc_of_perfect_and_of_equal_scores() -> None:
    assert ranking.auc(ranking.score_sums([0.01, 0.9], [False, True])) == 1.0
    assert ranking.auc(ranking.score_sums([0.4, 0.4], [False, True])) == 0.5
    assert ranking.auc(ranking.score_sums([0.9, 0.01], [False, True])) == 0.0


def test_auc_of_one_class_is_not_a_number() -> None:
    assert math.isnan(ranking.auc(ranking.score_sums([0.1, 0.9], [True, True])))
    assert math.isnan(ranking.auc({}))


def test_bins_keep_the_order_and_hold_the_ends() -> None:
    scores = np.linspace(0, 1, 2001)
    bins = ranking.bin_of(scores)
    assert (np.diff(bins) >= 0).all()
    assert bins[0] == 0
    assert bins[-1] == ranking.BINS - 1
    assert len(np.unique(ranking.bin_of([1e-6, 1e-5, 1e-4, 1e-3]))) == 4


# --- kappa ---------------------------------------------------------------------------


@settings(max_examples=20, deadline=None)
@given(cuts=splits, seed=st.integers(0, 1000))
def test_kappa_from_any_split_equals_the_pooled_one(cuts: list[int], seed: int) -> None:
    random = np.random.default_rng(seed)
    true = random.choice(4, 200, p=[0.7, 0.15, 0.1, 0.05])
    predicted = np.clip(true + random.choice([-1, 0, 0, 1], 200), 0, 3)
    sums = split_sums(agreement.agreement_sums, predicted, true, cuts)
    pooled = reference.cohen_kappa_score(true, predicted, labels=[0, 1, 2, 3], weights="quadratic")
    assert agreement.quadratic_kappa(sums, 4) == pytest.approx(pooled)


def test_kappa_without_disagreement_to_expect_is_not_a_number() -> None:
    assert math.isnan(agreement.quadratic_kappa(agreement.agreement_sums([0, 0], [0, 0]), 4))
    assert math.isnan(agreement.quadratic_kappa({}, 4))


# --- Dice ----------------------------------------------------------------------------


def test_dice_is_the_f1_score_of_pixels() -> None:
    predicted = RANDOM.integers(0, 3, (4, 20, 20))
    true = RANDOM.integers(0, 3, (4, 20, 20))
    counts = overlaps(torch.from_numpy(predicted), torch.from_numpy(true), (2,))
    for image in range(4):
        expected = reference.f1_score(true[image].ravel() == 2, predicted[image].ravel() == 2)
        assert dice(*counts[image].tolist()) == pytest.approx(expected)


def test_a_union_is_counted_as_one_region() -> None:
    true = torch.tensor([[[1, 2], [0, 3]]])
    predicted = torch.tensor([[[2, 1], [0, 0]]])
    assert overlaps(predicted, true, (1, 2)).tolist() == [[2.0, 2.0, 2.0]]
    assert overlaps(predicted, true, (1,)).tolist() == [[0.0, 1.0, 1.0]]


def test_two_empty_masks_agree() -> None:
    assert dice(0, 0, 0) == 1.0
    assert dice(0, 5, 0) == 0.0
