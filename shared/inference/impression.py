"""The impression: what the hospital measured and read, then what the models estimate.

What was measured stands first, an estimate beside it and said to be one. A grade is named only
where it, or a higher one, is more likely than not, and the percentage beside it is that
probability. What could not be assessed is an answer, and says why.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from shared.clinical.morphometry import GRADE_WORDS
from shared.clinical.scores import BoneClass
from shared.findings.facts import Grade, NotAssessed
from shared.findings.findings import FRACTURE_GRADE, Findings
from shared.findings.words import listed, region_words, signed
from shared.inference.fitness import LARGEST_ERROR_T, error_t, unscored_gaps
from shared.inference.schema import Conclusion, ModelFacts
from shared.records import Covariates
from shared.words import counted

#: Flags of an image that say of a region that its outline may be wrong.
ABOUT_OUTLINES: Final = ("cut_off", "not_found", "area", "fragmented")

#: From this probability of a moderate or severe fracture on a vertebra is worth a look.
WORTH_A_LOOK: Final = 0.3

CLASS_WORDS: Final[Mapping[str, str]] = {
    BoneClass.NORMAL: "in the normal range",
    BoneClass.LOW_BONE_MASS: "in the range of low bone mass (osteopenia)",
    BoneClass.OSTEOPOROSIS: "in the range of osteoporosis",
    BoneClass.EXPECTED_FOR_AGE: "within the expected range for age",
    BoneClass.BELOW_EXPECTED: "below the expected range for age",
}
#: Classes that a hospital may write as its diagnosis of a study.
DIAGNOSED: Final[Mapping[str, str]] = {
    "normal": BoneClass.NORMAL,
    "low bone mass": BoneClass.LOW_BONE_MASS,
    "osteopenia": BoneClass.LOW_BONE_MASS,
    "osteoporosis": BoneClass.OSTEOPOROSIS,
}


def impression(
    findings: Findings,
    conclusions: Sequence[Conclusion],
    covariates: Covariates,
    models: Sequence[ModelFacts],
) -> tuple[str, ...]:
    """Write the impression; parameters as in `shared.inference.wording.narrate`.

    Returns
    -------
    tuple of str
        The first is the headline: what the hospital measured and read, if it did, and with it
        that the estimate differs in class or is not assessed. Without a hospital's value it is
        what is not assessed because the version is not good enough, else a suspected fracture,
        else the estimate. The last is the advice.
    """
    own = next((one for one in conclusions if one.basis == "hospital"), None)
    estimate = next((one for one in conclusions if one.basis == "estimate"), None)
    density = "" if estimate is None else _density(estimate, own, findings, models, covariates)
    measured = "" if own is None else _measured(own, covariates)
    lead = " ".join(part for part in (measured, _read(own)) if part)
    unscored = any(one.not_scored for one in findings.measurements)
    suspected = any(grade.grade >= FRACTURE_GRADE for grade in findings.grades)
    fractures = _fractures(findings.grades)
    if lead and density and (unscored or _differ(estimate, own)):
        sentences = [f"{lead} {density}", fractures]
    elif unscored or not suspected:
        sentences = [lead, density, fractures]
    else:
        sentences = [lead, fractures, density]
    sentences += [_gaps(findings), _doubtful(findings), _advice(findings, own, estimate)]
    return tuple(sentence for sentence in sentences if sentence)


def _measured(own: Conclusion, covariates: Covariates) -> str:
    """Say what the hospital's own values and diagnoses come to."""
    sentences = []
    if own.diagnoses:
        sentences.append(f"The hospital's diagnosis: {listed(own.diagnoses)}.")
    if own.bone_class is not None:
        sentences.append(
            f"Measured by the hospital: bone density {CLASS_WORDS[own.bone_class]}"
            f"{_by_the_who(own)}, {_where(own, '')}{_why_z(own, covariates)}."
        )
    elif own.note:
        sentences.append(f"Measured by the hospital, without a class of bone density: {own.note}.")
    return " ".join(sentences)


def _density(
    estimate: Conclusion,
    own: Conclusion | None,
    findings: Findings,
    models: Sequence[ModelFacts],
    covariates: Covariates,
) -> str:
    """Say what the models estimate beside what was measured, or why they do not."""
    unscored = any(one.not_scored for one in findings.measurements)
    sentences = [_not_assessed(findings, models)] if unscored else []
    if estimate.bone_class is None or estimate.score is None:
        if not unscored and _class_of(own):
            sentences.append(f"The model's estimate gives no class: {estimate.note}.")
        elif not unscored:
            sentences.append(f"No class of bone density is given: {estimate.note}.")
        return " ".join(sentences)
    where = f"{_where(estimate, 'estimated ')} ({_error(estimate, findings, models)})"
    words = CLASS_WORDS[estimate.bone_class]
    if _class_of(own) is None:
        by_whom, why_z = _by_the_who(estimate), _why_z(estimate, covariates)
        sentences.append(f"Estimated bone density {words}{by_whom}: {where}{why_z}.")
    elif _differ(estimate, own):
        stands = (
            "measured values stand" if own and own.bone_class else "hospital's diagnosis stands"
        )
        sentences.append(f"The model's estimate differs: {words}, {where}; the {stands}.")
    else:
        sentences.append(f"The model's estimate is of the same class: {where}.")
    return " ".join(sentences)


def _not_assessed(findings: Findings, models: Sequence[ModelFacts]) -> str:
    """Say which densities the model may not score, and why."""
    unscored = [one for one in findings.measurements if one.not_scored]
    by_task = {model.task: model for model in models}
    far, flat = [], []
    for one in unscored:
        error, place = error_t(by_task[one.task], one.region), region_words(one.region)
        if error is not None and not error <= LARGEST_ERROR_T:
            far.append(f"{error:.2f} T-scores at the {place}")
        else:
            flat.append(place)
    what = "bone density"
    if any(one.t_score or one.z_score for one in findings.measurements):
        what += f" of the {listed([region_words(one.region) for one in unscored])}"
    reasons = []
    if far:
        reasons.append(
            f"off by {listed(far)} on average (at most {LARGEST_ERROR_T:.0f} is accepted)"
        )
    if flat:
        reasons.append(f"no better than always saying the patients' mean at the {listed(flat)}")
    return (
        f"Not assessed by the model: {what}, because this version of the model is "
        f"{', and '.join(reasons)}. So it gives no T-score and no class."
    )


def _class_of(own: Conclusion | None) -> str | None:
    """Class of the hospital: by its values, otherwise by its diagnosis."""
    if own is None or own.bone_class is not None:
        return None if own is None else own.bone_class
    said = {DIAGNOSED[name.casefold()] for name in own.diagnoses if name.casefold() in DIAGNOSED}
    return said.pop() if len(said) == 1 else None


def _differ(estimate: Conclusion | None, own: Conclusion | None) -> bool:
    """Whether estimate and hospital give two classes."""
    theirs, ours = _class_of(own), None if estimate is None else estimate.bone_class
    return theirs is not None and ours is not None and theirs != ours


def _where(conclusion: Conclusion, kind: str) -> str:
    """The score that a class rests on, and its place; `kind` is ``estimated `` or nothing."""
    place = region_words(conclusion.site or "")
    if conclusion.basis == "hospital" and conclusion.site == "L1-L4" and conclusion.left_out:
        place = f"lumbar spine without {listed(list(conclusion.left_out))}"
    return f"lowest {kind}{conclusion.kind}-score {signed(conclusion.score or 0.0)} at the {place}"


def _by_the_who(conclusion: Conclusion) -> str:
    return " by the WHO classes" if conclusion.kind == "T" else ""


def _why_z(conclusion: Conclusion, covariates: Covariates) -> str:
    if conclusion.kind != "Z":
        return ""
    who = "a woman under 50" if covariates.sex == "F" else "a man under 50"
    return f"; for {who} the Z-score is used and the WHO classes do not apply"


def _error(estimate: Conclusion, findings: Findings, models: Sequence[ModelFacts]) -> str:
    """How far the version is off whose estimate a conclusion rests on."""
    by_task = {model.task: model for model in models}
    for one in findings.measurements:
        score = one.t_score if estimate.kind == "T" else one.z_score
        known = one.region == estimate.site and one.task in by_task
        if known and score is not None and score.value == estimate.score:
            error = error_t(by_task[one.task], one.region)
            if error is not None:
                return f"off by {error:.2f} T-scores on average"
    return "how far the version is off is not recorded"


def at_least(grade: Grade) -> str:
    """Name a grade by what its probability is of: that grade or a higher one."""
    return grade.word if grade.grade == len(GRADE_WORDS) - 1 else f"at least {grade.word}"


def beside(grade: Grade) -> str:
    """The hospital's own grade, to stand beside the model's; empty where there is none."""
    if grade.reported is None:
        return ""
    return f"; the hospital grades it {GRADE_WORDS[grade.reported]}"


def is_missed(grade: Grade) -> bool:
    """Whether the hospital reads a fracture where the model does not."""
    return (grade.reported or 0) >= FRACTURE_GRADE > grade.grade


def is_uncertain(grade: Grade) -> bool:
    """Whether a fracture is less likely than not, and yet worth a look."""
    close = grade.suspicion >= WORTH_A_LOOK or (grade.decision or 0) >= FRACTURE_GRADE
    return grade.grade < FRACTURE_GRADE and close and not is_missed(grade)


def _read(own: Conclusion | None) -> str:
    """Say which fractures the hospital reads itself, whether a model graded them or not."""
    read = {} if own is None else own.grades
    each = [
        f"{name} {GRADE_WORDS[grade]}" for name, grade in read.items() if grade >= FRACTURE_GRADE
    ]
    return f"Vertebral fracture by the hospital's own reading: {listed(each)}." if each else ""


def _missed(grades: Iterable[Grade]) -> str:
    """Say which fractures that the hospital reads no model finds."""
    missed = [
        f"{g.region} ({g.suspicion:.0%} for at least moderate)" for g in grades if is_missed(g)
    ]
    if not missed:
        return ""
    return (
        f"The model does not find the fracture of {listed(missed)}; the hospital's reading stands. "
    )


def _fractures(grades: Sequence[Grade]) -> str:
    """Say which fractures the model suspects, and of which vertebrae it is uncertain."""
    if not grades:
        return "Vertebral fractures were not assessed by the model."
    suspected = [g for g in grades if g.grade >= FRACTURE_GRADE]
    mild = [
        f"{g.region} ({g.chance:.0%}{beside(g)})"
        for g in grades
        if g.grade == 1 and not is_uncertain(g) and not is_missed(g)
    ]
    uncertain = [
        f"{g.region} ({g.suspicion:.0%} for at least moderate{beside(g)})"
        for g in grades
        if is_uncertain(g)
    ]
    also = f"; at least mild deformity of {listed(mild)}" if mild else ""
    look = f" Uncertain: {listed(uncertain)}; look at the image." if uncertain else ""
    if suspected:
        each = listed([f"{g.region} {at_least(g)} ({g.chance:.0%}{beside(g)})" for g in suspected])
        return (
            f"Vertebral fracture suspected by the model: {each}{also}.{look} {_missed(grades)}"
            "A vertebral fracture without major trauma matters whatever the T-score is."
        )
    many = counted(len(grades) - len(uncertain), "vertebra", "vertebrae")
    text = f"No moderate or severe vertebral fracture was seen in {many}"
    if any(map(is_missed, grades)):
        text = f"It suspects no moderate or severe vertebral fracture in {many}"
    also += ", on which readers often differ" if mild else ""
    return f"{_missed(grades)}{text}{also}.{look} This does not prove that there is none."


def _gaps(findings: Findings) -> str:
    """Say what could not be assessed and why; what is not scored stands further up."""
    told = set(unscored_gaps(findings.measurements))
    by_why: dict[str, list[NotAssessed]] = {}
    for gap in findings.not_assessed:
        if gap not in told:
            by_why.setdefault(gap.why, []).append(gap)
    each = [f"{listed([gap.what for gap in gaps])}, because {why}" for why, gaps in by_why.items()]
    return f"Could not be assessed: {'; '.join(each)}." if each else ""


def _doubtful(findings: Findings) -> str:
    regions = {
        region_words(flag.subject): None
        for flag in findings.quality
        if flag.source == "image" and flag.code in ABOUT_OUTLINES
    }
    if not regions:
        return ""
    return (
        f"Doubtful outlines of {listed(list(regions))}: look at the images before anything is "
        "concluded."
    )


def _advice(findings: Findings, own: Conclusion | None, estimate: Conclusion | None) -> str:
    read = () if own is None else own.grades.values()
    fractured = max([*read, *(g.grade for g in findings.grades)], default=0) >= FRACTURE_GRADE
    low = {BoneClass.LOW_BONE_MASS, BoneClass.OSTEOPOROSIS, BoneClass.BELOW_EXPECTED}
    if any(map(is_missed, findings.grades)):
        seen = any(grade.grade >= FRACTURE_GRADE for grade in findings.grades)
        also = "confirm the fracture on radiographs and " if seen else ""
        return (
            f"Refer to a physician; a radiologist should {also}look at what the two readings "
            "differ in."
        )
    if fractured:
        return "Refer to a physician; a radiologist should confirm the fracture on radiographs."
    if _class_of(own) in low:
        return "Refer to a physician, who weighs the measured values with the risk factors."
    if estimate is not None and estimate.bone_class in low:
        return "Refer to DXA reporting and to a physician, who weighs it with the risk factors."
    return "A physician decides, with the DXA report and the clinical risk factors."
