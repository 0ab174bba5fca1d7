"""The levels of a study's chest CT as a network sees them, or why one cannot be assessed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from shared.clinical.attenuation import REFERENCE_KV
from shared.clinical.osteoporosis import has_osteoporosis
from shared.clinical.trabecular_core import METAL_HU
from shared.records import Covariates, StudyRecord, VolumeRecord
from shared.tasks.chest.crops import LevelCrop, crop_level, mean_of_level, seems_enhanced
from shared.tasks.chest.levels import LEVELS
from shared.tasks.chest.series import ENHANCED
from shared.tasks.ct.bone_images import line_to_120
from shared.tasks.ct.slabs import SlabsError, to_slabs

#: So much of the crop of a body above `METAL_HU` is metal or cement, not a dense osteophyte.
METAL_SHARE: Final = 0.01
#: Middle and spread of age by which it is given to a network, years.
AGE: Final = (67.0, 10.0)


@dataclass(frozen=True)
class StudyCrops:
    """What could be cut out.

    Attributes
    ----------
    levels : mapping of str to LevelCrop
        By level, of those that can be assessed.
    gaps : mapping of str to str
        Why each other one cannot, as part of a sentence.
    """

    levels: Mapping[str, LevelCrop] = field(default_factory=dict)
    gaps: Mapping[str, str] = field(default_factory=dict)


def read_crops(volume: VolumeRecord, side: int) -> StudyCrops:
    """Cut T11, T12 and L1 out of a series whose middles are marked.

    Hounsfield units are brought to 120 kV as for bone: muscle hardly changes by it.

    Parameters
    ----------
    volume : VolumeRecord
        With `marked_slices`, somebody's or those that `chest-ct-regions` found.
    side : int
        Rows and columns of a crop.
    """
    line = line_to_120(volume.kvp)
    if line is None:
        known = "not named in the files" if volume.kvp is None else f"{volume.kvp:g} kV"
        why = f"its tube voltage is {known} and cannot be brought to {REFERENCE_KV:g} kV"
        return StudyCrops(gaps=dict.fromkeys(LEVELS, why))
    marked = {level: volume.marked_slices[level] for level in LEVELS
              if level in volume.marked_slices}  # fmt: skip
    gaps = {level: f"the middle of {level} is not known" for level in LEVELS if level not in marked}
    if not marked:
        none = f"none of {LEVELS[0]} to {LEVELS[-1]} was found in this series"
        return StudyCrops(gaps=dict.fromkeys(LEVELS, none))
    try:
        slabs = to_slabs(volume)
    except SlabsError as error:
        return StudyCrops(gaps=dict.fromkeys(LEVELS, f"of this series {error}"))
    levels: dict[str, LevelCrop] = {}
    for level, place in marked.items():
        hu = mean_of_level(slabs, slabs.placed.slab_at(place))
        if hu is None:
            gaps[level] = f"the series does not hold all of the middle of {level}"
            continue
        crop = crop_level(hu * line[0] + line[1], side)
        if crop is None:
            gaps[level] = f"no vertebral body was recognised at {level}"
        elif seems_enhanced(hu, crop.centre):
            # one scan: what is in the blood at one level is in it at all
            return StudyCrops(gaps=dict.fromkeys(LEVELS, f"its blood is bright as if {ENHANCED}"))
        elif crop.metal_share > METAL_SHARE:
            gaps[level] = f"{level} holds metal or cement (over {METAL_HU:,.0f} HU)"
        else:
            levels[level] = crop
    return StudyCrops(levels, gaps)


def paired_osteoporosis(study: StudyRecord) -> bool | None:
    """Say whether the DXA of the paired visit shows osteoporosis; None where nobody knows."""
    if study.paired is None:
        return None
    return has_osteoporosis(study.paired.labels.bmd, study.paired.vendor)


def told_age_and_sex(known: Covariates) -> tuple[float, float]:
    """Age by `AGE` and sex (a woman 0.5, a man −0.5) as numbers; 0 where unknown."""
    middle, spread = AGE
    age = 0.0 if known.age_years is None else (known.age_years - middle) / spread
    return age, {"F": 0.5, "M": -0.5}.get(known.sex or "", 0.0)
