"""AUC from histograms of scores: they add up over sites, the ranks do not."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

#: Bins of a histogram. Scores in the same bin count as ties.
BINS: Final = 128
#: Logits are squeezed by this before they are spread over the bins, so that scores
#: close to 0 and to 1 are still told apart.
SQUEEZE: Final = 3.0


def bin_of(scores: ArrayLike) -> NDArray[np.int64]:
    """Put scores in [0, 1] into bins 0..BINS-1, in their order.

    Parameters
    ----------
    scores : array_like
        Probabilities.

    Returns
    -------
    ndarray of int64
        Bins of equal width on sigmoid(logit(score)/3).
    """
    clipped = np.clip(np.asarray(scores, dtype=np.float64), 1e-12, 1 - 1e-12)
    spread = 1 / (1 + np.exp(-(np.log(clipped) - np.log1p(-clipped)) / SQUEEZE))
    return np.minimum((spread * BINS).astype(np.int64), BINS - 1)


def score_sums(scores: ArrayLike, positive: ArrayLike) -> dict[str, float]:
    """Count scores by bin and class.

    Parameters
    ----------
    scores : array_like, shape (N,)
        In [0, 1], greater = more likely positive.
    positive : array_like of bool, shape (N,)
        The truth.

    Returns
    -------
    dict of str to float
        ``p<bin>`` and ``n<bin>``; empty bins are absent.
    """
    bins = bin_of(scores)
    truth = np.asarray(positive, dtype=bool)
    sums: dict[str, float] = {}
    for prefix, chosen in (("p", bins[truth]), ("n", bins[~truth])):
        for where, count in zip(*np.unique(chosen, return_counts=True), strict=True):
            sums[f"{prefix}{where}"] = float(count)
    return sums


def auc(sums: Mapping[str, float]) -> float:
    """Area under the ROC curve; ties count one half; NaN if a class is missing.

    Notes
    -----
    The Mann-Whitney statistic over the bins (Hanley and McNeil 1982, Radiology
    143:29). It equals the AUC of the pooled scores after binning.
    """
    positive = np.array([sums.get(f"p{place}", 0.0) for place in range(BINS)])
    negative = np.array([sums.get(f"n{place}", 0.0) for place in range(BINS)])
    if positive.sum() == 0 or negative.sum() == 0:
        return math.nan
    below = np.concatenate([[0.0], np.cumsum(negative)[:-1]])
    wins = (positive * (below + negative / 2)).sum()
    return float(wins / (positive.sum() * negative.sum()))
