"""The report in words: Technique, Findings, Impression, limits.

The wording is held by tests. It never says that something is ruled out, never
calls an estimate a measurement, always says where to go next.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from shared.clinical.references import ACCEPTABLE_LSC, CROSS_CALIBRATION_ERROR
from shared.clinical.whose_reference import HipReference, has_scale, young_reference
from shared.dicom.ct.completeness import INCOMPLETE, UNKNOWN
from shared.dicom.pixels.orientation import Facing
from shared.findings.bare_estimates import is_bare, is_from_film, only_bare
from shared.findings.chances import LIMIT as CHANCE_LIMIT
from shared.findings.chances import chance_sentence
from shared.findings.ct_estimates import is_from_ct
from shared.findings.facts import Measurement, Score
from shared.findings.findings import Findings
from shared.findings.quality_flags import REPAIRED
from shared.findings.region_names import VIEW_WORDS, region_words
from shared.inference.fitness import unscored_gaps
from shared.inference.fractures import graded_findings
from shared.inference.impression import impression
from shared.inference.schema import (
    Conclusion,
    ImageFacts,
    ModelFacts,
    Narrative,
    SeriesFacts,
)
from shared.inference.second_opinion import concluded_opinion, opinion_sentences
from shared.inference.trust.origin import unverified
from shared.phrases import capital, listed, signed
from shared.records import ALL_DXA_VIEWS, Covariates, Vendor, View
from shared.regions import VERTEBRA_CODES

VENDOR_WORDS = {
    Vendor.LUNAR: "GE Lunar",
    Vendor.HOLOGIC: "Hologic",
    Vendor.NORLAND: "Norland",
    Vendor.GENERIC: "generic scanner, standardised BMD",
    Vendor.OTHER: "other maker",
}

#: Error of published estimators, shown where the version's own is not recorded.
PUBLISHED_MAE = 0.07

DISCLAIMER = (
    "Research use only; not a medical device. No decision on diagnosis or treatment may rest on it."
)


#: With whom a Z-score compares, where there is any, and why there mostly is none.
Z_SENTENCE: Final = (
    "A Z-score is given only where a published table by age gives what a scanner printed: of a "
    "woman's total hip of 20 to 70 years on a Hologic scanner, against white women of the United "
    "States (NHANES III). Elsewhere it is withheld."
)


def references_sentence(vendor: Vendor, hip: HipReference = HipReference.NHANES) -> str:
    """Say with whom T-scores compare, of spine and hip."""
    spine, hips = (young_reference(one, vendor, hip).source for one in ("L1-L4", "total_hip"))
    return (
        "T-scores compare with young white women, for women and men of every ethnic group (ISCD "
        f"2023): the spine with {spine}; the hip with {hips}."
    )


def narrate(
    images: Sequence[ImageFacts],
    vendor: Vendor,
    covariates: Covariates,
    findings: Findings,
    conclusions: Sequence[Conclusion],
    models: Sequence[ModelFacts],
    series: Sequence[SeriesFacts] = (),
    hip: HipReference = HipReference.NHANES,
    facing: Mapping[View, Facing] | None = None,
) -> Narrative:
    """Write the report's text.

    Parameters
    ----------
    images, vendor, covariates
        Of the study.
    findings : Findings
        Of all tasks, `not_assessed` included.
    conclusions : sequence of Conclusion
        The estimate's first, then the hospital's if there is one.
    models : sequence of ModelFacts
    series : sequence of SeriesFacts
        CT series of the study.
    hip : HipReference
        With whom hips were compared.
    facing : mapping of View to Facing, optional
        Which way lateral images look in their files.

    Returns
    -------
    Narrative
    """
    opinion = concluded_opinion(series)
    said = [f"Second opinion by attenuation: {opinion}"] if opinion else []
    *concluded, advice = impression(findings, conclusions, covariates, models)
    return Narrative(
        technique=(
            *_technique(images, vendor, covariates, series, findings, conclusions, hip),
            *map(_facing_sentence, (facing or {}).values()),
        ),
        findings=(*_findings(findings, conclusions), *opinion_sentences(series)),
        impression=(*concluded, *said, advice),
        limits=_limits(findings, conclusions, models, series),
    )


def _facing_sentence(faces: Facing) -> str:
    """Say which way the lateral image looks in its file, and what was done about it."""
    if not faces.side:
        return "Which way the lateral image faces is told neither by its header nor by its anatomy."
    turned = "; it is read turned to the left" if faces.side == "right" else ""
    return f"The lateral image faces {faces.side} in its file, by its {faces.told_by}{turned}."


def _technique(
    images: Sequence[ImageFacts],
    vendor: Vendor,
    covariates: Covariates,
    series: Sequence[SeriesFacts],
    findings: Findings,
    conclusions: Sequence[Conclusion],
    hip: HipReference,
) -> tuple[str, ...]:
    sentences = [
        _series_sentence(one, number, len(series)) for number, one in enumerate(series, start=1)
    ]
    scored = any(found.t_score or found.reported_t_score for found in findings.measurements)
    scored = scored or any(one.kind == "T" and one.site for one in conclusions)
    scored = scored and not any(one.kind == "Z" for one in conclusions)  # those show no T-score
    scored = scored and has_scale(vendor)
    if series and not images:
        if findings.measurements or findings.grades or findings.chances:
            sentences.append("What is estimated comes from a neural network and was not measured.")
        return (*sentences, references_sentence(vendor, hip)) if scored else tuple(sentences)
    there = {image.view for image in images}
    views = listed([VIEW_WORDS[view] for view in ALL_DXA_VIEWS if view in there]) or "none"
    if View.LUMBAR_AP.value in there:
        sentences.append(f"{capital(VIEW_WORDS[View.LUMBAR_AP])}.")
    if there != {View.LUMBAR_AP.value}:
        sentences.append(
            f"Dual-energy X-ray absorptiometry images ({VENDOR_WORDS[vendor]}): {views}."
        )
    sentences += [
        f"The study has {image.scans} scans of the {VIEW_WORDS[View(image.view)]}; used is "
        f"{image.chosen}."
        for image in images
        if image.scans > 1
    ]
    if not all(map(is_bare, findings.measurements)):
        sentences.append(
            "The model's bone density was estimated from the displayed images by a neural network "
            "on the standardised scale (sBMD) and converted to the scanner's scale; it was not "
            "measured from calibrated dual-energy data."
        )
    if any(map(is_from_ct, findings.measurements)):
        sentences.append(
            "The bone density from CT is a neural network's estimate on the standardised scale "
            "(sBMD), converted to no scanner's."
        )
    if any(map(is_from_film, findings.measurements)):
        sentences.append(
            "The bone density from the radiograph is a neural network's estimate on the "
            "standardised scale (sBMD): a film as it is shown holds no calibrated density."
        )
    if _with_bmd(conclusions):
        sentences.append(
            "The hospital measured its BMD; T- and Z-scores and classes of it are computed by this "
            "program's references; none is taken from the hospital's report, which may differ."
        )
    if scored:
        sentences.append(references_sentence(vendor, hip))
    if covariates.sex == "F" and covariates.age_years is not None and covariates.age_years >= 50:
        sentences.append("Menopause is not recorded; a woman of 50 or more is taken as past it.")
    elif covariates.sex == "F" and covariates.age_years is not None:
        sentences.append("Menopause is not recorded; a woman under 50 is taken as before it.")
    return tuple(sentences)


#: What was done to the slices of a series (`SeriesFacts.resampled`).
RESAMPLED: Final[Mapping[str, str]] = {
    "tilt": "tilted slices, resampled upright",
    "gaps": "slices at uneven distances, resampled at even ones",
    "gaps+tilt": "tilted slices at uneven distances, resampled upright at even ones",
}


def _series_sentence(series: SeriesFacts, number: int, of: int) -> str:
    """Say what a CT series is, and of several which is used and why others are not."""
    slices, *_ = series.shape
    voltage = "tube voltage not given" if series.kvp is None else f"{series.kvp:.0f} kV"
    kernel = f"kernel {series.kernel}" if series.kernel else "kernel not given"
    agent = {True: "with contrast agent", False: "without contrast agent"}
    phase = "contrast agent not stated" if series.contrast is None else agent[series.contrast]
    name = "Computed tomography" if of == 1 else f"CT series {number} of {of}"
    role = f"; {RESAMPLED[series.resampled]}" if series.resampled else ""
    if series.not_measured:
        role += f"; not used: {series.not_measured}"
    elif of > 1:
        role += "; the one that is used" if series.used else "; eligible, not used"
    return (
        f"{name}: {slices} slices, {series.spacing_mm[0]:.2g} mm apart; {voltage}, "
        f"{kernel}, {phase}{role}."
    )


def _levels_sentence(marks: Mapping[str, int]) -> str:
    """Say which vertebrae a model found in a CT series."""
    names = [level for level in VERTEBRA_CODES["volume"] if level in marks]
    return f"Estimate: the middles of {listed(names)} were found in the CT series."


def _findings(findings: Findings, conclusions: Sequence[Conclusion]) -> tuple[str, ...]:
    kind = conclusions[0].kind if conclusions else "neither"
    sentences = [_levels_sentence(marks) for marks in findings.marked_slices.values()]
    sentences += [_measurement_sentence(found, kind) for found in findings.measurements]
    sentences += graded_findings(findings.grades)
    sentences += map(chance_sentence, findings.chances)
    whose = {"estimate": "Estimate", "hospital": "Hospital's BMD"}
    sentences += [f"{whose[one.basis]}: {one.note}." for one in conclusions if one.note]
    flags = [
        f"{region_words(flag.subject)} {flag.words}"
        for flag in findings.quality
        if flag.source == "image" and flag.code != "spacing"
    ]
    if flags:
        sentences.append(f"Image quality: {'; '.join(flags)}.")
    coded = [
        f"{region_words(flag.subject)} ({flag.words})"
        for flag in findings.quality
        if flag.source == "hospital"
    ]
    if coded:
        sentences.append(f"Flagged by the hospital: {listed(coded)}.")
    told = unscored_gaps(findings.measurements)  # beside the estimate
    sentences += [
        f"Not assessed: {gap.what}, because {gap.why}."
        for gap in findings.not_assessed
        if gap not in told
    ]
    return tuple(sentences)


def _measurement_sentence(found: Measurement, kind: str) -> str:
    """What was measured first, then the estimate beside it."""
    text = f"{capital(region_words(found.region))}: "
    if found.reported is not None:
        own = {"T": found.reported_t_score, "Z": found.reported_z_score}.get(kind)
        by_us = f" ({_score(own, kind)} by this program's references)" if own else ""
        text += f"the hospital reports {found.reported:.3f} {found.unit}{by_us}; "
    score = {"T": found.t_score, "Z": found.z_score}.get(kind)
    text += f"estimated {found.quantity} {found.value:.3f} {found.unit}"
    text += f", {_score(score, kind)}" if score else ""
    if found.difference is not None:
        text += f" ({_difference(found.difference, found.unit)})"
    if found.not_scored:
        text += f"; not scored: this version is {found.not_scored}"
    return text + "."


def _score(score: Score, kind: str) -> str:
    unsure = "" if score.verified else " (reference unverified)"
    return f"{kind}-score {signed(score.value)}{unsure}"


def _limits(
    findings: Findings,
    conclusions: Sequence[Conclusion],
    models: Sequence[ModelFacts],
    series: Sequence[SeriesFacts] = (),
) -> tuple[str, ...]:
    """What holds of what stands in this report; of nothing else."""
    sentences = [DISCLAIMER, *unverified({one.task: one.verified_with for one in models})]
    if findings.measurements:
        sentences.append(_limit_of_estimates(findings.measurements, models))
    if _with_bmd(conclusions) or (findings.measurements and not only_bare(findings.measurements)):
        sentences += [
            f"Converting between scanners adds about {CROSS_CALIBRATION_ERROR:.1%} of error for "
            "one patient.",
            Z_SENTENCE,
        ]
    if findings.chances:
        sentences.append(CHANCE_LIMIT)
    sentences += _limit_of_grades(findings, models)
    sentences += _limit_of_outlines(findings, models)
    sentences += [text for one in series if one.used and (text := _limit_of_series(one))]
    sentences += [
        f"{capital(region_words(flag.subject))}: {flag.words}; lengths and areas rest on it."
        for flag in findings.quality
        if flag.source == "image" and flag.words == REPAIRED
    ]
    sentences += [
        "A finding that is absent does not mean health.",
        "No fracture risk over ten years is computed; use a validated tool for that.",
    ]
    return tuple(sentences)


def _limit_of_estimates(measurements: Sequence[Measurement], models: Sequence[ModelFacts]) -> str:
    """How far the estimates of density are off, and what they cannot be used for."""
    tasks = {one.task for one in measurements}
    errors = [
        f"{name.removeprefix('mae_').replace('_', ' ')} {value:.3f} g/cm²"
        for model in models
        for name, value in sorted(model.metrics.items())
        if model.task in tasks and name.startswith("mae_") and math.isfinite(value)
    ]
    error = (
        f"Mean absolute error of this version on validation patients: {', '.join(errors)}."
        if errors
        else f"The error of this version is not recorded; published estimators are off by about "
        f"{PUBLISHED_MAE:.2f} g/cm² on average, 7 to 8 % of a spine of 1.0 g/cm²."
    )
    lsc = ", ".join(f"{region_words(r)} {share:.1%}" for r, share in ACCEPTABLE_LSC.items())
    return (
        f"The model's bone density is an estimate for screening, never for monitoring. {error} A "
        f"measured DXA change counts only beyond the least significant change (at most {lsc}; "
        "unverified bounds), which these estimates cannot reach."
    )


def _limit_of_grades(findings: Findings, models: Sequence[ModelFacts]) -> list[str]:
    """What the grades are, and what is recorded of how well the version tells them."""
    recorded = _recorded(
        (model, name, words) for model in models for name, (words, _) in model.grade_metrics.items()
    )
    sentences = []
    if findings.grades:
        sentences.append(
            "The model's grades are probabilities of a network, not a reading; two human readers "
            "agree only moderately on mild fractures."
        )
    if recorded:
        sentences.append(f"Recorded on validation patients: {'; '.join(recorded)}.")
    elif findings.grades:
        sentences.append("How well this version tells fractures is not recorded.")
    return sentences


def _recorded(metrics: Iterable[tuple[ModelFacts, str, str]]) -> list[str]:
    """Say those metrics (version, name, words) that are recorded and are numbers."""
    return [
        f"{words}: {model.metrics[name]:.2f}"
        for model, name, words in metrics
        if math.isfinite(model.metrics.get(name, math.nan))
    ]


def _limit_of_outlines(findings: Findings, models: Sequence[ModelFacts]) -> list[str]:
    """What is recorded of how well the versions outline regions and find levels."""
    if not (findings.regions or findings.maps or findings.marked_slices):
        return []
    drawing = [model for model in models if model.outline_metrics]
    recorded = _recorded(
        (model, name, words) for model in drawing for name, words in model.outline_metrics.items()
    )
    if recorded:
        return [f"Of what the model draws, recorded on validation patients: {'; '.join(recorded)}."]
    return ["How well this version draws is not recorded."] if drawing else []


def _limit_of_series(series: SeriesFacts) -> str:
    """What of a CT series may not have been seen, because it did not come."""
    if series.completeness == INCOMPLETE:
        return (
            f"The CT series is incomplete ({series.missing}): what lies on its missing slices was "
            "not read."
        )
    if series.completeness == UNKNOWN:
        return (
            "The CT series was read as received; its files do not say whether all its slices are "
            "there."
        )
    return ""


def _with_bmd(conclusions: Sequence[Conclusion]) -> bool:
    """Whether the hospital reported a BMD: then its conclusion has a site, or says why not."""
    return any(one.basis == "hospital" and (one.site or one.note) for one in conclusions)


def _difference(value: float, unit: str) -> str:
    """How the estimate stands to the measured value."""
    if value == 0:
        return "equal to the measured value"
    return f"{abs(value):.3f} {unit} {'below' if value < 0 else 'above'} the measured value"
