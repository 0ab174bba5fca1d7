"""Density from CT is told with its error, sends to DXA and is never a score."""

from __future__ import annotations

import pytest

from shared.findings.bare_estimates import only_bare
from shared.findings.ct_estimates import ct_bmd_measurements, is_from_ct
from shared.findings.findings import Findings
from shared.inference.assemble import StudyIdentity, Subject, assemble
from shared.inference.report import ReportInput, render_report
from shared.inference.schema import ModelFacts, Prediction
from shared.records import Covariates, StudyLabels, Vendor
from tests.shared.ct_samples import outlined_series
from tests.shared.inference_cases import hand_made, make_subject, models

TASK = "some-task"
FOUND = ct_bmd_measurements(TASK, {"L1": 0.81, "L3": 0.9})
WOMAN = Covariates(sex="F", age_years=68.0)


def predicted(recorded: dict[str, float]) -> tuple[Prediction, str]:
    """A report of a CT with nothing but these estimates, and its page."""
    model = ModelFacts(
        task=TASK,
        version="3",
        digest="0" * 64,
        origin="here",
        source="here",
        metrics=recorded,
        metric_names={"L1": "l1", "L3": "l3", "L1-L4": "spine"},
    )
    volume = outlined_series(L1=120.0)
    subject = Subject(StudyIdentity(), Vendor.OTHER, {}, StudyLabels(), WOMAN, {"1.2": volume})
    prediction, _ = assemble(subject, [Findings(measurements=FOUND)], [model])
    given = ReportInput("", Vendor.OTHER, WOMAN, StudyLabels(), {}, {})
    return prediction, render_report(prediction, given)


def test_the_mean_says_of_which_levels_it_is() -> None:
    assert [one.region for one in FOUND] == ["L1-L4", "L1", "L3"]
    assert FOUND[0].value == pytest.approx(0.855)
    assert FOUND[0].quantity == "areal BMD from CT, mean of L1 and L3"
    assert only_bare(FOUND)
    assert not only_bare(())
    assert not is_from_ct(FOUND[0].model_copy(update={"quantity": "areal BMD"}))


def test_a_report_gives_the_estimate_with_its_error_and_sends_to_dxa() -> None:
    prediction, page = predicted({"mae_spine": 0.06, "r2_spine": 0.8})
    text = " ".join(prediction.narrative.impression)
    assert "Estimated areal BMD from CT, mean of L1 and L3: 0.855 g/cm²" in text
    assert "off by 0.060 g/cm² on average on validation patients" in text
    assert text.count("efer to DXA") == 2
    said = prediction.narrative
    everything = " ".join([*said.technique, *said.findings, *said.impression, *said.limits])
    for word in ("T-score", "Z-score", "osteoporosis", "osteopenia"):
        assert word not in everything
    assert [one.bone_class for one in prediction.conclusions] == [None]
    assert "0.855" in page


@pytest.mark.parametrize(
    ("recorded", "why"),
    [
        ({"mae_spine": 0.3, "r2_spine": 0.2}, "off by 0.300 g/cm² on average"),
        ({"mae_spine": 0.06, "r2_spine": -0.1}, "no better on validation patients"),
    ],
)
def test_an_unfit_version_gives_no_mean_and_no_vertebra(
    recorded: dict[str, float], why: str
) -> None:
    prediction, _ = predicted(recorded)
    assert prediction.measurements == ()
    [gap] = prediction.not_assessed
    assert gap.what == "bone density of the lumbar spine L1-L4, L1 and L3 from CT"
    assert why in gap.why
    assert "T-score" not in " ".join(prediction.narrative.impression)


def test_of_a_ct_and_a_dxa_in_one_study_each_scale_is_said() -> None:
    subject = make_subject()
    both = [*hand_made(subject), Findings(measurements=FOUND)]
    said, _ = assemble(subject, both, models())
    technique = " ".join(said.narrative.technique)
    assert "on the standardised scale (sBMD) and converted to the scanner's scale" in technique
    assert "The bone density from CT is a neural network's estimate" in technique
    of_dxa, _ = assemble(subject, hand_made(subject), models())
    assert "CT" not in " ".join(of_dxa.narrative.technique)


def test_an_error_that_nobody_recorded_is_said_to_be_so() -> None:
    prediction, _ = predicted({})
    assert "is not recorded" in " ".join(prediction.narrative.impression)
