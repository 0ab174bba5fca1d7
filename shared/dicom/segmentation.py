"""Region maps from a hospital's DICOM Segmentation objects."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.uid import SegmentationStorage

from shared.regions import NUMBER_OF_CODES, REGION_CODES

from .attributes import number_of, text_of
from .names import region_named
from .pixels import MOST_PIXELS
from .verdicts import SetAsideError

#: Label map objects, not read yet.
LABEL_MAP_STORAGE: Final = "1.2.840.10008.5.1.4.1.1.66.7"
CLASSES: Final = (SegmentationStorage, LABEL_MAP_STORAGE)


def referenced_images(dataset: Dataset) -> set[str]:
    """Instance UIDs of the images a segmentation was drawn on."""
    found = {item.ReferencedSOPInstanceUID for item in dataset.get("SourceImageSequence") or []}
    for series in dataset.get("ReferencedSeriesSequence") or []:
        for item in series.get("ReferencedInstanceSequence") or []:
            found.add(item.ReferencedSOPInstanceUID)
    return {str(uid) for uid in found}


def read_regions(dataset: Dataset, shape: tuple[int, int]) -> NDArray[np.uint8]:
    """Read a binary segmentation into one region map.

    Parameters
    ----------
    dataset : Dataset
        A Segmentation object with its pixels.
    shape : (int, int)
        Rows and columns of the image it was drawn on.

    Returns
    -------
    ndarray of uint8, shape (H, W)
        Codes of `shared.regions.REGION_CODES`; segments of other names are left out.

    Raises
    ------
    SetAsideError
        If it is not binary, has another size, names no known region, or regions overlap.
    """
    if dataset.SOPClassUID != SegmentationStorage or dataset.get("SegmentationType") != "BINARY":
        raise SetAsideError("mask_not_binary")
    if (dataset.Rows, dataset.Columns) != shape:
        raise SetAsideError("mask_wrong_size", f"{dataset.Rows} x {dataset.Columns}, not {shape}")
    codes = {}
    for segment in dataset.SegmentSequence:
        region = region_named(text_of(segment, "SegmentLabel"))
        if region in REGION_CODES:
            codes[int(segment.SegmentNumber)] = REGION_CODES[region]
    if not codes:
        raise SetAsideError("mask_unknown_regions")
    result = np.zeros(shape, np.uint8)
    for number, frame in _frames(dataset, shape):
        code = codes.get(number)
        if code is not None:
            if np.any((result[frame] != 0) & (result[frame] != code)):
                raise SetAsideError("mask_overlap")
            result[frame] = code
    return result


def _frames(dataset: Dataset, shape: tuple[int, int]) -> Iterator[tuple[int, NDArray[np.bool_]]]:
    """Segment number and mask (H, W) of each frame."""
    count = int(number_of(dataset, "NumberOfFrames") or 1)
    items = dataset.PerFrameFunctionalGroupsSequence
    pixels = count * shape[0] * shape[1]
    if count != len(items) or count < 1 or pixels > MOST_PIXELS * NUMBER_OF_CODES:
        raise SetAsideError("damaged", f"{count} frames, {len(items)} described")
    if not dataset.file_meta.TransferSyntaxUID.is_compressed and (
        len(dataset.get("PixelData") or b"") < -(-pixels * int(dataset.BitsAllocated) // 8)
    ):
        raise SetAsideError("pixels_truncated")
    frames = np.asarray(dataset.pixel_array).reshape(count, *shape).astype(bool)
    for item, frame in zip(items, frames, strict=True):
        yield int(item.SegmentIdentificationSequence[0].ReferencedSegmentNumber), frame
