"""What the trabecular attenuation of a CT series says, level by level, with what it may not say.

A second opinion that needs no model: the outlines of the vertebrae, and Hounsfield units.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from shared.clinical.attenuation import L1_CUT_OFFS, REFERENCE_KV, At120, at_120_kv
from shared.clinical.trabecular_core import CoreReading, NoCoreError, read_core
from shared.findings.facts import NotAssessed
from shared.findings.words import listed
from shared.records import VolumeRecord
from shared.regions import VERTEBRA_CODES

#: Levels that are read, from the head down.
LEVELS: Final = ("T12", "L1", "L2", "L3", "L4")
#: Thicker slices blur end plates into the core.
THICKEST_MM: Final = 5.0
WHAT: Final = "trabecular attenuation"


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


def read_attenuation(volume: VolumeRecord) -> SeriesAttenuation:
    """Measure every outlined level of a series.

    Parameters
    ----------
    volume : VolumeRecord
        With `regions`, or nothing is measured.
    """
    regions, thickness = volume.regions, volume.slice_thickness_mm
    if regions is None or not regions.any():
        return _nothing("no vertebra is outlined in this series")
    thickest = max(thickness or 0.0, volume.spacing_mm[0])
    if thickest > THICKEST_MM:
        return _nothing(f"its slices are {thickest:g} mm thick (must be at most {THICKEST_MM:g})")
    found, left = [], []
    for level in LEVELS:
        outlined = regions == VERTEBRA_CODES["volume"][level]
        if not outlined.any():
            continue
        try:
            core = read_core(volume.hu, outlined, volume.spacing_mm)
        except NoCoreError as error:
            left.append(NotAssessed(what=f"{WHAT} of {level}", why=f"{level} {error}"))
            continue
        found.append(LevelAttenuation(level, core, _at_120(core.median_hu, volume.kvp)))
    caution = _caution(volume)
    first = next((one for one in found if one.level == "L1"), None)
    statement = "" if caution or first is None else what_l1_says(first.at_120)
    return SeriesAttenuation(tuple(found), tuple(left), caution, statement)


def what_l1_says(found: At120 | None) -> str:
    """What L1 says by the published cut-offs, only where it is low whatever the error; else empty.

    Parameters
    ----------
    found : At120 or None
        Of L1, unenhanced.
    """
    if found is None:
        return ""
    low, _, high = L1_CUT_OFFS
    if found.high <= low.hu:
        return (
            f"L1 is at most {low.hu:.0f} HU. Nine of ten patients without osteoporosis are above "
            "that; refer to DXA."
        )
    if found.high <= high.hu:
        return (
            f"L1 is at most {high.hu:.0f} HU, as in nine of ten patients with osteoporosis and in "
            "many without; a DXA decides."
        )
    return ""


def _nothing(why: str) -> SeriesAttenuation:
    return SeriesAttenuation(not_assessed=(NotAssessed(what=WHAT, why=why),))


def _at_120(hu: float, kilovolts: float | None) -> At120 | None:
    try:
        return None if kilovolts is None else at_120_kv(hu, kilovolts)
    except ValueError:
        return None


def _caution(volume: VolumeRecord) -> str:
    """Why published cut-offs do not apply to a series; empty if they do."""
    reasons = []
    if volume.contrast:
        reasons.append("a contrast agent was given, which raises the values")
    elif volume.contrast is None:
        reasons.append("the files do not say whether a contrast agent was given")
    if volume.kvp is None:
        reasons.append("the files do not name the tube voltage")
    elif _at_120(0.0, volume.kvp) is None:
        reasons.append(f"{volume.kvp:g} kV cannot be compared with {REFERENCE_KV:g} kV")
    return f"Published cut-offs do not apply: {listed(reasons)}." if reasons else ""
