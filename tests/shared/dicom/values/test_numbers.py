"""Numbers and dates in headers: repaired and said, or not used and said; never guessed."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import numpy as np
import pytest
from pydicom import dcmread
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset
from pydicom.tag import Tag

from shared.dicom.attributes import age_years, covariates_of, remarks_of, study_date
from shared.dicom.pixels.spacing import find_spacing
from shared.dicom.read import ReadResult, read_study_folder
from shared.dicom.values.dates import AmbiguousDateError, parse_day
from shared.dicom.values.numbers import numbers_in
from shared.dicom.verdicts import SetAsideError
from shared.records import ImageRecord, Vendor, View
from tests.shared.ct_samples import save, write_ct, write_radiograph
from tests.shared.dicom.test_parts import image
from tests.suite.real_images import REAL_IMAGES, needs_real_images

DISTANCES = {"DistanceSourceToDetector": "1150", "DistanceSourceToPatient": "1000"}


def write_raw(dataset: Dataset, keyword: str, vr: str, value: bytes) -> None:
    """Give an attribute the bytes and the VR that somebody's file has."""
    tag = Tag(keyword)
    value += b" " * (len(value) % 2)
    dataset[tag] = RawDataElement(tag, vr, len(value), value, 0, False, True)


def radiograph_with(folder: Path, *elements: tuple[str, str, bytes]) -> ReadResult:
    """Read a radiograph of which some attributes are written otherwise."""
    path = write_radiograph(folder / "a.dcm", ImagerPixelSpacing=None)
    dataset = dcmread(path)
    for keyword, vr, value in elements:
        write_raw(dataset, keyword, vr, value)
    save(dataset, path)
    return read_study_folder(folder)


def only_image(result: ReadResult) -> ImageRecord:
    (study,) = result.studies
    return study.images[View.LUMBAR_AP]


@pytest.mark.parametrize(
    ("vr", "value", "repair"),
    [
        ("DS", rb"0,5\0,5", "a decimal comma"), ("DS", b"0,5,0,5", "a decimal comma"),
        ("DS", rb"0,500\0,500", "a decimal comma"), ("UT", rb"0.5\0.5", "VR UT instead of DS"),
        ("LO", rb"0.5\0.5", "VR LO instead of DS"), ("IS", rb"0.5\0.5", "VR IS instead of DS"),
        ("FD", np.array([0.5, 0.5]).tobytes(), "VR FD instead of DS"),
        ("UN", rb"0,5\0,5", "a decimal comma"), ("DS", b"0.5 0.5", "other separators"),
        ("LO", b"0.5;0.5", "other separators"), ("ST", b"0,5, 0,5", "a decimal comma"),
        ("LO", rb"0.5 mm\0.5 mm", "a unit behind it"), ("OB", rb"0.5\0.5", "VR OB instead of DS"),
    ],
)  # fmt: skip
def test_a_spacing_that_can_mean_one_thing_is_used_and_its_repair_said(
    tmp_path: Path, vr: str, value: bytes, repair: str
) -> None:
    result = radiograph_with(tmp_path, ("PixelSpacing", vr, value))
    record = only_image(result)
    assert record.spacing_mm == (0.5, 0.5)
    assert record.spacing_provenance == "repaired"
    (verdict,) = result.files
    assert verdict.sentence == f"read and used (PixelSpacing was repaired: {repair})"


@pytest.mark.parametrize(
    ("value", "why"),
    [
        (b"1,2", "can be read in more than one way"), (b"0,5", "holds 1 instead of 2 numbers"),
        (b"half a mm", "holds no number"), (rb"0.5\half", "holds no number"),
        (rb"1,5\2,5\3,5", "holds 3 instead of 2 numbers"), (b"0.5", "holds 1 instead of 2"),
        (rb"0,5\5,0", "cannot be"), (b"1,2,1", "can be read in more than one way"),
    ],
)  # fmt: skip
def test_a_spacing_that_can_mean_two_things_is_not_guessed(
    tmp_path: Path, value: bytes, why: str
) -> None:
    result = radiograph_with(tmp_path, ("PixelSpacing", "LO", value))
    assert not result.studies
    (verdict,) = result.files
    assert verdict.reason == "spacing_unknown"
    assert "PixelSpacing" in verdict.sentence
    assert why in verdict.sentence


@pytest.mark.parametrize(
    ("keyword", "text", "count", "numbers"),
    [
        ("PatientSize", "1,650", 1, (1.65,)),
        ("PatientWeight", "72,500", 1, (72.5,)),
        ("DistanceSourceToDetector", "1.150,0", 1, (1150.0,)),
        ("DistanceSourceToDetector", "1,150", 1, (1150.0,)),
        ("RescaleIntercept", "-1024,000", 1, (-1024.0,)),
        ("RescaleIntercept", "-1,024", 1, ()),
        ("ImagePositionPatient", r"-12,500\-160,000\45,250", 3, (-12.5, -160.0, 45.25)),
        ("ImagePositionPatient", r"1,500\2,500\3,500", 3, ()),
        ("ImageOrientationPatient", "1,0,0,0,1,0", 6, (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)),
        ("WindowCenter", "40,0", None, (40.0,)),
        ("WindowCenter", "40,400", None, ()),
    ],
)
def test_a_comma_is_read_as_what_the_attribute_can_be(
    keyword: str, text: str, count: int | None, numbers: tuple[float, ...]
) -> None:
    found = numbers_in(text, keyword, count)
    assert found.numbers == numbers
    assert bool(found.problem) != bool(numbers)


def test_height_and_weight_with_a_comma_are_read_and_said() -> None:
    dataset = Dataset()
    write_raw(dataset, "PatientSize", "DS", b"1,62")
    write_raw(dataset, "PatientWeight", "LO", b"58,5 kg")
    covariates = covariates_of(dataset)
    assert (covariates.height_cm, covariates.weight_kg) == (162.0, 58.5)
    assert len(remarks_of(dataset)) == 2


@pytest.mark.parametrize("keyword", ["WindowCenter", "RescaleSlope"])
def test_grey_values_of_a_scale_that_cannot_be_told_are_not_read(
    tmp_path: Path, keyword: str
) -> None:
    """Without it they would be on another scale, and nobody would know."""
    spacing = ("PixelSpacing", "DS", rb"0.5\0.5")
    width = ("WindowWidth", "DS", b"400")
    result = radiograph_with(tmp_path, spacing, width, (keyword, "LO", b"1,400;x"))
    (verdict,) = result.files
    assert verdict.reason == "lut_unsupported"
    assert keyword in verdict.sentence


# --- distances of the source ---------------------------------------------------------


@pytest.mark.parametrize(
    ("attributes", "millimetres", "provenance"),
    [
        (DISTANCES, 0.15 * 1000 / 1150, "derived"),
        ({**DISTANCES, "EstimatedRadiographicMagnificationFactor": "1.15"}, 0.1304, "derived"),
        ({**DISTANCES, "EstimatedRadiographicMagnificationFactor": "1.4"}, 0.15, "detector"),
        ({**DISTANCES, "DistanceSourceToPatient": "1150"}, 0.15, "detector"),
        ({**DISTANCES, "DistanceSourceToPatient": "0"}, 0.15, "detector"),
        ({**DISTANCES, "DistanceSourceToPatient": "-1000"}, 0.15, "detector"),
        ({**DISTANCES, "DistanceSourceToPatient": "100"}, 0.15, "detector"),
        ({"DistanceSourceToDetector": "1150"}, 0.15, "detector"),
        ({"EstimatedRadiographicMagnificationFactor": "0.1"}, 0.15, "detector"),
        ({"EstimatedRadiographicMagnificationFactor": "1.2"}, 0.125, "detector"),
    ],
)
def test_the_size_in_the_patient_follows_from_distances_that_can_be(
    attributes: dict[str, str], millimetres: float, provenance: str
) -> None:
    dataset = image(np.zeros((4, 4), np.uint8), ImagerPixelSpacing=[0.15, 0.15], **attributes)
    spacing, found = find_spacing(dataset, Vendor.OTHER)
    assert spacing == pytest.approx((millimetres, millimetres), abs=1e-4)
    assert found == provenance


@pytest.mark.parametrize(
    ("attributes", "words"),
    [
        ({**DISTANCES, "DistanceSourceToPatient": "1200"}, "distances from the source"),
        ({"EstimatedRadiographicMagnificationFactor": "7"}, "factor that cannot be"),
        ({**DISTANCES, "EstimatedRadiographicMagnificationFactor": "1.4"}, "contradict"),
    ],
)
def test_distances_that_cannot_be_are_said(
    tmp_path: Path, attributes: dict[str, str], words: str
) -> None:
    stated = attributes.get("EstimatedRadiographicMagnificationFactor")
    rest = {keyword: text for keyword, text in attributes.items() if text != stated}
    write_radiograph(
        tmp_path / "a.dcm",
        study=1,
        pixels=None,
        EstimatedRadiographicMagnificationFactor=stated,
        **rest,
    )
    result = read_study_folder(tmp_path)
    assert only_image(result).spacing_mm == (0.15, 0.15)
    assert words in result.files[0].sentence


# --- CT --------------------------------------------------------------------------------


def with_commas(dataset: Dataset, _number: int) -> None:
    for keyword in ("PixelSpacing", "ImagePositionPatient", "RescaleIntercept"):
        value = dataset[keyword].value
        parts = [value] if isinstance(value, (str, float)) else value
        text = "\\".join(f"{float(part):.2f}".replace(".", ",") for part in parts)
        write_raw(dataset, keyword, "DS", text.encode())


def test_a_ct_with_decimal_commas_is_the_same_volume(tmp_path: Path) -> None:
    write_ct(tmp_path / "a")
    write_ct(tmp_path / "b", change=with_commas)
    volumes = []
    for folder in ("a", "b"):
        result = read_study_folder(tmp_path / folder)
        (volume,) = result.studies[0].volumes.values()
        volumes.append(volume)
    assert np.array_equal(volumes[0].record.hu, volumes[1].record.hu)
    assert volumes[0].record.spacing_mm == volumes[1].record.spacing_mm
    assert volumes[0].remarks == ()
    assert all("PixelSpacing was repaired" in one.sentence for one in result.files)


@pytest.mark.parametrize("unit", ["US", "OD", "HU_MOD", "Z_EFF", "MGML"])
def test_values_of_another_unit_set_the_whole_series_aside(tmp_path: Path, unit: str) -> None:
    write_ct(tmp_path, change=lambda dataset, _: setattr(dataset, "RescaleType", unit))
    result = read_study_folder(tmp_path)
    assert not result.studies
    assert {one.reason for one in result.files} == {"hu_unknown"}
    assert all(f"RescaleType is {unit} and not HU" in one.sentence for one in result.files)


@pytest.mark.parametrize("unit", ["HU", "hu", "", None])
def test_values_without_a_unit_are_hounsfield_units(tmp_path: Path, unit: str | None) -> None:
    def change(dataset: Dataset, _number: int) -> None:
        if unit is None:
            del dataset.RescaleType
        else:
            dataset.RescaleType = unit

    write_ct(tmp_path, change=change)
    assert len(read_study_folder(tmp_path).studies[0].volumes) == 1


# --- dates -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        "2024.03.05", "2024-03-05", "2024/3/5", "20240305", "20240305101500.00+0100", "05.03.2024",
        "2024-03-05T10:15:00", "2024.03.05 10:15",
    ],
)  # fmt: skip
@pytest.mark.parametrize("vr", ["DA", "LO", "DT", "UN"])
def test_dates_with_one_reading_are_read_in_any_vr(text: str, vr: str) -> None:
    dataset = Dataset()
    write_raw(dataset, "StudyDate", vr, text.encode())
    assert study_date(dataset) == date(2024, 3, 5)
    assert remarks_of(dataset) == []


@pytest.mark.parametrize("text", ["05/03/2024", "05-03-2024"])
def test_a_date_that_can_be_two_days_is_not_guessed_and_said(tmp_path: Path, text: str) -> None:
    with pytest.raises(AmbiguousDateError):
        parse_day(text)
    path = write_radiograph(tmp_path / "a.dcm")
    dataset = dcmread(path)
    for keyword in ("StudyDate", "AcquisitionDate", "SeriesDate", "ContentDate"):
        if keyword in dataset:
            write_raw(dataset, keyword, "DA", text.encode())
    save(dataset, path)
    result = read_study_folder(tmp_path)
    assert result.studies[0].header.study_date is None
    assert "StudyDate is not used: which number is the month" in result.files[0].sentence


def test_an_age_follows_from_dates_with_points() -> None:
    dataset = Dataset()
    write_raw(dataset, "StudyDate", "DA", b"2024.03.05")
    write_raw(dataset, "PatientBirthDate", "DA", b"1954-03-06")
    assert age_years(dataset) == 69.0


# --- the faulty inputs -----------------------------------------------------------------


@needs_real_images
@pytest.mark.parametrize(
    ("folder", "millimetres", "provenance"),
    [
        ("comma_decimal", 0.5, "repaired"),
        ("spacing_UT", 0.5, "repaired"),
        ("imager_sid_sod", 0.15 * 1000 / 1150, "derived"),
    ],
)
def test_spacings_of_faulty_files_are_read(
    folder: str, millimetres: float, provenance: str
) -> None:
    record = only_image(read_study_folder(REAL_IMAGES / "cases" / folder))
    assert record.spacing_mm == pytest.approx((millimetres, millimetres))
    assert record.spacing_provenance == provenance


@needs_real_images
def test_a_faulty_ct_of_no_hounsfield_units_is_set_aside() -> None:
    result = read_study_folder(REAL_IMAGES / "cases" / "ct_rescaletype_us")
    assert not result.studies
    assert {one.reason for one in result.files} == {"hu_unknown"}


def test_what_cannot_be_is_named_without_its_value() -> None:
    dataset = image(np.zeros((4, 4), np.uint8), PixelSpacing=[0.0, 0.0])
    with pytest.raises(SetAsideError) as caught:
        find_spacing(dataset, Vendor.OTHER)
    assert caught.value.detail == "PixelSpacing cannot be"
