"""Masks of CT: written and read back exactly, joined by geometry, or set aside with the reason."""

from __future__ import annotations

import gzip
import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset

from shared.dicom.masks.levels import LEVELS, codes_of_values, level_named, scheme_named
from shared.dicom.masks.segmentation import LABEL_MAP_STORAGE
from shared.dicom.masks.write_regions import write_volume_regions
from shared.dicom.read import ReadResult, read_study_folder
from shared.dicom.verdicts import SetAsideError
from shared.settings.pacs import MaskScheme, ReadingSettings
from tests.shared.ct_samples import SHAPE, SPACING, STEP, uid, write_ct
from tests.shared.dicom.test_volume import tilted
from tests.suite.real_images import REAL_IMAGES, needs_real_images

nibabel = pytest.importorskip("nibabel")
nrrd = pytest.importorskip("nrrd")

#: From (slice, row, column) of the sample series to DICOM's patient coordinates.
AFFINE = np.array(
    [[0, 0, SPACING[1], -10], [0, SPACING[0], 0, -20], [STEP, 0, 0, 100], [0, 0, 0, 1]], float
)


def levels() -> np.ndarray:
    """L2 above L3 above L4, none of them symmetric."""
    regions = np.zeros(SHAPE, np.uint8)
    regions[4:6, 3:9, 2:7] = LEVELS["L2"]
    regions[2:4, 4:11, 3:9] = LEVELS["L3"]
    regions[0:2, 5:13, 4:12] = LEVELS["L4"]
    regions[1, 5, 4] = 0
    return regions


def reasons(result: ReadResult) -> dict[str, str]:
    return {v.path.rsplit("/", 1)[-1]: v.reason for v in result.files}


def regions_of(folder: Path) -> np.ndarray | None:
    (study,) = read_study_folder(folder).studies
    (volume,) = study.volumes.values()
    assert (volume.mask_digest is None) == (volume.record.regions is None)
    return volume.record.regions


@pytest.mark.parametrize("labelled", [False, True])
@pytest.mark.parametrize("order", [None, [3, 0, 5, 1, 4, 2]])
def test_a_written_segmentation_is_read_back_exactly(
    tmp_path: Path, labelled: bool, order: list[int] | None
) -> None:
    files = write_ct(tmp_path, order=order)
    slices = [dcmread(path) for path in files]
    write_volume_regions(levels(), slices, labelled=labelled).save_as(tmp_path / "seg.dcm")
    found = regions_of(tmp_path)
    assert found is not None
    assert np.array_equal(found, levels())


def test_a_segmentation_of_turned_slices_is_read_back_exactly(tmp_path: Path) -> None:
    positions = np.stack([np.zeros(6), np.arange(6) * STEP, np.zeros(6)], axis=1)
    coronal = (1.0, 0.0, 0.0, 0.0, 0.0, -1.0)
    slices = [dcmread(p) for p in write_ct(tmp_path, positions=positions, orientation=coronal)]
    regions = np.zeros((SHAPE[1], SHAPE[0], SHAPE[2]), np.uint8)
    regions[9:14, 1:4, 2:7] = LEVELS["L1"]
    regions[2:8, 2:6, 3:9] = LEVELS["L5"]
    write_volume_regions(regions, slices).save_as(tmp_path / "seg.dcm")
    found = regions_of(tmp_path)
    assert found is not None
    assert np.array_equal(found, regions)


def test_a_resampled_volume_is_not_written_onto_slices_that_it_is_not(tmp_path: Path) -> None:
    positions, orientation = tilted(12.0, 6)
    slices = [
        dcmread(path) for path in write_ct(tmp_path, positions=positions, orientation=orientation)
    ]
    with pytest.raises(ValueError, match="tilt"):
        write_volume_regions(levels(), slices)


def test_a_mask_is_resampled_with_its_tilted_series(tmp_path: Path) -> None:
    positions, orientation = tilted(12.0, 6)
    write_ct(tmp_path, positions=positions, orientation=orientation)
    across, down = np.array(orientation[:3]), np.array(orientation[3:])
    affine = np.eye(4)
    affine[:3, :3] = np.stack([[0, 0, STEP], down * SPACING[0], across * SPACING[1]], axis=1)
    (tmp_path / "levels.nii").write_bytes(nifti(levels(), affine))
    (study,) = read_study_folder(tmp_path).studies
    (volume,) = study.volumes.values()
    assert volume.resampled == "tilt"
    assert volume.record.regions is not None
    assert volume.record.regions.shape == volume.record.hu.shape
    assert set(np.unique(volume.record.regions)) == {0, 21, 22, 23}
    # A label takes about the room that it took before.
    voxel = np.prod(volume.record.spacing_mm)
    for code in (21, 22, 23):
        before = (levels() == code).sum() * abs(np.linalg.det(affine[:3, :3]))
        assert (volume.record.regions == code).sum() * voxel == pytest.approx(before, rel=0.2)


def refer_elsewhere(dataset: Dataset) -> None:
    for item in dataset.PerFrameFunctionalGroupsSequence:
        item.PlanePositionSequence[0].ImagePositionPatient = [-10, -20, 101.1]


def shift(dataset: Dataset) -> None:
    for item in dataset.PerFrameFunctionalGroupsSequence:
        place = item.PlanePositionSequence[0]
        place.ImagePositionPatient = [-10 + SPACING[1], -20, place.ImagePositionPatient[2]]


def rename(dataset: Dataset) -> None:
    for segment in dataset.SegmentSequence:
        segment.SegmentLabel = "Liver"
        segment.SegmentedPropertyTypeCodeSequence[0].CodeValue = "10200004"
        segment.SegmentedPropertyTypeCodeSequence[0].CodeMeaning = "Liver"


def contradict(dataset: Dataset) -> None:
    for segment in dataset.SegmentSequence:
        segment.SegmentLabel = "L5"


def fractional(dataset: Dataset) -> None:
    dataset.SegmentationType = "FRACTIONAL"


def cut(dataset: Dataset) -> None:
    dataset.PixelData = dataset.PixelData[:20]


def fill(dataset: Dataset) -> None:
    dataset.PixelData = b"\xff" * len(dataset.PixelData)


def widen(dataset: Dataset) -> None:
    """Far larger than the series, with all the bits that it says: never taken apart."""
    dataset.Rows = dataset.Columns = 4096
    dataset.PixelData = bytes(4096 * 4096 // 8 * len(dataset.PerFrameFunctionalGroupsSequence))


def label_by_bits(dataset: Dataset) -> None:
    dataset.SOPClassUID = dataset.file_meta.MediaStorageSOPClassUID = LABEL_MAP_STORAGE
    dataset.SegmentationType = "LABELMAP"


@pytest.mark.parametrize(
    ("reason", "change"),
    [
        ("mask_other_grid", widen),
        ("pixels_damaged", label_by_bits),
        ("mask_other_grid", refer_elsewhere),
        ("mask_other_grid", shift),
        ("mask_unknown_regions", rename),
        ("mask_unknown_regions", contradict),
        ("mask_not_binary", fractional),
        ("pixels_truncated", cut),
        ("mask_overlap", fill),
    ],
)
def test_a_bad_segmentation_costs_the_mask_and_not_the_series(
    tmp_path: Path, reason: str, change: Callable[[Dataset], None]
) -> None:
    slices = [dcmread(path) for path in write_ct(tmp_path)]
    regions = levels()
    regions[3] = np.where(regions[4] > 0, regions[4], regions[3])  # two levels share a slice
    mask = write_volume_regions(regions, slices)
    change(mask)
    mask.save_as(tmp_path / "seg.dcm")
    result = read_study_folder(tmp_path)
    assert reasons(result)["seg.dcm"] == reason
    assert len(result.studies[0].volumes) == 1
    assert regions_of(tmp_path) is None


# --- NRRD and NIfTI -----------------------------------------------------------------


def nifti(
    native: np.ndarray, affine: np.ndarray = AFFINE, kind: str = "u1", said: str = "VerSe"
) -> bytes:
    """NIfTI bytes of a native array whose affine is DICOM's; its header names the scheme."""
    image = nibabel.Nifti1Image(native.astype(kind), np.diag([-1.0, -1, 1, 1]) @ affine)
    image.header["descrip"] = said
    return bytes(image.to_bytes())


def turned(array: np.ndarray, axes: list[int], reverse: list[int]) -> tuple[np.ndarray, np.ndarray]:
    """Same mask with axes swapped and reversed, and its affine."""
    flip = np.eye(4)
    for axis in reverse:
        flip[axis, axis], flip[axis, 3] = -1, array.shape[axis] - 1
        array = np.flip(array, axis)
    swap = np.eye(4)[:, [*axes, 3]]
    return array.transpose(axes), AFFINE @ flip @ swap


@pytest.mark.parametrize(
    ("axes", "reverse"), [([0, 1, 2], []), ([2, 1, 0], [0]), ([1, 0, 2], [1, 2])]
)
@pytest.mark.parametrize("ending", ["nii", "nii.gz", "nrrd"])
def test_a_mask_beside_a_series_is_turned_onto_it(
    tmp_path: Path, axes: list[int], reverse: list[int], ending: str
) -> None:
    write_ct(tmp_path / "ct", order=[5, 1, 2, 0, 4, 3])
    array, affine = turned(levels(), axes, reverse)
    path = tmp_path / f"mask.{ending}"
    if ending == "nrrd":
        nrrd.write(
            str(path),
            array,
            {
                "content": "VerSe",
                "space": "left-posterior-superior",
                "space directions": affine[:3, :3].T,
                "space origin": affine[:3, 3],
            },
        )
    else:
        data = nifti(array, affine, "f8" if ending == "nii" else "i2")
        path.write_bytes(gzip.compress(data) if ending == "nii.gz" else data)
    result = read_study_folder(tmp_path)
    assert reasons(result)[path.name] == "ok"
    found = regions_of(tmp_path)
    assert found is not None
    assert np.array_equal(found, levels())


def test_one_file_per_level_makes_one_map(tmp_path: Path) -> None:
    write_ct(tmp_path / "ct")
    for name in ("L2", "L3", "L4"):
        data = nifti(levels() == LEVELS[name], said="")
        (tmp_path / f"vertebrae_{name}.nii.gz").write_bytes(gzip.compress(data))
    (tmp_path / "spleen.nii.gz").write_bytes(gzip.compress(nifti(levels() == 0, said="")))
    result = read_study_folder(tmp_path)
    assert reasons(result)["spleen.nii.gz"] == "mask_unknown_regions"
    found = regions_of(tmp_path)
    assert found is not None
    assert np.array_equal(found, levels())


def other_scheme(array: np.ndarray) -> np.ndarray:
    return np.where(array > 0, array + 20, 0)


def upside_down(array: np.ndarray) -> np.ndarray:
    return array[::-1]


@pytest.mark.parametrize("change", [other_scheme, upside_down, lambda array: array * 0])
def test_numbers_that_cannot_be_levels_are_quarantined(
    tmp_path: Path, change: Callable[[np.ndarray], np.ndarray]
) -> None:
    write_ct(tmp_path)
    (tmp_path / "mask.nii").write_bytes(nifti(change(levels())))
    assert reasons(read_study_folder(tmp_path))["mask.nii"] == "mask_unknown_regions"
    assert regions_of(tmp_path) is None


def test_a_mask_of_another_grid_is_quarantined(tmp_path: Path) -> None:
    write_ct(tmp_path)
    moved = AFFINE.copy()
    moved[0, 3] += 0.3 * SPACING[1]
    (tmp_path / "mask.nii").write_bytes(nifti(levels(), moved))
    assert reasons(read_study_folder(tmp_path))["mask.nii"] == "mask_other_grid"


def test_a_mask_that_fits_two_series_is_quarantined(tmp_path: Path) -> None:
    write_ct(tmp_path / "1")
    write_ct(tmp_path / "2", series=2)
    (tmp_path / "mask.nii").write_bytes(nifti(levels()))
    assert reasons(read_study_folder(tmp_path))["mask.nii"] == "mask_ambiguous"


def test_a_mask_goes_to_the_series_that_it_lies_beside(tmp_path: Path) -> None:
    write_ct(tmp_path / "1")
    write_ct(tmp_path / "2", series=2)
    (tmp_path / "2" / "mask.nii").write_bytes(nifti(levels()))
    (study,) = read_study_folder(tmp_path).studies
    assert study.volumes[uid(1, 1)].record.regions is None
    assert study.volumes[uid(1, 2)].record.regions is not None


def test_two_masks_of_the_same_level_are_both_quarantined(tmp_path: Path) -> None:
    write_ct(tmp_path)
    (tmp_path / "a.nii").write_bytes(nifti(levels()))
    (tmp_path / "b.nii").write_bytes(nifti(np.roll(levels(), 1, axis=1)))
    found = reasons(read_study_folder(tmp_path))
    assert found["a.nii"] == found["b.nii"] == "mask_twice"


def test_a_mask_without_series_is_quarantined(tmp_path: Path) -> None:
    (tmp_path / "mask.nii").write_bytes(nifti(levels()))
    assert reasons(read_study_folder(tmp_path)) == {"mask.nii": "mask_without_image"}


def nrrd_bytes(*extra: str, sizes: str = "6 20 16", data: bytes = b"") -> bytes:
    fields = [
        "NRRD0005", "content: VerSe", "type: uint8", "dimension: 3",
        "space: left-posterior-superior",
        f"sizes: {sizes}", "space directions: (0,0,2.5) (0,0.8,0) (0.7,0,0)",
        "space origin: (-10,-20,100)", *extra,
    ]  # fmt: skip
    return "\n".join([*fields, "", ""]).encode() + data


@pytest.mark.parametrize(
    ("reason", "content"),
    [
        ("mask_encoding", nrrd_bytes("encoding: raw", "data file: ../../../etc/passwd")),
        ("mask_encoding", nrrd_bytes("encoding: bzip2", data=b"x")),
        ("mask_encoding", nrrd_bytes("encoding: raw", "byte skip: -1", data=b"x")),
        ("pixels_truncated", nrrd_bytes("encoding: raw", data=b"\x00" * 100)),
        ("damaged", nrrd_bytes("encoding: gzip", data=b"no gzip")),
        ("series_too_large", nrrd_bytes("encoding: gzip", sizes="60000 60000 60000")),
        ("mask_encoding", b"NRRD0005\nwithout any end"),
        ("not_dicom", gzip.compress(b"\x00" * 5_000_000)),
    ],
)
def test_a_hostile_mask_is_set_aside_and_opens_nothing_else(
    tmp_path: Path, reason: str, content: bytes
) -> None:
    write_ct(tmp_path)
    (tmp_path / "mask.nrrd").write_bytes(content)
    assert reasons(read_study_folder(tmp_path))["mask.nrrd"] == reason


def test_no_more_than_the_header_says_is_unpacked(tmp_path: Path) -> None:
    write_ct(tmp_path)
    packed = io.BytesIO()
    with gzip.GzipFile(fileobj=packed, mode="wb") as file:
        file.write(levels().tobytes(order="F"))
        for _ in range(64):
            file.write(b"\x00" * 4_000_000)
    (tmp_path / "mask.nrrd").write_bytes(nrrd_bytes("encoding: gzip", data=packed.getvalue()))
    found = regions_of(tmp_path)
    assert found is not None
    assert np.array_equal(found, levels())


@pytest.mark.parametrize(
    ("name", "level"),
    [
        ("L3", "L3"), ("vertebra L3", "L3"), ("vertebrae_L5", "L5"), ("l1 vertebra", "L1"),
        ("Third lumbar vertebra", "L3"), ("lumbar vertebra 4", "L4"), ("Liver", None),
        ("L3/L4 intervertebral disc", None), ("disc L3", None), ("L1-L4", None), ("XL3", None),
        ("L3 nerve root", None), ("L6", None),
    ],
)  # fmt: skip
def test_levels_are_told_by_name(name: str, level: str | None) -> None:
    assert level_named(name) == (None if level is None else LEVELS[level])


def test_names_in_the_file_count_before_numbers() -> None:
    named = {27: "vertebrae_L5", 28: "vertebrae_L4"}
    for scheme in (None, "verse"):
        assert codes_of_values({27, 28, 3}, named, "x", scheme) == {27: 24, 28: 23}
    assert codes_of_values({1}, {}, "vertebrae_L4.nii.gz", None) == {1: 23}


@pytest.mark.parametrize(
    ("scheme", "values", "codes"),
    [
        ("verse", {19, 20, 21}, {20: 20, 21: 21}),
        ("totalsegmentator", {5, 20, 27, 28, 31}, {31: 20, 28: 23, 27: 24}),
        ("totalsegmentator_v1", {5, 18, 20, 22}, {22: 20, 20: 22, 18: 24}),
    ],
)
def test_numbers_of_a_named_scheme_are_its_levels(
    scheme: MaskScheme, values: set[int], codes: dict[int, int]
) -> None:
    assert codes_of_values(values, {}, "x", scheme) == codes


@pytest.mark.parametrize(
    ("scheme", "values", "reason"),
    [
        (None, {5, 20}, "mask_scheme_unknown"),
        (None, {19, 20, 21}, "mask_scheme_unknown"),
        (None, {1}, "mask_unknown_regions"),
        ("verse", {20, 29, 31}, "mask_unknown_regions"),
        ("verse", {5, 6}, "mask_unknown_regions"),
        ("totalsegmentator", {20, 200}, "mask_unknown_regions"),
        ("totalsegmentator", {5, 20}, "mask_unknown_regions"),
    ],
)
def test_a_number_without_a_scheme_or_beyond_it_is_no_vertebra(
    scheme: MaskScheme | None, values: set[int], reason: str
) -> None:
    with pytest.raises(SetAsideError, match=reason):
        codes_of_values(values, {}, "mask.nii.gz", scheme)


@pytest.mark.parametrize(
    ("text", "scheme"),
    [
        ("sub-verse004_seg-vert_msk.nii.gz", "verse"), ("VerSe 2020", "verse"),
        ("TotalSegmentator v2.0.5", "totalsegmentator"), ("totalsegmentator2", "totalsegmentator"),
        ("TotalSegmentator 1.5", "totalsegmentator_v1"), ("totalsegmentator.nii", None),
        ("reverse.nii", None), ("transverse_vertebrae.nii", None), ("liver_colon.nii.gz", None),
        ("verse of TotalSegmentator v2", None),
    ],
)  # fmt: skip
def test_a_scheme_is_named_by_its_name_and_its_version(text: str, scheme: str | None) -> None:
    assert scheme_named(text) == scheme


def test_the_site_names_the_scheme_of_its_masks_or_of_some(tmp_path: Path) -> None:
    write_ct(tmp_path / "ct")
    (tmp_path / "spine_mask.nii").write_bytes(nifti(levels(), said=""))
    assert reasons(read_study_folder(tmp_path))["spine_mask.nii"] == "mask_scheme_unknown"
    for pattern, reason in (("*", "ok"), ("SPINE_*", "ok"), ("*verse*", "mask_scheme_unknown")):
        settings = ReadingSettings(mask_scheme="verse", mask_files=pattern)
        result = read_study_folder(tmp_path, settings=settings)
        assert reasons(result)["spine_mask.nii"] == reason
        (volume,) = result.studies[0].volumes.values()
        assert (volume.record.regions is not None) == (reason == "ok")
    assert volume.record.regions is None


def test_what_a_mask_says_of_itself_counts_before_what_the_site_says(tmp_path: Path) -> None:
    write_ct(tmp_path / "ct")
    downwards = np.where(levels() > 0, 51 - levels(), 0)  # L2 to L4 as 30 to 28
    data = nifti(downwards, said="TotalSegmentator v2")
    (tmp_path / "mask.nii").write_bytes(data)
    settings = ReadingSettings(mask_scheme="verse")
    result = read_study_folder(tmp_path, settings=settings)
    assert reasons(result)["mask.nii"] == "ok"
    (volume,) = result.studies[0].volumes.values()
    assert volume.record.regions is not None
    assert np.array_equal(volume.record.regions, levels())


@needs_real_images
def test_numbers_of_liver_and_colon_are_no_vertebra() -> None:
    result = read_study_folder(REAL_IMAGES / "cases" / "colon_mask_as_L1")
    assert reasons(result)["liver_colon.nii.gz"] == "mask_scheme_unknown"
    (volume,) = result.studies[0].volumes.values()
    assert volume.record.regions is None
    assert volume.slices == 10
