"""How well a measurement repeats, and which change is more than chance."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from shared.clinical.references import LSC_FACTOR, PRECISION_DEGREES_OF_FREEDOM


def rms_sd(repeats: ArrayLike) -> float:
    """Root-mean-square standard deviation of repeated measurements.

    Parameters
    ----------
    repeats : array_like, shape (patients, repeats)
        BMD in g/cm², at least one patient and two repeats.

    Returns
    -------
    float
        √(Σ SD² / n) in g/cm², SD with n − 1 (for two repeats |d|/√2).

    Raises
    ------
    ValueError
        If the shape is not that.
    """
    return float(np.sqrt(np.mean(np.var(_checked(repeats), axis=1, ddof=1))))


def rms_cv(repeats: ArrayLike) -> float:
    """Root-mean-square coefficient of variation, a fraction; see `rms_sd`."""
    values = _checked(repeats)
    ratios = np.std(values, axis=1, ddof=1) / np.mean(values, axis=1)
    return float(np.sqrt(np.mean(np.square(ratios))))


def degrees_of_freedom(repeats: ArrayLike) -> int:
    """Degrees of freedom of a precision study, n·(k − 1)."""
    values = _checked(repeats)
    return int(values.shape[0] * (values.shape[1] - 1))


def is_large_enough(repeats: ArrayLike) -> bool:
    """Say whether a precision study has 30 patients × 2, 15 × 3 or as much."""
    return degrees_of_freedom(repeats) >= PRECISION_DEGREES_OF_FREEDOM


def least_significant_change(rms_standard_deviation: float) -> float:
    """Smallest change that is more than chance at 95 %: 2.77·RMS-SD, g/cm²."""
    return LSC_FACTOR * rms_standard_deviation


def is_significant_change(before: float, after: float, lsc: float) -> bool:
    """Say whether two measurements, g/cm², differ by at least the LSC."""
    return abs(after - before) >= lsc


def _checked(repeats: ArrayLike) -> NDArray[np.float64]:
    """Return the repeats as (patients, repeats) or raise."""
    values = np.asarray(repeats, dtype=np.float64)
    if values.ndim != 2 or values.shape[0] < 1 or values.shape[1] < 2:
        raise ValueError(
            f"repeated measurements of shape {values.shape} (must be patients × at least 2)"
        )
    return values
