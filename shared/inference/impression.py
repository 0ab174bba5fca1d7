"""The impression: what the hospital measured and read, then what the models estimate.

What was measured stands first, an estimate beside it and said to be one. What could not be
assessed is an answer, and says why. What it says of fractures is in `shared.inference.fractures`.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Final

from shared.clinical.scores import BoneClass
from shared.findings.bare_estimates import film_sentence, is_bare, is_from_film, only_bare
from shared.findings.chances import stated_chances
from shared.findings.ct_estimates import CT_SPINE, estimate_sentence
from shared.findings.facts import Measurement, NotAssessed
from shared.findings.findings import FRACTURE_GRADE, Findings
from shared.findings.region_names import region_words
from shared.inference.conclusions import by_reason
from shared.inference.fitness import (
    LARGEST_ERROR_T,
    error_t,
    judge,
    recorded_error,
    ungraded_reasons,
    unrecorded,
    unscored_gaps,
)
from shared.inference.fractures import is_missed, read_fractures, seen_fractures
from shared.inference.schema import Conclusion, ModelFacts
from shared.phrases import listed, signed
from shared.records import Covariates

#: How what is not assessed begins where a version may not grade (`shared.inference.fitness`).
FRACTURES: Final = "fractures of"
#: Flags of an image that say of a region that its outline may be wrong.
ABOUT_OUTLINES: Final = ("cut_off", "not_found", "area", "fragmented")

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
#: Said beside an estimate of whose version no error is recorded.
NO_ERROR: Final = "how far the version is off is not recorded"

#: Classes by a Z-score; the WHO's are no classes of the same kind.
BY_AGE: Final = (BoneClass.EXPECTED_FOR_AGE, BoneClass.BELOW_EXPECTED)
LOW: Final = (BoneClass.LOW_BONE_MASS, BoneClass.OSTEOPOROSIS, BoneClass.BELOW_EXPECTED)


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
        that the estimate differs in class, or is not assessed. Otherwise a fracture that the
        model suspects, else what is not assessed because the version is not good enough, else
        the estimate. A suspected fracture stands before what is not assessed. It ends with what
        was found by versions of which no error is recorded. The last is the advice.
    """
    own = next((one for one in conclusions if one.basis == "hospital"), None)
    estimate = next((one for one in conclusions if one.basis == "estimate"), None)
    estimated, not_assessed = "", ""
    only_chances = bool(findings.chances) and not findings.measurements
    if estimate is not None and not only_chances and not only_bare(findings.measurements):
        not_assessed = _not_assessed(findings.measurements, models, estimate.kind)
        estimated = _estimated(estimate, own, findings.measurements, models, covariates)
    lead = _joined(_measured(own, covariates), read_fractures(own))
    ungraded = ungraded_reasons(models).values()
    whys = [
        gap.why
        for gap in findings.not_assessed
        if gap.why in ungraded and gap.what.startswith(FRACTURES)
    ]
    fractures = seen_fractures(findings.grades, whys[0] if whys else "")
    if lead and _differ(estimate, own):
        lead, estimated = _joined(lead, estimated), ""
    if any(grade.grade >= FRACTURE_GRADE for grade in findings.grades):
        sentences = [lead, fractures, _joined(not_assessed, estimated)]
    elif lead and not_assessed:
        sentences = [_joined(lead, not_assessed), estimated, fractures]
    else:
        sentences = [lead, _joined(not_assessed, estimated), fractures]
    film = _from_film(findings.measurements, models)  # a radiograph's study has nothing else
    sentences = ["" if lead else film, *sentences]
    # what is suspected stands before what was not looked for
    at = 1 if any(one.positive for one in findings.chances) else len(sentences)
    sentences.insert(at, stated_chances(findings.chances))
    sentences += [_from_ct(findings.measurements, models), film if lead else ""]
    sentences += [_gaps(findings, whys), _doubtful(findings), _advice(findings, own, estimate)]
    first, *rest = (sentence for sentence in sentences if sentence)
    return _joined(first, _not_known(unrecorded(findings, models), first)), *rest


def _not_known(what: Sequence[str], first: str) -> str:
    """Say of which findings no error is recorded, but for an estimate that says so itself."""
    left = [one for one in what if one != "bone density" or NO_ERROR not in first]
    if not left:
        return ""
    how_good = "how good it is" if left == ["bone density"] else "how good they are"
    return f"No error is recorded of the model's {listed(left)}: {how_good} is not known."


def _from_ct(measurements: Sequence[Measurement], models: Sequence[ModelFacts]) -> str:
    """Say what is estimated from CT, which counts in no class."""
    recorded = {model.task: recorded_error(model, CT_SPINE) for model in models}
    known = {task: error for task, error in recorded.items() if error is not None}
    return estimate_sentence(measurements, known)


def _from_film(measurements: Sequence[Measurement], models: Sequence[ModelFacts]) -> str:
    """Say what is estimated from a radiograph, which counts in no class either."""
    by_task = {model.task: model for model in models}
    errors = {
        one.region: recorded_error(by_task[one.task], one.region)
        for one in measurements
        if is_from_film(one) and one.task in by_task
    }
    return film_sentence(measurements, errors)


def _joined(*sentences: str) -> str:
    return " ".join(sentence for sentence in sentences if sentence)


def _measured(own: Conclusion | None, covariates: Covariates) -> str:
    """Say what the hospital's diagnoses are, and what its own BMD comes to by our references."""
    if own is None:
        return ""
    sentences = []
    if own.diagnoses:
        sentences.append(f"The hospital's diagnosis: {listed(own.diagnoses)}.")
    if own.bone_class is not None:
        sentences.append(
            "From the hospital's BMD, by this program's references: bone density "
            f"{CLASS_WORDS[own.bone_class]}{_by_the_who(own)}, {_where(own, '')}"
            f"{_why_z(own, covariates)}."
        )
        sentences += _not_judged(own)
        said = diagnosed(own)
        if said and own.bone_class not in BY_AGE and said != {own.bone_class}:
            sentences.append(
                "The hospital's diagnosis and this class of its BMD differ; look at its report."
            )
    elif own.note:
        sentences.append(f"From the hospital's BMD no class of bone density is given: {own.note}.")
    if own.suspected:
        one = len(own.suspected) == 1
        sentences.append(
            f"The model suspects {'a fracture' if one else 'fractures'} of "
            f"{listed(own.suspected)}: {'its' if one else 'their'} measured density may read too "
            "high."
        )
    return " ".join(sentences)


def _estimated(
    estimate: Conclusion,
    own: Conclusion | None,
    measurements: Sequence[Measurement],
    models: Sequence[ModelFacts],
    covariates: Covariates,
) -> str:
    """Say what the models estimate beside what was measured, or why they give no class."""
    told = {one.region for one in measurements if one.not_scored}  # as not assessed
    rest = _not_judged(estimate, {*told, *(() if own is None else own.not_judged)})
    if estimate.bone_class is None or estimate.score is None:
        if told:
            return _joined(*rest)
        if own is not None and _class_of(own):
            return f"The model's estimate gives no class: {estimate.note}."
        return f"No class of bone density is given: {estimate.note}."
    where = f"{_where(estimate, 'estimated ')} ({_error(estimate, measurements, models)})"
    words = CLASS_WORDS[estimate.bone_class]
    if not _comparable(estimate, own):
        by_whom, why_z = _by_the_who(estimate), _why_z(estimate, covariates)
        return _joined(f"Estimated bone density {words}{by_whom}: {where}{why_z}.", *rest)
    if _differ(estimate, own):
        measured = own is not None and own.bone_class is not None
        stands = "measured values stand" if measured else "hospital's diagnosis stands"
        return _joined(f"The model's estimate differs: {words}, {where}; the {stands}.", *rest)
    return _joined(f"The model's estimate is of the same class: {where}.", *rest)


def _not_judged(conclusion: Conclusion, told: Collection[str] = ()) -> list[str]:
    """Say of the sites with a BMD that do not count why, but for those that are told elsewhere."""
    whose = "" if conclusion.basis == "hospital" else " of the estimates"
    untold = {region: why for region, why in conclusion.not_judged.items() if region not in told}
    return [
        f"Not judged{whose}: the {listed(list(map(region_words, regions)))}, because {why}."
        for why, regions in by_reason(untold).items()
    ]


def _not_assessed(
    measurements: Sequence[Measurement], models: Sequence[ModelFacts], kind: str
) -> str:
    """Say which densities the model may not score, and why; empty where it may score all."""
    unscored = [one for one in measurements if one.not_scored]
    if not unscored:
        return ""
    by_task = {model.task: model for model in models}
    far, flat, other = [], [], []
    for one in unscored:
        model, place = by_task[one.task], region_words(one.region)
        unfit = judge(model, one.region)
        if unfit is not None and unfit.kind == "error":
            far.append(f"{_off_by(model, one.region, kind)} at the {place}")
        elif unfit is not None and unfit.kind == "mean":
            flat.append(place)
        else:
            other.append(one.not_scored)
    reasons = list(dict.fromkeys(other))
    if far:
        most = f"{LARGEST_ERROR_T:.0f} T-score"
        most = "one standard deviation of young adults" if kind == "Z" else most
        reasons.append(
            f"off by {listed(far)} on average on validation patients (at most {most} is accepted)"
        )
    if flat:
        reasons.append(
            f"no better on validation patients than always saying their mean at the {listed(flat)}"
        )
    what, there = "bone density", ""
    if len(unscored) < len(measurements):
        what += f" of the {listed([region_words(one.region) for one in unscored])}"
        there = " there"
    score = "score" if kind == "neither" else f"{kind}-score"
    return (
        f"Not assessed by the model: {what}, because this version of the model is "
        f"{', and '.join(reasons)}. So it gives no {score} and no class{there}."
    )


def _off_by(model: ModelFacts, region: str, kind: str) -> str:
    """An error as the patient's scores are told; a Z-score has no one unit, so g/cm²."""
    if kind == "Z":
        return f"{recorded_error(model, region) or 0.0:.3f} g/cm²"
    return f"{error_t(model, region) or 0.0:.2f} T-scores"


def diagnosed(own: Conclusion) -> set[str]:
    """Classes that the hospital's diagnoses say, by words that are known."""
    said = (name.strip().casefold() for name in own.diagnoses)
    return {DIAGNOSED[name] for name in said if name in DIAGNOSED}


def _class_of(own: Conclusion) -> str | None:
    """Class of the hospital: by its values, otherwise by its diagnosis."""
    said = diagnosed(own)
    return own.bone_class or (said.pop() if len(said) == 1 else None)


def _comparable(estimate: Conclusion, own: Conclusion | None) -> bool:
    """Whether hospital and estimate both have a class, and of the same kind: WHO's or by age."""
    theirs = None if own is None else _class_of(own)
    ours = estimate.bone_class
    return theirs is not None and ours is not None and (theirs in BY_AGE) == (ours in BY_AGE)


def _differ(estimate: Conclusion | None, own: Conclusion | None) -> bool:
    """Whether estimate and hospital give two classes of the same kind."""
    if estimate is None or own is None or not _comparable(estimate, own):
        return False
    return _class_of(own) != estimate.bone_class


def _where(conclusion: Conclusion, kind: str) -> str:
    """The score that a class rests on, and its place; `kind` is ``estimated `` or nothing."""
    place = region_words(conclusion.site or "")
    if conclusion.basis == "hospital" and conclusion.site == "L1-L4" and conclusion.left_out:
        place = f"lumbar spine without {listed(list(conclusion.left_out))}"
    of_those = " of the sites judged" if conclusion.not_judged else ""
    unsure = "" if conclusion.verified else " (reference unverified)"
    score = f"{conclusion.kind}-score{of_those} {signed(conclusion.score or 0.0)}{unsure}"
    return f"lowest {kind}{score} at the {place}"


def _by_the_who(conclusion: Conclusion) -> str:
    return " by the WHO classes" if conclusion.kind == "T" else ""


def _why_z(conclusion: Conclusion, covariates: Covariates) -> str:
    if conclusion.kind != "Z":
        return ""
    who = "a woman under 50" if covariates.sex == "F" else "a man under 50"
    return f"; for {who} the Z-score is used and the WHO classes do not apply"


def _error(
    estimate: Conclusion, measurements: Sequence[Measurement], models: Sequence[ModelFacts]
) -> str:
    """How far the version is off whose estimate a conclusion rests on."""
    by_task = {model.task: model for model in models}
    for one in measurements:
        score = one.t_score if estimate.kind == "T" else one.z_score
        known = one.region == estimate.site and one.task in by_task
        if known and score is not None and score.value == estimate.score:
            model = by_task[one.task]
            if error_t(model, one.region) is not None:
                off = _off_by(model, one.region, estimate.kind)
                return f"off by {off} on average on validation patients"
    return NO_ERROR


def _gaps(findings: Findings, told_whys: Sequence[str]) -> str:
    """Say what could not be assessed and why; what a version may not do stands further up."""
    told = set(unscored_gaps(findings.measurements))
    by_why: dict[str, list[NotAssessed]] = {}
    for gap in findings.not_assessed:
        if gap not in told and gap.why not in told_whys:
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
    if any(map(is_missed, findings.grades)):
        seen = any(grade.grade >= FRACTURE_GRADE for grade in findings.grades)
        also = "confirm the fracture on radiographs and " if seen else ""
        return (
            f"Refer to a physician; a radiologist should {also}look at what the two readings "
            "differ in."
        )
    if fractured:
        return "Refer to a physician; a radiologist should confirm the fracture on radiographs."
    if own is not None and {own.bone_class, *diagnosed(own)} & set(LOW):
        what = "measured values" if own.bone_class else "hospital's diagnosis"
        return f"Refer to a physician, who weighs the {what} with the risk factors."
    if estimate is not None and estimate.bone_class in LOW:
        return "Refer to DXA reporting and to a physician, who weighs it with the risk factors."
    suspected = any(one.positive for one in findings.chances)
    if suspected or any(map(is_bare, findings.measurements)):
        return "Refer to DXA; a physician decides, with its report and the clinical risk factors."
    return "A physician decides, with the DXA report and the clinical risk factors."
