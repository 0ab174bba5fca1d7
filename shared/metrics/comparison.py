"""Two models of a chance on the same patients: AUC with its interval, DeLong's test, calibration.

Of one hospital's own scores, exactly; nothing here is a release.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import expit, logit
from scipy.stats import norm, rankdata

#: Share of intervals.
LEVEL: Final = 0.95
#: Bins of equal width on the probability by which calibration is told.
CALIBRATION_BINS: Final = 10

Scores = NDArray[np.float64]


@dataclass(frozen=True)
class AreaUnderCurve:
    """An AUC with its standard error (DeLong) and its interval of `LEVEL` on the logit scale.

    `error`, `low` and `high` are NaN with fewer than two patients of a class; of an AUC of 0 or 1
    the error is 0, which is no certainty, so that its interval is NaN as well.
    """

    auc: float
    error: float
    low: float
    high: float


@dataclass(frozen=True)
class AreaDifference:
    """AUC of the first model less that of the second, its standard error, z, and two-sided p."""

    difference: float
    error: float
    z: float
    p: float


def area_under_curve(scores: ArrayLike, positive: ArrayLike) -> AreaUnderCurve:
    """AUC of one model.

    Parameters
    ----------
    scores : array_like, shape (N,)
        Greater = more likely positive; ties count one half.
    positive : array_like of bool, shape (N,)

    Raises
    ------
    ValueError
        If the shapes differ, or a class is empty.

    Notes
    -----
    DeLong, DeLong and Clarke-Pearson 1988, Biometrics 44:837; computed by ranks as Sun and Xu
    2014, IEEE Signal Processing Letters 21:1389.
    """
    areas, covariance = _delong([scores], positive)
    auc, error = float(areas[0]), math.sqrt(max(float(covariance[0, 0]), 0.0))
    if not math.isfinite(error) or error == 0 or not 0 < auc < 1:
        return AreaUnderCurve(auc, error, math.nan, math.nan)
    reach = float(norm.ppf((1 + LEVEL) / 2)) * error / (auc * (1 - auc))
    middle = float(logit(auc))
    return AreaUnderCurve(auc, error, float(expit(middle - reach)), float(expit(middle + reach)))


def compare_areas(first: ArrayLike, second: ArrayLike, positive: ArrayLike) -> AreaDifference:
    """DeLong's test of two correlated AUCs; parameters and errors as of `area_under_curve`.

    Returns
    -------
    AreaDifference
        z and p are NaN where the error is 0 or not known, and p is 1 where two models rank alike.
    """
    areas, covariance = _delong([first, second], positive)
    difference = float(areas[0] - areas[1])
    variance = float(covariance[0, 0] + covariance[1, 1] - 2 * covariance[0, 1])
    error = math.sqrt(max(variance, 0.0)) if math.isfinite(variance) else math.nan
    if error < 1e-12 and difference == 0:
        return AreaDifference(0.0, 0.0, 0.0, 1.0)
    if not error > 0:
        return AreaDifference(difference, error, math.nan, math.nan)
    z = difference / error
    return AreaDifference(difference, error, z, float(2 * norm.sf(abs(z))))


def brier_score(chances: ArrayLike, positive: ArrayLike) -> float:
    """Mean squared distance of a probability from what was true (Brier 1950)."""
    given, truth = _checked(chances, positive)
    return float(np.mean((given - truth) ** 2))


def calibration_error(
    chances: ArrayLike, positive: ArrayLike, bins: int = CALIBRATION_BINS
) -> float:
    """Expected calibration error: mean over patients of |share − mean probability| of their bin.

    Bins are of equal width on [0, 1]; 1 belongs to the last (Naeini 2015).
    """
    given, truth = _checked(chances, positive)
    place = np.minimum((given * bins).astype(np.int64), bins - 1)
    counts = np.bincount(place, minlength=bins)
    gaps = np.abs(
        np.bincount(place, given, minlength=bins) - np.bincount(place, truth, minlength=bins)
    )
    return float(gaps.sum() / counts.sum())


def net_benefit(chances: ArrayLike, positive: ArrayLike, threshold: float) -> float:
    """Net benefit of acting from a probability on: a point of a decision curve.

    Parameters
    ----------
    chances, positive
        As of `brier_score`.
    threshold : float
        In (0, 1): whoever acts from there on holds a false alarm for t/(1 − t) of a hit.

    Returns
    -------
    float
        True positives less weighed false ones, a patient; acting on nobody gives 0.

    Raises
    ------
    ValueError
        If the threshold is not inside (0, 1).

    Notes
    -----
    Vickers and Elkin 2006, Medical Decision Making 26:565.
    """
    if not 0 < threshold < 1:
        raise ValueError(f"threshold: {threshold} (must lie between 0 and 1)")
    given, truth = _checked(chances, positive)
    acted = given >= threshold
    hits, alarms = float((acted * truth).mean()), float((acted * (1 - truth)).mean())
    return hits - alarms * threshold / (1 - threshold)


def _checked(scores: ArrayLike, positive: ArrayLike) -> tuple[Scores, Scores]:
    given = np.asarray(scores, np.float64)
    truth = np.asarray(positive, bool).astype(np.float64)
    if given.shape != truth.shape or given.ndim != 1 or not len(given):
        raise ValueError(
            f"scores {given.shape} and truth {truth.shape}: both must be (N,), of N ≥ 1 patients"
        )
    return given, truth


def _delong(models: list[ArrayLike], positive: ArrayLike) -> tuple[Scores, Scores]:
    """AUCs (M,) and their covariance (M, M) of models on the same patients."""
    checked = [_checked(scores, positive) for scores in models]
    truth = checked[0][1] > 0
    cases, others = int(truth.sum()), int((~truth).sum())
    if not cases or not others:
        raise ValueError(f"{cases} positive and {others} negative patients: an AUC needs both")
    of_cases, of_others = [], []
    for scores, _ in checked:
        whole = rankdata(scores)
        inner_cases, inner_others = rankdata(scores[truth]), rankdata(scores[~truth])
        # share of the others below each case, and of the cases above each other
        of_cases.append((whole[truth] - inner_cases) / others)
        of_others.append(1 - (whole[~truth] - inner_others) / cases)
    areas = np.mean(of_cases, axis=1)
    if cases < 2 or others < 2:
        return areas, np.full((len(models),) * 2, np.nan)
    covariance = np.atleast_2d(np.cov(of_cases)) / cases + np.atleast_2d(np.cov(of_others)) / others
    return np.asarray(areas, np.float64), np.asarray(covariance, np.float64)
