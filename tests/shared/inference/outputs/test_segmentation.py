"""Outlines come back voxel by voxel on the pixels of the source's own file."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import highdicom
import numpy as np
import pytest

from shared.dicom.read import read_study_folder
from shared.inference.outputs import Kind, make
from shared.inference.outputs.segmentation import segmentations
from shared.phantom.make import make_hospital
from shared.records import View
from shared.regions import REGION_CODES
from tests.shared.inference.outputs.cases import MADE_AT, answer_to, found_in, read_one


@pytest.fixture(scope="module")
def hospital(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("hospital") / "export"
    make_hospital(out, "lunar", 1, 5)
    return out


def read_back(content: bytes, path: Path) -> dict[str, np.ndarray]:
    """Read pixels by the label of the segment with highdicom, shape (N, H, W)."""
    path.write_bytes(content)
    found = highdicom.seg.segread(path)
    numbers = {one.SegmentLabel: one.SegmentNumber for one in found.SegmentSequence}
    sources = [uid for _, _, uid in found.get_source_image_uids()]
    planes = found.get_pixels_by_source_instance(
        sources, ignore_spatial_locations=True, assert_missing_frames_are_empty=True
    )
    return {label: planes[..., number - 1] for label, number in numbers.items()}


def test_highdicom_reads_every_pixel_of_every_region_back(hospital: Path, tmp_path: Path) -> None:
    answer = answer_to(read_one(hospital))
    made = segmentations(answer)
    assert [one.identity.part for one in made] == ["spine_pa", "hip_left", "spine_lateral"]
    for one in made:
        truth = answer.findings.region_maps[View(one.identity.part)]
        seen = read_back(one.encoded(), tmp_path / one.name)
        assert set(seen) == {n for n, code in REGION_CODES.items() if (truth == code).any()}
        for name, pixels in seen.items():
            assert np.array_equal(pixels[0] == 1, truth == REGION_CODES[name]), name


def test_outlines_of_an_image_that_was_turned_lie_as_in_its_file(
    hospital: Path, tmp_path: Path
) -> None:
    """A right hip is mirrored for the networks; what goes back lies on the file's own pixels."""
    study = read_one(hospital)
    turned = replace(study, turned={**study.turned, View.HIP_LEFT: (True, True)})
    (made,) = (one for one in segmentations(answer_to(turned)) if one.identity.part == "hip_left")
    truth = answer_to(study).findings.region_maps[View.HIP_LEFT][::-1, ::-1]
    neck = read_back(made.encoded(), tmp_path / made.name)["femoral_neck"]
    assert np.array_equal(neck[0] == 1, truth == REGION_CODES["femoral_neck"])


def test_a_repeat_gives_the_same_bytes_and_a_correction_names_what_it_replaces(
    hospital: Path,
) -> None:
    study = read_one(hospital)
    first, again = (make(study, *found_in(study), {Kind.SEG}, made_at=MADE_AT) for _ in range(2))
    assert [one.encoded() for one in first] == [one.encoded() for one in again]
    later = make(
        study, *found_in(study), {Kind.SEG}, made_at=MADE_AT,
        predecessors=[one.identity for one in first],
    )  # fmt: skip
    for old, new in zip(first, later, strict=True):
        assert old.identity.identifier != new.identity.identifier
        (item,) = new.dataset.ReferencedInstanceSequence
        assert item.ReferencedSOPInstanceUID == old.dataset.SOPInstanceUID


def test_what_was_sent_back_never_comes_in_as_what_a_hospital_drew(
    hospital: Path, tmp_path: Path
) -> None:
    study = read_one(hospital)
    for file in hospital.rglob("*.dcm"):
        if "SEG" not in file.name:
            (tmp_path / file.name).write_bytes(file.read_bytes())
    for one in make(study, *found_in(study), {Kind.SEG}):
        (tmp_path / one.name).write_bytes(one.encoded())
    result = read_study_folder(tmp_path)
    assert {one.reason for one in result.files if one.path.startswith("seg_")} == {"own_result"}
    assert all(image.regions is None for image in result.studies[0].images.values())


def test_the_header_is_the_patients_own_and_names_every_version(hospital: Path) -> None:
    study = read_one(hospital)
    source = next(iter(study.headers.values()))
    for one in make(study, *found_in(study), {Kind.SEG}):
        for keyword in ("PatientID", "PatientName", "PatientBirthDate", "PatientSex",
                        "AccessionNumber", "StudyInstanceUID"):  # fmt: skip
            assert one.dataset[keyword].value == source[keyword].value, keyword
        assert "ab" * 32 in one.dataset.SoftwareVersions
        assert [item.SoftwareVersions[1] for item in one.dataset.ContributingEquipmentSequence] == [
            "ab" * 32
        ] * 3
