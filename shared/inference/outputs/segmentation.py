"""Outlines as DICOM Segmentations on the very pixels they were found on (PS3.3 A.51)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np
from highdicom.content import AlgorithmIdentificationSequence
from highdicom.seg import (
    SegmentAlgorithmTypeValues,
    Segmentation,
    SegmentationTypeValues,
    SegmentDescription,
)
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRLittleEndian
from scipy import ndimage

from shared.dicom.attributes import quietly
from shared.dicom.ct.eligibility import find_stack
from shared.dicom.ct.geometry import SlicePlace, Stack, places_of
from shared.dicom.pixels.orientation import turn
from shared.findings.findings import RegionMap
from shared.records import View, VolumeRecord
from shared.regions import REGION_CODES, VERTEBRA_CODES

from .answer import MAKER, SourceImages, StudyAnswer, by_region, derivation_words
from .codes import ANATOMY, ARTIFICIAL_INTELLIGENCE, region_concept, side_of
from .headers import (
    SERIES_NUMBERS,
    finished,
    library_header,
    replacing,
    software_versions,
    whole_uid_parts,
)
from .kinds import Kind, OutputFile

#: What both codes and names of volumes' maps have.
VOLUME_CODES: Final[Mapping[str, int]] = VERTEBRA_CODES["volume"]


def segmentations(answer: StudyAnswer) -> list[OutputFile]:
    """Make one Segmentation for each image and each series in which something was outlined.

    Frames lie on the source's pixels, rows and columns as its file has them, whichever way the
    networks saw it; of a series that was resampled each pixel takes the nearest voxel's region.
    """
    made = []
    for number, source in enumerate(answer.sources):
        regions, headers = _as_in_the_files(answer, source)
        if regions is None or not regions.any():
            continue
        codes = VOLUME_CODES if source.view is None else REGION_CODES
        made.append(_segmentation(answer, source, number, regions, headers, codes))
    return made


def _as_in_the_files(
    answer: StudyAnswer, source: SourceImages
) -> tuple[NDArray[np.uint8] | None, list[Dataset]]:
    """Regions (N, H, W) on the frames of a source, and its headers in their order."""
    if source.view is not None:
        regions = answer.findings.region_maps.get(source.view)
        turned = answer.study.turned.get(source.view, (False, False))
        found = None if regions is None else turn(regions, turned)[np.newaxis]
        return found, list(source.headers)
    regions = answer.findings.volume_maps.get(source.part)
    if regions is None:
        return None, []
    return on_slices(regions, answer.study.volumes[source.part].record, source.headers)


def on_slices(
    regions: RegionMap, volume: VolumeRecord, headers: Sequence[Dataset]
) -> tuple[NDArray[np.uint8], list[Dataset]]:
    """Bring regions of a volume (Z, Y, X) onto the slices that it was read from.

    Parameters
    ----------
    regions : ndarray of uint8, shape (Z, Y, X)
    volume : VolumeRecord
        Where its voxels lie.
    headers : sequence of Dataset
        Of the slices, or of the one enhanced file.

    Returns
    -------
    regions : ndarray of uint8, shape (N, rows, columns)
        Along the slices' normal; of an enhanced file in the order of its frames.
    headers : list of Dataset
        In that order.
    """
    places = [place for header in headers for place in places_of(header)]
    stack = find_stack(places)
    if stack.resampled:
        native = np.stack([_nearest(regions, volume, places[one]) for one in stack.order])
    else:
        native = np.ascontiguousarray(_native(stack, regions))
    if len(headers) == 1:
        return native[np.argsort(stack.order)], list(headers)
    return native, [headers[one] for one in stack.order]


def _native(stack: Stack, regions: RegionMap) -> NDArray[np.uint8]:
    return np.asarray(stack.native_view(regions), dtype=np.uint8)


def _nearest(regions: RegionMap, volume: VolumeRecord, place: SlicePlace) -> NDArray[np.uint8]:
    """Region of the nearest voxel of each pixel of a slice, 0 outside of the volume."""
    across, down = np.array(place.orientation[:3]), np.array(place.orientation[3:])
    rows, columns = np.meshgrid(*map(np.arange, place.shape), indexing="ij")
    points = (
        np.array(place.position)[:, None, None]
        + across[:, None, None] * columns * place.spacing[1]
        + down[:, None, None] * rows * place.spacing[0]
    )  # (x, y, z) of each pixel, mm
    spacing = np.array(volume.spacing_mm)[:, None, None]
    at = (points[::-1] - np.array(volume.origin_mm)[::-1, None, None]) / spacing  # z, y, x
    found = ndimage.map_coordinates(regions, at, order=0, mode="grid-constant", cval=0)
    return np.asarray(found, dtype=np.uint8)


def _segmentation(
    answer: StudyAnswer,
    source: SourceImages,
    number: int,
    regions: NDArray[np.uint8],
    headers: Sequence[Dataset],
    codes: Mapping[str, int],
) -> OutputFile:
    present = [name for name, code in codes.items() if np.any(regions == code)]
    numbered = np.zeros(regions.shape, np.uint8)
    for segment, name in enumerate(present, start=1):
        numbered[regions == codes[name]] = segment
    part, in_name = whole_uid_parts(source)
    first, *others = headers
    with quietly():  # a warning would show the patient's name
        made = Segmentation(
            source_images=[library_header(first), *others],
            pixel_array=numbered,
            segmentation_type=SegmentationTypeValues.BINARY,
            segment_descriptions=[
                _description(answer, source, segment, name)
                for segment, name in enumerate(present, start=1)
            ],
            series_instance_uid=answer.uid("series", Kind.SEG.value, part),
            series_number=SERIES_NUMBERS[Kind.SEG] + number,
            sop_instance_uid=answer.uid("instance", Kind.SEG.value, part),
            instance_number=1,
            manufacturer=MAKER,
            manufacturer_model_name=MAKER,
            software_versions=tuple(software_versions(answer)),
            device_serial_number=answer.prediction.software,
            transfer_syntax_uid=ExplicitVRLittleEndian,
            content_label="OUTLINES",
            content_description="Outlines of a network, not checked by a reader",
        )
    organisation = answer.uid("dimensions", part)
    for item in [*made.DimensionOrganizationSequence, *made.DimensionIndexSequence]:
        item.DimensionOrganizationUID = organisation
    made.DerivationDescription = derivation_words(answer.prediction)
    if "FrameOfReferenceUID" not in made:
        # The same pixels: what the source says of their orientation holds (PS3.3 C.7.6.1).
        made.PatientOrientation = first.get("PatientOrientation") or ""
    replacing(made, answer.replaced(Kind.SEG, part))
    return finished(made, answer, Kind.SEG, "Outlines", part, f"seg_{in_name}.dcm")


def _description(
    answer: StudyAnswer, source: SourceImages, segment: int, name: str
) -> SegmentDescription:
    """Describe a segment, numbered from 1."""
    right = source.view is View.HIP_RIGHT
    task = by_region(answer.prediction).get((source.part, name), "")
    models = [m for m in answer.prediction.models if m.task == task] or [
        m for m in answer.prediction.models if m.outline_metrics
    ]
    model = (models or list(answer.prediction.models))[-1]
    described = SegmentDescription(
        segment_number=segment,
        segment_label=f"right {name}" if right else name,
        segmented_property_category=ANATOMY,
        segmented_property_type=region_concept(name),
        algorithm_type=SegmentAlgorithmTypeValues.AUTOMATIC,
        algorithm_identification=AlgorithmIdentificationSequence(
            name=model.task,
            family=ARTIFICIAL_INTELLIGENCE,
            version=model.version,
            source=MAKER,
            parameters={"sha256": model.digest},
        ),
        tracking_uid=answer.uid("segment", source.part, name),
        tracking_id=f"{source.part} {name}"[:64],
    )
    side = side_of(name, right=right)
    if side is not None:
        described.SegmentedPropertyTypeCodeSequence[0].SegmentedPropertyTypeModifierCodeSequence = [
            side
        ]
    return described
