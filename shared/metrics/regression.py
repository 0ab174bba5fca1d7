"""Errors and agreement of a regression, from sums that add up exactly.

A set of sums is a mapping with these keys: ``n, abs, sq, x, y, xx, yy, xy`` with
x the prediction and y the truth, and ``dev@c`` = Σ|y − c| for some constants c. A
hospital does not release all of them: a metric whose sums are missing is NaN.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import ArrayLike


def regression_sums(
    predicted: ArrayLike, true: ArrayLike, constants: Sequence[float] = ()
) -> dict[str, float]:
    """Sum what `mae`, `rmse`, `pearson_r`, `concordance` and `error_of_constant` need.

    Parameters
    ----------
    predicted, true : array_like, shape (N,)
        In the same unit.
    constants : sequence of float
        Constants whose error is of interest, in the same unit, ascending.

    Returns
    -------
    dict of str to float
        The sums.
    """
    x = np.asarray(predicted, dtype=np.float64)
    y = np.asarray(true, dtype=np.float64)
    sums = {
        "n": float(len(y)),
        "abs": float(np.abs(x - y).sum()),
        "sq": float(np.square(x - y).sum()),
        "x": float(x.sum()),
        "y": float(y.sum()),
        "xx": float(np.square(x).sum()),
        "yy": float(np.square(y).sum()),
        "xy": float((x * y).sum()),
    }
    for constant in constants:
        sums[f"dev@{constant:g}"] = float(np.abs(y - constant).sum())
    return sums


def _sum(sums: Mapping[str, float], key: str) -> float:
    """Give a sum, NaN if it was not released."""
    return sums.get(key, math.nan)


def mae(sums: Mapping[str, float]) -> float:
    """Mean absolute error, in the unit of the truth."""
    return _sum(sums, "abs") / sums["n"]


def rmse(sums: Mapping[str, float]) -> float:
    """Root of the mean squared error, in the unit of the truth."""
    return math.sqrt(_sum(sums, "sq") / sums["n"])


def bias(sums: Mapping[str, float]) -> float:
    """Mean of prediction minus truth, in the unit of the truth."""
    return (_sum(sums, "x") - _sum(sums, "y")) / sums["n"]


def _moments(sums: Mapping[str, float]) -> tuple[float, float, float]:
    """Variances of prediction and truth and their covariance, over n."""
    n = sums["n"]
    first, second = _sum(sums, "x") / n, _sum(sums, "y") / n
    x = max(0.0, _sum(sums, "xx") / n - first**2)
    y = max(0.0, _sum(sums, "yy") / n - second**2)
    return x, y, _sum(sums, "xy") / n - first * second


def pearson_r(sums: Mapping[str, float]) -> float:
    """Correlation of prediction and truth; NaN where one does not vary."""
    x, y, both = _moments(sums)
    return both / math.sqrt(x * y) if x > 1e-15 and y > 1e-15 else math.nan


def concordance(sums: Mapping[str, float]) -> float:
    """Concordance correlation coefficient (Lin 1989, Biometrics 45:255)."""
    x, y, both = _moments(sums)
    below = x + y + bias(sums) ** 2
    return 2 * both / below if below > 0 else math.nan


def explained(sums: Mapping[str, float]) -> float:
    """Coefficient of determination R²; 0 or less is no better than always saying the mean.

    1 − Σ(x − y)² / Σ(y − ȳ)², with the mean of these very patients; NaN where the truth does
    not vary.
    """
    _, y, _ = _moments(sums)
    return 1.0 - _sum(sums, "sq") / sums["n"] / y if y > 1e-15 else math.nan


def agreement_metrics(sums: Mapping[str, float], name: str) -> dict[str, float]:
    """Give ``mae_NAME``, ``rmse_``, ``bias_``, ``r_``, ``ccc_`` and ``r2_NAME`` of some sums."""
    return {
        f"mae_{name}": mae(sums),
        f"rmse_{name}": rmse(sums),
        f"bias_{name}": bias(sums),
        f"r_{name}": pearson_r(sums),
        f"ccc_{name}": concordance(sums),
        f"r2_{name}": explained(sums),
    }


def error_of_constant(sums: Mapping[str, float], constant: float) -> float:
    """Mean absolute error of always saying one value.

    Parameters
    ----------
    sums : mapping of str to float
        With ``dev@c`` for ascending constants c; without any the error is NaN.
    constant : float
        The value; outside the range of the c it is exact only if no truth lies
        beyond that end.

    Returns
    -------
    float
        Linear between the two nearest constants. The error is a convex function
        of the constant, so this is never below the exact one.
    """
    pairs = sorted(
        (float(key.removeprefix("dev@")), value)
        for key, value in sums.items()
        if key.startswith("dev@")
    )
    if not pairs:
        return math.nan
    at = [pair[0] for pair in pairs]
    outside = max(0.0, at[0] - constant, constant - at[-1])
    total = float(np.interp(constant, at, [pair[1] for pair in pairs]))
    return total / sums["n"] + outside
