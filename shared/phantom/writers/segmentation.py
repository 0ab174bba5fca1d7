"""Region masks as the hospital's own DICOM Segmentation, written by highdicom."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
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

from shared.regions import CT_LEVELS, REGION_CODES, VERTEBRA_CODES

from .identity import Identity

ANATOMY: Final = CodedConcept("91723000", "SCT", "Anatomical structure")
#: SNOMED CT codes of design/clinical.md; where none was read in a source, a
#: private coding scheme is used rather than a guessed code.
SNOMED: Final[dict[str, tuple[str, str]]] = {
    "L1": ("66794005", "L1 vertebra"),
    "L2": ("14293000", "L2 vertebra"),
    "L3": ("36470004", "L3 vertebra"),
    "L4": ("11994002", "L4 vertebra"),
    "T12": ("23215003", "T12 vertebra"),
    "femoral_neck": ("29627003", "Neck of femur"),
}
PRIVATE_SCHEME: Final = "99OSTEOFED"


def _concept(region: str) -> CodedConcept:
    """Coded type of a region."""
    if region in SNOMED:
        code, meaning = SNOMED[region]
        return CodedConcept(code, "SCT", meaning)
    return CodedConcept(region.upper()[:16], PRIVATE_SCHEME, region.replace("_", " "))


def make_segmentation(image: Dataset, regions: NDArray[np.uint8], identity: Identity) -> Dataset:
    """Make the Segmentation of one image, one binary segment per region present.

    Parameters
    ----------
    image : Dataset
        The image's data set.
    regions : ndarray of uint8, shape (H, W)
        Region map (`shared.regions.REGION_CODES`), not all background.
    identity : Identity
        Source of the UIDs.

    Returns
    -------
    Dataset
        Segment *k* (from 1) is the k-th present region in the order of its code.
    """
    return _segmentation([image], regions[np.newaxis], REGION_CODES, identity)


def make_level_segmentation(
    slices: Sequence[Dataset], regions: NDArray[np.uint8], identity: Identity
) -> Dataset:
    """Make the Segmentation of vertebrae on some slices of a CT series.

    Parameters
    ----------
    slices : sequence of N Dataset
        Pixels are not needed.
    regions : ndarray of uint8, shape (N, H, W)
        Codes that maps of volumes have (`shared.regions.VERTEBRA_CODES`), not all background.
    identity : Identity
        Source of the UIDs.

    Returns
    -------
    Dataset
        Segments as for `make_segmentation`, of `CT_LEVELS` only.
    """
    codes = {level: VERTEBRA_CODES["volume"][level] for level in CT_LEVELS}
    return _segmentation(slices, regions, codes, identity)


def _segmentation(
    images: Sequence[Dataset],
    regions: NDArray[np.uint8],
    codes: Mapping[str, int],
    identity: Identity,
) -> Dataset:
    """Make a Segmentation of regions (N, H, W) on N images."""
    present = [name for name, code in codes.items() if np.any(regions == code)]
    stack = np.stack([regions == codes[name] for name in present], axis=-1)  # (N, H, W, S)
    image, uid = images[0], images[0].SOPInstanceUID
    result = Segmentation(
        source_images=list(images),
        pixel_array=stack.astype(np.uint8),
        segmentation_type=SegmentationTypeValues.BINARY,
        segment_descriptions=_describe(present, identity, uid),
        series_instance_uid=identity.uid("mask series", uid),
        series_number=int(image.SeriesNumber) + 100,
        sop_instance_uid=identity.uid("mask", uid),
        instance_number=1,
        manufacturer="St. Apollonia General Hospital",
        manufacturer_model_name="Radiology contouring desk",
        software_versions="4.1",
        device_serial_number="CD-2207",
        content_label="REGIONS",
        content_description="Regions drawn by the hospital",
        content_creator_name="Radiographer^Duty",
        series_description="Regions of interest",
    )
    if "FrameOfReferenceUID" not in result:
        # The same pixels: what the image says of their orientation holds (PS3.3 C.7.6.1).
        result.PatientOrientation = image.get("PatientOrientation") or ""
    _make_repeatable(result, identity, uid)
    return result


def _describe(present: list[str], identity: Identity, uid: str) -> list[SegmentDescription]:
    """Descriptions of the segments, numbered from 1."""
    return [
        SegmentDescription(
            segment_number=number,
            segment_label=name,
            segmented_property_category=ANATOMY,
            segmented_property_type=_concept(name),
            algorithm_type=SegmentAlgorithmTypeValues.MANUAL,
            tracking_uid=identity.uid("segment", uid, name),
            tracking_id=name,
        )
        for number, name in enumerate(present, start=1)
    ]


def _make_repeatable(dataset: Dataset, identity: Identity, uid: str) -> None:
    """Replace what highdicom takes from the clock and from chance."""
    day = f"{identity.study_date:%Y%m%d}"
    dataset.InstanceCreationDate = dataset.ContentDate = day
    dataset.InstanceCreationTime = dataset.ContentTime = identity.study_time
    for item in dataset.ContributingEquipmentSequence:
        item.ContributionDateTime = day + identity.study_time
    organisation = identity.uid("dimensions", uid)
    for item in [*dataset.DimensionOrganizationSequence, *dataset.DimensionIndexSequence]:
        item.DimensionOrganizationUID = organisation
    dataset.file_meta.ImplementationVersionName = f"highdicom{highdicom.__version__}"[:16]
