"""What the trabecular attenuation of a CT series says, level by level, with what it may not say.

A second opinion that needs no model: the outlines of the vertebrae, and Hounsfield units.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Final

from scipy import ndimage

from shared.clinical.attenuation import L1_CUT_OFFS, REFERENCE_KV, At120, at_120_kv
from shared.clinical.ct_gates import THICKEST_MM
from shared.clinical.trabecular_core import CoreReading, NoCoreError, read_core
from shared.findings.facts import NotAssessed
from shared.phrases import listed
from shared.records import VolumeRecord
from shared.regions import VERTEBRA_CODES

#: Levels that are read, from the head down.
LEVELS: Final = ("T12", "L1", "L2", "L3", "L4")
WHAT: Final = "trabecular attenuation"
#: Before this age no class is given, by attenuation either.
YOUNGEST: Final = 50.0
#: Patients of the study that the cut-offs are from.
STUDIED: Final = 1_867


@dataclass(frozen=True)
class LevelAttenuation:
    """One level.

    Attributes
    ----------
    level : str
        T12 to L4.
    core : CoreReading
        As the series shows it, HU.
    at_120 : At120 or None
        At 120 kV; None where the voltage is unknown or was not computed.
    """

    level: str
    core: CoreReading
    at_120: At120 | None


@dataclass(frozen=True)
class SeriesAttenuation:
    """What a series says.

    Attributes
    ----------
    levels : tuple of LevelAttenuation
        From the head down.
    not_assessed : tuple of NotAssessed
        Levels that are outlined and were not measured, or the whole series, each with why.
    caution : str
        Why the cut-offs do not apply; empty where they do.
    statement : str
        What L1 says by the cut-offs; empty where they do not apply or it says nothing.
    """

    levels: tuple[LevelAttenuation, ...] = ()
    not_assessed: tuple[NotAssessed, ...] = ()
    caution: str = ""
    statement: str = ""


def read_attenuation(
    volume: VolumeRecord, age_years: float | None = None, fractured: Collection[str] = ()
) -> SeriesAttenuation:
    """Measure every outlined level of a series.

    Parameters
    ----------
    volume : VolumeRecord
        With `regions`, or nothing is measured.
    age_years : float, optional
        Of the patient; without it, and under `YOUNGEST`, L1 says nothing.
    fractured : collection of str
        Levels that the hospital graded as fractured: they are not measured.
    """
    regions, thickest = volume.regions, volume.thickest_mm
    if regions is None or not regions.any():
        return _nothing("no vertebra is outlined in this series")
    if regions.shape != volume.hu.shape:
        return _nothing("its outlines have another grid than the series")
    if thickest > THICKEST_MM:
        return _nothing(f"its slices are {thickest:g} mm thick (must be at most {THICKEST_MM:g})")
    found, left = [], []
    boxes = ndimage.find_objects(regions)
    for level in LEVELS:
        code = VERTEBRA_CODES["volume"][level]
        box = boxes[code - 1] if code <= len(boxes) else None
        if box is None:
            continue
        try:
            if level in fractured:
                raise NoCoreError("is fractured by the hospital's reading, and denser for it")
            ends = box[0].start == 0, box[0].stop == len(regions)
            core = read_core(
                volume.hu[box], regions[box] == code, volume.spacing_mm, ends, volume.kvp
            )
        except NoCoreError as error:
            left.append(NotAssessed(what=f"{WHAT} of {level}", why=f"{level} {error}"))
            continue
        found.append(LevelAttenuation(level, core, _at_120(core.median_hu, volume.kvp)))
    caution = _caution(volume, age_years)
    first = next((one for one in found if one.level == "L1"), None)
    statement = "" if caution or first is None else what_l1_says(first.at_120)
    return SeriesAttenuation(tuple(found), tuple(left), caution, statement)


def what_l1_says(found: At120 | None) -> str:
    """What L1 says by the published cut-offs, only where it is low by both conversions; else empty.

    Parameters
    ----------
    found : At120 or None
        Of L1 of somebody of at least `YOUNGEST` years, unenhanced.
    """
    if found is None:
        return ""
    low, _, high = L1_CUT_OFFS
    shown = round(found.high)  # as the page shows it
    if shown <= low.hu:
        return (
            f"L1 is at most {low.hu:.0f} HU. In one study of {STUDIED:,} adults nine of ten "
            "without osteoporosis were above that; refer to DXA."
        )
    if shown <= high.hu:
        return (
            f"L1 is at most {high.hu:.0f} HU, as in nine of ten with osteoporosis in one study of "
            f"{STUDIED:,} adults, and in many without; a DXA decides."
        )
    return ""


def _nothing(why: str) -> SeriesAttenuation:
    return SeriesAttenuation(not_assessed=(NotAssessed(what=WHAT, why=why),))


def _at_120(hu: float, kilovolts: float | None) -> At120 | None:
    try:
        return None if kilovolts is None else at_120_kv(hu, kilovolts)
    except ValueError:
        return None


def _caution(volume: VolumeRecord, age_years: float | None) -> str:
    """Why published cut-offs do not apply to a series; empty if they do."""
    reasons = []
    if age_years is None:
        reasons.append("the patient's age is not known")
    elif age_years < YOUNGEST:
        reasons.append(f"the patient is under {YOUNGEST:g}")
    if volume.contrast:
        reasons.append("a contrast agent was given, which raises the values")
    elif volume.contrast is None:
        reasons.append("the files do not say whether a contrast agent was given")
    if volume.kvp is None:
        reasons.append("the files do not name the tube voltage")
    elif _at_120(0.0, volume.kvp) is None:
        reasons.append(f"{volume.kvp:g} kV cannot be compared with {REFERENCE_KV:g} kV")
    return f"Published cut-offs do not apply: {listed(reasons)}." if reasons else ""
