"""Lumbar levels of a volume as a DICOM Segmentation on the slices that it was read from."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import highdicom
import numpy as np
from highdicom.seg import (
    SegmentAlgorithmTypeValues,
    Segmentation,
    SegmentationTypeValues,
    SegmentDescription,
)
from highdicom.sr.coding import CodedConcept
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRLittleEndian

from shared.dicom.attributes import quietly, text_of
from shared.dicom.ct.eligibility import find_stack
from shared.dicom.ct.geometry import places_of

from .levels import LEVELS

ANATOMY: Final = CodedConcept("91723000", "SCT", "Anatomical structure")
#: SNOMED CT (design/clinical.md).
CODES: Final[dict[str, str]] = {
    "L1": "66794005",
    "L2": "14293000",
    "L3": "36470004",
    "L4": "11994002",
    "L5": "49668003",
}


def write_volume_regions(
    regions: NDArray[np.uint8],
    slices: Sequence[Dataset],
    *,
    labelled: bool = False,
    series_number: int = 900,
) -> Dataset:
    """Make the Segmentation of a volume; read back, it gives the same regions.

    Parameters
    ----------
    regions : ndarray of uint8, shape (Z, Y, X)
        `VolumeRecord.regions`: codes of `shared.dicom.masks.levels.LEVELS`, at least one.
    slices : sequence of Dataset
        The series' data sets, in any order; pixels are not needed.
    labelled : bool
        A label map instead of one binary segment per level.
    series_number : int
        SeriesNumber of the result.

    Returns
    -------
    Dataset
        To be saved with ``save_as``.

    Raises
    ------
    ValueError
        If the volume was resampled (its voxels are not the slices'), has another shape, or
        holds no level.
    """
    stack = find_stack([place for dataset in slices for place in places_of(dataset)])
    if stack.resampled:
        raise ValueError(f"the volume was resampled ({stack.resampled}): its slices are others")
    if regions.shape != stack.box[1]:
        raise ValueError(f"regions of shape {regions.shape} (must be {stack.box[1]})")
    present = [name for name, code in LEVELS.items() if np.any(regions == code)]
    if not present:
        raise ValueError("regions hold no lumbar level")
    native = stack.native_view(regions)
    numbered = np.zeros(native.shape, np.uint8)
    for number, name in enumerate(present, start=1):
        numbered[native == LEVELS[name]] = number
    described = [_described(number, name) for number, name in enumerate(present, start=1)]
    with quietly():  # a warning would show the patient's name
        return Segmentation(
            source_images=[_without_empty_text(slices[place]) for place in stack.order],
            pixel_array=numbered,
            segmentation_type=SegmentationTypeValues.LABELMAP
            if labelled
            else SegmentationTypeValues.BINARY,
            segment_descriptions=described,
            series_instance_uid=highdicom.UID(),
            series_number=series_number,
            sop_instance_uid=highdicom.UID(),
            instance_number=1,
            manufacturer="OsteoFed",
            manufacturer_model_name="OsteoFed",
            software_versions="0",
            device_serial_number="0",
            transfer_syntax_uid=ExplicitVRLittleEndian,
            series_description="Lumbar levels (research use)",
        )


def _described(number: int, name: str) -> SegmentDescription:
    """Describe one level; `number` from 1."""
    return SegmentDescription(
        segment_number=number,
        segment_label=name,
        segmented_property_category=ANATOMY,
        segmented_property_type=CodedConcept(CODES[name], "SCT", f"{name} vertebra"),
        algorithm_type=SegmentAlgorithmTypeValues.MANUAL,
    )


def _without_empty_text(dataset: Dataset) -> Dataset:
    """Return the data set without an empty character set, which highdicom does not take."""
    if text_of(dataset, "SpecificCharacterSet") or "SpecificCharacterSet" not in dataset:
        return dataset
    # `copy` would share the elements, so that deleting one deletes it in both.
    copied = Dataset()
    copied.update({tag: dataset.get_item(tag) for tag in dataset.keys()})  # noqa: SIM118
    copied.file_meta = dataset.file_meta
    del copied.SpecificCharacterSet
    return copied
