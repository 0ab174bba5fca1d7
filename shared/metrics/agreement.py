"""Agreement of ordinal grades, from a table of counts that adds up."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
from numpy.typing import ArrayLike


def agreement_sums(predicted: ArrayLike, true: ArrayLike) -> dict[str, float]:
    """Count pairs of grades; ``c<true><predicted>`` for single-digit grades."""
    sums: dict[str, float] = {}
    for a, b in zip(np.asarray(true).ravel(), np.asarray(predicted).ravel(), strict=True):
        key = f"c{int(a)}{int(b)}"
        sums[key] = sums.get(key, 0.0) + 1.0
    return sums


def quadratic_kappa(sums: Mapping[str, float], grades: int) -> float:
    """Cohen's kappa with quadratic weights; NaN where all agree by having one grade.

    Parameters
    ----------
    sums : mapping of str to float
        From `agreement_sums`.
    grades : int
        Number of grades, counted from 0.

    Returns
    -------
    float
        At most 1.

    Notes
    -----
    Cohen 1968, Psychological Bulletin 70:213.
    """
    table = np.array([[sums.get(f"c{a}{b}", 0.0) for b in range(grades)] for a in range(grades)])
    total = table.sum()
    if total == 0:
        return math.nan
    weight = np.square(np.subtract.outer(np.arange(grades), np.arange(grades))).astype(float)
    chance = np.outer(table.sum(1), table.sum(0)) / total
    expected = float((weight * chance).sum())
    return 1 - float((weight * table).sum()) / expected if expected > 0 else math.nan
