"""What the report says in words, case by case, and what it never says."""

import math
import re
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.findings.region_names import levels
from shared.inference.assemble import assemble
from shared.inference.schema import SeriesFacts
from shared.inference.wording import narrate
from shared.records import Covariates, StudyLabels, Vendor, View
from shared.regions import REGION_CODES
from tests.shared.inference_cases import (
    LOW,
    MILD,
    MODERATE,
    NORMAL,
    OSTEOPOROTIC,
    hand_made,
    make_subject,
    models,
    predict,
)

OWN_BMD = "From the hospital's BMD, by this program's references: bone density "
#: Claims that no report may make.
FORBIDDEN = re.compile(
    r"rules? out|ruled out|excluded|no fracture is|no fracture was|healthy|FRAX|"
    r"diagnosis of|10-year|is osteoporosis|has osteoporosis",
    re.IGNORECASE,
)


def impression(*args: object, **kwargs: object) -> str:
    return " ".join(predict(*args, **kwargs).narrative.impression)  # type: ignore[arg-type]


def test_normal() -> None:
    text = impression(make_subject(), NORMAL)
    assert "Estimated bone density in the normal range by the WHO classes" in text
    assert "The model saw no moderate or severe fracture in 13 vertebrae" in text
    assert "does not prove that there is none" in text


def test_osteopenia() -> None:
    text = impression(make_subject(), LOW)
    assert "in the range of low bone mass (osteopenia)" in text
    assert "Refer to DXA" in text


def test_osteoporosis_names_the_site_and_the_score() -> None:
    text = impression(make_subject(), OSTEOPOROTIC)
    assert "in the range of osteoporosis" in text
    # sBMD 0.80 is Lunar (0.80 − 1.0436)/0.9683 + 1.100 = 0.8484; (0.8484 − 1.18)/0.12
    assert "lowest estimated T-score −2.8 at the lumbar spine L1-L4" in text
    assert "physician" in text


@pytest.mark.parametrize("vendor", [Vendor.HOLOGIC, Vendor.LUNAR])
@pytest.mark.parametrize("sex", ["F", "M"])
def test_before_fifty_the_z_score_counts_and_no_who_class_is_named(
    sex: str, vendor: Vendor
) -> None:
    """Only of a woman's total hip on a Hologic scanner; otherwise it is said to be withheld."""
    subject = make_subject(covariates=Covariates(sex, 35.0), vendor=vendor)
    prediction = predict(subject, OSTEOPOROTIC)
    text = " ".join(prediction.narrative.impression)
    given = (sex, vendor) == ("F", Vendor.HOLOGIC)
    assert ("below the expected range for age" in text) == given
    assert ("for a woman under 50 the Z-score is used" in text) == given
    withheld = "no published table by age is known to reproduce the Z-scores that such a scanner"
    assert withheld in text
    assert ("No class of bone density is given" in text) != given
    assert any("Elsewhere it is withheld." in one for one in prediction.narrative.limits)
    everything = " ".join([*prediction.narrative.impression, *prediction.narrative.findings])
    assert "osteoporosis" not in everything
    assert "osteopenia" not in everything


def test_a_fracture_comes_first() -> None:
    sentences = predict(make_subject(), NORMAL, {"L1": MODERATE, "T8": MILD}).narrative.impression
    assert sentences[0].startswith(
        "Vertebral fracture suspected by the model: L1 at least moderate (87%)"
    )
    assert "at least mild deformity of T8 (70%)" in sentences[0]
    assert "radiologist should confirm" in sentences[-1]


def test_a_fracture_that_only_the_hospital_saw_comes_first_and_stands_in_the_findings() -> None:
    subject = make_subject(labels=StudyLabels(genant={"T8": 3, "L1": 1}))
    narrative = predict(subject, NORMAL).narrative
    sentences = narrative.impression
    assert sentences[0].startswith("Vertebral fracture by the hospital's own reading: T8 severe.")
    assert "T8 (2% for at least moderate); the hospital's reading stands" in sentences[-2]
    assert "what the two readings differ in" in sentences[-1]
    [found] = [sentence for sentence in narrative.findings if sentence.startswith("T8")]
    assert (
        "severe fracture by the hospital's own reading; the model grades it not fractured" in found
    )
    assert any(
        "The model grades 12 vertebrae as not fractured" in one for one in narrative.findings
    )
    other = predict(subject, NORMAL, {"L1": MODERATE}).narrative.impression
    assert "confirm the fracture on radiographs and look at what the two readings" in other[-1]
    agreed = predict(subject, NORMAL, {"T8": MODERATE}).narrative.impression
    assert not any("does not find it" in sentence for sentence in agreed)
    both = predict(subject, NORMAL, {"L1": MODERATE}).narrative.impression
    assert both[0].startswith("Vertebral fracture by the hospital's own reading: T8 severe.")
    assert both[1].startswith("Vertebral fracture suspected by the model: L1 at least moderate")
    assert "(87%; the hospital grades it mild)" in both[1]


def test_a_missing_view_is_named_and_why() -> None:
    subject = make_subject(views=(View.SPINE_PA,))
    prediction = predict(subject, None)
    text = " ".join(prediction.narrative.impression)
    assert "Could not be assessed: the left proximal femur and the lateral spine (VFA)" in text
    assert "Vertebral fractures were not assessed by the model" in text
    assert "No class of bone density is given" in text
    assert any("has no such image" in gap.why for gap in prediction.not_assessed)


@pytest.mark.parametrize("covariates", [Covariates(), Covariates("F", None), Covariates("F", 14.0)])
def test_without_sex_or_an_adults_age_there_is_no_class(covariates: Covariates) -> None:
    text = impression(make_subject(covariates=covariates), OSTEOPOROTIC)
    assert "No class of bone density is given" in text
    assert "osteoporosis" not in text


def test_the_hospitals_measured_values_stand_where_they_differ() -> None:
    labels = StudyLabels(bmd={"total_hip": 0.60})
    prediction = predict(make_subject(labels=labels), NORMAL)
    text = " ".join(prediction.narrative.impression)
    assert text.startswith(f"{OWN_BMD}in the range of osteoporosis")
    first = prediction.narrative.impression[0]
    assert "The model's estimate differs: in the normal range, lowest estimated T-score" in first
    assert "the measured values stand" in first
    findings = " ".join(prediction.narrative.findings)
    # 0.600 of a Lunar is Hologic (0.979·0.600 − 0.031 − 0.006)/1.008 = 0.546; less 0.942, by 0.122
    own = "the hospital reports 0.600 g/cm² (T-score −3.2 by this program's references); "
    assert own in findings


def test_agreement_with_the_hospital_is_said() -> None:
    labels = StudyLabels(bmd={"total_hip": 1.10})
    first, second, *_ = predict(make_subject(labels=labels), NORMAL).narrative.impression
    assert first.startswith(f"{OWN_BMD}in the normal range by the WHO")
    assert second.startswith("The model's estimate is of the same class: lowest estimated T-score")


def test_a_spine_without_a_vertebra_is_not_called_the_whole_spine() -> None:
    labels = StudyLabels(bmd={"L1": 0.70, "L2": 0.78, "L3": 0.83, "L4": 0.85, "L1-L4": 0.8})
    labels = StudyLabels(bmd=labels.bmd, quality={"L4": 6})
    text = impression(make_subject(labels=labels), NORMAL)
    assert "at the lumbar spine without L4" in text


def test_limits_say_screening_error_lsc_and_research() -> None:
    limits = " ".join(predict(make_subject()).narrative.limits)
    for word in ("Research use only", "not a medical device", "never for monitoring", "5.3%"):
        assert word in limits
    assert "not recorded" in limits


def test_a_spacing_that_was_repaired_is_among_the_limits() -> None:
    subject = make_subject()
    images = dict(subject.images)
    images[View.SPINE_PA] = replace(images[View.SPINE_PA], spacing_provenance="repaired")
    said = "lumbar spine: pixel spacing in a notation outside the standard, repaired"
    assert said not in " ".join(predict(subject).narrative.limits)
    limits = predict(replace(subject, images=images)).narrative.limits
    assert len([one for one in limits if said in one]) == 1


def test_the_versions_own_error_is_shown_where_it_is_known() -> None:
    subject = make_subject()
    prediction, _ = assemble(subject, hand_made(subject), models(mae_lumbar=0.0613))
    assert "lumbar 0.061 g/cm²" in " ".join(prediction.narrative.limits)


def test_how_well_a_version_draws_is_said_where_something_was_drawn() -> None:
    subject = make_subject()
    words = {"dice": "mean Dice, frontal views"}

    def limits(**recorded: float) -> str:
        said = [
            one.model_copy(update={"outline_metrics": words, "metrics": dict(recorded)})
            if one.task == "dxa-segmentation"
            else one
            for one in models()
        ]
        return " ".join(assemble(subject, hand_made(subject), said)[0].narrative.limits)

    assert "recorded on validation patients: mean Dice, frontal views: 0.91." in limits(dice=0.912)
    for silent in (limits(), limits(dice=math.nan)):
        assert "How well this version draws is not recorded." in silent
    undrawn = [replace(one, regions=(), region_maps={}) for one in hand_made(subject)]
    nothing = assemble(subject, undrawn, models())[0].narrative.limits
    assert not any("draws" in sentence for sentence in nothing)


@settings(max_examples=60, deadline=None)
@given(
    st.tuples(st.floats(0.3, 1.6), st.floats(0.3, 1.4), st.floats(0.3, 1.5)),
    st.sampled_from(["F", "M", None]),
    st.one_of(st.none(), st.floats(5, 89)),
    st.dictionaries(st.sampled_from(["T8", "L1", "L3"]), st.sampled_from([MILD, MODERATE])),
    st.dictionaries(
        st.sampled_from(["L1", "L2", "L3", "L4", "L1-L4", "total_hip", "femoral_neck"]),
        st.floats(0.3, 1.6),
    ),
)
def test_no_report_claims_what_no_image_can_show(
    bmd: tuple[float, float, float],
    sex: str | None,
    age: float | None,
    grades: dict[str, tuple[float, ...]],
    own: dict[str, float],
) -> None:
    subject = make_subject(covariates=Covariates(sex, age), labels=StudyLabels(bmd=own))
    said = predict(subject, bmd, grades).narrative
    for sentence in (*said.technique, *said.findings, *said.impression, *said.limits):
        assert not FORBIDDEN.search(sentence), sentence
        assert sentence.endswith("."), sentence
    assert said.impression[-1].count("physician") == 1


def test_vertebrae_in_a_row_are_named_by_their_ends() -> None:
    assert levels(["T4", "T5", "T6", "L1", "L3", "L4"]) == "T4 to T6, L1, L3 and L4"
    assert levels(["L1", "T12", "T11"]) == "T11 to L1"
    assert levels([]) == ""


@pytest.mark.parametrize(
    ("vendor", "spine", "hip"),
    [
        (Vendor.LUNAR, "GE Lunar's own young women, on its scale", "conversion to the Hologic"),
        (Vendor.HOLOGIC, "Hologic's own young white women (no T-score that it printed", "III"),
        (Vendor.NORLAND, "as Norland's own are not known", "conversion to the Hologic scale."),
    ],
)
def test_the_report_says_with_whom_scores_compare_and_that_the_hospital_printed_none(
    vendor: Vendor, spine: str, hip: str
) -> None:
    subject = make_subject(labels=StudyLabels(bmd={"L1-L4": 0.9}), vendor=vendor)
    technique = predict(subject).narrative.technique
    [said] = [one for one in technique if one.startswith("T-scores compare with")]
    first, last = said.split("; the hip with NHANES III")
    assert spine in first
    assert hip in f"NHANES III{last}"
    assert any("none is taken from the hospital's report" in one for one in technique)


def test_doubtful_outlines_reach_the_impression() -> None:
    subject = make_subject()
    findings = hand_made(subject)
    spine = findings[0].region_maps[View.SPINE_PA]
    spine[spine == REGION_CODES["L2"]] = 0
    prediction, _ = assemble(subject, findings, models())
    assert any(s.startswith("Doubtful outlines of L2") for s in prediction.narrative.impression)
    assert not any("Doubtful" in s for s in predict(subject).narrative.impression)


def test_nothing_is_said_of_estimates_where_there_are_none() -> None:
    labels = StudyLabels(bmd={"total_hip": 0.9})
    own = predict(make_subject(views=(View.SPINE_PA,), labels=labels), None).narrative
    text = " ".join((*own.technique, *own.limits))
    for words in ("neural network", "is an estimate", "which these estimates", "version is not"):
        assert words not in text
    assert "Research use only" in text
    assert "T-scores compare with" in text  # of the hospital's BMD
    nothing = predict(make_subject(views=(View.SPINE_PA,)), None).narrative
    assert "T-score" not in " ".join((*nothing.technique, *nothing.limits))
    estimated = predict(make_subject()).narrative
    assert any(one.startswith("The model's bone density is an est") for one in estimated.limits)
    assert any("The model's bone density was estimated" in one for one in estimated.technique)
    young = predict(make_subject(covariates=Covariates("F", 35.0))).narrative
    assert "T-scores compare with" not in " ".join(young.technique)


@pytest.mark.parametrize(
    ("state", "missing", "said"),
    [
        ("incomplete", "its numbers begin at 5", "is incomplete (its numbers begin at 5)"),
        ("unknown", "", "do not say whether all its slices are there"),
        ("whole", "", ""),
    ],
)
def test_limits_say_what_of_a_series_may_not_have_come(state: str, missing: str, said: str) -> None:
    one = SeriesFacts(
        shape=(9, 9, 9), spacing_mm=(3.0, 0.7, 0.7), used=True, completeness=state, missing=missing
    )
    subject = make_subject()
    found = hand_made(subject)[0]
    told = narrate((), subject.vendor, subject.covariates, found, [], models(), [one])
    [*sentences] = [text for text in told.limits if "CT series" in text]
    assert said in " ".join(sentences)
    assert len(sentences) == bool(said)
