"""What a person is told of a metric: in words, with its unit, and how it stands.

No limit is made here. A metric is held against what saying the same of every patient would
give; where there is nothing of the sort, that is said. The least significant change is no limit
for a mean error: it bounds what two measurements of one person differ by.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from shared.metrics.regression import (
    bias,
    concordance,
    error_of_constant,
    explained,
    mae,
    pearson_r,
    rmse,
)

NO_LIMIT: Final = "no limit is set for it"
DECIMALS: Final = 3
LOSS: Final = "only compares models of one task"


@dataclass(frozen=True)
class Told:
    """One metric as a person reads it.

    Parameters
    ----------
    metric : str
        Its key in `shared.tasks.base.Task.metrics`.
    words : str
        What it is.
    value : float
        In `unit`.
    unit : str
        Empty for a number without one.
    judgement : str
        How it stands, and against what.
    """

    metric: str
    words: str
    value: float
    unit: str
    judgement: str


def told_loss(metrics: Mapping[str, float]) -> list[Told]:
    """Tell the loss, if there is one among a task's metrics."""
    return [Told("loss", "loss", metrics["loss"], "", LOSS)] if "loss" in metrics else []


def told_agreement(metric: str, words: str, value: float, same: float) -> Told:
    """Tell a measure of agreement or ranking.

    Parameters
    ----------
    metric, words : str
        See `Told`.
    value : float
        More is better.
    same : float
        What saying the same of everybody gives: 0.5 for an AUC, 0 for kappa or a correlation.
    """
    judgement = f"{_better(same, value)} than saying the same of everybody ({same:g})"
    return Told(metric, words, value, "", judgement)


def told_regression(name: str, words: str, unit: str, sums: Mapping[str, float]) -> list[Told]:
    """Tell the errors and the agreement of a regression.

    Parameters
    ----------
    name : str
        What its metrics end with: ``mae_NAME``, ``rmse_NAME``, ``bias_NAME``, ``r_NAME``,
        ``r2_NAME``, ``ccc_NAME``, ``baseline_mae_NAME``.
    words : str
        What is estimated: ``BMD, total hip``.
    unit : str
        Of the truth.
    sums : mapping of str to float
        Of `shared.metrics.regression.regression_sums`.

    Returns
    -------
    list of Told
        Those that are finite.
    """
    mean = sums["y"] / sums["n"]
    constant = error_of_constant(sums, mean)
    spread = math.sqrt(max(0.0, sums["yy"] / sums["n"] - mean**2))
    found = [
        Told(f"mae_{name}", f"{words}: mean error (MAE)", mae(sums), unit,
             _against_mean(mae(sums), constant) or NO_LIMIT),
        Told(f"baseline_mae_{name}", f"{words}: mean error of always saying the mean", constant,
             unit, "what the mean error is held against"),
        Told(f"rmse_{name}", f"{words}: root mean square error", rmse(sums), unit,
             _against_mean(rmse(sums), spread)),
        Told(f"bias_{name}", f"{words}: estimated less reported, mean", bias(sums), unit,
             NO_LIMIT),
        told_agreement(f"r_{name}", f"{words}: correlation", pearson_r(sums), 0.0),
        told_agreement(f"r2_{name}", f"{words}: share of the variance explained", explained(sums),
                       0.0),
        told_agreement(f"ccc_{name}", f"{words}: concordance", concordance(sums), 0.0),
    ]  # fmt: skip
    return [one for one in found if math.isfinite(one.value)]


def _against_mean(error: float, of_mean: float) -> str:
    """Hold an error against that of always saying the mean of these patients."""
    if not math.isfinite(of_mean):
        return ""
    return f"{_better(error, of_mean)} than always saying the mean ({of_mean:.{DECIMALS}f})"


def _better(less: float, more: float) -> str:
    """Compare at the decimals that are shown: beyond them no model is better."""
    return "better" if round(less, DECIMALS) < round(more, DECIMALS) else "no better"
