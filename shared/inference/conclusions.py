"""From scores to a conclusion by the ISCD's rules: of estimates, and of the hospital's BMD."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

from shared.clinical.references import DIAGNOSTIC_REGIONS, Mark
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
from shared.clinical.whose_reference import HipReference, has_scale, spine_reference, why_no_z
from shared.findings.facts import Grade, Measurement, Score
from shared.findings.findings import FRACTURE_GRADE, scores_of
from shared.findings.region_names import region_words
from shared.inference.schema import Conclusion
from shared.phrases import listed
from shared.records import Covariates, StudyLabels, Vendor
from shared.regions import LUMBAR, RIGHT_HIP, VERTEBRAE, sideless

#: Sites that a diagnosis may rest on, the right hip's last.
SITES: Final = (
    *DIAGNOSTIC_REGIONS,
    *(right for right, name in RIGHT_HIP.items() if name in DIAGNOSTIC_REGIONS),
)
_NO_SCORE = "sex and an adult's age must be known"
_NO_SCALE = "its scanner's scale is not known"

#: Why a vertebra does not count that only a model takes for fractured.
SUSPECTED: Final = "fracture suspected by the model"


def not_assessable(labels: StudyLabels, grades: Iterable[Grade] = ()) -> dict[str, str]:
    """Lumbar vertebrae whose density means nothing: fractured, or flagged by the hospital.

    Parameters
    ----------
    labels : StudyLabels
        Quality codes and grades of the hospital.
    grades : iterable of Grade
        What the models found; moderate and severe fractures count. For the hospital's own values
        there are none: what it measured stands, whatever a model suspects.

    Returns
    -------
    dict of str to str
        Reason by vertebra, cranial first.
    """
    suspected = suspected_vertebrae(grades)
    reasons: dict[str, str] = {}
    for name in LUMBAR:
        if labels.quality.get(name, 0) != 0:
            reasons[name] = "flagged by the hospital as not assessable"
        elif labels.genant.get(name, 0) >= FRACTURE_GRADE:
            reasons[name] = "fractured according to the hospital"
        elif name in suspected:
            reasons[name] = SUSPECTED
    return reasons


def suspected_vertebrae(grades: Iterable[Grade]) -> set[str]:
    """Vertebrae of which a model suspects a moderate or severe fracture."""
    return {
        one.region for one in grades if "fracture" in one.quantity and one.grade >= FRACTURE_GRADE
    }


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
    kind = score_in_use(covariates.sex, covariates.age_years)
    if kind is ScoreKind.NEITHER:
        return Conclusion(basis="estimate", kind="neither", note=_NO_SCORE)
    scores: dict[str, Score] = {}
    not_judged: dict[str, str] = {}
    for m in measurements:
        score = m.t_score if kind is ScoreKind.T else m.z_score
        if m.quantity != "areal BMD" or sideless(m.region) not in DIAGNOSTIC_REGIONS:
            continue
        if score is None:
            not_judged[m.region] = (
                f"this version is {m.not_scored}"
                if m.not_scored
                else _no_score(kind, m.region, covariates, Vendor(m.scale))
            )
        elif m.region not in scores or score.value < scores[m.region].value:
            # Where two tasks estimate one region, the lower one counts: none hides another.
            scores[m.region] = score
    not_judged = {region: why for region, why in not_judged.items() if region not in scores}
    if bad and "L1-L4" in scores:
        del scores["L1-L4"]
        why = listed([_told(name, why) for name, why in bad.items()])
        not_judged["L1-L4"] = f"{why}, and the estimate cannot leave out a vertebra"
    return _concluded("estimate", kind, scores, dict(bad), not_judged)


def conclude_hospital(
    labels: StudyLabels,
    vendor: Vendor,
    covariates: Covariates,
    bad: Mapping[str, str],
    grades: Iterable[Grade] = (),
    hip: HipReference = HipReference.NHANES,
) -> Conclusion | None:
    """Conclude from the BMD that the hospital itself reported; give its diagnoses and grades.

    Vertebrae that cannot be assessed or stand apart from their neighbours are
    left out and the rest is combined by usual areas (areas are not among the labels).

    Parameters
    ----------
    labels, vendor, covariates
        Of the study.
    bad : mapping of str to str
        Vertebrae that the hospital itself does not let count (`not_assessable`).
    grades : iterable of Grade
        What models found. It takes nothing out: a vertebra that counts though a model suspects
        its fracture is named (`Conclusion.suspected`).
    hip : HipReference
        With whom the site has its hips compared.

    Returns
    -------
    Conclusion or None
        None if the hospital reported neither a BMD nor a diagnosis nor a grade.
    """
    diagnoses = tuple(name for name, said in labels.classes.items() if said > 0)
    own = {name: labels.genant[name] for name in VERTEBRAE if name in labels.genant}
    if not labels.bmd and not diagnoses and not own:
        return None
    concluded = _of_bmd(labels, vendor, covariates, bad, hip)
    found = suspected_vertebrae(grades)
    measured = {*LUMBAR} if "L1-L4" in labels.bmd else {*LUMBAR} & {*labels.bmd}
    doubted = tuple(
        name for name in LUMBAR if name in found & measured and name not in concluded.left_out
    )
    more = {"diagnoses": diagnoses, "grades": own, "suspected": doubted}
    return concluded.model_copy(update=more)


def _of_bmd(
    labels: StudyLabels,
    vendor: Vendor,
    covariates: Covariates,
    bad: Mapping[str, str],
    hip: HipReference,
) -> Conclusion:
    """Conclude from the BMD alone, if there is any; parameters as in `conclude_hospital`."""
    kind = score_in_use(covariates.sex, covariates.age_years)
    if not labels.bmd:
        return Conclusion(basis="hospital", kind=kind.value)
    if kind is ScoreKind.NEITHER:
        return Conclusion(basis="hospital", kind="neither", note=_NO_SCORE)
    if not has_scale(vendor):
        return Conclusion(basis="hospital", kind=kind.value, note=_NO_SCALE)
    scores: dict[str, Score] = {}
    not_judged: dict[str, str] = {}
    for region in SITES:
        if region in labels.bmd:
            t, z = scores_of(labels.bmd[region], region, vendor, covariates, hip)
            score = t if kind is ScoreKind.T else z
            if score is None:
                not_judged[region] = _no_score(kind, region, covariates, vendor)
            else:
                scores[region] = score
    single = {name: labels.bmd[name] for name in LUMBAR if name in labels.bmd}
    as_a_whole = "L1-L4" in labels.bmd
    left_out = _left_out(single, as_a_whole, vendor, bad)
    note = ""
    if (left_out and as_a_whole) or (single and (left_out or not as_a_whole)):
        scores.pop("L1-L4", None)
        not_judged.pop("L1-L4", None)
        kept = {name: value for name, value in single.items() if name not in left_out}
        combined = combined_spine_t_score(kept, vendor)
        if combined is None:
            not_judged["L1-L4"] = _too_few(single, left_out)
        elif kind is ScoreKind.Z:
            not_judged["L1-L4"] = "there is no age reference for single vertebrae"
        else:
            reference = spine_reference(kept, vendor)
            verified = reference.mark is not Mark.UNVERIFIED
            scores["L1-L4"] = Score(
                value=reported_score(combined), reference=reference.source, verified=verified
            )
            note = (
                f"the spine's score was recomputed from {listed(list(kept))} by the usual areas of "
                f"vertebrae, against {reference.source}"
            ) + ("" if verified else ", which is not verified")
    return _concluded("hospital", kind, scores, left_out, not_judged, note)


def _no_score(kind: ScoreKind, region: str, covariates: Covariates, vendor: Vendor) -> str:
    """Why a site has a BMD and no score of the kind by which the patient is judged."""
    if kind is ScoreKind.T or not has_scale(vendor):
        return _NO_SCALE
    return why_no_z(region, covariates.sex, covariates.age_years, vendor)


def _left_out(
    single: Mapping[str, float], as_a_whole: bool, vendor: Vendor, bad: Mapping[str, str]
) -> dict[str, str]:
    """Vertebrae that do not count in the hospital's spine, with the reason.

    Where it reported L1-L4 as a whole, that counts, if nothing else is against it than that a
    vertebra is not reported by itself.
    """
    if not single:
        return dict(bad)
    of_each = {name: t_score(value, name, vendor) for name, value in single.items()}
    found = excluded_vertebrae(of_each, tuple(bad))
    if as_a_whole and not bad and not any(name in found for name in single):
        return {}
    return found | dict(bad)


def _too_few(single: Mapping[str, float], left_out: Mapping[str, str]) -> str:
    """Why no spine can be put together of what is left."""
    if single:
        return "fewer than two comparable vertebrae are left"
    why = listed([_told(name, why) for name, why in left_out.items()])
    return f"{why}, and the hospital gives no density of the others alone"


def _concluded(
    basis: str,
    kind: ScoreKind,
    scores: Mapping[str, Score],
    left_out: dict[str, str],
    not_judged: Mapping[str, str],
    note: str = "",
) -> Conclusion:
    """Rest the conclusion on the lowest diagnostic site."""
    lowest = _lowest({region: score.value for region, score in scores.items()})
    notes = [
        f"the {listed(list(map(region_words, regions)))} {'is' if len(regions) == 1 else 'are'} "
        f"not judged because {why}"
        for why, regions in by_reason(not_judged).items()
    ]
    notes += [note] if note else []
    facts: dict[str, object] = {
        "basis": basis,
        "kind": kind.value,
        "left_out": left_out,
        "not_judged": dict(not_judged),
        "note": "; ".join(notes),
    }
    if lowest is None:
        facts["note"] = facts["note"] or "no site that a diagnosis may rest on was assessed"
        return Conclusion.model_validate(facts)
    site, score = lowest
    judged = who_class(score) if kind is ScoreKind.T else age_class(score)
    facts |= {"site": site, "score": score, "bone_class": judged.value}
    against = {"verified": scores[site].verified, "reference": scores[site].reference}
    return Conclusion.model_validate(facts | against)


def by_reason(not_judged: Mapping[str, str]) -> dict[str, list[str]]:
    """Sites that are not judged for the same reason, in their order."""
    found: dict[str, list[str]] = {}
    for region, why in not_judged.items():
        found.setdefault(why, []).append(region)
    return found


def _lowest(scores: Mapping[str, float]) -> tuple[str, float] | None:
    """Site and score on which a diagnosis rests; of both hips the lower one counts."""
    site_of: dict[str, str] = {}
    for site in SITES:
        known = site_of.get(sideless(site))
        if site in scores and (known is None or scores[site] < scores[known]):
            site_of[sideless(site)] = site
    lowest = lowest_diagnostic({name: scores[site] for name, site in site_of.items()})
    return None if lowest is None else (site_of[lowest[0]], lowest[1])


def _told(name: str, why: str) -> str:
    """Why a vertebra does not count, as part of a sentence."""
    if why == SUSPECTED:
        return f"the model suspects a fracture of {name}"
    return f"{name} is {why}"
