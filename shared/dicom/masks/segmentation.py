"""Region maps from a hospital's DICOM Segmentation objects, of projections and of CT."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.uid import UID, SegmentationStorage

from shared.dicom.attributes import number_of, numbers_of, text_of
from shared.dicom.ct.geometry import MOST_VOXELS, Stack, functional
from shared.dicom.labels.names import region_named
from shared.dicom.pixels.codestreams import check_codestream, decoded_frame
from shared.dicom.pixels.grey_values import MOST_PIXELS
from shared.dicom.verdicts import SetAsideError
from shared.regions import NUMBER_OF_CODES, REGION_CODES, sideless

from .levels import level_of_segment

LABEL_MAP_STORAGE: Final = "1.2.840.10008.5.1.4.1.1.66.7"
CLASSES: Final = (SegmentationStorage, LABEL_MAP_STORAGE)
#: Levels times voxels of a series: what the frames of one mask may come to.
MOST_FRAME_PIXELS: Final = 4 * MOST_VOXELS
#: A frame may be off its slice by this part of a voxel.
SAME_VOXEL: Final = 0.1


@dataclass(frozen=True)
class _Part:
    """Pixels of a binary frame of `shape` from `first` row and column on; it holds no others."""

    mask: NDArray[np.bool_]
    first: tuple[int, int]
    shape: tuple[int, int]


#: A frame's values, (H, W), or of packed bits the part where some are set.
_Frame = NDArray[Any] | _Part
_Segment = tuple[int, _Part]


def referenced_images(dataset: Dataset) -> set[str]:
    """Instance UIDs of the images a segmentation was drawn on."""
    found = {item.ReferencedSOPInstanceUID for item in dataset.get("SourceImageSequence") or []}
    for series in dataset.get("ReferencedSeriesSequence") or []:
        for item in series.get("ReferencedInstanceSequence") or []:
            found.add(item.ReferencedSOPInstanceUID)
    return {str(uid) for uid in found}


def read_regions(
    dataset: Dataset, shape: tuple[int, int], *, right: bool = False
) -> NDArray[np.uint8]:
    """Read the segmentation of a projection into one region map.

    Parameters
    ----------
    dataset : Dataset
        A Segmentation object with its pixels, binary or a label map.
    shape : (int, int)
        Rows and columns of the image it was drawn on.
    right : bool
        Whether that is of a right hip, whose regions may be called right ones.

    Returns
    -------
    ndarray of uint8, shape (H, W)
        Codes of `shared.regions.REGION_CODES`; segments of other names are left out.

    Raises
    ------
    SetAsideError
        If it is fractional, has another size, names no known region, or regions overlap.
    """
    if (dataset.Rows, dataset.Columns) != shape:
        _check_kind(dataset)
        raise SetAsideError("mask_wrong_size", f"{dataset.Rows} x {dataset.Columns}, not {shape}")
    codes = {}
    for segment in dataset.SegmentSequence:
        region = region_named(text_of(segment, "SegmentLabel")) or ""
        region = sideless(region) if right else region
        if region in REGION_CODES:
            codes[int(segment.SegmentNumber)] = REGION_CODES[region]
    labelled = _check_kind(dataset)
    if not codes:
        raise SetAsideError("mask_unknown_regions")
    result = np.zeros(shape, np.uint8)
    for number, frame in _frames(dataset, MOST_PIXELS * NUMBER_OF_CODES):
        _paint(result, _segments(dataset, number, frame, codes, labelled=labelled))
    return result


def read_levels(dataset: Dataset, uids: list[str], stack: Stack) -> NDArray[np.uint8]:
    """Read the segmentation of a CT series into level codes.

    Each frame is put where its plane position says; where it gives none, on the slice that
    it names as its source.

    Parameters
    ----------
    dataset : Dataset
        A Segmentation object with its pixels, binary or a label map.
    uids : list of str
        Instance UID of each place that the stack was found from.
    stack : Stack
        The grid of the series.

    Returns
    -------
    ndarray of uint8, shape (len(stack.order), rows, columns)
        Native array of `shared.dicom.masks.levels.LEVELS` codes, 0 elsewhere.

    Raises
    ------
    SetAsideError
        If it is fractional, on another grid, names no lumbar level, or levels overlap.
    """
    labelled = _check_kind(dataset)
    codes = {}
    for segment in dataset.SegmentSequence:
        level = level_of_segment(segment)
        if level is not None:
            codes[int(segment.SegmentNumber)] = level
    if not codes:
        raise SetAsideError("mask_unknown_regions")
    if dataset.Rows > stack.shape[1] or dataset.Columns > stack.shape[2]:
        raise SetAsideError("mask_other_grid")  # before a frame is taken apart
    result = np.zeros((len(stack.order), *stack.shape[1:]), np.uint8)
    slice_of = _slices_by_uid(uids, stack)
    for number, frame in _frames(dataset, MOST_FRAME_PIXELS):
        segments = _segments(dataset, number, frame, codes, labelled=labelled)
        if segments:
            index, row, column = _place_of(dataset, number, stack, slice_of)
            rows, columns = frame.shape
            if not (0 <= row <= stack.shape[1] - rows and 0 <= column <= stack.shape[2] - columns):
                raise SetAsideError("mask_other_grid")
            _paint(result[index, row : row + rows, column : column + columns], segments)
    return result


def _check_kind(dataset: Dataset) -> bool:
    """Say whether it is a label map; refuse what is neither that nor binary."""
    kind = text_of(dataset, "SegmentationType").upper()
    if dataset.SOPClassUID == SegmentationStorage and kind == "BINARY":
        return False
    if dataset.SOPClassUID == LABEL_MAP_STORAGE and kind == "LABELMAP":
        if int(dataset.BitsAllocated) == 1:  # PS3.3 C.8.20: a label has 8 or 16
            raise SetAsideError("pixels_damaged", "labels of 1 bit")
        return True
    raise SetAsideError("mask_not_binary")


def _segments(
    dataset: Dataset,
    number: int,
    frame: _Frame,
    codes: Mapping[int, int],
    *,
    labelled: bool,
) -> list[_Segment]:
    """Codes that a frame holds with their pixels."""
    if labelled and not isinstance(frame, _Part):
        present = {int(value) for value in np.unique(frame)} & set(codes)
        return [(codes[value], _whole(frame == value)) for value in sorted(present)]
    item = functional(dataset, number, "SegmentIdentificationSequence")
    code = codes.get(int(number_of(item, "ReferencedSegmentNumber") or 0))
    if code is None:
        return []
    return [(code, frame if isinstance(frame, _Part) else _whole(frame.astype(bool)))]


def _whole(mask: NDArray[np.bool_]) -> _Part:
    return _Part(mask, (0, 0), (mask.shape[0], mask.shape[1]))


def _paint(result: NDArray[np.uint8], segments: list[_Segment]) -> None:
    """Write segments into a map; a pixel of two of them is none's."""
    for code, part in segments:
        (row, column), (rows, columns) = part.first, part.mask.shape
        under = result[row : row + rows, column : column + columns]
        if np.any(part.mask & (under != 0) & (under != code)):
            raise SetAsideError("mask_overlap")
        under[part.mask] = code


def _slices_by_uid(uids: list[str], stack: Stack) -> dict[str, int]:
    """Slice that an instance is, for instances that are one slice each."""
    if len(set(uids)) != len(uids):
        return {}
    return {uids[place]: index for index, place in enumerate(stack.order)}


def _place_of(
    dataset: Dataset, number: int, stack: Stack, slice_of: Mapping[str, int]
) -> tuple[int, int, int]:
    """Slice, and first row and column, of a frame."""
    position = numbers_of(
        functional(dataset, number, "PlanePositionSequence"), "ImagePositionPatient"
    )
    if len(position) != 3:
        sources = functional(dataset, number, "DerivationImageSequence").get("SourceImageSequence")
        found = {text_of(item, "ReferencedSOPInstanceUID") for item in sources or []}
        indices = {slice_of[uid] for uid in found if uid in slice_of}
        if len(indices) != 1 or (dataset.Rows, dataset.Columns) != stack.shape[1:]:
            raise SetAsideError("mask_other_grid", "a frame without position")
        return indices.pop(), 0, 0
    turned = numbers_of(
        functional(dataset, number, "PlaneOrientationSequence"), "ImageOrientationPatient"
    )
    spacing = numbers_of(functional(dataset, number, "PixelMeasuresSequence"), "PixelSpacing")
    if len(turned) != 6 or len(spacing) != 2:
        raise SetAsideError("mask_other_grid", "orientation or spacing is not given")
    steps = np.stack([np.array(turned[3:]) * spacing[0], np.array(turned[:3]) * spacing[1]], axis=1)
    reach = (steps - stack.affine[:3, 1:3]) * np.array(stack.shape[1:])
    index = stack.index_of(position)
    nearest = [round(number) for number in index]
    off = max(abs(number - whole) for number, whole in zip(index, nearest, strict=True))
    if np.abs(reach).max() > max(spacing) * SAME_VOXEL * 5 or off > SAME_VOXEL:
        raise SetAsideError("mask_other_grid")
    if not 0 <= nearest[0] < len(stack.order):
        raise SetAsideError("mask_other_grid")
    return nearest[0], nearest[1], nearest[2]


def _frames(dataset: Dataset, most: int) -> Iterator[tuple[int, _Frame]]:
    """Index and values of each frame, one at a time."""
    shape = (int(dataset.Rows), int(dataset.Columns))
    count = int(number_of(dataset, "NumberOfFrames") or 1)
    items = dataset.PerFrameFunctionalGroupsSequence
    bits = int(dataset.BitsAllocated)
    size = shape[0] * shape[1]
    if count != len(items) or count < 1 or size < 1 or count * size > most:
        raise SetAsideError("damaged", f"{count} frames, {len(items)} described")
    if bits not in (1, 8, 16) or int(number_of(dataset, "SamplesPerPixel") or 1) != 1:
        raise SetAsideError("pixels_damaged", f"{bits} bits")
    data = dataset.get("PixelData") or b""
    if UID(dataset.file_meta.TransferSyntaxUID).is_compressed:
        if bits == 1:
            raise SetAsideError("transfer_syntax", "compressed bits")
        for number in range(count):
            check_codestream(dataset, number, shape, bits)
            yield number, decoded_frame(dataset, number).reshape(shape)
        return
    if len(data) < -(-count * size * bits // 8):
        raise SetAsideError("pixels_truncated")
    for number in range(count):
        yield number, _native_frame(data, number, shape, bits)


def _native_frame(data: bytes, number: int, shape: tuple[int, int], bits: int) -> _Frame:
    """One frame of packed bits, or of bytes or words in little endian."""
    size = shape[0] * shape[1]
    first = number * size * bits // 8
    if bits > 1:
        kind = "u1" if bits == 8 else "<u2"
        return np.frombuffer(data, kind, count=size, offset=first).reshape(shape)
    skipped = number * size % 8
    packed = np.frombuffer(data, np.uint8, count=-(-(skipped + size) // 8), offset=first)
    # Most of a map is none of a segment's: looked for byte by byte, and only the rows between
    # the first and the last of them are unpacked. What else these bytes hold is of the frames
    # beside it.
    some = packed != 0
    if not some.any():
        return _Part(np.zeros((0, 0), bool), (0, 0), shape)
    bits_from = 8 * int(some.argmax()) - skipped
    bits_to = 8 * (len(some) - int(some[::-1].argmax())) - skipped
    top, stop = max(0, bits_from // shape[1]), min(shape[0], -(-bits_to // shape[1]))
    byte, bit = divmod(top * shape[1] + skipped, 8)
    count = (stop - top) * shape[1]
    unpacked = np.unpackbits(
        packed[byte : byte + -(-(bit + count) // 8)], count=bit + count, bitorder="little"
    )
    rows = unpacked[bit:].view(bool).reshape(-1, shape[1])
    columns = np.flatnonzero(rows.any(axis=0))
    left, right = (int(columns[0]), int(columns[-1]) + 1) if len(columns) else (0, 0)
    return _Part(rows[:, left:right], (top, left), shape)
