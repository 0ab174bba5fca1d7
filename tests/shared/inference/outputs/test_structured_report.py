"""The report says every number of ``prediction.json``, coded, and every reason."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import highdicom
from pydicom.dataset import Dataset
from pydicom.sr._concepts_dict import concepts

from shared.dicom.read_study import ReadStudy
from shared.inference.outputs import Kind, OutputFile, make
from shared.inference.outputs.codes import PRIVATE, QUALITATIVE_EVALUATIONS, SCHEME
from shared.inference.schema import Prediction
from tests.shared.inference.outputs.cases import MADE_AT, found_in, read_one, with_header


def made_of(study: ReadStudy) -> tuple[OutputFile, list[OutputFile], Prediction]:
    """Make the report of a study, the SEGs it goes with, and what both are of."""
    prediction, findings = found_in(study)
    files = make(study, prediction, findings, {Kind.SEG, Kind.SR}, made_at=MADE_AT)
    return files[-1], files[:-1], prediction


def items(dataset: Dataset) -> Iterator[Dataset]:
    """Every item of every sequence, however deep."""
    for element in dataset:
        if element.VR == "SQ":
            for item in element.value:
                yield item
                yield from items(item)


def numbers(group: Dataset) -> dict[str, float]:
    """Numbers of a measurement group by the code of their concept."""
    return {
        one.name.value: float(one.value) for one in group.get_measurements()
    }  # fmt: skip


def test_highdicom_reads_every_number_back(study: ReadStudy, tmp_path: Path) -> None:
    report, segmentations, prediction = made_of(study)
    path = tmp_path / report.name
    path.write_bytes(report.encoded())
    content = highdicom.sr.srread(path).content
    groups = {
        one.tracking_identifier: numbers(one) for one in content.get_image_measurement_groups()
    }
    assert prediction.measurements
    assert prediction.grades
    for one in prediction.measurements:
        seen = groups[f"{one.quantity}, {one.region}, on the {one.scale} scale"]
        wanted = {"AREAL_BMD": one.value, "STANDARD_BMD": one.standardised}
        if one.t_score is not None:
            wanted["T_SCORE"] = one.t_score.value
        if one.z_score is not None:
            wanted["121416"] = one.z_score.value
        assert seen == wanted
    for grade in prediction.grades:
        wanted = {f"PROBABILITY_{n}": p for n, p in enumerate(grade.probabilities)}
        assert groups[f"{grade.quantity}, {grade.region}"] == {
            **wanted, "SUSPICION": grade.suspicion
        }  # fmt: skip
    outlined = {one.tracking_identifier: one for one in content.get_planar_roi_measurement_groups()}
    by_uid = {one.identity.identifier: one.dataset for one in segmentations}
    for area in prediction.regions:
        group = outlined[f"outline, {area.region}, {area.view}"]
        assert numbers(group) == {"42798000": area.area_cm2}
        reference = group.referenced_segmentation_frame[0].ReferencedSOPSequence[0]
        segments = by_uid[reference.ReferencedSOPInstanceUID].SegmentSequence
        assert segments[reference.ReferencedSegmentNumber - 1].SegmentLabel == area.region


def test_the_report_is_unverified_and_says_what_was_not_assessed_and_why(
    hospital: Path, tmp_path: Path
) -> None:
    for file in hospital.rglob("*FEMUR.dcm"):
        (tmp_path / file.name).write_bytes(file.read_bytes())
    report, _, prediction = made_of(read_one(tmp_path))
    made = report.dataset
    assert (made.VerificationFlag, made.CompletionFlag) == ("UNVERIFIED", "COMPLETE")
    texts = [one.TextValue for one in items(made) if "TextValue" in one]
    assert prediction.not_assessed
    for gap in prediction.not_assessed:
        assert f"{gap.what}: {gap.why}" in texts
    for sentence in prediction.narrative.impression:
        assert sentence in texts
    assert prediction.notice in texts


def test_the_request_is_taken_over(study: ReadStudy) -> None:
    asked = Dataset()
    asked.RequestedProcedureID = "RP7"
    asked.RequestedProcedureDescription = "DXA spine and hip"
    report, segmentations, _ = made_of(with_header(study, RequestAttributesSequence=[asked]))
    (item,) = report.dataset.ReferencedRequestSequence
    assert item.RequestedProcedureID == "RP7"
    assert item.AccessionNumber == study.header.accession
    assert item.StudyInstanceUID == study.header.study_uid
    for one in segmentations:
        assert one.dataset.RequestAttributesSequence[0].RequestedProcedureID == "RP7"


def test_every_coded_concept_is_the_standards_or_in_the_documented_scheme(
    study: ReadStudy,
) -> None:
    known = {
        (scheme, code) for scheme, names in concepts.items()
        for codes in names.values() for code in codes
    }  # fmt: skip
    known |= {("UCUM", "g/cm2"), ("RFC5646", "en-US")}  # by grammars that no list holds
    known.add((QUALITATIVE_EVALUATIONS.scheme_designator, QUALITATIVE_EVALUATIONS.value))
    prediction, findings = found_in(study)
    page = (Path(__file__).parents[4] / "docs/what-we-send-back.md").read_text(encoding="utf-8")
    seen = set()
    for one in make(study, prediction, findings, {Kind.SEG, Kind.SR, Kind.SC, Kind.PDF}):
        for item in items(one.dataset):
            if "CodeValue" in item:
                seen.add((item.CodingSchemeDesignator, item.CodeValue, item.CodeMeaning))
    assert len(seen) > 40
    for scheme, code, meaning in seen:
        if scheme == SCHEME:
            assert PRIVATE[code] == meaning
        else:
            assert (scheme, code) in known, (scheme, code, meaning)
    for code, meaning in PRIVATE.items():
        assert f"| `{code}` | {meaning} |" in page, code
        assert len(code) <= 16, code
