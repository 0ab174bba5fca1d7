"""Outlines come back voxel by voxel on the pixels of the source's own file."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import highdicom
import numpy as np
from pydicom import dcmread

from shared.dicom.read import read_study_folder
from shared.findings.findings import Findings
from shared.inference.outputs import Kind, make
from shared.inference.outputs.segmentation import on_slices, segmentations
from shared.records import View
from shared.regions import REGION_CODES, VERTEBRA_CODES
from tests.shared.ct_samples import AXIAL, field, write_ct
from tests.shared.inference.outputs.cases import MADE_AT, answer_to, found_in, read_one


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


def test_outlines_of_a_series_lie_on_its_slices_however_they_lie(tmp_path: Path) -> None:
    """Sagittal and reversed slices: each pixel has the region of its own place in the patient."""
    sagittal = (0.0, 1.0, 0.0, 0.0, 0.0, -1.0)
    positions = np.array([[30.0 - 2.5 * k, -20.0, 100.0] for k in range(len(field()))])
    for name, orientation, where in (
        ("axial", AXIAL, None),
        ("sagittal", sagittal, positions),
    ):
        folder = tmp_path / name
        write_ct(folder, positions=where, orientation=orientation, order=[3, 0, 5, 1, 4, 2])
        study = read_one(folder)
        ((uid, volume),) = study.volumes.items()
        hu = volume.record.hu
        truth = np.where(hu > 700, VERTEBRA_CODES["volume"]["L1"], 0).astype(np.uint8)
        answer = replace(answer_to(study), findings=Findings(volume_maps={uid: truth}), study=study)
        (made,) = segmentations(answer)
        seen = highdicom.seg.Segmentation.from_dataset(made.dataset)
        slices = [one.SOPInstanceUID for one in study.headers.values()]
        planes = seen.get_pixels_by_source_instance(slices, assert_missing_frames_are_empty=True)
        for file, plane in zip(study.headers.values(), planes[..., 0], strict=True):
            stored = dcmread(
                next(
                    p for p in folder.iterdir() if dcmread(p).SOPInstanceUID == file.SOPInstanceUID
                )
            )
            assert np.array_equal(plane == 1, stored.pixel_array - 1024.0 > 700), name


def test_outlines_of_a_tilted_series_come_back_onto_its_own_slices(tmp_path: Path) -> None:
    tilt = np.radians(15)
    tilted = (1.0, 0.0, 0.0, 0.0, float(np.cos(tilt)), float(-np.sin(tilt)))
    hu = np.zeros((24, 40, 40), np.int16)
    hu[6:18, 10:30, 10:30] = 900
    positions = np.array([[0.0, 0.0, 2.5 * k] for k in range(24)])
    write_ct(tmp_path, hu, positions=positions, orientation=tilted)
    study = read_one(tmp_path)
    (volume,) = study.volumes.values()
    assert volume.resampled == "tilt"
    regions = np.where(volume.record.hu > 450, VERTEBRA_CODES["volume"]["L2"], 0)
    seen, headers = on_slices(regions.astype(np.uint8), volume.record, list(study.headers.values()))
    assert [one.ImagePositionPatient[2] for one in headers] == list(positions[:, 2])
    drawn = seen > 0
    assert 2 * (drawn & (hu > 0)).sum() / (drawn.sum() + (hu > 0).sum()) > 0.97  # Dice


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
