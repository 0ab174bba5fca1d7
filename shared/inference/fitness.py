"""Whether a version is good enough for its estimates to be scored, and for its grades.

A T-score, a Z-score and a class are given of an estimate only where the recorded error of its
version allows one, and grades only where it is better than saying the same of every vertebra
(docs/decisions/0024-measured-first.md).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Final, Literal

from shared.clinical.references import DIAGNOSTIC_REGIONS
from shared.clinical.scores import t_score_difference
from shared.findings.bare_estimates import is_bare, origin_of
from shared.findings.ct_estimates import CT_SPINE, is_from_ct
from shared.findings.facts import Measurement, NotAssessed
from shared.findings.findings import Findings
from shared.findings.region_names import levels, region_words
from shared.inference.schema import ModelFacts
from shared.phrases import listed
from shared.regions import sideless

#: A mean absolute error of more T-scores than this tells no WHO class from its neighbour:
#: from normal to osteoporosis it is 1.5.
LARGEST_ERROR_T: Final = 1.0

#: Beginnings of the recorded metrics that are looked at; what follows names the region, or, of
#: grades, the grade.
RECORDED: Final = ("mae_", "rmse_", "bias_", "r_", "ccc_", "r2_", "baseline_mae_",
                   "auc_", "kappa", "dice", "error_mm")  # fmt: skip


def recorded_error(model: ModelFacts, region: str) -> float | None:
    """Mean absolute error that is recorded of a version, sBMD in g/cm²; None where none is."""
    return model.metrics.get(f"mae_{model.metric_names.get(sideless(region))}")


def error_t(model: ModelFacts, region: str) -> float | None:
    """Mean absolute error that is recorded of a version, in T-scores; None where none is.

    Parameters
    ----------
    model : ModelFacts
        Its metrics are of sBMD, g/cm².
    region : str
        L1-L4, femoral_neck or total_hip.
    """
    error = recorded_error(model, region)
    if error is None or sideless(region) not in DIAGNOSTIC_REGIONS:
        return None
    return t_score_difference(error, sideless(region))


@dataclass(frozen=True)
class Unfit:
    """Why the estimates that a version makes of a region are not scored.

    `kind`: its error is too large (``error``), it is no better than always saying the mean
    (``mean``), or what was recorded of it cannot be used (``record``). `words` are part of a
    sentence whose subject is the version.
    """

    kind: Literal["error", "mean", "record"]
    words: str


def judge(model: ModelFacts, region: str) -> Unfit | None:
    """Judge a version by what is recorded of it, for one region.

    The one place of the rule: what JSON, text and HTML say follows from it.

    Returns
    -------
    Unfit or None
        None where its estimates are scored, also where nothing is recorded.
    """
    if model.record_trouble:
        return Unfit("record", f"unproven, because {model.record_trouble}")
    error, in_t = recorded_error(model, region), error_t(model, region)
    if error is not None and math.isnan(error):
        return Unfit("record", "unproven, because its recorded error is no number")
    if error is not None and in_t is not None and not in_t <= LARGEST_ERROR_T:
        return Unfit(
            "error",
            f"off by {error:.3f} g/cm² ({in_t:.2f} T-scores) on average on validation patients, "
            f"where at most {LARGEST_ERROR_T:.0f} T-score is accepted",
        )
    if _is_no_better_than_the_mean(model, region):
        return Unfit("mean", "no better on validation patients than always saying their mean")
    return None


def why_not_graded(model: ModelFacts) -> str:
    """Say why a version may give no grades; words as of `Unfit`, empty where it may.

    It may also where nothing is recorded.
    """
    if not model.grade_metrics:
        return ""
    if model.record_trouble:
        return f"unproven, because {model.record_trouble}"
    poor = [
        f"{words}: {_shown(model.metrics[name])}, where that gives {same:.2f}"
        for name, (words, same) in model.grade_metrics.items()
        if name in model.metrics and not model.metrics[name] > same
    ]
    if not poor:
        return ""
    same = "no better on validation patients than always saying the same"
    return f"{same} ({'; '.join(poor)})"


def _shown(metric: float) -> str:
    return f"{metric:.2f}" if math.isfinite(metric) else "no number"


def _is_no_better_than_the_mean(model: ModelFacts, region: str) -> bool:
    """Judge by what is recorded: R², otherwise r and the concordance.

    Earlier versions have no R². Where their r or concordance is not above 0, estimate and truth
    do not rise together, and R² cannot be above 0 either; where both are, it is not known.
    """
    name = model.metric_names.get(sideless(region))
    recorded = model.metrics
    error, of_mean = recorded.get(f"mae_{name}"), recorded.get(f"baseline_mae_{name}")
    if error is not None and of_mean is not None and not error < of_mean:
        return True
    kinds = ("r2",) if f"r2_{name}" in recorded else ("r", "ccc")
    return any(not recorded.get(f"{kind}_{name}", 1.0) > 0 for kind in kinds)


def unrecorded(found: Findings, models: Iterable[ModelFacts]) -> list[str]:
    """Name what was found by versions of which nothing at all is recorded.

    Such findings are given: an unknown error is not a known bad one. But the report's first lines
    say that it is unknown. What is not scored is not named; it says why by itself.
    """
    silent = {model.task for model in models if not any(map(math.isfinite, model.metrics.values()))}
    by_whom = {
        "bone density": {one.task for one in found.measurements if not one.not_scored},
        "fractures": {one.task for one in found.grades},
        "probability of osteoporosis": {one.task for one in found.chances},
        "outlines": {one.task for one in found.regions},
    }
    return [what for what, tasks in by_whom.items() if tasks & silent]


def without_the_unfit(found: Findings, models: Sequence[ModelFacts]) -> Findings:
    """Take off scores, classes and grades whose version is not good enough.

    A density itself stays, and what the hospital reports beside it. A grade and the probability of
    a disease go as a whole, and so does an estimate from CT or a radiograph, which has nothing
    but itself.

    Parameters
    ----------
    found : Findings
    models : sequence of ModelFacts
        The versions that answered; a finding belongs to that of its task.

    Returns
    -------
    Findings
        Each such estimate says why (`Measurement.not_scored`), and is not assessed; nor are the
        vertebrae whose grades are gone.
    """
    by_task = {model.task: model for model in models}
    measurements = []
    bare: dict[tuple[str, str], list[str]] = {}
    for one in found.measurements:
        model = by_task.get(one.task)
        unfit = None if model is None else judge(model, one.region)
        if is_from_ct(one) and model is not None:
            # whoever is too far off for the mean is not right about its parts
            unfit = unfit or judge(model, CT_SPINE)
        if unfit is not None and model is not None and is_bare(one):
            counted = CT_SPINE if is_from_ct(one) else one.region
            why = _unfit_and_bare(model, unfit, counted)
            bare.setdefault((why, origin_of(one)), []).append(one.region)
            continue
        if unfit is not None:
            off = {"t_score": None, "z_score": None, "bone_class": None, "not_scored": unfit.words}
            one = one.model_copy(update=off)
        measurements.append(one)
    gaps = [
        NotAssessed(
            what=f"bone density of the {listed(list(map(region_words, regions)))} from {origin}",
            why=f"this version is {why}",
        )
        for (why, origin), regions in bare.items()
    ]
    ungraded = ungraded_reasons(models)
    lost: dict[str, list[str]] = {}
    for grade in found.grades:
        if grade.task in ungraded:
            lost.setdefault(grade.task, []).append(grade.region)
    gaps += [
        NotAssessed(what=f"fractures of {levels(names)}", why=ungraded[task])
        for task, names in lost.items()
    ]
    gaps += [
        NotAssessed(what=one.quantity, why=ungraded[one.task])
        for one in found.chances
        if one.task in ungraded
    ]
    return replace(
        found,
        measurements=tuple(measurements),
        chances=tuple(one for one in found.chances if one.task not in ungraded),
        grades=tuple(grade for grade in found.grades if grade.task not in ungraded),
        not_assessed=(*unscored_gaps(measurements), *gaps, *found.not_assessed),
    )


def _unfit_and_bare(model: ModelFacts, unfit: Unfit, region: str) -> str:
    """Words of `Unfit` for an estimate that no T-score is spoken of with."""
    if unfit.kind != "error":
        return unfit.words
    error = recorded_error(model, region) or 0.0
    return f"off by {error:.3f} g/cm² on average on validation patients, which is too far"


def ungraded_reasons(models: Iterable[ModelFacts]) -> dict[str, str]:
    """By task, why its version gives no grades; without the tasks whose version may."""
    found = {model.task: why_not_graded(model) for model in models}
    return {task: f"this version is {why}" for task, why in found.items() if why}


def unscored_gaps(measurements: Iterable[Measurement]) -> tuple[NotAssessed, ...]:
    """What is not assessed because an estimate is not scored."""
    return tuple(
        NotAssessed(
            what=f"the model's estimate of the bone density of the {region_words(one.region)}",
            why=f"this version is {one.not_scored}",
        )
        for one in measurements
        if one.not_scored
    )
