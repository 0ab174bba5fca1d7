"""The digital hospital's files are what the vendor's scanner would export."""

from __future__ import annotations

import hashlib
from pathlib import Path

import highdicom
import numpy as np
import pydicom
import pytest

from shared.errors import PhantomError
from shared.phantom.make import make_hospital
from shared.phantom.rendered import RenderedStudy
from shared.records import View
from shared.regions import REGION_CODES
from tests.shared.rendered_samples import sample_study


def digest_of(folder: Path) -> str:
    digest = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            digest.update(path.relative_to(folder).as_posix().encode())
            digest.update(path.read_bytes())
    return digest.hexdigest()


def make(out: Path, scanner: str, patients: int = 3, seed: int = 7, workers: int = 1) -> Path:
    make_hospital(out, scanner, patients, seed, workers=workers, render=sample_study)
    return out


@pytest.mark.parametrize("scanner", ["lunar", "hologic"])
def test_the_same_seed_gives_the_same_bytes_for_any_number_of_workers(
    tmp_path: Path, scanner: str
) -> None:
    one = digest_of(make(tmp_path / "one", scanner))
    assert digest_of(make(tmp_path / "two", scanner, workers=2)) == one
    assert digest_of(make(tmp_path / "three", scanner, seed=8)) != one


def test_lunar_files_say_what_a_lunar_export_says(tmp_path: Path) -> None:
    folder = make(tmp_path / "h", "lunar", patients=1)
    spine = pydicom.dcmread(next(folder.rglob("AP_SPINE.dcm")))
    assert spine.file_meta.TransferSyntaxUID == pydicom.uid.ImplicitVRLittleEndian
    assert spine.SOPClassUID == pydicom.uid.ComputedRadiographyImageStorage
    assert (spine.Modality, spine.ProtocolName) == ("CR", "AP Spine")
    assert spine.PatientOrientation == ["L", "F"]
    assert (spine.BitsAllocated, spine.PhotometricInterpretation) == (8, "MONOCHROME2")
    assert [spine.BodyPartExamined, spine.ViewPosition, spine.Laterality] == ["", "", ""]
    assert "PixelSpacing" not in spine
    assert "ImageType" not in spine
    assert not any(element.tag.is_private for element in spine)
    assert "BMD" not in str(spine)
    assert spine.ExposedArea == [spine.Columns, spine.Rows]  # 1 mm in the sample
    assert sorted(p.name for p in folder.rglob("*.csv")) == [
        "bmd_export.csv",
        "vertebral_assessment.csv",
    ]


def test_hologic_files_say_what_a_hologic_export_says(tmp_path: Path) -> None:
    folder = make(tmp_path / "h", "hologic", patients=1)
    hip = pydicom.dcmread(next(folder.rglob("HIP_L.dcm")))
    assert hip.SOPClassUID == pydicom.uid.SecondaryCaptureImageStorage
    assert (hip.Modality, hip.BodyPartExamined, hip.Laterality) == ("OT", "HIP", "L")
    assert hip.BitsAllocated == 16
    assert list(hip.PixelSpacing) == [1.0, 1.0]
    block = hip[0x0019, 0x1000].value
    assert 'ResultsTable1[ 0][ 0] = "Region";' in block
    assert str(hip.PatientID) in block
    page = pydicom.dcmread(next(folder.rglob("*_RESULTS.dcm")))
    assert page.BitsAllocated == 8
    assert np.unique(page.pixel_array).size > 2  # there is text
    assert [p.name for p in folder.rglob("*.csv")] == ["vertebral_assessment.csv"]


def test_masks_read_by_highdicom_are_the_true_regions(tmp_path: Path) -> None:
    folder = make(tmp_path / "h", "lunar", patients=1)
    truth = sample_study(0).images[View.SPINE_LATERAL].regions
    mask = highdicom.seg.segread(next(folder.rglob("LVA_SEG.dcm")))
    image = pydicom.dcmread(next(folder.rglob("LVA.dcm")))
    pixels = mask.get_pixels_by_source_instance([image.SOPInstanceUID])  # (1, H, W, S)
    for number in mask.segment_numbers:
        name = mask.get_segment_description(number).segment_label
        assert np.array_equal(pixels[0, ..., number - 1], truth == REGION_CODES[name])


def test_a_folder_in_use_is_refused_and_left_alone(tmp_path: Path) -> None:
    (tmp_path / "kept.txt").write_text("mine")
    with pytest.raises(PhantomError, match="not empty"):
        make(tmp_path, "lunar")
    assert [p.name for p in tmp_path.iterdir()] == ["kept.txt"]


def failing_render(number: int, seed: int, scanner: str, population: str) -> RenderedStudy:
    if number == 2:
        raise KeyboardInterrupt
    return sample_study(number, seed, scanner, population)


def test_an_interrupted_make_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        make_hospital(tmp_path / "h", "lunar", 4, 7, render=failing_render)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("scanner", "population", "named"),
    [("norland", "generic", "lunar_prodigy"), ("lunar", "mars", "generic")],
)
def test_unknown_names_are_answered_with_the_known_ones(
    tmp_path: Path, scanner: str, population: str, named: str
) -> None:
    with pytest.raises(PhantomError, match=named):
        make_hospital(tmp_path / "h", scanner, 2, 7, population)
    assert not (tmp_path / "h").exists()


def test_truth_is_written_only_when_asked_for(tmp_path: Path) -> None:
    make(tmp_path / "without", "lunar", 1)
    make_hospital(tmp_path / "with", "lunar", 1, 7, truth=True, render=sample_study)
    assert not (tmp_path / "without" / "truth.jsonl").exists()
    assert '"true_bmd"' in (tmp_path / "with" / "truth.jsonl").read_text()
