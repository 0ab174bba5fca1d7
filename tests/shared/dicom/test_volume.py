"""CT series: placed by geometry alone, in Hounsfield units, or set aside with the reason."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.uid import EnhancedCTImageStorage

from shared.dicom.ct.eligibility import find_stack
from shared.dicom.ct.geometry import SlicePlace
from shared.dicom.read import ReadVolume, read_study_folder
from shared.dicom.verdicts import SetAsideError
from shared.records import PADDING_HU, Vendor
from tests.shared.ct_samples import (
    AXIAL,
    SHAPE,
    SPACING,
    STEP,
    body_slice,
    field,
    save,
    uid,
    write_ct,
)
from tests.shared.planted import write_text

SHUFFLED = [3, 0, 5, 1, 4, 2]


def volume_of(folder: Path, reason: str = "ok") -> ReadVolume:
    result = read_study_folder(folder)
    assert {v.reason for v in result.files if v.verdict == "taken"} == {reason}
    (study,) = result.studies
    (volume,) = study.volumes.values()
    return volume


def reasons(folder: Path) -> dict[str, str]:
    return {v.path.rsplit("/", 1)[-1]: v.reason for v in read_study_folder(folder).files}


@pytest.mark.parametrize("order", [list(range(6)), SHUFFLED, list(range(6))[::-1]])
def test_slices_are_sorted_by_where_they_lie_and_never_by_number_or_name(
    tmp_path: Path, order: list[int]
) -> None:
    write_ct(tmp_path, order=order)
    volume = volume_of(tmp_path)
    assert np.array_equal(volume.record.hu, field())
    assert volume.record.hu.dtype == np.int16
    assert volume.record.spacing_mm == pytest.approx((STEP, *SPACING))
    assert volume.record.origin_mm == pytest.approx((-10, -20, 100))
    assert (volume.slices, volume.resampled, volume.lossy) == (6, "", False)


def test_what_moves_hounsfield_units_is_kept(tmp_path: Path) -> None:
    def change(dataset: Dataset, k: int) -> None:
        dataset.ContrastBolusAgent = "Iomeron" if k == 2 else ""

    write_ct(tmp_path, change=change)
    (study,) = read_study_folder(tmp_path).studies
    assert (study.vendor, study.maker, study.model) == (Vendor.OTHER, "SIEMENS", "Biograph40")
    assert (study.covariates.sex, study.covariates.age_years) == ("F", 67)
    (volume,) = study.volumes.values()
    record = volume.record
    assert (record.kvp, record.kernel, record.slice_thickness_mm) == (120.0, "Br38f", 3.0)
    assert record.contrast is True


@pytest.mark.parametrize(
    ("orientation", "axis", "want"),
    [
        # Head first prone: both in-plane axes run the other way, and the normal does not.
        ((-1.0, 0, 0, 0, -1.0, 0), 2, lambda v: v[:, ::-1, ::-1]),
        # Feet to head in the image: coronal slices, from back to front.
        ((1.0, 0, 0, 0, 0, -1.0), 1, lambda v: v.transpose(1, 0, 2)[::-1]),
        # Sagittal slices, from right to left.
        ((0, 1.0, 0, 0, 0, -1.0), 0, lambda v: v.transpose(1, 2, 0)[::-1]),
    ],
)
def test_every_orientation_ends_on_the_patients_axes(
    tmp_path: Path,
    orientation: tuple[float, ...],
    axis: int,
    want: Callable[[np.ndarray], np.ndarray],
) -> None:
    positions = np.zeros((6, 3))
    positions[:, axis] = np.arange(6) * STEP
    write_ct(tmp_path, positions=positions, orientation=orientation, order=SHUFFLED)
    volume = volume_of(tmp_path, "ok" if axis == 2 else "series_not_axial")
    assert np.array_equal(volume.record.hu, want(field()))
    assert volume.record.spacing_mm[2 - axis] == pytest.approx(STEP)
    assert volume.resampled == ""


def test_padding_is_blanked_before_rescaling_whatever_its_sign_was_written_as(
    tmp_path: Path,
) -> None:
    hu = field()

    def change(dataset: Dataset, k: int) -> None:
        pixels = hu[k].astype(np.int32) + 1024
        pixels[:3] = 63536  # -2000 in 16 bits
        dataset.PixelData = pixels.astype(np.uint16).tobytes()
        dataset.PixelPaddingValue = 63536
        if k % 2:
            dataset.PixelRepresentation = 1
            dataset["PixelPaddingValue"].VR = "SS"
            dataset.PixelPaddingValue = -2000

    write_ct(tmp_path, change=change)
    found = volume_of(tmp_path).record.hu
    assert (found[:, :3] == PADDING_HU).all()
    assert np.array_equal(found[:, 3:], hu[:, 3:])


def test_overlays_in_unused_bits_do_not_reach_the_values(tmp_path: Path) -> None:
    hu = field()

    def change(dataset: Dataset, k: int) -> None:
        dataset.BitsStored, dataset.HighBit = 12, 11
        pixels = (hu[k].astype(np.int32) + 1024) | 0x8000
        dataset.PixelData = pixels.astype(np.uint16).tobytes()

    write_ct(tmp_path, change=change)
    assert np.array_equal(volume_of(tmp_path).record.hu, hu)


def ramp(points: np.ndarray) -> np.ndarray:
    """HU that are linear in patient coordinates, (..., 3) -> (...)."""
    return np.rint(points @ np.array([2.0, 5.0, -4.0]) + 300)


def along(positions: np.ndarray, orientation: tuple[float, ...]) -> np.ndarray:
    """Patient coordinates of every voxel, (slices, rows, columns, 3)."""
    rows, columns = np.mgrid[: SHAPE[1], : SHAPE[2]]
    across, down = np.array(orientation[:3]), np.array(orientation[3:])
    plane = (
        rows[..., None] * down * SPACING[0] + columns[..., None] * across * SPACING[1]
    )  # (R, C, 3)
    return np.asarray(positions[:, None, None] + plane)


def centre_errors(volume: ReadVolume) -> np.ndarray:
    """Difference to the ramp where slices were measured, one voxel within."""
    hu = volume.record.hu
    index = np.stack(np.meshgrid(*map(np.arange, hu.shape), indexing="ij"), axis=-1)
    points = index[..., ::-1] * np.array(volume.record.spacing_mm)[::-1] + np.array(
        volume.record.origin_mm
    )
    from scipy import ndimage

    measured = ndimage.binary_erosion(hu != PADDING_HU, iterations=2)
    assert measured.sum() > 50
    return np.asarray(hu[measured] - ramp(points)[measured])


def tilted(degrees: float, count: int = 12) -> tuple[np.ndarray, tuple[float, ...]]:
    """Positions and orientation of a tilted gantry: the table still moves along z."""
    angle = np.radians(degrees)
    positions = np.array([[0.0, 0.0, STEP * k] for k in range(count)])
    return positions, (1.0, 0.0, 0.0, 0.0, float(np.cos(angle)), float(-np.sin(angle)))


@pytest.mark.parametrize("degrees", [-18.0, 12.0])
def test_a_tilted_gantry_is_resampled_onto_the_patients_axes(
    tmp_path: Path, degrees: float
) -> None:
    positions, orientation = tilted(degrees)
    write_ct(
        tmp_path,
        ramp(along(positions, orientation)),
        positions=positions,
        orientation=orientation,
        order=[*range(5, 12), *range(5)],
    )
    volume = volume_of(tmp_path)
    assert volume.resampled == "tilt"
    assert np.abs(centre_errors(volume)).max() <= 2  # rounding, twice


def test_uneven_gaps_are_resampled_to_even_ones(tmp_path: Path) -> None:
    heights = np.array([0, 2.5, 5.0, 7.5, 11.0, 14.5, 18.0, 20.5])
    positions = np.stack([np.zeros(8), np.zeros(8), heights], axis=1)
    write_ct(tmp_path, ramp(along(positions, AXIAL)), positions=positions)
    volume = volume_of(tmp_path)
    assert volume.resampled == "gaps"
    assert volume.slices == 8
    assert np.abs(centre_errors(volume)).max() <= 2


def test_an_enhanced_file_gives_what_its_frames_give_as_single_files(tmp_path: Path) -> None:
    files = write_ct(tmp_path / "single")
    enhanced = dcmread(files[0])
    enhanced.SOPClassUID = EnhancedCTImageStorage
    enhanced.SOPInstanceUID = uid(5)
    frames = []
    for place in SHUFFLED:
        frame, position = Dataset(), Dataset()
        position.ImagePositionPatient = dcmread(files[place]).ImagePositionPatient
        frame.PlanePositionSequence = Sequence([position])
        frames.append(frame)
    enhanced.PerFrameFunctionalGroupsSequence = Sequence(frames)
    shared, turned, measured, meaning = (Dataset() for _ in range(4))
    turned.ImageOrientationPatient = enhanced.ImageOrientationPatient
    measured.PixelSpacing = enhanced.PixelSpacing
    measured.SliceThickness = "3"
    meaning.RescaleSlope, meaning.RescaleIntercept = "1", "-1024"
    shared.PlaneOrientationSequence = Sequence([turned])
    shared.PixelMeasuresSequence = Sequence([measured])
    shared.PixelValueTransformationSequence = Sequence([meaning])
    enhanced.SharedFunctionalGroupsSequence = Sequence([shared])
    enhanced.NumberOfFrames = 6
    enhanced.PixelData = b"".join(dcmread(files[place]).PixelData for place in SHUFFLED)
    for keyword in ("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing"):
        delattr(enhanced, keyword)
    save(enhanced, tmp_path / "enhanced" / "all.dcm")
    one, many = volume_of(tmp_path / "enhanced"), volume_of(tmp_path / "single")
    assert np.array_equal(one.record.hu, many.record.hu)
    assert one.record.spacing_mm == many.record.spacing_mm
    assert one.slices == 6


# --- set aside, with the reason -----------------------------------------------------


def at(k: int, **values: object) -> Callable[[Dataset, int], None]:
    def change(dataset: Dataset, number: int) -> None:
        if number == k or k < 0:
            for keyword, value in values.items():
                setattr(dataset, keyword, value)

    return change


TURNED = [0.9848, 0.1736, 0, -0.1736, 0.9848, 0]


def halved(dataset: Dataset, k: int) -> None:
    if k == 2:
        dataset.Rows = SHAPE[1] // 2
        dataset.PixelData = dataset.PixelData[: len(dataset.PixelData) // 2]


@pytest.mark.parametrize(
    ("reason", "change"),
    [
        ("slices_twice", at(2, ImagePositionPatient=[-10, -20, 100])),
        ("slices_scattered", at(2, ImagePositionPatient=[-14, -20, 105])),
        ("orientation_mixed", at(2, ImageOrientationPatient=TURNED)),
        ("grid_mixed", at(2, PixelSpacing=[0.9, 0.7])),
        ("grid_mixed", halved),
        ("geometry_missing", at(-1, ImagePositionPatient=None)),
        ("geometry_missing", at(-1, PixelSpacing=[0, 0])),
        ("geometry_missing", at(-1, ImageOrientationPatient=[1, 0, 0, 1, 0, 0])),
        ("localizer", at(-1, ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"])),
        ("slices_derived", at(-1, ImageType=["DERIVED", "SECONDARY", "MIP"])),
        ("multi_energy", at(-1, ImageType=["DERIVED", "PRIMARY", "AXIAL", "VMI"])),
        ("multi_energy", at(-1, ImageType=["DERIVED", "PRIMARY", "AXIAL", "MAT_REMOVED"])),
        ("uid_missing", at(-1, SeriesInstanceUID="")),
    ],
)  # fmt: skip
def test_a_series_that_makes_no_grid_is_quarantined_whole(
    tmp_path: Path, reason: str, change: Callable[[Dataset, int], None]
) -> None:
    write_ct(tmp_path, change=change)
    result = read_study_folder(tmp_path)
    assert result.studies == []
    assert {v.reason for v in result.files} == {reason}
    assert {v.verdict for v in result.files} == {"quarantined"}


def test_a_missing_slice_is_noticed(tmp_path: Path) -> None:
    write_ct(tmp_path)[2].unlink()
    assert set(reasons(tmp_path).values()) == {"slices_missing"}


def test_two_slices_are_no_volume(tmp_path: Path) -> None:
    for path in write_ct(tmp_path)[2:]:
        path.unlink()
    assert set(reasons(tmp_path).values()) == {"series_too_short"}


@pytest.mark.parametrize(
    ("reason", "change"),
    [
        ("hu_unknown", at(2, RescaleType="MGML")),
        ("hu_unknown", at(2, RescaleIntercept=None)),
        ("pixels_truncated", at(2, PixelData=b"\x00" * 40)),
        ("pixels_missing", at(2, PixelData=b"")),
    ],
)
def test_one_bad_slice_costs_its_series_and_is_named(
    tmp_path: Path, reason: str, change: Callable[[Dataset, int], None]
) -> None:
    write_ct(tmp_path, change=change)
    found = reasons(tmp_path)
    assert found.pop("002.dcm") == reason
    assert set(found.values()) == {"series_incomplete"}


def test_localizers_beside_a_series_do_not_cost_it(tmp_path: Path) -> None:
    write_ct(tmp_path / "ct")
    write_ct(
        tmp_path / "scout",
        series=2,
        change=at(-1, ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER", "CT_SOM5 TOP"]),
    )
    result = read_study_folder(tmp_path)
    assert len(result.studies[0].volumes) == 1
    assert sum(v.reason == "localizer" for v in result.files) == 6


def test_two_series_of_a_study_are_two_volumes(tmp_path: Path) -> None:
    write_ct(tmp_path / "1")
    write_ct(tmp_path / "2", field(4), series=2)
    (study,) = read_study_folder(tmp_path).studies
    assert set(study.volumes) == {uid(1, 1), uid(1, 2)}
    assert np.array_equal(study.volumes[uid(1, 2)].record.hu, field(4))
    assert study.volumes[uid(1, 1)].digest != study.volumes[uid(1, 2)].digest


def test_a_series_beyond_memory_is_refused_before_any_pixel_is_read() -> None:
    places = [SlicePlace((0.0, 0.0, float(k)), AXIAL, (0.3, 0.3), (1024, 1024)) for k in range(700)]
    with pytest.raises(SetAsideError, match="series_too_large"):
        find_stack(places)


@pytest.mark.parametrize("orientation", [AXIAL, (1.0, 0, 0, 0, 0, -1.0)])
def test_a_series_with_a_name_in_one_slice_is_set_aside_whole(
    tmp_path: Path, orientation: tuple[float, ...]
) -> None:
    hu = np.stack([body_slice(seed) for seed in range(5)])
    positions = np.outer(np.arange(5) * STEP, (0, 0, 1) if orientation == AXIAL else (0, 1, 0))
    write_ct(tmp_path / "a", hu, positions=positions, orientation=orientation)
    taken = "ok" if orientation == AXIAL else "series_not_axial"
    assert set(reasons(tmp_path / "a").values()) == {taken}
    hu[3] = write_text(hu[3], "Wendelstein, Irmgard", 13, 1000, 6, 60)
    write_ct(tmp_path / "b", hu, positions=positions, orientation=orientation)
    assert set(reasons(tmp_path / "b").values()) == {"burned_in_text"}
    assert not read_study_folder(tmp_path / "b").studies
