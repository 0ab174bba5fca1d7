"""What stands first in a report: what was measured, and what is not assessed."""

import re
from collections.abc import Mapping, Sequence

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from shared.findings.facts import QualityFlag
from shared.findings.findings import Findings
from shared.inference.assemble import Subject, assemble
from shared.inference.schema import Prediction
from shared.records import Covariates, StudyLabels, Vendor, View
from shared.regions import VERTEBRAE
from tests.shared.inference_cases import (
    GRADE_METRICS,
    LOW,
    MODERATE,
    NORMAL,
    OSTEOPOROTIC,
    hand_made,
    html,
    make_subject,
    models,
    predict,
    recorded,
)

#: BMD of a Lunar scanner, g/cm²: the class of each by the hip.
OWN = {"normal": 1.10, "low bone mass": 0.80, "osteoporosis": 0.60}
CLASSES = {"normal": NORMAL, "low bone mass": LOW, "osteoporosis": OSTEOPOROTIC}
#: Less likely than not of grade 2 or more, and severe the likeliest of those.
UNLIKELY = (0.46, 0.10, 0.14, 0.30)


#: How what follows from the hospital's BMD begins.
OWN_BMD = "From the hospital's BMD, by this program's references: bone density "


def measured(value: float) -> Subject:
    return make_subject(labels=StudyLabels(bmd={"total_hip": value}))


@pytest.mark.parametrize("own", OWN)
@pytest.mark.parametrize("estimated", CLASSES)
def test_the_headline_is_what_was_measured_and_says_where_the_estimate_differs(
    own: str, estimated: str
) -> None:
    prediction = predict(measured(OWN[own]), CLASSES[estimated], {"L1": MODERATE})
    by_basis = {one.basis: one.bone_class for one in prediction.conclusions}
    assert by_basis == {"estimate": estimated, "hospital": own}
    first, *rest = prediction.narrative.impression
    assert first.startswith(OWN_BMD)
    assert first.split(", lowest")[0].endswith(" by the WHO classes")
    differs = "The model's estimate differs: "
    assert (differs in first) == (own != estimated)
    assert not any(differs in sentence for sentence in rest)
    assert ("the same class" in " ".join(rest)) == (own == estimated)


@pytest.mark.parametrize("diagnosis", ["Osteoporosis", "under treatment"])
def test_the_hospitals_diagnosis_leads_in_its_own_words(diagnosis: str) -> None:
    labels = StudyLabels(classes={diagnosis: 1.0})
    first = predict(make_subject(labels=labels), NORMAL).narrative.impression[0]
    assert first.startswith(f"The hospital's diagnosis: {diagnosis}.")
    known = diagnosis == "Osteoporosis"
    assert ("differs: in the normal range" in first) == known
    assert ("the hospital's diagnosis stands" in first) == known


def unfit(
    subject: Subject,
    grades: Mapping[str, Sequence[float]] | None = None,
    /,
    **metrics: float,
) -> Prediction:
    found = hand_made(subject, OSTEOPOROTIC, grades)
    return assemble(subject, found, recorded(**metrics))[0]


BAD = {"mae_lumbar": 0.16, "mae_femoral_neck": 0.14, "mae_total_hip": 0.15}


def test_a_version_that_is_off_by_more_than_a_t_score_gives_no_score_and_the_first_line_says_so(
) -> None:  # fmt: skip
    prediction = unfit(make_subject(), **BAD)
    first = prediction.narrative.impression[0]
    assert first.startswith("Not assessed by the model: bone density, because this version of the ")
    # 0.16 sBMD is 0.16/1.0550 = 0.1517 g/cm² on Hologic's scale, and 1.38 SD of 0.110
    assert "1.38 T-scores at the lumbar spine L1-L4" in first
    everything = " ".join([*prediction.narrative.impression, *prediction.narrative.findings])
    for word in ("osteoporosis", "osteopenia", "normal range", "T-score −", "T-score +"):
        assert word not in everything
    [concluded] = prediction.conclusions
    assert (concluded.bone_class, concluded.score, concluded.site) == (None, None, None)
    for one in prediction.measurements:
        assert (one.t_score, one.z_score, one.bone_class) == (None, None, None)
        assert one.not_scored
        assert one.value > 0.3  # the density itself stays
    assert len([gap for gap in prediction.not_assessed if "bone density" in gap.what]) == 3


def test_what_was_measured_still_leads_where_the_version_is_not_good_enough() -> None:
    prediction = unfit(measured(OWN["low bone mass"]), **BAD)
    first = prediction.narrative.impression[0]
    assert first.startswith(f"{OWN_BMD}in the range of low bone mass")
    assert "Not assessed by the model: bone density" in first
    assert "osteoporosis" not in " ".join(prediction.narrative.impression)
    [hip] = [one for one in prediction.measurements if one.region == "total_hip"]
    assert hip.t_score is None
    assert hip.reported_t_score is not None


def test_a_site_whose_error_is_small_enough_is_scored_beside_one_whose_is_not() -> None:
    prediction = unfit(make_subject(), mae_lumbar=0.16, mae_total_hip=0.05)
    scored = {one.region for one in prediction.measurements if one.t_score is not None}
    assert scored == {"femoral_neck", "total_hip"}
    first = prediction.narrative.impression[0]
    assert first.startswith("Not assessed by the model: bone density of the lumbar spine L1-L4,")
    assert "Estimated bone density" in first


def test_the_error_of_the_version_stands_beside_its_estimate() -> None:
    subject = make_subject()
    said = assemble(subject, hand_made(subject), recorded(mae_lumbar=0.0613))[0]
    # 0.0613/1.0550 over 0.110
    assert (
        "(off by 0.53 T-scores on average on validation patients)" in said.narrative.impression[0]
    )
    unknown = assemble(subject, hand_made(subject), models())[0]
    assert "how far the version is off is not recorded" in unknown.narrative.impression[0]


def test_a_fracture_that_is_less_likely_than_not_is_neither_severe_nor_suspected() -> None:
    prediction = predict(make_subject(), NORMAL, {"L1": UNLIKELY})
    text = " ".join(prediction.narrative.impression)
    assert "suspected" not in text
    assert "severe (" not in text
    assert "L1 severe" not in text
    assert "The model is uncertain of L1 (44% for at least moderate); look at the image." in text
    assert "The model saw no moderate or severe fracture in 12 vertebrae." in text


def test_what_a_task_decides_below_a_half_is_worth_a_look_and_no_grade() -> None:
    subject = make_subject()
    found = hand_made(subject)
    [grades] = [part.grades for part in found if part.grades]
    decided = tuple(
        one.model_copy(update={"decision": 3}) if one.region == "L1" else one for one in grades
    )
    parts = [*(part for part in found if not part.grades), Findings(grades=decided)]
    text = " ".join(assemble(subject, parts, models())[0].narrative.impression)
    assert "The model is uncertain of L1 (2% for at least moderate)" in text
    assert "suspected" not in text


@example([0.45359237, 0.0625, 0.0625, 0.45359237], None)  # a half, but for the last bit
@settings(max_examples=80, deadline=None)
@given(st.lists(st.floats(0.01, 1.0), min_size=4, max_size=4), st.sampled_from([None, 0, 2, 3]))
def test_the_percentage_belongs_to_the_grade_that_is_said(
    weights: Sequence[float], own: int | None
) -> None:
    labels = StudyLabels() if own is None else StudyLabels(genant={"L1": own})
    prediction = predict(make_subject(labels=labels), NORMAL, {"L1": weights})
    [grade] = [one for one in prediction.grades if one.region == "L1"]
    text = " ".join(prediction.narrative.impression)
    chance = sum(weights[grade.grade :]) / sum(weights)
    expected = chance if grade.grade else weights[0] / sum(weights)
    assert grade.chance == pytest.approx(expected, abs=1e-3)
    if grade.grade:
        assert grade.chance > 0.5
    if grade.grade >= 2:
        words = "severe" if grade.grade == 3 else "at least moderate"
        assert f"L1 {words} ({grade.chance:.0%}" in text
    else:
        assert "fracture suspected" not in text
    if grade.grade >= 2 and own is not None:
        assert "; the hospital grades it" in text


def test_what_could_not_be_assessed_says_why_once() -> None:
    text = " ".join(predict(make_subject(views=(View.SPINE_PA,)), None).narrative.impression)
    why = ", because the study has no such image."
    assert f"the left proximal femur and the lateral spine (VFA){why}" in text
    assert text.count("because") == 1


def test_what_the_hospital_reads_leads_also_where_no_model_graded_the_vertebra() -> None:
    subject = make_subject(views=(View.SPINE_PA,), labels=StudyLabels(genant={"T8": 3, "T9": 0}))
    prediction = predict(subject, None)
    assert prediction.grades == ()
    sentences = prediction.narrative.impression
    assert sentences[0].startswith("Vertebral fracture by the hospital's own reading: T8 severe.")
    assert "Vertebral fractures were not assessed by the model." in sentences
    assert sentences[-1].startswith("Refer to a physician; a radiologist should confirm")
    page = " ".join(html(subject, None).split())
    assert '<td>Hospital\'s grade</td><td><span class="chip alert">3</span></td><td>0</td>' in page
    assert "Model's grade" not in page
    assert '<section class="impression alert">' in page


ALL = dict.fromkeys(VERTEBRAE, (0.02, 0.08, 0.75, 0.15))


def test_many_fractures_are_named_before_their_grades() -> None:
    read = StudyLabels(genant=dict.fromkeys(VERTEBRAE, 2))
    first = predict(make_subject(labels=read), NORMAL).narrative.impression[0]
    own = "Vertebral fractures by the hospital's own reading: T4 to L4. The hospital's grades: T4 "
    assert first.startswith(own)
    first = predict(make_subject(), NORMAL, ALL).narrative.impression[0]
    seen = "Vertebral fractures suspected by the model: T4 to L4. The model's grades: T4 at least "
    assert first.startswith(seen)
    assert "L4 at least moderate (90%)" in first


@pytest.mark.parametrize("own", [StudyLabels(), StudyLabels(bmd={"total_hip": 1.1})])
def test_the_first_lines_say_of_which_findings_no_error_is_recorded(own: StudyLabels) -> None:
    """Federated versions of fractures record none: sums that tell it leave no hospital."""
    subject = make_subject(labels=own)
    density = {"mae_lumbar": 0.05, "mae_femoral_neck": 0.05, "mae_total_hip": 0.05}
    by_task = {"dxa-segmentation": {"dice": 0.9}, "dxa-bmd": density, "vfa-fracture": {"kappa": 1}}
    words = {"dxa-segmentation": "outlines", "dxa-bmd": "bone density", "vfa-fracture": "fractures"}

    def first(*silent: str) -> str:
        facts = [
            one.model_copy(update={"metrics": {} if one.task in silent else by_task[one.task]})
            for one in recorded()
        ]
        prediction = assemble(subject, hand_made(subject, NORMAL), facts)[0]
        assert len(prediction.grades) == 13
        assert all(one.t_score for one in prediction.measurements)
        return prediction.narrative.impression[0]

    assert "recorded" not in first()
    for task in ("dxa-segmentation", "vfa-fracture"):
        said = f"No error is recorded of the model's {words[task]}: how good they are is not known."
        assert first(task).endswith(said)
    leads = "how far the version is off is not recorded" in first("dxa-bmd")
    assert leads == (own == StudyLabels())
    measured_leads = (
        "No error is recorded of the model's bone density: how good it is is not known."
    )
    assert (measured_leads in first("dxa-bmd")) == (not leads)
    assert "the model's fractures and outlines: " in first("dxa-segmentation", "vfa-fracture")


def test_an_outline_in_pieces_is_doubtful() -> None:
    subject = make_subject()
    flag = QualityFlag(source="image", code="fragmented", subject="T8", words="was outlined in 2")
    prediction, _ = assemble(subject, [*hand_made(subject), Findings(quality=(flag,))], models())
    assert any(one.startswith("Doubtful outlines of T8") for one in prediction.narrative.impression)


@pytest.mark.parametrize("covariates", [Covariates(), Covariates("F", 14.0)])
def test_measured_values_without_a_class_still_lead(covariates: Covariates) -> None:
    labels = StudyLabels(bmd={"total_hip": 0.6})
    first = predict(make_subject(covariates=covariates, labels=labels)).narrative.impression[0]
    assert first.startswith("From the hospital's BMD no class of bone density is given: sex and")


def test_one_vertebra_is_said_in_the_singular() -> None:
    grades = dict.fromkeys(VERTEBRAE[1:], UNLIKELY)
    narrative = predict(make_subject(), NORMAL, grades).narrative
    assert "saw no moderate or severe fracture in 1 vertebra." in " ".join(narrative.impression)
    assert "The model grades 1 vertebra as not fractured." in narrative.findings


def test_a_suspected_fracture_stands_before_what_is_not_assessed() -> None:
    for own in (make_subject(), measured(OWN["normal"])):
        sentences = unfit(own, {"L1": MODERATE}, **BAD).narrative.impression
        text = " ".join(sentences)
        assert text.index("fracture suspected by the model") < text.index("Not assessed by the")
    assert (
        unfit(make_subject(), {"L1": MODERATE}, **BAD)
        .narrative.impression[0]
        .startswith("Vertebral fracture suspected by the model: L1")
    )


def test_a_vertebra_that_a_model_suspects_stays_in_the_measured_spine_and_is_named() -> None:
    subject = make_subject(labels=StudyLabels(bmd={"L1-L4": 0.90}))
    first = predict(subject, NORMAL, {"L2": MODERATE}).narrative.impression[0]
    assert first.startswith(OWN_BMD)
    assert "at the lumbar spine L1-L4" in first
    assert "The model suspects a fracture of L2: its measured density may read too high." in first


def test_a_score_against_an_unverified_reference_is_marked_in_the_headline_and_the_table() -> None:
    woman = Covariates("F", 30.0)  # the table by age of her hip was read at second hand
    labels = StudyLabels(bmd={"total_hip": 0.80})
    subject = make_subject(covariates=woman, labels=labels, vendor=Vendor.HOLOGIC)
    first = predict(subject, NORMAL).narrative.impression[0]
    assert "(reference unverified) at the total hip" in first
    [row] = re.findall(r">Total hip</td>.*?</tr>", html(subject, None), re.DOTALL)
    assert "</strong> *</td>" in " ".join(row.split())
    verified = measured(OWN["normal"])
    assert "unverified" not in predict(verified, None).narrative.impression[0]
    assert "</strong> *" not in html(verified, None)


def test_one_site_that_is_not_scored_has_no_score_there_only() -> None:
    first = unfit(make_subject(), mae_lumbar=0.16, mae_total_hip=0.05).narrative.impression[0]
    assert "So it gives no T-score and no class there." in first
    whole = unfit(make_subject(), **BAD).narrative.impression[0]
    assert "So it gives no T-score and no class." in whole


def test_before_fifty_an_error_is_told_in_the_unit_of_the_density() -> None:
    young = make_subject(covariates=Covariates("F", 35.0), vendor=Vendor.HOLOGIC)
    said = unfit(young, mae_total_hip=0.0613).narrative.impression[0]
    assert "(off by 0.061 g/cm² on average on validation patients)" in said
    poor = unfit(young, **BAD).narrative.impression[0]
    assert "off by 0.160 g/cm² at the lumbar spine L1-L4" in poor
    assert "So it gives no Z-score and no class." in poor
    assert "T-score" not in poor


def test_sites_that_are_not_judged_are_said_and_the_lowest_is_of_the_others() -> None:
    labels = StudyLabels(bmd={"femoral_neck": 0.6, "total_hip": 1.0})
    young = make_subject(covariates=Covariates("F", 45.0), labels=labels, vendor=Vendor.HOLOGIC)
    first = predict(young, None).narrative.impression[0]
    assert "lowest Z-score of the sites judged " in first
    assert "Not judged: the femoral neck, because no published table by age is known to" in first
    assert "of the sites judged" not in predict(measured(1.0), None).narrative.impression[0]


def graded(subject: Subject, **metrics: float) -> Prediction:
    facts = [
        one.model_copy(update={"metrics": metrics, "grade_metrics": GRADE_METRICS})
        if one.task == "vfa-fracture"
        else one
        for one in models()
    ]
    return assemble(subject, hand_made(subject, NORMAL, {"L1": MODERATE}), facts)[0]


def test_a_version_that_tells_fractures_no_better_than_chance_gives_no_grades() -> None:
    poor = graded(make_subject(), auc_grade2=0.48)
    assert poor.grades == ()
    [sentence] = [one for one in poor.narrative.impression if "fractures were not assessed" in one]
    assert "no better on validation patients than always saying the same" in sentence
    assert "by vertebra: 0.48, where that gives 0.50" in sentence
    assert "suspected" not in " ".join(poor.narrative.impression)
    assert "L1-L4" not in " ".join(one for one in poor.conclusions[0].not_judged)
    [gap] = [gap for gap in poor.not_assessed if gap.what.startswith("fractures of ")]
    assert gap.what == "fractures of T4 to L4"
    good = graded(make_subject(), auc_grade2=0.91, kappa=0.4)
    assert len(good.grades) == 13
    limits = " ".join(good.narrative.limits)
    assert "AUC, fracture grade ≥ 2, by vertebra: 0.91" in limits
    assert "How well this version tells fractures is not recorded." in " ".join(
        graded(make_subject()).narrative.limits
    )


def test_a_vertebra_that_the_hospital_grades_0_is_not_fractured_by_its_words() -> None:
    subject = make_subject(labels=StudyLabels(genant={"L1": 0}))
    text = " ".join(predict(subject, NORMAL, {"L1": MODERATE}).narrative.impression)
    assert "the hospital grades it not fractured" in text
    assert "none" not in text.split("This does")[0].split()


@pytest.mark.parametrize(
    ("diagnosis", "grades", "tone"),
    [
        ("osteoporosis", {}, "alert"),
        ("normal", {}, "good"),
        ("low bone mass", {}, "watch"),
        ("metastasis", {}, ""),  # what it means for bone is not known here
        (None, {"L1": UNLIKELY}, "watch"),
    ],
)
def test_the_box_has_the_tone_of_the_worst_that_stands_in_it(
    diagnosis: str | None, grades: dict[str, tuple[float, ...]], tone: str
) -> None:
    labels = StudyLabels(classes={} if diagnosis is None else {diagnosis: 1.0})
    page = html(make_subject(labels=labels), NORMAL, grades)
    assert f'<section class="impression {tone}">' in page


def test_a_diagnosis_of_the_whos_is_no_class_by_age() -> None:
    young, labels = Covariates("F", 35.0), StudyLabels(classes={"normal": 1.0})
    subject = make_subject(covariates=young, labels=labels, vendor=Vendor.HOLOGIC)
    text = " ".join(predict(subject, NORMAL).narrative.impression)
    assert "Estimated bone density within the expected range for age" in text
    assert "differs" not in text
    assert "same class" not in text


def test_a_diagnosis_that_disagrees_with_the_bmd_is_said_to() -> None:
    differ = "The hospital's diagnosis and this class of its BMD differ"
    for said, differs in (("osteoporosis", True), ("Normal", False), ("under treatment", False)):
        labels = StudyLabels(bmd={"total_hip": OWN["normal"]}, classes={said: 1.0})
        sentences = predict(make_subject(labels=labels), NORMAL).narrative.impression
        assert (differ in sentences[0]) == differs
        assert ("Refer to a physician" in sentences[-1]) == differs
