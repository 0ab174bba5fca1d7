"""What a report says of a lumbar film: an estimate with its error, or why there is none."""

from __future__ import annotations

from dataclasses import replace

from shared.findings.bare_estimates import film_measurements
from shared.findings.facts import NotAssessed
from shared.findings.findings import Findings, region_areas
from shared.inference.assemble import StudyIdentity, Subject, assemble
from shared.inference.report import ReportInput, render_report
from shared.inference.schema import ModelFacts, Prediction
from shared.records import StudyLabels, Vendor, View
from shared.regions import LUMBAR, REGION_CODES
from tests.shared.tasks.xray.films import HIGH, film_study, marked_column

VIEW = View.LUMBAR_AP
NAMES = {"L1-L4": "lumbar", "femoral_neck": "femoral_neck", "total_hip": "total_hip"}
VALUES = {"L1-L4": 0.851, "femoral_neck": 0.702, "total_hip": 0.760}


def read(findings: Findings, metrics: dict[str, float]) -> tuple[Prediction, str]:
    regions = marked_column()
    for number, name in enumerate(LUMBAR):
        first = 40 + (2 + number) * HIGH
        regions[first : first + HIGH][regions[first : first + HIGH] > 0] = REGION_CODES[name]
    study = film_study(regions)
    image = replace(study.images[VIEW], regions=None)
    subject = Subject(
        StudyIdentity("P1", "Doe^Jane", "1.2.3", "2026-01-31", "A1"), Vendor.OTHER,
        {VIEW: image}, StudyLabels(), study.covariates,
    )  # fmt: skip
    outlines = Findings(
        regions=region_areas("outliner", VIEW, regions, image), region_maps={VIEW: regions}
    )
    models = [
        ModelFacts(task=task, version="1", digest="ab" * 32, origin="by hand", source="-",
                   metrics=metrics if task == "reader" else {},
                   metric_names=NAMES if task == "reader" else {})
        for task in ("outliner", "reader")
    ]  # fmt: skip
    prediction, everything = assemble(subject, [outlines, findings], models)
    given = ReportInput(
        "Doe^Jane", Vendor.OTHER, study.covariates, StudyLabels(), subject.images,
        everything.region_maps, {}, {},
    )  # fmt: skip
    return prediction, render_report(prediction, given)


GOOD = {f"{kind}_{name}": value for name in NAMES.values()
        for kind, value in (("mae", 0.08), ("r2", 0.4))}  # fmt: skip
ESTIMATES = Findings(measurements=film_measurements("reader", VALUES))


def test_an_estimate_is_told_with_its_error_and_sends_to_dxa() -> None:
    prediction, page = read(ESTIMATES, GOOD)
    assert prediction.narrative.impression[0].startswith("Estimated areal BMD from a radiograph")
    said = " ".join(prediction.narrative.impression)
    assert "Estimated areal BMD from a radiograph: lumbar spine L1-L4 0.851 g/cm²" in said
    assert said.count("off by 0.080 g/cm² on average on validation patients") == 3
    assert "not a DXA measurement; refer to DXA." in said
    assert said.endswith("Refer to DXA; a physician decides, with its report and the clinical "
                         "risk factors.")  # fmt: skip
    assert not prediction.conclusions[0].bone_class
    assert "T-score" not in said
    assert "0.851" in page
    assert "Automatic reading of a radiograph of the lumbar spine" in page
    assert "not in this study" not in page


def test_a_film_is_no_dxa_in_any_sentence() -> None:
    prediction, page = read(ESTIMATES, GOOD)
    technique = " ".join(prediction.narrative.technique)
    assert "Anteroposterior lumbar radiograph." in technique
    assert "Dual-energy" not in technique
    assert "holds no calibrated density" in technique
    assert all(level in page for level in LUMBAR)
    assert {one.region for one in prediction.regions} == set(LUMBAR)


def test_a_version_that_is_too_far_off_gives_no_number_and_the_others_stand() -> None:
    """One T-score of the spine is 0.11 g/cm² on the scale of the references."""
    prediction, page = read(ESTIMATES, GOOD | {"mae_lumbar": 0.139})
    assert [one.region for one in prediction.measurements] == ["femoral_neck", "total_hip"]
    [gap] = prediction.not_assessed
    assert gap.what == "bone density of the lumbar spine L1-L4 from the radiograph"
    assert "off by 0.139 g/cm²" in gap.why
    assert "0.851" not in page


def test_what_is_no_lumbar_spine_is_said_once_and_nothing_is_estimated() -> None:
    why = "it looks like a lateral film, not like a frontal one of the lumbar spine"
    none = Findings(not_assessed=(NotAssessed(what="bone density from the radiograph", why=why),))
    prediction, _ = read(none, GOOD)
    assert prediction.measurements == ()
    said = " ".join(prediction.narrative.impression)
    assert said.count(why) == 1
