"""Overlay, PDF, FHIR and HL7 say the same of the same patient as the answer does."""

from __future__ import annotations

import json
from dataclasses import replace
from io import BytesIO
from typing import Any

import numpy as np
import pytest
from PIL import Image

from shared.dicom.attributes import quietly
from shared.dicom.own_uids import ROOT, is_ours
from shared.dicom.read_study import ReadStudy
from shared.errors import InputUnreadableError
from shared.inference.outputs import Kind, OutputFile, make
from shared.inference.outputs.secondary_capture import overlays
from tests.shared.inference.outputs.cases import MADE_AT, answer_to, found_in, with_header


def made_of(study: ReadStudy, kind: Kind, **more: Any) -> list[OutputFile]:
    return make(study, *found_in(study), {kind}, made_at=MADE_AT, **more)


def resources(content: bytes | Any, kind: str) -> list[dict[str, Any]]:
    entries = json.loads(content)["entry"]
    return [one["resource"] for one in entries if one["resource"]["resourceType"] == kind]


def test_an_overlay_is_the_reports_picture_pixel_by_pixel(study: ReadStudy) -> None:
    captures = made_of(study, Kind.SC)
    for one, (_, _, orientation, png) in zip(captures, overlays(answer_to(study)), strict=True):
        with Image.open(BytesIO(png)) as picture:
            assert np.array_equal(one.dataset.pixel_array, np.asarray(picture.convert("RGB")))
        assert list(one.dataset.PatientOrientation) == orientation


def test_a_pdf_is_whole_and_the_same_again(study: ReadStudy) -> None:
    (first,), (again,) = (made_of(study, Kind.PDF) for _ in range(2))
    assert first.encoded() == again.encoded()
    document = first.dataset.EncapsulatedDocument[: first.dataset.EncapsulatedDocumentLength]
    assert document.startswith(b"%PDF-")
    assert document.rstrip().endswith(b"%%EOF")
    assert len(first.dataset.SourceInstanceSequence) == len(study.images)


def test_fhir_has_every_number_with_its_unit_and_its_version(study: ReadStudy) -> None:
    prediction, _ = found_in(study)
    (made,) = made_of(study, Kind.FHIR)
    observations = resources(made.content, "Observation")
    by_name = {one["code"]["text"]: one for one in observations}
    assert len(by_name) == len(observations)
    for one in prediction.measurements:
        seen = by_name[f"{one.quantity}, {one.region}, {one.scale} scale"]
        assert seen["valueQuantity"]["value"] == one.value
        assert seen["valueQuantity"]["code"] == "g/cm2"
        if one.t_score is not None:
            score = by_name[f"T-score, {one.quantity}, {one.region}"]["valueQuantity"]
            assert score["value"] == one.t_score.value
    (report,) = resources(made.content, "DiagnosticReport")
    assert report["status"] == "preliminary"
    ids = {entry["fullUrl"] for entry in json.loads(made.encoded())["entry"]}
    assert {one["reference"] for one in report["result"]} <= ids
    (patient,) = resources(made.content, "Patient")
    assert patient["identifier"][0]["value"] == study.header.patient_id
    devices = resources(made.content, "Device")
    assert {one["version"][1]["value"] for one in devices} == {f"sha256:{'ab' * 32}"}


def test_hl7_has_every_number_and_escapes_what_would_divide_it(study: ReadStudy) -> None:
    prediction, _ = found_in(study)
    (made,) = made_of(study, Kind.HL7)
    lines = made.encoded().decode().rstrip("\r").split("\r")
    assert [line[:3] for line in lines[:3]] == ["MSH", "PID", "OBR"]
    values = {
        field[3].split("^")[-2]: field for field in (line.split("|") for line in lines)
        if field[0] == "OBX" and field[2] == "NM"
    }  # fmt: skip
    for one in prediction.measurements:
        field = values[f"{one.quantity}, {one.region}, {one.scale} scale"]
        assert float(field[5]) == one.value
        assert field[6].startswith("g/cm2^")
        assert field[11] == "P"
    named = with_header(study, PatientName="O|Neil^A&B~")
    (made,) = made_of(named, Kind.HL7)
    line = made.encoded().decode().split("\r")[1]
    assert line.split("|")[5] == "O\\F\\Neil^A\\T\\B\\R\\"


@pytest.mark.parametrize("kind", [Kind.PDF, Kind.FHIR, Kind.HL7])
def test_a_correction_names_the_document_that_it_replaces(study: ReadStudy, kind: Kind) -> None:
    (first,) = made_of(study, kind)
    (later,) = made_of(study, kind, predecessors=[first.identity])
    assert later.identity.identifier != first.identity.identifier
    assert first.identity.identifier.encode() in later.encoded()


def test_files_of_several_patients_give_nothing_and_no_value_is_told(study: ReadStudy) -> None:
    digest = next(iter(study.digests.values()))
    other = with_header(study, PatientBirthDate="19000101").headers[digest]
    mixed = replace(study, headers={**study.headers, digest: other})
    with pytest.raises(InputUnreadableError, match="differ in PatientBirthDate") as refused:
        made_of(mixed, Kind.HL7)
    assert "1900" not in str(refused.value)
    with pytest.raises(InputUnreadableError, match="headers=True"):
        made_of(replace(study, headers={}), Kind.HL7)


def test_names_and_days_that_are_not_as_the_standard_has_them_go_back_as_they_are(
    study: ReadStudy,
) -> None:
    said = {"PatientName": "DOE JANE", "PatientBirthDate": "19400000", "PatientSex": "W",
            "PatientID": "7/é", "AccessionNumber": "", "StudyTime": "25"}  # fmt: skip
    with quietly():
        odd = with_header(study, **said)
        files = make(odd, *found_in(odd), made_at=MADE_AT)
        assert {one.kind for one in files} == set(Kind)
        for one in files:
            assert one.encoded()
            if not isinstance(one.content, bytes):
                assert {k: str(one.content[k].value) for k in said} == said
    assert resources(files[-2].content, "Patient")[0]["name"] == [{"family": "DOE JANE"}]


@pytest.mark.parametrize(
    "keyword",
    ["PatientID", "IssuerOfPatientID", "PatientName", "PatientBirthDate", "PatientSex",
     "AccessionNumber"],
)  # fmt: skip
def test_the_answer_to_a_study_that_was_put_right_has_uids_of_its_own(
    study: ReadStudy, keyword: str
) -> None:
    value = {"PatientBirthDate": "19000101", "PatientSex": "O"}.get(keyword, "other")
    right = with_header(study, **{keyword: value})
    assert answer_to(study).uid("instance") == answer_to(study).uid("instance")
    assert answer_to(right).uid("instance") != answer_to(study).uid("instance")


def test_our_uids_are_known_again_and_nobody_elses_is(study: ReadStudy) -> None:
    for kind in (Kind.SEG, Kind.SR):
        for one in made_of(study, kind):
            assert is_ours(one.identity.identifier)
            assert one.identity.identifier.startswith(ROOT)
            assert len(one.identity.identifier) <= 64
    for other in (study.header.study_uid, "1.2.840.1", "2.25.", "2.25.x", "", "2.25." + "9" * 38):
        assert not is_ours(other)
