"""What stands first in a report: what was measured, and what is not assessed."""

from collections.abc import Sequence

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from shared.findings.facts import QualityFlag
from shared.findings.findings import Findings
from shared.inference.assemble import Subject, assemble
from shared.inference.schema import Prediction
from shared.records import Covariates, StudyLabels, View
from shared.regions import VERTEBRAE
from tests.shared.inference_cases import (
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
    assert first.startswith("Measured by the hospital: bone density ")
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


def unfit(subject: Subject, **metrics: float) -> Prediction:
    found = hand_made(subject, OSTEOPOROTIC, {"L1": MODERATE})
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
    assert first.startswith("Measured by the hospital: bone density in the range of low bone mass")
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
    assert "(off by 0.53 T-scores on average)" in said.narrative.impression[0]
    unknown = assemble(subject, hand_made(subject), models())[0]
    assert "how far the version is off is not recorded" in unknown.narrative.impression[0]


def test_a_fracture_that_is_less_likely_than_not_is_neither_severe_nor_suspected() -> None:
    prediction = predict(make_subject(), NORMAL, {"L1": UNLIKELY})
    text = " ".join(prediction.narrative.impression)
    assert "suspected" not in text
    assert "severe (" not in text
    assert "L1 severe" not in text
    assert "Uncertain: L1 (44% for at least moderate); look at the image." in text
    assert "was seen in 12 vertebrae" in text


def test_what_a_task_decides_below_a_half_is_worth_a_look_and_no_grade() -> None:
    subject = make_subject()
    found = hand_made(subject)
    [grades] = [part.grades for part in found if part.grades]
    decided = tuple(
        one.model_copy(update={"decision": 3}) if one.region == "L1" else one for one in grades
    )
    parts = [*(part for part in found if not part.grades), Findings(grades=decided)]
    text = " ".join(assemble(subject, parts, models())[0].narrative.impression)
    assert "Uncertain: L1 (2% for at least moderate)" in text
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
    assert sentences[0] == "Vertebral fracture by the hospital's own reading: T8 severe."
    assert "Vertebral fractures were not assessed by the model." in sentences
    assert sentences[-1].startswith("Refer to a physician; a radiologist should confirm")
    page = " ".join(html(subject, None).split())
    assert '<td>Hospital\'s grade</td><td><span class="chip alert">3</span></td><td>0</td>' in page
    assert "Model's grade" not in page
    assert '<section class="impression alert">' in page


def test_an_outline_in_pieces_is_doubtful() -> None:
    subject = make_subject()
    flag = QualityFlag(source="image", code="fragmented", subject="T8", words="was outlined in 2")
    prediction, _ = assemble(subject, [*hand_made(subject), Findings(quality=(flag,))], models())
    assert any(one.startswith("Doubtful outlines of T8") for one in prediction.narrative.impression)


@pytest.mark.parametrize("covariates", [Covariates(), Covariates("F", 14.0)])
def test_measured_values_without_a_class_still_lead(covariates: Covariates) -> None:
    labels = StudyLabels(bmd={"total_hip": 0.6})
    first = predict(make_subject(covariates=covariates, labels=labels)).narrative.impression[0]
    assert first.startswith("Measured by the hospital, without a class of bone density: sex and")


def test_one_vertebra_is_said_in_the_singular() -> None:
    grades = dict.fromkeys(VERTEBRAE[1:], UNLIKELY)
    narrative = predict(make_subject(), NORMAL, grades).narrative
    assert "was seen in 1 vertebra." in " ".join(narrative.impression)
    assert "1 vertebra graded as not fractured." in narrative.findings
