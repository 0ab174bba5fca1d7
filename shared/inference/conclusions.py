"""From scores to a conclusion by the ISCD's rules: of estimates, and of the hospital's BMD."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

from shared.clinical.references import DIAGNOSTIC_REGIONS
from shared.clinical.scores import (
    ScoreKind,
    age_class,
    combined_spine_t_score,
    excluded_vertebrae,
    lowest_diagnostic,
    reported_score,
    score_in_use,
    t_score,
    who_class,
)
from shared.findings.facts import Grade, Measurement
from shared.findings.findings import FRACTURE_GRADE, scores_of
from shared.findings.words import listed, region_words
from shared.inference.schema import Conclusion
from shared.records import Covariates, StudyLabels, Vendor
from shared.regions import LUMBAR, VERTEBRAE

_NO_SCORE = "sex and an adult's age must be known"

#: Why a vertebra does not count that only a model takes for fractured.
SUSPECTED: Final = "fracture suspected by the model"


def not_assessable(
    labels: StudyLabels, grades: Iterable[Grade], *, measured: bool = False
) -> dict[str, str]:
    """Lumbar vertebrae whose density means nothing: fractured, or flagged by the hospital.

    Parameters
    ----------
    labels : StudyLabels
        Quality codes and grades of the hospital.
    grades : iterable of Grade
        What the models found; moderate and severe fractures count.
    measured : bool
        For values that the hospital measured: a vertebra that it graded is as it graded it,
        whatever a model suspects.

    Returns
    -------
    dict of str to str
        Reason by vertebra, cranial first.
    """
    found = {grade.region: grade.grade for grade in grades if "fracture" in grade.quantity}
    reasons: dict[str, str] = {}
    for name in LUMBAR:
        if labels.quality.get(name, 0) != 0:
            reasons[name] = "flagged by the hospital as not assessable"
        elif labels.genant.get(name, 0) >= FRACTURE_GRADE:
            reasons[name] = "fractured according to the hospital"
        elif found.get(name, 0) >= FRACTURE_GRADE and not (measured and name in labels.genant):
            reasons[name] = SUSPECTED
    return reasons


def conclude_estimates(
    measurements: Iterable[Measurement], covariates: Covariates, bad: Mapping[str, str]
) -> Conclusion:
    """Conclude from the models' estimates.

    Parameters
    ----------
    measurements : iterable of Measurement
    covariates : Covariates
    bad : mapping of str to str
        Vertebrae that must not count (`not_assessable`). The estimate is of L1-L4
        as a whole, so one of them takes the spine out of the conclusion.

    Returns
    -------
    Conclusion
        Without site and class where no diagnostic site was left; estimates that are not
        scored do not count.
    """
    measurements = list(measurements)
    kind = score_in_use(covariates.sex, covariates.age_years)
    if kind is ScoreKind.NEITHER:
        return Conclusion(basis="estimate", kind="neither", note=_NO_SCORE)
    scores: dict[str, float] = {}
    for m in measurements:
        score = m.t_score if kind is ScoreKind.T else m.z_score
        if m.quantity == "areal BMD" and score is not None:
            # Where two tasks estimate one region, the lower one counts: none hides another.
            scores[m.region] = min(score.value, scores.get(m.region, score.value))
    note = ""
    if bad and "L1-L4" in scores:
        del scores["L1-L4"]
        note = (
            f"L1-L4 is not used: {listed([_told(name, why) for name, why in bad.items()])}, "
            "and the estimate cannot leave out a vertebra"
        )
    unscored = dict.fromkeys(region_words(m.region) for m in measurements if m.not_scored)
    if unscored:
        note += "; " if note else ""
        note += f"the {listed(list(unscored))} {'is' if len(unscored) == 1 else 'are'} not used: "
        note += "the recorded error of the version allows no score"
    return _concluded("estimate", kind, scores, dict(bad), note)


def conclude_hospital(
    labels: StudyLabels, vendor: Vendor, covariates: Covariates, bad: Mapping[str, str]
) -> Conclusion | None:
    """Conclude from the BMD that the hospital itself reported; give its diagnoses and grades.

    Vertebrae that cannot be assessed or stand apart from their neighbours are
    left out and the rest is combined, each vertebra counting the same (areas are
    not among the labels).

    Returns
    -------
    Conclusion or None
        None if the hospital reported neither a BMD nor a diagnosis nor a grade.
    """
    diagnoses = tuple(name for name, said in labels.classes.items() if said > 0)
    grades = {name: labels.genant[name] for name in VERTEBRAE if name in labels.genant}
    if not labels.bmd and not diagnoses and not grades:
        return None
    concluded = _of_bmd(labels, vendor, covariates, bad)
    return concluded.model_copy(update={"diagnoses": diagnoses, "grades": grades})


def _of_bmd(
    labels: StudyLabels, vendor: Vendor, covariates: Covariates, bad: Mapping[str, str]
) -> Conclusion:
    """Conclude from the BMD alone, if there is any; parameters as in `conclude_hospital`."""
    kind = score_in_use(covariates.sex, covariates.age_years)
    if not labels.bmd:
        return Conclusion(basis="hospital", kind=kind.value)
    if kind is ScoreKind.NEITHER:
        return Conclusion(basis="hospital", kind="neither", note=_NO_SCORE)
    scores: dict[str, float] = {}
    for region in DIAGNOSTIC_REGIONS:
        if region in labels.bmd:
            t, z = scores_of(labels.bmd[region], region, vendor, covariates)
            score = t if kind is ScoreKind.T else z
            if score is not None:
                scores[region] = score.value
    single = {name: labels.bmd[name] for name in LUMBAR if name in labels.bmd}
    left_out = dict(bad)
    note = ""
    if single:
        of_each = {name: t_score(value, name, vendor) for name, value in single.items()}
        left_out = excluded_vertebrae(of_each, tuple(bad)) | dict(bad)
    if left_out:
        scores.pop("L1-L4", None)
        kept = {name: value for name, value in single.items() if name not in left_out}
        combined = combined_spine_t_score(kept, vendor)
        if combined is None or kind is ScoreKind.Z:
            note = "the spine is not used: fewer than two comparable vertebrae are left"
            if combined is not None:
                note = "the spine is not used: no age reference for single vertebrae"
        else:
            scores["L1-L4"] = reported_score(combined)
            note = (
                f"the spine's score was recomputed from {listed(list(kept))}, against reference "
                "means that are not verified"
            )
    return _concluded("hospital", kind, scores, left_out, note)


def _concluded(
    basis: str, kind: ScoreKind, scores: Mapping[str, float], left_out: dict[str, str], note: str
) -> Conclusion:
    """Rest the conclusion on the lowest diagnostic site."""
    lowest = lowest_diagnostic(scores)
    whose = "hospital" if basis == "hospital" else "estimate"
    if lowest is None:
        why = "no site that a diagnosis may rest on was assessed"
        return Conclusion.model_validate(
            {"basis": whose, "kind": kind.value, "left_out": left_out, "note": note or why}
        )
    site, score = lowest
    judged = who_class(score) if kind is ScoreKind.T else age_class(score)
    return Conclusion.model_validate(
        {
            "basis": whose,
            "kind": kind.value,
            "site": site,
            "score": score,
            "bone_class": judged.value,
            "left_out": left_out,
            "note": note,
        }
    )


def _told(name: str, why: str) -> str:
    """Why a vertebra does not count, as part of a sentence."""
    if why == SUSPECTED:
        return f"the model suspects a fracture of {name}"
    return f"{name} is {why}"
