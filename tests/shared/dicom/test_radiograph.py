"""Radiographs of any maker: what is plainly a frontal lumbar spine is taken, with right pixels."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.pixels import apply_modality_lut, apply_voi
from pydicom.sequence import Sequence
from pydicom.uid import (
    ComputedRadiographyImageStorage,
    DigitalXRayImageStorageForProcessing,
    JPEG2000Lossless,
    RLELossless,
)

from shared.dicom.pixels.grey_values import stored_values, unit_values
from shared.dicom.pixels.shutters import outside_shutter
from shared.dicom.read import read_study_folder
from shared.dicom.read_study import ReadStudy
from shared.records import Vendor, View
from shared.settings.pacs import MakerSettings, ReadingSettings
from tests.shared.ct_samples import write_ct, write_radiograph
from tests.shared.dicom.test_parts import image


def reason_of(folder: Path, settings: ReadingSettings | None = None) -> str:
    (verdict,) = read_study_folder(folder, settings=settings).files
    return verdict.reason


def study_of(folder: Path, settings: ReadingSettings | None = None) -> ReadStudy:
    (study,) = read_study_folder(folder, settings=settings).studies
    return study


def test_a_lumbar_radiograph_is_taken_with_its_maker_and_detector_spacing(tmp_path: Path) -> None:
    write_radiograph(tmp_path / "a.dcm")
    study = study_of(tmp_path)
    assert (study.vendor, study.maker, study.model) == (Vendor.OTHER, "Canon Inc.", "CXDI")
    assert set(study.images) == {View.LUMBAR_AP}
    record = study.images[View.LUMBAR_AP]
    assert record.spacing_mm == pytest.approx((0.125, 0.125))
    assert record.spacing_provenance == "detector"
    assert record.pixels[30, 24] == pytest.approx(3000 / 4095)
    assert study.lossy == {View.LUMBAR_AP: False}


CODED = Dataset()
CODED.CodeValue, CODED.CodingSchemeDesignator = "122496007", "SCT"
CODED.CodeMeaning = "Lumbar spine"


@pytest.mark.filterwarnings("ignore::UserWarning:pydicom")  # hospitals write L-SPINE too
@pytest.mark.parametrize(
    "attributes",
    [
        {"BodyPartExamined": "L-SPINE"},
        {"BodyPartExamined": "LSSPINE", "ViewPosition": "PA"},
        {"BodyPartExamined": "LUMBAR SPINE", "ViewPosition": "", "SeriesDescription": "AP"},
        {"BodyPartExamined": "SPINE", "SeriesDescription": "L-Spine a.p."},
        {"BodyPartExamined": "", "ProtocolName": "Lumbar spine AP", "ViewPosition": ""},
        {"BodyPartExamined": "", "StudyDescription": "XR LUMBAR SPINE 2 VIEWS"},
        {"BodyPartExamined": None, "AnatomicRegionSequence": Sequence([CODED])},
        {"SOPClassUID": ComputedRadiographyImageStorage, "SeriesDescription": "LWS AP"},
    ],
)
def test_a_frontal_lumbar_spine_is_known_by_any_of_its_names(
    tmp_path: Path, attributes: dict[str, Any]
) -> None:
    write_radiograph(tmp_path / "a.dcm", **attributes)
    assert reason_of(tmp_path) == "ok"


@pytest.mark.parametrize(
    ("reason", "attributes"),
    [
        ("view_not_used", {"ViewPosition": "LL"}),
        ("view_not_used", {"ViewPosition": "", "SeriesDescription": "L-SPINE LATERAL"}),
        ("view_not_used", {"ViewPosition": "RAO"}),
        ("view_not_used", {"SeriesDescription": "L-SPINE AP BENDING"}),
        ("view_not_used", {"BodyPartExamined": "CHEST"}),
        ("view_not_used", {"BodyPartExamined": "TSPINE"}),
        ("view_not_used", {"BodyPartExamined": "CSPINE"}),
        ("view_not_used", {"BodyPartExamined": "WHOLESPINE"}),
        ("view_not_used", {"BodyPartExamined": "SPINE", "SeriesDescription": "C-SPINE AP"}),
        ("scan_type_unknown", {"BodyPartExamined": "SPINE"}),
        ("scan_type_unknown", {"SeriesDescription": "PELVIS AP"}),
        ("scan_type_unknown", {"ViewPosition": ""}),
        ("scan_type_unknown", {"ViewPosition": "", "SeriesDescription": "L-SPINE AP AND LAT"}),
        ("scan_type_unknown", {"SeriesDescription": "L-SPINE LATERAL"}),
        ("for_processing", {"PresentationIntentType": "FOR PROCESSING"}),
        ("for_processing", {"SOPClassUID": DigitalXRayImageStorageForProcessing}),
        ("burned_in_text", {"BurnedInAnnotation": "YES"}),
        ("spacing_unknown", {"ImagerPixelSpacing": None}),
        ("spacing_unknown", {"ImagerPixelSpacing": [0.0, 0.0], "PixelSpacing": [0.0, 0.0]}),
        ("orientation_unknown", {"PatientOrientation": ["F", "L"]}),
        ("pixels_damaged", {"PhotometricInterpretation": "PALETTE COLOR"}),
        ("lut_unsupported", {"ShutterShape": "BITMAP"}),
    ],
)
def test_what_is_another_view_or_leaves_it_open_is_quarantined(
    tmp_path: Path, reason: str, attributes: dict[str, Any]
) -> None:
    write_radiograph(tmp_path / "a.dcm", **attributes)
    assert reason_of(tmp_path) == reason


def test_zero_pixel_spacing_falls_back_to_the_detectors(tmp_path: Path) -> None:
    write_radiograph(tmp_path / "a.dcm", PixelSpacing=[0.0, 0.0])
    assert study_of(tmp_path).images[View.LUMBAR_AP].spacing_provenance == "detector"


def inverted_pixels() -> np.ndarray:
    pixels = np.full((60, 48), 3000, np.uint16)
    pixels[:, 18:30] = 800
    return pixels


def test_monochrome1_is_inverted_once_whatever_the_presentation_shape_says(
    tmp_path: Path,
) -> None:
    for name, shape in (("1", "INVERSE"), ("2", "IDENTITY")):
        write_radiograph(
            tmp_path / name / "a.dcm",
            inverted_pixels(),
            PhotometricInterpretation="MONOCHROME1",
            PresentationLUTShape=shape,
        )
        pixels = study_of(tmp_path / name).images[View.LUMBAR_AP].pixels
        assert pixels[30, 24] == pytest.approx(1 - 800 / 4095)


def test_dark_bone_is_quarantined_unless_the_site_says_that_its_maker_inverts(
    tmp_path: Path,
) -> None:
    write_radiograph(tmp_path / "a.dcm", inverted_pixels())
    assert reason_of(tmp_path) == "polarity_unsure"
    settings = ReadingSettings(makers=(MakerSettings(maker="canon", inverted=True),))
    pixels = study_of(tmp_path, settings).images[View.LUMBAR_AP].pixels
    assert pixels[30, 24] == pytest.approx(1 - 800 / 4095)


def test_a_mirrored_radiograph_is_turned(tmp_path: Path) -> None:
    pixels = np.full((60, 48), 800, np.uint16)
    pixels[:, 20:30] = 3000
    write_radiograph(tmp_path / "a.dcm", pixels, PatientOrientation=["R", "F"])
    assert study_of(tmp_path).images[View.LUMBAR_AP].pixels[5, 18:28].min() > 0.7


@pytest.mark.parametrize("syntax", [RLELossless, JPEG2000Lossless])
def test_compressed_pixels_are_read_as_they_were(tmp_path: Path, syntax: str) -> None:
    path = write_radiograph(tmp_path / "a.dcm")
    want = study_of(tmp_path).images[View.LUMBAR_AP].pixels
    dataset = dcmread(path)
    dataset.compress(syntax)
    dataset.save_as(path)
    study = study_of(tmp_path)
    assert np.array_equal(study.images[View.LUMBAR_AP].pixels, want)
    assert study.lossy == {View.LUMBAR_AP: False}


def test_loss_is_flagged_where_the_file_says_it(tmp_path: Path) -> None:
    write_radiograph(tmp_path / "a.dcm", LossyImageCompression="01")
    assert study_of(tmp_path).lossy == {View.LUMBAR_AP: True}


def test_two_frontal_radiographs_of_a_study_are_both_quarantined(tmp_path: Path) -> None:
    write_radiograph(tmp_path / "a.dcm")
    write_radiograph(tmp_path / "b.dcm", SOPInstanceUID="2.25.9")
    assert {v.reason for v in read_study_folder(tmp_path).files} == {"view_twice"}


def test_a_study_may_hold_a_radiograph_and_a_ct(tmp_path: Path) -> None:
    write_radiograph(tmp_path / "a.dcm")
    write_ct(tmp_path / "ct")
    study = study_of(tmp_path)
    assert len(study.images) == len(study.volumes) == 1


# --- lookup tables, windows and shutters ----------------------------------------------


def table(entries: int, first: int, bits: int, values: np.ndarray) -> Dataset:
    item = Dataset()
    item.add_new("LUTDescriptor", "US", [entries % 65536, first, bits])
    item.add_new("LUTData", "US", [int(value) for value in values])
    return item


def test_lookup_tables_agree_with_pydicom() -> None:
    pixels = np.arange(0, 4096, 16, dtype=np.uint16).reshape(16, 16)
    curve = (np.linspace(0, 1, 1024) ** 2 * 4095).astype(np.uint16)
    dataset = image(pixels, VOILUTSequence=Sequence([table(1024, 500, 12, curve)]))
    theirs = apply_voi(pixels, dataset) / 4095
    assert unit_values(dataset, stored_values(dataset)) == pytest.approx(theirs, abs=1e-6)
    first = image(pixels, ModalityLUTSequence=Sequence([table(4096, 0, 16, np.arange(4096)[::-1])]))
    first.ModalityLUTSequence[0].ModalityLUTType = "US"
    modality = apply_modality_lut(pixels, first)
    assert unit_values(first, stored_values(first)) == pytest.approx(modality / 4095, abs=1e-6)


def test_a_sigmoid_window_is_half_at_its_centre() -> None:
    pixels = np.array([[0, 1000, 2000]], np.uint16)
    dataset = image(pixels, WindowCenter=1000, WindowWidth=500, VOILUTFunction="SIGMOID")
    unit = unit_values(dataset, stored_values(dataset))[0]
    assert unit == pytest.approx([1 / (1 + np.exp(8)), 0.5, 1 / (1 + np.exp(-8))])


def test_nothing_behind_a_shutter_counts() -> None:
    dataset = image(
        np.zeros((20, 30), np.uint8),
        ShutterShape=["RECTANGULAR", "CIRCULAR", "POLYGONAL"],
        ShutterUpperHorizontalEdge=2,
        ShutterLowerHorizontalEdge=19,
        ShutterLeftVerticalEdge=3,
        ShutterRightVerticalEdge=28,
        CenterOfCircularShutter=[10, 15],
        RadiusOfCircularShutter=12,
        VerticesOfThePolygonalShutter=[1, 1, 1, 30, 12, 30, 12, 1],
    )
    outside = outside_shutter(dataset, (20, 30))
    assert outside is not None
    rows, columns = np.mgrid[1:21, 1:31]
    within = (rows > 2) & (rows < 19) & (columns > 3) & (columns < 28) & (rows <= 12)
    within &= np.hypot(rows - 10, columns - 15) <= 12
    assert np.array_equal(~outside, within)
    assert np.array_equal(np.isnan(unit_values(dataset, stored_values(dataset))), outside)
