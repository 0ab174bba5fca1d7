"""What density is read from: of each lumbar vertebra its attenuation and its outline, as a mosaic.

Hounsfield units are what is measured, so they are brought to 120 kV by the tube voltage that the
files name and never normalised by an image. What is outside of the outline is not shown: vessels
with contrast agent, muscle and fat say nothing of bone, and a network that cannot see them
cannot lean on them.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from shared.clinical.attenuation import REFERENCE_KV, at_120_kv
from shared.clinical.cross_calibration import is_plausible, standardised_bmd
from shared.clinical.trabecular_core import MARGIN_MM, NoCoreError, read_core
from shared.findings.findings import FRACTURE_GRADE
from shared.records import StudyRecord, VolumeRecord
from shared.regions import LUMBAR, VERTEBRA_CODES, code_of
from shared.tasks.ct.mosaic import cut_level, mosaic
from shared.tasks.ct.slabs import SlabsError, regions_to_slabs, to_slabs

#: HU at 120 kV that are shown: fat to the densest cortex. Outside they are cut off.
WINDOW: Final = (-200.0, 2000.0)
#: HU at 120 kV that are 1 in the image.
UNIT_HU: Final = 500.0
#: [U] What is outlined over less than this is a part of a vertebra, as the four slabs that a
#: segmentation draws; the body goes on above and below as it is on the outermost of them.
PART_MM: Final = 18.0


@dataclass(frozen=True)
class BoneImages:
    """The lumbar vertebrae of a series.

    Attributes
    ----------
    levels : mapping of str to ndarray of float32, shape (2, side, side)
        By level. Channel 0 is HU at 120 kV by `UNIT_HU` inside of the outline, 0 outside;
        channel 1 the share of a pixel that is outlined.
    gaps : mapping of str to str
        Why each of the others cannot be assessed, as part of a sentence.
    """

    levels: Mapping[str, NDArray[np.float32]] = field(default_factory=dict)
    gaps: Mapping[str, str] = field(default_factory=dict)


def read_bones(volume: VolumeRecord, side: int) -> BoneImages:
    """Cut the lumbar vertebrae out of a series with outlines.

    Parameters
    ----------
    volume : VolumeRecord
        With `regions`. Marked slices are not used: the middle of a vertebra is where its outline
        says, in training as in reading, where no mark reaches this.
    side : int
        Rows and columns of a mosaic.
    """
    line, regions = line_to_120(volume.kvp), volume.regions
    if line is None:
        known = "not named in the files" if volume.kvp is None else f"{volume.kvp:g} kV"
        why = f"its tube voltage is {known} and cannot be brought to {REFERENCE_KV:g} kV"
        return BoneImages(gaps=dict.fromkeys(LUMBAR, why))
    if regions is None or regions.shape != volume.hu.shape:
        return BoneImages(gaps=dict.fromkeys(LUMBAR, "no vertebra is outlined in this series"))
    regions = np.asarray(regions)
    boxes = ndimage.find_objects(regions, max(VERTEBRA_CODES["volume"].values()))
    gaps = {}
    for level in LUMBAR:
        box = boxes[code_of(level, "volume") - 1]
        gaps[level] = f"{level} is not outlined" if box is None else _why_not(volume, level, box)
    gaps = {level: why for level, why in gaps.items() if why}
    if len(gaps) == len(LUMBAR):
        return BoneImages(gaps=gaps)
    try:
        slabs = to_slabs(volume)
    except SlabsError as error:
        return BoneImages(gaps=dict.fromkeys(LUMBAR, f"of this series {error}"))
    placed = regions_to_slabs(regions, slabs.placed)
    levels = {}
    for level in LUMBAR:
        if level in gaps:
            continue
        cut = cut_level(slabs.hu, placed == code_of(level, "volume"))
        if cut is None:
            gaps[level] = f"the series or the outline does not hold all of {level}"
            continue
        hu = np.clip(cut.hu * line[0] + line[1], *WINDOW) / UNIT_HU
        levels[level] = mosaic(np.stack([hu * cut.mask, cut.mask]).astype(np.float32), side)
    return BoneImages(levels, gaps)


def line_to_120(kilovolts: float | None) -> tuple[float, float] | None:
    """Slope and offset that bring HU of bone to 120 kV; None where that is not known."""
    if kilovolts is None:
        return None
    try:
        at_0, at_1000 = (at_120_kv(hu, kilovolts).hu for hu in (0.0, 1000.0))
    except ValueError:
        return None
    return (at_1000 - at_0) / 1000, at_0


def level_labels(study: StudyRecord) -> dict[str, float]:
    """Give the single vertebrae's densities of the paired visit, sBMD in g/cm².

    The line of the whole spine stands for single vertebrae [U]. A vertebra that the technologist
    left out, or that the hospital graded as fractured, has no label, nor has one whose value no
    bone has. Quality codes are not kept by a store.
    """
    if study.paired is None:
        return {}
    labels = study.paired.labels
    found = {
        level: standardised_bmd(labels.bmd[level], study.paired.vendor, level)
        for level in LUMBAR
        if level in labels.bmd and labels.genant.get(level, 0) < FRACTURE_GRADE
    }
    return {level: value for level, value in found.items() if is_plausible(value)}


def _why_not(volume: VolumeRecord, level: str, box: tuple[slice, ...]) -> str:
    """Why a level in a box cannot be assessed, by what is measured in it; empty where it can."""
    outlined = np.asarray(volume.regions)[box] == code_of(level, "volume")
    hu = np.asarray(volume.hu[box])
    ends = (box[0].start == 0, box[0].stop == len(volume.hu))
    spacing = volume.spacing_mm
    if not any(ends) and len(outlined) * spacing[0] < PART_MM:
        more = ((math.ceil(2 * MARGIN_MM / spacing[0]),) * 2, (0, 0), (0, 0))
        outlined, hu = np.pad(outlined, more, mode="edge"), np.pad(hu, more, mode="edge")
    try:
        read_core(hu, outlined, spacing, ends, volume.kvp)
    except NoCoreError as error:
        return f"{level} {error}"
    return ""
