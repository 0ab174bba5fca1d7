"""What people are told of a metric is the metric; its judgement follows from known limits."""

from __future__ import annotations

import numpy as np
import pytest

from shared.metrics.regression import regression_sums
from shared.metrics.told import NO_LIMIT, Told, told_agreement, told_regression

TRUE = np.array([0.8, 0.9, 1.0, 1.1, 1.2])
CONSTANTS = tuple(np.arange(0.2, 1.8, 0.1))


def told(predicted: np.ndarray) -> dict[str, Told]:
    sums = regression_sums(predicted, TRUE, CONSTANTS)
    return {one.metric: one for one in told_regression("x", "BMD", "g/cm²", sums)}


def test_an_error_is_held_against_the_mean_alone() -> None:
    wrong = TRUE + np.array([0.02, -0.02, 0.02, -0.02, 0.02])
    good = told(wrong)["mae_x"]
    assert good.value == pytest.approx(0.02)
    assert good.unit == "g/cm²"
    assert good.judgement == "better than always saying the mean (0.120)"
    bad = told(TRUE + 0.2)
    assert "no better than always saying the mean" in bad["mae_x"].judgement
    assert bad["bias_x"].judgement == NO_LIMIT
    assert "no better than always saying the mean" in bad["rmse_x"].judgement


def test_saying_the_mean_is_no_better_than_itself() -> None:
    found = told(np.full(5, TRUE.mean()))
    assert found["mae_x"].judgement.startswith("no better")
    assert found["rmse_x"].judgement.startswith("no better")
    assert found["baseline_mae_x"].value == pytest.approx(found["mae_x"].value)
    assert "r_x" not in found  # it does not vary


def test_a_mean_error_is_no_change_of_a_person() -> None:
    """The least significant change bounds what two measurements of one person differ by."""
    judgements = [one.judgement for one in told(TRUE + 0.01).values()]
    assert not any("significant" in judgement for judgement in judgements)


@pytest.mark.parametrize(("value", "better"), [(0.4, False), (0.5, False), (0.51, True)])
def test_a_ranking_is_held_against_saying_the_same_of_everybody(value: float, better: bool) -> None:
    judgement = told_agreement("auc", "AUC", value, 0.5).judgement
    assert judgement.startswith("better" if better else "no better")
