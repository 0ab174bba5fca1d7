"""The report in words: Technique, Findings, Impression, limits.

The wording is held by tests. It never says that something is ruled out, never
calls an estimate a measurement, always says where to go next.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from shared.clinical.morphometry import GRADE_WORDS
from shared.clinical.references import ACCEPTABLE_LSC, CROSS_CALIBRATION_ERROR
from shared.clinical.scores import BoneClass
from shared.findings.facts import Grade
from shared.findings.findings import FRACTURE_GRADE, Findings
from shared.findings.words import VIEW_WORDS, listed, region_words
from shared.inference.schema import Conclusion, ModelFacts, Narrative, SeriesFacts
from shared.records import DXA_VIEWS, Covariates, ImageRecord, Vendor, View

VENDOR_WORDS = {
    Vendor.LUNAR: "GE Lunar",
    Vendor.HOLOGIC: "Hologic",
    Vendor.GENERIC: "generic scanner, standardised BMD",
    Vendor.OTHER: "other maker",
}

#: Error of published estimators, shown where the version's own is not recorded.
PUBLISHED_MAE = 0.07

DISCLAIMER = (
    "Research use only; not a medical device. No decision on diagnosis or treatment may rest on it."
)


T_SCORE_SENTENCE = (
    "T-scores compare with young white women (NHANES III for the hip, Hologic's reference "
    "for the spine), for women and men of every ethnic group (ISCD 2023)."
)

#: Flags of an image that say of a region that its outline may be wrong.
ABOUT_OUTLINES = ("cut_off", "not_found", "area")


def signed(score: float) -> str:
    """Score with its sign, one decimal, a true minus: ``−2.5``, ``+0.3``, ``0.0``."""
    if score == 0:
        return "0.0"
    return f"{'−' if score < 0 else '+'}{abs(score):.1f}"


def narrate(
    images: dict[View, ImageRecord],
    vendor: Vendor,
    covariates: Covariates,
    findings: Findings,
    conclusions: Sequence[Conclusion],
    models: Sequence[ModelFacts],
    series: Sequence[SeriesFacts] = (),
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

    Returns
    -------
    Narrative
    """
    return Narrative(
        technique=_technique(images, vendor, covariates, series, findings),
        findings=_findings(findings, conclusions),
        impression=_impression(findings, conclusions, covariates),
        limits=_limits(models),
    )


def _technique(
    images: dict[View, ImageRecord],
    vendor: Vendor,
    covariates: Covariates,
    series: Sequence[SeriesFacts],
    findings: Findings,
) -> tuple[str, ...]:
    sentences = [_series_sentence(one) for one in series]
    if series and not images:
        sentences.append("What is estimated comes from a neural network; nothing was measured.")
        scored = any(found.t_score is not None for found in findings.measurements)
        return (*sentences, T_SCORE_SENTENCE) if scored else tuple(sentences)
    views = listed([VIEW_WORDS[view] for view in DXA_VIEWS if view in images]) or "none"
    sentences += [
        f"Dual-energy X-ray absorptiometry images ({VENDOR_WORDS[vendor]}): {views}.",
        "Bone density was estimated from the displayed images by a neural network on the "
        "standardised scale (sBMD) and converted to the scanner's scale; it was not measured "
        "from calibrated dual-energy data.",
        T_SCORE_SENTENCE,
    ]
    if covariates.sex == "F" and covariates.age_years is not None and covariates.age_years >= 50:
        sentences.append("Menopause is not recorded; a woman of 50 or more is taken as past it.")
    elif covariates.sex == "F" and covariates.age_years is not None:
        sentences.append("Menopause is not recorded; a woman under 50 is taken as before it.")
    return tuple(sentences)


def _series_sentence(series: SeriesFacts) -> str:
    slices, *_ = series.shape
    voltage = "tube voltage not given" if series.kvp is None else f"{series.kvp:.0f} kV"
    kernel = f"kernel {series.kernel}" if series.kernel else "kernel not given"
    agent = {True: "with contrast agent", False: "without contrast agent"}
    phase = "contrast agent not stated" if series.contrast is None else agent[series.contrast]
    return (
        f"Computed tomography: {slices} slices, {series.spacing_mm[0]:.2g} mm apart; {voltage}, "
        f"{kernel}, {phase}."
    )


def _findings(findings: Findings, conclusions: Sequence[Conclusion]) -> tuple[str, ...]:
    sentences = []
    kind = conclusions[0].kind if conclusions else "neither"
    for found in findings.measurements:
        text = f"{_capital(region_words(found.region))}: estimated {found.quantity} "
        text += f"{found.value:.3f} {found.unit}"
        score = {"T": found.t_score, "Z": found.z_score}.get(kind)
        if score is not None:
            text += f", {kind}-score {signed(score.value)}"
            text += "" if score.verified else " (reference unverified)"
        if found.difference is not None and found.reported is not None:
            text += (
                f"; the hospital reports {found.reported:.3f} {found.unit} "
                f"(estimate {_difference(found.difference)} {found.unit})"
            )
        sentences.append(text + ".")
    sentences += _grade_sentences(findings.grades)
    sentences += [f"{_capital(conclusion.note)}." for conclusion in conclusions if conclusion.note]
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
    sentences += [f"Not assessed: {gap.what}, because {gap.why}." for gap in findings.not_assessed]
    return tuple(sentences)


def _grade_sentences(grades: Iterable[Grade]) -> list[str]:
    grades = list(grades)
    if not grades:
        return []
    missed = [g for g in grades if _is_missed(g)]
    sentences = [
        f"{g.region}: {GRADE_WORDS[g.reported or 0]} fracture by the hospital's own reading; the "
        f"network gives {g.word}, with a probability of {g.suspicion:.0%} for grade 2 or 3."
        for g in missed
    ]
    seen = [g for g in grades if g.grade >= 1 and g not in missed]
    sentences += [
        f"{g.region}: {g.word} {g.quantity.split(' (')[0]}; probability of {g.suspicion:.0%} for "
        "grade 2 or 3."
        for g in seen
    ]
    doubtful = [g.region for g in grades if g.grade < FRACTURE_GRADE and g.suspicion >= 0.3]
    if doubtful:
        sentences.append(f"Uncertain, worth a look: {listed(doubtful)}.")
    rest = len(grades) - len(seen) - len(missed)
    if rest:
        many = "vertebra" if rest == 1 else "vertebrae"
        sentences.append(f"{rest} {many} graded as not fractured.")
    return sentences


def _impression(
    findings: Findings, conclusions: Sequence[Conclusion], covariates: Covariates
) -> tuple[str, ...]:
    sentences = [_density_sentence(conclusions[0], covariates)] if conclusions else []
    if len(conclusions) > 1:
        sentences.append(_hospital_sentence(conclusions[0], conclusions[1]))
    suspected = any(g.grade >= FRACTURE_GRADE for g in findings.grades)
    sentences.insert(0 if suspected else len(sentences), _fracture_sentence(findings))
    missed = [g for g in findings.grades if _is_missed(g)]
    if missed:  # what matters most comes first, also where the network contradicts it
        sentences.insert(1 if suspected else 0, _missed_sentence(missed))
    if findings.not_assessed:
        sentences.append(
            f"Could not be assessed: {listed([gap.what for gap in findings.not_assessed])}."
        )
    doubtful = {
        region_words(flag.subject): None
        for flag in findings.quality
        if flag.source == "image" and flag.code in ABOUT_OUTLINES
    }
    if doubtful:
        sentences.append(
            f"Doubtful outlines of {listed(list(doubtful))}: look at the images before anything "
            "is concluded."
        )
    sentences.append(_advice(findings, conclusions))
    return tuple(sentences)


def _density_sentence(conclusion: Conclusion, covariates: Covariates) -> str:
    if conclusion.bone_class is None or conclusion.score is None or conclusion.site is None:
        return f"No class of bone density is given: {conclusion.note}."
    where = f"lowest estimated {conclusion.kind}-score {signed(conclusion.score)}"
    where += f" at the {region_words(conclusion.site)}"
    if conclusion.kind == "T":
        words = {
            BoneClass.NORMAL: "in the normal range",
            BoneClass.LOW_BONE_MASS: "in the range of low bone mass (osteopenia)",
            BoneClass.OSTEOPOROSIS: "in the range of osteoporosis",
        }[BoneClass(conclusion.bone_class)]
        return f"Estimated bone density {words} by the WHO classes: {where}."
    who = "a woman under 50" if covariates.sex == "F" else "a man under 50"
    return (
        f"Estimated bone density {conclusion.bone_class} ({where}); for {who} the Z-score is "
        "used and the WHO classes do not apply."
    )


def _hospital_sentence(estimate: Conclusion, hospital: Conclusion) -> str:
    if hospital.bone_class is None or hospital.score is None or hospital.site is None:
        return "The hospital's own values do not allow a class either."
    place = region_words(hospital.site)
    if hospital.site == "L1-L4" and hospital.left_out:
        place = f"lumbar spine without {listed(list(hospital.left_out))}"
    where = f"{hospital.kind}-score {signed(hospital.score)} at the {place}"
    if hospital.bone_class == estimate.bone_class:
        return f"The hospital's measured values give the same class ({where})."
    return (
        f"The hospital's measured values give another class, {hospital.bone_class} ({where}); "
        "the measured values stand."
    )


def _fracture_sentence(findings: Findings) -> str:
    if not findings.grades:
        return "Vertebral fractures were not assessed."
    suspected = [g for g in findings.grades if g.grade >= FRACTURE_GRADE]
    mild = [g.region for g in findings.grades if g.grade == 1]
    if suspected:
        each = listed([f"{g.region} {g.word} ({g.suspicion:.0%})" for g in suspected])
        also = f"; mild deformity of {listed(mild)}" if mild else ""
        return (
            f"Vertebral fracture suspected: {each}{also}. A vertebral fracture without major "
            "trauma matters whatever the T-score is."
        )
    many = f"in {len(findings.grades)} vertebrae"
    text = f"No moderate or severe vertebral fracture was seen {many}"
    if any(map(_is_missed, findings.grades)):
        text = f"The network sees no moderate or severe vertebral fracture {many}"
    text += f"; mild deformity of {listed(mild)}, on which readers often differ" if mild else ""
    return text + ". This does not prove that there is none."


def _is_missed(grade: Grade) -> bool:
    """Whether the hospital reads a fracture where the network does not."""
    return (grade.reported or 0) >= FRACTURE_GRADE > grade.grade


def _missed_sentence(missed: Sequence[Grade]) -> str:
    each = listed([f"{g.region} {GRADE_WORDS[g.reported or 0]}" for g in missed])
    return (
        f"Vertebral fracture by the hospital's own reading: {each}. The network does not find "
        "it; the hospital's reading stands."
    )


def _advice(findings: Findings, conclusions: Sequence[Conclusion]) -> str:
    fractured = any(max(g.grade, g.reported or 0) >= FRACTURE_GRADE for g in findings.grades)
    classes = {conclusion.bone_class for conclusion in conclusions}
    low = {BoneClass.LOW_BONE_MASS, BoneClass.OSTEOPOROSIS, BoneClass.BELOW_EXPECTED}
    if any(map(_is_missed, findings.grades)):
        seen = any(grade.grade >= FRACTURE_GRADE for grade in findings.grades)
        also = "confirm the fracture on radiographs and " if seen else ""
        return (
            f"Refer to a physician; a radiologist should {also}look at what the two readings "
            "differ in."
        )
    if fractured:
        return "Refer to a physician; a radiologist should confirm the fracture on radiographs."
    if classes & low:
        return "Refer to DXA reporting and to a physician, who weighs it with the risk factors."
    return "A physician decides, with the DXA report and the clinical risk factors."


def _limits(models: Sequence[ModelFacts]) -> tuple[str, ...]:
    errors = [
        f"{name.removeprefix('mae_').replace('_', ' ')} {value:.3f} g/cm²"
        for model in models
        for name, value in sorted(model.metrics.items())
        if name.startswith("mae_")
    ]
    error = (
        f"Mean absolute error of this version on validation patients: {', '.join(errors)}."
        if errors
        else f"The error of this version is not recorded; published estimators are off by about "
        f"{PUBLISHED_MAE:.2f} g/cm² on average, 7 to 8 % of a spine of 1.0 g/cm²."
    )
    lsc = ", ".join(f"{region_words(r)} {share:.1%}" for r, share in ACCEPTABLE_LSC.items())
    return (
        DISCLAIMER,
        f"BMD here is an estimate for screening, never for monitoring. {error} A measured DXA "
        f"change counts only beyond the least significant change (at most {lsc}; unverified "
        "bounds), which these estimates cannot reach.",
        f"Converting between scanners adds about {CROSS_CALIBRATION_ERROR:.1%} of error for one "
        "patient.",
        "Z-scores and the dashed line are means by age of NHANES (spine; total hip of men) or of "
        "a Korean cohort (marked *), which need not fit this patient.",
        "Grades are probabilities of a network, not a reading; two human readers agree only "
        "moderately on mild fractures. A finding that is absent does not mean health.",
        "No fracture risk over ten years is computed; use a validated tool for that.",
    )


def _difference(value: float) -> str:
    return "equal" if value == 0 else f"{'−' if value < 0 else '+'}{abs(value):.3f}"


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]
