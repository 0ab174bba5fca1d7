"""What was written is read back exactly, and every bad file ends with a verdict."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset
from pydicom.uid import DeflatedExplicitVRLittleEndian

from shared.dicom.read import ReadResult, read_study_folder
from shared.dicom.verdicts import REASONS
from shared.errors import InputMissingError
from shared.phantom.make import make_hospital
from shared.phantom.writers import write_study
from shared.records import DXA_VIEWS, Vendor, View
from tests.shared.rendered_samples import sample_study

SPINE = {"lunar": "AP_SPINE", "hologic": "LSPINE_AP"}


def reasons(result: ReadResult) -> dict[str, str]:
    return {verdict.path.rsplit("/", 1)[-1]: verdict.reason for verdict in result.files}


@pytest.fixture(scope="module")
def hospitals(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    base = tmp_path_factory.mktemp("hospitals")
    for scanner in ("lunar", "hologic"):
        make_hospital(base / scanner, scanner, 4, 7, render=sample_study)
    return {scanner: base / scanner for scanner in ("lunar", "hologic")}


@pytest.fixture(params=["lunar", "hologic"])
def scanner(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def study(tmp_path: Path, scanner: str) -> Path:
    """One study's folder, free to be spoiled."""
    written = write_study(sample_study(1, scanner=scanner), tmp_path / "DICOM")
    return tmp_path / "DICOM" / written.folder


def edit(path: Path, change: Callable[[Dataset], None]) -> None:
    dataset = pydicom.dcmread(path)
    change(dataset)
    dataset.save_as(path)


def test_what_was_written_is_read_back_exactly(hospitals: dict[str, Path], scanner: str) -> None:
    result = read_study_folder(hospitals[scanner])
    assert len(result.studies) == 4
    by_bmd = {study.labels.bmd["L1"]: study for study in result.studies}
    for number in range(4):
        true = sample_study(number, scanner=scanner)
        study = by_bmd[true.labels.bmd["L1"]]
        assert study.vendor is Vendor(scanner)
        assert study.labels.bmd == true.labels.bmd
        assert study.labels.genant == true.labels.genant
        assert study.covariates.sex == true.covariates.sex
        assert study.covariates.height_cm == true.covariates.height_cm
        assert set(study.images) == set(DXA_VIEWS)
        for view, image in study.images.items():
            drawn = true.images[view]
            assert image.regions is not None
            assert np.array_equal(image.regions, drawn.regions)
            assert np.array_equal(np.isnan(image.pixels), np.isnan(drawn.display))
            levels = 255 if scanner == "lunar" else 65535
            scanned = ~np.isnan(drawn.display)
            want = np.rint(drawn.display[scanned] * levels)
            want = np.clip(want, *((0, 254) if scanner == "lunar" else (1, 65535)))
            assert np.array_equal(np.rint(image.pixels[scanned] * levels), want)
            assert image.spacing_mm == drawn.spacing_mm
            assert image.spacing_provenance == ("derived" if scanner == "lunar" else "calibrated")


def test_every_file_has_exactly_one_verdict(hospitals: dict[str, Path], scanner: str) -> None:
    folder = hospitals[scanner]
    result = read_study_folder(folder)
    files = sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file())
    assert [verdict.path for verdict in result.files] == files
    pages = [v for v in result.files if v.path.endswith("_RESULTS.dcm")]
    assert len(pages) == (4 if scanner == "hologic" else 0)
    assert all(v.verdict == "quarantined" for v in pages)
    assert all(v.verdict == "taken" for v in result.files if v not in pages)


def test_ages_above_89_are_read_as_89(tmp_path: Path) -> None:
    oldest = max(range(40), key=lambda n: sample_study(n).covariates.age_years or 0)
    assert (sample_study(oldest).covariates.age_years or 0) > 90
    write_study(sample_study(oldest), tmp_path)
    assert read_study_folder(tmp_path).studies[0].covariates.age_years == 89


def test_a_missing_folder_is_said_to_be_missing(tmp_path: Path) -> None:
    with pytest.raises(InputMissingError, match="nowhere"):
        read_study_folder(tmp_path / "nowhere")


def test_an_identifying_header_shows_nothing_in_its_repr(study: Path) -> None:
    read = read_study_folder(study).studies[0]
    assert read.header.patient_id.startswith("MRN")
    assert read.header.patient_id not in repr(read.header)
    assert read.header.patient_name not in repr(read.header)


def test_a_results_page_that_does_not_declare_its_text_is_quarantined(tmp_path: Path) -> None:
    write_study(sample_study(1, scanner="hologic"), tmp_path)
    page = next(tmp_path.rglob("*_RESULTS.dcm"))

    def undeclare(dataset: Dataset) -> None:
        del dataset.BurnedInAnnotation

    assert reasons(read_study_folder(tmp_path))[page.name] == "burned_in_text"
    edit(page, undeclare)
    assert reasons(read_study_folder(tmp_path))[page.name] == "report_page"


@pytest.mark.parametrize("reason", ["report_page", "burned_in_text"])
def test_the_verdict_on_a_printed_page_says_how_its_values_come_in(reason: str) -> None:
    _, sentence = REASONS[reason]
    assert "table" in sentence
    assert "structured report" in sentence


# --- files that are no use: one study, its spine image spoiled -----------------


def setter(**values: object) -> Callable[[Dataset], None]:
    def change(dataset: Dataset) -> None:
        for keyword, value in values.items():
            setattr(dataset, keyword, value)

    return change


def remove(*keywords: str) -> Callable[[Dataset], None]:
    def change(dataset: Dataset) -> None:
        for keyword in keywords:
            if keyword in dataset:
                delattr(dataset, keyword)

    return change


SPOILT: list[tuple[str, Callable[[Dataset], None]]] = [
    ("scanner_unknown", setter(Manufacturer="FUJIFILM Corporation")),
    ("scanner_unknown", setter(ManufacturerModelName="Selenia Dimensions")),
    ("burned_in_text", setter(BurnedInAnnotation="YES")),
    ("uid_missing", remove("StudyInstanceUID")),
    ("uid_missing", remove("SOPInstanceUID")),
    ("pixels_missing", remove("PixelData")),
    ("pixels_truncated", setter(Rows=4000)),
    ("pixels_truncated", setter(PixelData=b"\x00" * 100)),
    ("size_mismatch", setter(Rows=20)),
    ("image_too_large", setter(Rows=65535, Columns=65535)),
    ("several_frames", setter(NumberOfFrames=3)),
    ("pixels_damaged", setter(BitsStored=0)),
    ("pixels_damaged", setter(PhotometricInterpretation="PALETTE COLOR")),
    ("spacing_unknown", remove("ExposedArea", "PixelSpacing")),
    ("spacing_unknown", setter(ExposedArea=[0, 0], PixelSpacing=[0.0, 0.0])),
    ("orientation_unknown", setter(PatientOrientation=["F", "L"])),
]


@pytest.mark.filterwarnings("ignore::UserWarning:pydicom")  # the spoiling itself is warned about
@pytest.mark.parametrize(("reason", "spoil"), SPOILT)
def test_a_spoilt_image_is_set_aside_and_the_rest_is_read(
    study: Path, scanner: str, reason: str, spoil: Callable[[Dataset], None]
) -> None:
    spine = study / f"{SPINE[scanner]}.dcm"
    dataset = pydicom.dcmread(spine)
    spoil(dataset)
    dataset.save_as(spine, enforce_file_format=False)
    result = read_study_folder(study)
    found = reasons(result)
    assert found[spine.name] == reason
    assert found[f"{SPINE[scanner]}_SEG.dcm"] == "mask_without_image"
    assert set(result.studies[0].images) == {View.HIP_LEFT, View.SPINE_LATERAL}


@pytest.mark.parametrize(
    ("reason", "content"),
    [
        ("empty_file", b""),
        ("not_dicom", b"just some text, long enough to hold a preamble" * 10),
        ("not_dicom", b"\x00" * 4000),
        ("damaged", b"\x00" * 128 + b"DICM" + b"\xff" * 300),
        ("damaged", b"\x00" * 128 + b"DICM"),
    ],
)
def test_a_file_that_is_no_dicom_is_refused_and_the_rest_is_read(
    study: Path, reason: str, content: bytes
) -> None:
    (study / "0_first.dcm").write_bytes(content)
    result = read_study_folder(study)
    assert reasons(result)["0_first.dcm"] == reason
    assert len(result.studies[0].images) == 3


@pytest.mark.filterwarnings("ignore::UserWarning:pydicom")  # the long UID is itself warned about
@pytest.mark.parametrize("uid_length", [40, 2000])
def test_a_deflated_file_is_read_wherever_its_syntax_stands(
    study: Path, scanner: str, uid_length: int
) -> None:
    spine = study / f"{SPINE[scanner]}.dcm"
    dataset = pydicom.dcmread(spine)
    dataset.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    dataset.file_meta.MediaStorageSOPInstanceUID = "1." + "2" * (uid_length - 2)
    dataset.save_as(spine, enforce_file_format=False)
    result = read_study_folder(study)
    assert reasons(result)[spine.name] == "ok"
    assert View.SPINE_PA in result.studies[0].images


def test_a_file_that_only_mentions_deflation_is_read(study: Path, scanner: str) -> None:
    spine = study / f"{SPINE[scanner]}.dcm"
    edit(spine, setter(ImageComments="not 1.2.840.10008.1.2.1.99"))
    assert View.SPINE_PA in read_study_folder(study).studies[0].images


@pytest.mark.parametrize("keep", [140, 200, 400, 800, 1200, 4000])
def test_a_truncated_file_is_refused_wherever_it_was_cut(
    study: Path, scanner: str, keep: int
) -> None:
    spine = study / f"{SPINE[scanner]}.dcm"
    spine.write_bytes(spine.read_bytes()[:keep])
    result = read_study_folder(study)
    verdict = next(v for v in result.files if v.path == spine.name)
    assert verdict.verdict in ("refused", "quarantined")
    assert View.SPINE_PA not in result.studies[0].images


def test_a_dangling_link_is_refused(study: Path) -> None:
    (study / "link.dcm").symlink_to(study / "gone.dcm")
    assert reasons(read_study_folder(study))["link.dcm"] == "unreadable"


def test_a_scan_without_preamble_is_read(tmp_path: Path) -> None:
    study = tmp_path / write_study(sample_study(1), tmp_path).folder
    spine = study / "AP_SPINE.dcm"
    dataset = pydicom.dcmread(spine)
    bare = Dataset()
    bare.update(dataset)
    bare.save_as(spine, implicit_vr=True, little_endian=True, enforce_file_format=False)
    assert spine.read_bytes()[:2] == b"\x08\x00"
    assert View.SPINE_PA in read_study_folder(study).studies[0].images


# --- ambiguity is quarantined, never guessed -----------------------------------


def test_two_scans_of_one_view_are_both_quarantined(study: Path, scanner: str) -> None:
    name = SPINE[scanner]
    shutil.copy(study / f"{name}.dcm", study / "AGAIN.dcm")
    edit(study / "AGAIN.dcm", setter(SOPInstanceUID="2.25.77"))
    result = read_study_folder(study)
    found = reasons(result)
    assert found[f"{name}.dcm"] == found["AGAIN.dcm"] == "view_twice"
    assert View.SPINE_PA not in result.studies[0].images


def test_the_same_file_twice_is_taken_once(study: Path, scanner: str) -> None:
    shutil.copy(study / f"{SPINE[scanner]}.dcm", study / "ZZ_COPY.dcm")
    result = read_study_folder(study)
    assert reasons(result)["ZZ_COPY.dcm"] == "already_there"
    assert View.SPINE_PA in result.studies[0].images


def test_one_uid_with_two_contents_is_quarantined_twice(study: Path, scanner: str) -> None:
    name = SPINE[scanner]
    shutil.copy(study / f"{name}.dcm", study / "EDITED.dcm")
    edit(study / "EDITED.dcm", setter(InstanceNumber=2))
    found = reasons(read_study_folder(study))
    assert found[f"{name}.dcm"] == found["EDITED.dcm"] == "uid_twice"


def test_a_study_of_two_patients_is_quarantined_whole(study: Path, scanner: str) -> None:
    edit(study / f"{SPINE[scanner]}.dcm", setter(PatientID="SOMEBODY ELSE"))
    result = read_study_folder(study)
    assert result.studies == []
    assert reasons(result)[f"{SPINE[scanner]}.dcm"] == "patient_conflict"


def rename_segments(dataset: Dataset) -> None:
    for segment in dataset.SegmentSequence:
        segment.SegmentLabel = "pelvis"


@pytest.mark.parametrize(
    ("reason", "change"),
    [
        ("mask_wrong_size", setter(Rows=10)),
        ("mask_not_binary", setter(SegmentationType="FRACTIONAL")),
        ("mask_unknown_regions", rename_segments),
        ("pixels_truncated", setter(PixelData=b"\x00" * 8)),
    ],
)
def test_a_bad_mask_costs_the_mask_and_not_the_image(
    study: Path, scanner: str, reason: str, change: Callable[[Dataset], None]
) -> None:
    mask = study / f"{SPINE[scanner]}_SEG.dcm"
    edit(mask, change)
    result = read_study_folder(study)
    assert reasons(result)[mask.name] == reason
    assert result.studies[0].images[View.SPINE_PA].regions is None
    assert result.studies[0].images[View.HIP_LEFT].regions is not None


def test_overlapping_regions_are_quarantined(study: Path, scanner: str) -> None:
    def overlap(dataset: Dataset) -> None:
        dataset.PixelData = b"\xff" * len(dataset.PixelData)

    mask = study / f"{SPINE[scanner]}_SEG.dcm"
    edit(mask, overlap)
    assert reasons(read_study_folder(study))[mask.name] == "mask_overlap"


def test_mirrored_images_are_turned_with_their_masks(study: Path, scanner: str) -> None:
    straight = read_study_folder(study).studies[0].images[View.SPINE_PA]
    edit(study / f"{SPINE[scanner]}.dcm", setter(PatientOrientation=["R", "H"]))
    turned = read_study_folder(study).studies[0].images[View.SPINE_PA]
    assert np.array_equal(turned.pixels, straight.pixels[::-1, ::-1], equal_nan=True)
    assert straight.regions is not None
    assert turned.regions is not None
    assert np.array_equal(turned.regions, straight.regions[::-1, ::-1])
