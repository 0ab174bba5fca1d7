"""Whether a version is good enough for its estimates to be scored.

A T-score, a Z-score and a class are given of an estimate only where the recorded error of its
version allows one (docs/decisions/0024-measured-first.md).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Final

from shared.clinical.references import DIAGNOSTIC_REGIONS
from shared.clinical.scores import t_score_difference
from shared.findings.facts import Measurement, NotAssessed
from shared.findings.findings import Findings
from shared.findings.words import region_words
from shared.inference.schema import ModelFacts

#: A mean absolute error of more T-scores than this tells no WHO class from its neighbour:
#: from normal to osteoporosis it is 1.5.
LARGEST_ERROR_T: Final = 1.0

#: Beginnings of the recorded metrics that are looked at; what follows names the region.
RECORDED: Final = ("mae_", "rmse_", "bias_", "r_", "ccc_", "r2_", "baseline_mae_")


def error_t(model: ModelFacts, region: str) -> float | None:
    """Mean absolute error that is recorded of a version, in T-scores; None where none is.

    Parameters
    ----------
    model : ModelFacts
        Its metrics are of sBMD, g/cm².
    region : str
        L1-L4, femoral_neck or total_hip.
    """
    error = model.metrics.get(f"mae_{model.metric_names.get(region)}")
    if error is None or region not in DIAGNOSTIC_REGIONS:
        return None
    return t_score_difference(error, region)


def why_not_scored(model: ModelFacts, region: str) -> str:
    """Say why the estimates that a version makes of a region are not scored.

    Returns
    -------
    str
        Part of a sentence whose subject is the model; empty where they are scored, also where
        no error is recorded.
    """
    error = error_t(model, region)
    if error is not None and not error <= LARGEST_ERROR_T:
        return (
            f"off by {error:.2f} T-scores on average (the most that is accepted is "
            f"{LARGEST_ERROR_T:.0f})"
        )
    if _is_no_better_than_the_mean(model, region):
        return "no better than always saying the mean of the patients"
    return ""


def _is_no_better_than_the_mean(model: ModelFacts, region: str) -> bool:
    """Judge by what is recorded: R², otherwise r and the concordance.

    Earlier versions have no R². Where their r or concordance is not above 0, estimate and truth
    do not rise together, and R² cannot be above 0 either; where both are, it is not known.
    """
    name = model.metric_names.get(region)
    recorded = model.metrics
    error, of_mean = recorded.get(f"mae_{name}"), recorded.get(f"baseline_mae_{name}")
    if error is not None and of_mean is not None and not error < of_mean:
        return True
    kinds = ("r2",) if f"r2_{name}" in recorded else ("r", "ccc")
    return any(not recorded.get(f"{kind}_{name}", 1.0) > 0 for kind in kinds)


def without_unfit_scores(found: Findings, models: Sequence[ModelFacts]) -> Findings:
    """Take scores and classes off the estimates whose version is not good enough.

    The density itself stays, and what the hospital reports beside it.

    Parameters
    ----------
    found : Findings
    models : sequence of ModelFacts
        The versions that answered; an estimate belongs to that of its task.

    Returns
    -------
    Findings
        Each such estimate says why (`Measurement.not_scored`) and is not assessed.
    """
    by_task = {model.task: model for model in models}
    measurements = []
    for one in found.measurements:
        model = by_task.get(one.task)
        why = "" if model is None else why_not_scored(model, one.region)
        if why:
            off = {"t_score": None, "z_score": None, "bone_class": None, "not_scored": why}
            measurements.append(one.model_copy(update=off))
        else:
            measurements.append(one)
    gaps = (*unscored_gaps(measurements), *found.not_assessed)
    return replace(found, measurements=tuple(measurements), not_assessed=gaps)


def unscored_gaps(measurements: Iterable[Measurement]) -> tuple[NotAssessed, ...]:
    """What is not assessed because an estimate is not scored."""
    return tuple(
        NotAssessed(
            what=f"the model's estimate of the bone density of the {region_words(one.region)}",
            why=f"on validation patients this version is {one.not_scored}",
        )
        for one in measurements
        if one.not_scored
    )
