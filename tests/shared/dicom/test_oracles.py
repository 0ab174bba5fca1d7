"""CT and labels against other readers and the truth they were made from."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset

from shared.dicom.ct.eligibility import find_stack
from shared.dicom.ct.geometry import SlicePlace, places_of
from shared.dicom.ct.volume import read_series
from shared.dicom.labels.structured_report import read_report
from shared.dicom.masks.levels import LEVELS
from shared.dicom.masks.segmentation import read_levels
from shared.dicom.masks.write_regions import write_volume_regions
from shared.dicom.parsing import parse
from shared.dicom.read import read_study_folder
from shared.dicom.study_files import ScannedFile
from shared.dicom.verdicts import SetAsideError
from shared.phantom.writers import write_study
from shared.records import PADDING_HU, VolumeRecord
from tests.shared.ct_samples import STEP, write_ct
from tests.shared.dicom.test_volume import tilted
from tests.shared.rendered_samples import sample_study
from tests.suite.real_images import REAL_IMAGES, needs_real_images

sitk = pytest.importorskip("SimpleITK")

#: SimpleITK says of series with uneven gaps that they are uneven.
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:pydicom")


def ours(folder: Path) -> VolumeRecord:
    """Read the slices of a folder as one series, whatever their UIDs say."""
    files = []
    for path in sorted(folder.iterdir()):
        if path.name.startswith("CT.") or path.suffix == ".dcm":
            dataset = parse(path.read_bytes(), pixels=False)
            if "ImagePositionPatient" in dataset:
                files.append(
                    ScannedFile(
                        path, path.name, path.name, "slice", "1", path.name, "1",
                        places=places_of(dataset),
                    )
                )  # fmt: skip
    volume, _, _ = read_series(files)
    assert volume is not None
    assert volume.resampled == ""
    return volume.record


def theirs(folder: Path) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """HU (k, j, i), spacing, origin and direction by SimpleITK, slices sorted along z by it."""
    paths = [
        path
        for path in folder.iterdir()
        if (path.name.startswith("CT.") or path.suffix == ".dcm")
        and "ImagePositionPatient" in dcmread(path, stop_before_pixels=True)
    ]
    reader = sitk.ImageSeriesReader()
    turned = np.array(dcmread(paths[0]).ImageOrientationPatient, float)
    normal = np.cross(turned[:3], turned[3:])
    paths.sort(key=lambda p: float(np.array(dcmread(p).ImagePositionPatient, float) @ normal))
    reader.SetFileNames([str(path) for path in paths])
    image = reader.Execute()
    # DICOM's axes are already x left, y back, z up: orient so that the indices are too.
    image = sitk.DICOMOrient(image, "LPS")
    return (
        sitk.GetArrayFromImage(image),
        np.array(image.GetSpacing()),
        np.array(image.GetOrigin()),
        np.array(image.GetDirection()).reshape(3, 3),
    )


def assert_same(folder: Path) -> None:
    record = ours(folder)
    hu, spacing, origin, direction = theirs(folder)
    assert record.hu.shape == hu.shape
    assert np.allclose(direction, np.eye(3), atol=1e-4)
    assert record.spacing_mm == pytest.approx(spacing[::-1], abs=1e-3)
    assert record.origin_mm == pytest.approx(origin, abs=1e-3)
    measured = record.hu > PADDING_HU
    assert measured.mean() > 0.5
    assert np.array_equal(record.hu[measured], hu[measured])
    assert (hu[~measured] <= PADDING_HU).all()
    assert record.hu[measured].mean() == pytest.approx(hu[measured].mean(), abs=1e-6)


@needs_real_images
@pytest.mark.parametrize("name", ["ct_series_dicom", "ct_slices_seg_sr"])
def test_every_real_series_agrees_with_simpleitk(name: str) -> None:
    assert_same(REAL_IMAGES / name)


def orientations() -> Iterator[tuple[str, tuple[float, ...], int, float]]:
    yield "axial", (1, 0, 0, 0, 1, 0), 2, STEP
    yield "axial, head last", (1, 0, 0, 0, 1, 0), 2, -STEP
    yield "prone", (-1, 0, 0, 0, -1, 0), 2, STEP
    yield "coronal", (1, 0, 0, 0, 0, -1), 1, STEP
    yield "sagittal", (0, 1, 0, 0, 0, -1), 0, -STEP


@pytest.mark.parametrize("case", list(orientations()), ids=lambda case: case[0])
@pytest.mark.parametrize("order", [None, [3, 0, 5, 1, 4, 2]])
def test_made_up_series_agree_with_simpleitk(
    tmp_path: Path, case: tuple[str, tuple[float, ...], int, float], order: list[int] | None
) -> None:
    _, orientation, axis, step = case
    positions = np.tile([-31.5, 12.25, 700.0], (6, 1))
    positions[:, axis] += np.arange(6) * step
    write_ct(tmp_path, positions=positions, orientation=orientation, order=order)
    assert_same(tmp_path)


def test_a_tilted_series_agrees_with_simpleitks_resampling(tmp_path: Path) -> None:
    positions, orientation = tilted(15.0, 12)
    smooth = np.add.outer(np.arange(12) * 20, np.add.outer(np.arange(20) * 9, np.arange(16) * 7))
    write_ct(tmp_path, smooth.astype(np.int16), positions=positions, orientation=orientation)
    (study,) = read_study_folder(tmp_path).studies
    (volume,) = study.volumes.values()
    assert volume.resampled == "tilt"
    # SimpleITK's image cannot be sheared: a stack of whole slices in 3D, sampled by hand.
    record = volume.record
    paths = sorted(tmp_path.glob("*.dcm"))
    slices = [sitk.GetArrayFromImage(sitk.ReadImage(str(path)))[0] for path in paths]
    straight = sitk.GetImageFromArray(np.stack(slices).astype(np.float32))
    across, down = np.array(orientation[:3]), np.array(orientation[3:])
    steps = np.stack([across * 0.7, down * 0.8, [0, 0, STEP]], axis=1)
    matrix = np.linalg.inv(steps)
    transform = sitk.AffineTransform(matrix.ravel().tolist(), [0.0, 0.0, 0.0])
    reference = sitk.Image(*(int(n) for n in record.hu.shape[::-1]), sitk.sitkFloat32)
    reference.SetSpacing(record.spacing_mm[::-1])
    reference.SetOrigin(record.origin_mm)
    found = sitk.GetArrayFromImage(
        sitk.Resample(straight, reference, transform, sitk.sitkLinear, -5000.0)
    )
    inside = (found > -5000) & (record.hu > PADDING_HU + 200)
    from scipy import ndimage

    inside = ndimage.binary_erosion(inside)
    assert inside.sum() > 500
    assert np.abs(record.hu[inside] - found[inside]).max() <= 1


@needs_real_images
def test_a_segmentation_of_a_real_series_is_read_back_exactly(tmp_path: Path) -> None:
    folder = REAL_IMAGES / "ct_slices_seg_sr"
    slices = [dcmread(path) for path in sorted(folder.glob("0*.dcm"))]
    for number, one in enumerate(slices):
        one.save_as(tmp_path / f"{number}.dcm")
    regions = np.zeros((3, 512, 512), np.uint8)
    regions[1:, 200:260, 230:290] = 22
    regions[0, 205:255, 231:280] = 23
    write_volume_regions(regions, slices).save_as(tmp_path / "seg.dcm")
    assert all("SpecificCharacterSet" in one for one in slices)
    (study,) = read_study_folder(tmp_path).studies
    (volume,) = study.volumes.values()
    assert volume.record.regions is not None
    assert np.array_equal(volume.record.regions, regions)


@needs_real_images
def test_a_real_mask_of_a_series_is_read_as_simpleitk_reads_it(tmp_path: Path) -> None:
    """A spine without levels: its file's name says which one to take it for."""
    folder = REAL_IMAGES / "ct_slices_seg_sr"
    for path in folder.glob("0*.dcm"):
        shutil.copy(path, tmp_path)
    shutil.copy(folder / "spine_seg.nrrd", tmp_path / "vertebrae_L3.nrrd")
    (study,) = read_study_folder(tmp_path).studies
    (volume,) = study.volumes.values()
    given = sitk.DICOMOrient(sitk.ReadImage(str(folder / "spine_seg.nrrd")), "LPS")
    drawn = sitk.GetArrayFromImage(given) > 0
    assert drawn.sum() == 12_439
    assert volume.record.regions is not None
    assert np.array_equal(volume.record.regions, np.where(drawn, LEVELS["L3"], 0))
    assert volume.record.origin_mm == pytest.approx(given.GetOrigin(), abs=1e-2)


@needs_real_images
def test_a_real_segmentation_has_the_volume_that_its_real_report_gives() -> None:
    """Of a tumour on PET: what is read of it here stands for a level."""
    folder = REAL_IMAGES / "ct_slices_seg_sr"
    mask = dcmread(folder / "seg.dcm")
    frames = mask.pixel_array
    mask.SegmentSequence[0].SegmentLabel = "L3"
    shared = mask.SharedFunctionalGroupsSequence[0]
    turned = shared.PlaneOrientationSequence[0].ImageOrientationPatient
    rows_mm, columns_mm = map(float, shared.PixelMeasuresSequence[0].PixelSpacing)
    positions = [
        tuple(map(float, one.PlanePositionSequence[0].ImagePositionPatient))
        for one in mask.PerFrameFunctionalGroupsSequence
    ]
    places = [
        SlicePlace(position, tuple(map(float, turned)), (rows_mm, columns_mm), frames.shape[1:])  # type: ignore[arg-type]
        for position in positions
    ]
    stack = find_stack(places)
    found = read_levels(mask, [f"2.25.{n}" for n in range(len(places))], stack)
    assert np.array_equal(found[np.argsort(stack.order)] > 0, frames > 0)
    report = dcmread(folder / "sr.dcm")
    volume = next(one for one in numbers(report) if meaning(one) == "Volume")
    millilitres = float((found > 0).sum() * np.prod(stack.spacing_mm)) / 1000
    given = float(volume.MeasuredValueSequence[0].NumericValue)
    assert millilitres == pytest.approx(given, abs=5e-4)


def numbers(item: Dataset) -> Iterator[Dataset]:
    """Measured numbers of a report, in its order."""
    for child in item.get("ContentSequence", []):
        if child.ValueType == "NUM":
            yield child
        yield from numbers(child)


def meaning(item: Dataset) -> str:
    return str(item.ConceptNameCodeSequence[0].CodeMeaning)


@needs_real_images
def test_no_number_of_a_real_report_is_taken_for_a_density_and_one_that_is_one_is_found() -> None:
    report = dcmread(REAL_IMAGES / "ct_slices_seg_sr" / "sr.dcm")
    assert len(list(numbers(report))) == 24
    with pytest.raises(SetAsideError, match="report_without_labels"):
        read_report(report, "sr.dcm")
    (site,) = (
        item
        for group in report.ContentSequence
        for inner in group.get("ContentSequence", [])
        for item in inner.get("ContentSequence", [])
        if item.get("ConceptNameCodeSequence") and meaning(item) == "Finding Site"
    )
    site.ConceptCodeSequence[0].CodeValue = "36470004"
    site.ConceptCodeSequence[0].CodeMeaning = "L3 vertebra"
    lowest = next(
        one
        for one in numbers(report)
        if float(one.MeasuredValueSequence[0].NumericValue) == 2.91136
    )
    lowest.ConceptNameCodeSequence[0].CodeValue = "24966-4"
    lowest.MeasuredValueSequence[0].MeasurementUnitsCodeSequence[0].CodeValue = "g/cm2"
    ((row,), _) = read_report(report, "sr.dcm")
    assert (row.patient_id, row.name, row.value) == (report.PatientID, "L3", 2.91136)


@pytest.mark.parametrize("scanner", ["lunar", "hologic"])
def test_labels_of_phantom_studies_are_exact(tmp_path: Path, scanner: str) -> None:
    for number in range(3):
        written = write_study(sample_study(number, scanner=scanner), tmp_path)
        true = sample_study(number, scanner=scanner).labels.bmd
        studies = read_study_folder(tmp_path / written.folder).studies
        # Lunar's files hold none: theirs come by table, which test_dicom_read holds exact.
        assert studies[0].labels.bmd == (true if scanner == "hologic" else {})
        assert (written.bmd or true) == true
