"""What the trabecular attenuation of a CT series says, level by level, with what it may not say.

A second opinion that needs no model but outlines of the vertebrae: Hounsfield units, and mineral
by internal calibration. It is never put together with what a network estimates.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import astuple
from typing import Final, TypeVar

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from shared.clinical.attenuation import L1_CUT_OFFS, REFERENCE_KV, At120, at_120_kv
from shared.clinical.ct_gates import why_not_measured
from shared.clinical.internal_calibration import (
    InternalCalibration,
    MineralDensity,
    NotCalibratedError,
    TissueHu,
    calibrate,
)
from shared.clinical.reference_tissues import read_tissues, together
from shared.clinical.trabecular_core import CoreReading, NoCoreError, read_core
from shared.findings.facts import Fact, NotAssessed
from shared.phrases import listed
from shared.records import VolumeRecord
from shared.regions import VERTEBRA_CODES

#: Levels that are read, from the head down.
LEVELS: Final = ("T12", "L1", "L2", "L3", "L4")
#: What was outlined over less than this, mm, is slices through the middle and no whole vertebra:
#: with its processes the flattest is higher.
SLAB_MM: Final = 16.0
WHAT: Final = "trabecular attenuation"
NO_VOLTAGE: Final = "the files do not name the tube voltage"
#: Why nothing is measured where nobody outlined anything.
NOT_OUTLINED: Final = "no vertebra is outlined in this series"
#: [U] Mineral of any trabecular core, mg/cm³: what 500 HU show, above which none is taken for one,
#: is 377.
POSSIBLE_MINERAL: Final = (0.0, 400.0)
#: Before this age no class is given, by attenuation either.
YOUNGEST: Final = 50.0
#: Patients of the study that the cut-offs are from.
STUDIED: Final = 1_867

Floats = TypeVar("Floats", CoreReading, At120, MineralDensity, TissueHu)


class LevelAttenuation(Fact):
    """One level.

    Attributes
    ----------
    level : str
        T12 to L4.
    core : CoreReading
        As the series shows it, HU.
    at_120 : At120 or None
        At 120 kV; None where the voltage is unknown or was not computed.
    density : MineralDensity or None
        By internal calibration, mg/cm³ hydroxyapatite; None where the series has none, or what
        was read cannot be (`POSSIBLE_MINERAL`).
    slices_mm : float or None
        How high the outline is where it was taken as slices through the middle; nothing says that
        they are. None of a whole vertebra.
    """

    level: str
    core: CoreReading
    at_120: At120 | None = None
    density: MineralDensity | None = None
    slices_mm: float | None = None

    @property
    def hu_at_120(self) -> str:
        """HU at 120 kV in words, with its range; empty where that is not known."""
        one = self.at_120
        return "" if one is None else with_range(one.hu, one.low, one.high)

    @property
    def mineral(self) -> str:
        """Mineral in words, mg/cm³ with its range; empty where it is not assessed."""
        return "" if self.density is None else _mineral(self.density)

    @property
    def taken_as(self) -> str:
        """What an outline of some slices was taken as; empty of a whole vertebra."""
        if self.slices_mm is None:
            return ""
        return f"on slices of {self.slices_mm:g} mm together, taken as the middle"


class TissueLine(Fact):
    """Internal calibration of a series: found HU = offset + slope · computed HU.

    Attributes
    ----------
    found, expected : TissueHu
        Air, fat and muscle: medians over the levels, and computed for the tube voltage.
    slope, offset_hu : float
        Of the line.
    residual_hu : float
        How far the three lie off it (`shared.clinical.internal_calibration`).
    """

    found: TissueHu
    expected: TissueHu
    slope: float
    offset_hu: float
    residual_hu: float


class SeriesAttenuation(Fact):
    """What a series says.

    Attributes
    ----------
    outlined_by : str
        Who outlined the vertebrae, in words; empty where nobody says.
    levels : tuple of LevelAttenuation
        From the head down.
    calibration : TissueLine or None
        None where there is no density.
    not_calibrated : str
        Why there is none.
    not_assessed : tuple of NotAssessed
        Levels that are outlined and were not measured, levels whose mineral cannot be, or the
        whole series, each with why.
    caution : str
        Why the cut-offs do not apply; empty where they do.
    statement : str
        What L1 says by the cut-offs; empty where they do not apply or it says nothing.
    """

    outlined_by: str = ""
    levels: tuple[LevelAttenuation, ...] = ()
    calibration: TissueLine | None = None
    not_calibrated: str = ""
    not_assessed: tuple[NotAssessed, ...] = ()
    caution: str = ""
    statement: str = ""

    @property
    def is_converted(self) -> bool:
        """Whether its values at 120 kV are not those that it shows."""
        return any(one.at_120 and one.at_120.high > one.at_120.low for one in self.levels)


def read_attenuation(
    volume: VolumeRecord, age_years: float | None = None, fractured: Collection[str] = ()
) -> SeriesAttenuation:
    """Measure every outlined level of a series.

    Parameters
    ----------
    volume : VolumeRecord
        With `regions`, or nothing is measured. Vertebrae may be outlined as a whole or on slices
        through their middles. Where bone is not measured (`shared.clinical.ct_gates`), nothing
        is here either.
    age_years : float, optional
        Of the patient; without it, and under `YOUNGEST`, L1 says nothing.
    fractured : collection of str
        Levels that the hospital graded as fractured: they are not measured.
    """
    regions = volume.regions
    if regions is None or not regions.any():
        return _nothing(NOT_OUTLINED)
    if regions.shape != volume.hu.shape:
        return _nothing("its outlines have another grid than the series")
    if why := why_not_measured(volume):
        return _nothing(why)
    boxes = _boxes(regions)
    cores, left = _cores(volume, boxes, fractured)
    line, not_calibrated = _calibrated(volume, {level: boxes[level] for level in cores})
    found = [
        _level(level, core, volume.kvp, line, _slices_mm(volume, boxes[level]))
        for level, core in cores.items()
    ]
    caution = _caution(volume, age_years)
    first = next((one for one in found if one.level == "L1"), None)
    return SeriesAttenuation(
        levels=tuple(found),
        calibration=None if line is None else _told(line),
        not_calibrated=not_calibrated,
        not_assessed=(*left, *_impossible(cores, line)),
        caution=caution,
        statement="" if caution or first is None else what_l1_says(first.at_120),
    )


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
            f"{STUDIED:,} adults, and in many without; refer to DXA, which decides."
        )
    return ""


def published_cut_offs() -> str:
    """Say the cut-offs with what their source gives for each, and what they are for."""
    shares = []
    for one in L1_CUT_OFFS:
        known = {"sensitivity": one.sensitivity, "specificity": one.specificity}
        told = [f"{name} {share:.0%}" for name, share in known.items() if share is not None]
        shares.append(f"{one.hu:.0f} HU ({listed(told) or 'between the two, no figure given'})")
    return (
        f"Published for L1 of {STUDIED:,} adults, for osteoporosis by DXA, at 120 kV without "
        f"contrast agent: at most {', '.join(shares)}. A value above them says nothing."
    )


def calibration_sentence(found: SeriesAttenuation) -> str:
    """Say by what mineral was read and what is not in it, or why it was not read."""
    line = found.calibration
    if line is None:
        return f"Mineral is not assessed: {found.not_calibrated}."
    shown, computed = (
        listed([f"{value:.0f}".replace("-", "−") for value in (one.air, one.fat, one.muscle)])
        for one in (line.found, line.expected)
    )
    return (
        f"Mineral (hydroxyapatite, marrow taken as half fat) is by internal calibration: air, fat "
        f"and muscle show {shown} HU, computed are {computed}; they lie {line.residual_hu:.0f} HU "
        "off one line. How strongly the scanner shows mineral is not in that; it is no "
        "quantitative CT, whose limits do not hold for it."
    )


def with_range(value: float, low: float, high: float) -> str:
    """Say a value, with what two ways of comparing voltages give where they differ."""
    told = f"{round(value)}"
    return f"{told} ({round(low)} to {round(high)})" if high - low >= 1 else told


def _mineral(found: MineralDensity) -> str:
    return with_range(found.value, found.low, found.high)


def _nothing(why: str) -> SeriesAttenuation:
    return SeriesAttenuation(not_assessed=(NotAssessed(what=WHAT, why=why),))


Boxes = Mapping[str, tuple[slice, slice, slice]]


def _boxes(regions: NDArray[np.uint8]) -> Boxes:
    """Where each level that is read was outlined, from the head down."""
    boxes = ndimage.find_objects(regions)
    codes = {level: VERTEBRA_CODES["volume"][level] for level in LEVELS}
    return {
        level: boxes[code - 1]
        for level, code in codes.items()
        if code <= len(boxes) and boxes[code - 1] is not None
    }


def _outline(volume: VolumeRecord, level: str, box: tuple[slice, ...]) -> NDArray[np.bool_]:
    return np.asarray(np.asarray(volume.regions)[box] == VERTEBRA_CODES["volume"][level])


def _slices_mm(volume: VolumeRecord, box: tuple[slice, ...]) -> float | None:
    """How high an outline is that is taken as slices through the middle; None of a whole one."""
    height = (box[0].stop - box[0].start) * volume.spacing_mm[0]
    at_an_end = box[0].start == 0 or box[0].stop == len(volume.hu)
    return None if at_an_end or height >= SLAB_MM else round(height, 1)


def _cores(
    volume: VolumeRecord, boxes: Boxes, fractured: Collection[str]
) -> tuple[dict[str, CoreReading], tuple[NotAssessed, ...]]:
    """Measure the core of each level, or say why not."""
    cores: dict[str, CoreReading] = {}
    left = []
    for level, box in boxes.items():
        first, last = box[0].start == 0, box[0].stop == len(volume.hu)
        slab = _slices_mm(volume, box) is not None
        try:
            if level in fractured:
                raise NoCoreError("is fractured by the hospital's reading, and denser for it")
            drawn = _outline(volume, level, box)
            cores[level] = read_core(
                volume.hu[box], drawn, volume.spacing_mm, (first, last), volume.kvp, slab
            )
        except NoCoreError as error:
            left.append(NotAssessed(what=f"{WHAT} of {level}", why=f"{level} {error}"))
    return cores, tuple(left)


def _calibrated(volume: VolumeRecord, boxes: Boxes) -> tuple[InternalCalibration | None, str]:
    """Calibrate a series by the tissues around its measured levels, or say why not."""
    if why := _agent(volume):
        return None, why
    if not volume.kvp:
        return None, NO_VOLTAGE
    if not boxes:
        return None, "no level was measured"
    try:
        seen = [
            read_tissues(
                volume.hu[box[0]],
                _outline(volume, level, box[:1]),
                volume.spacing_mm,
                volume.kvp,
            )
            for level, box in boxes.items()
        ]
        found, missing = together(seen)
        if found is None:
            return None, f"no {listed(missing)} could be measured around the vertebrae"
        return calibrate(found, volume.kvp), ""
    except NotCalibratedError as error:
        return None, str(error)


def _level(
    level: str,
    core: CoreReading,
    kilovolts: float | None,
    line: InternalCalibration | None,
    slices_mm: float | None,
) -> LevelAttenuation:
    at_120 = _at_120(core.median_hu, kilovolts)
    density = None if line is None else line.density(core.median_hu)
    return LevelAttenuation(
        level=level,
        core=_tenths(core),
        at_120=None if at_120 is None else _tenths(at_120),
        density=None if density is None or not _can_be(density) else _tenths(density),
        slices_mm=slices_mm,
    )


def _can_be(density: MineralDensity) -> bool:
    least, most = POSSIBLE_MINERAL
    return least <= round(density.low) and round(density.high) <= most  # as they are shown


def _impossible(
    cores: Mapping[str, CoreReading], line: InternalCalibration | None
) -> Iterator[NotAssessed]:
    """Name the levels whose mineral would be less than none, or more than bone has."""
    if line is None:
        return
    least, most = POSSIBLE_MINERAL
    for level, core in cores.items():
        density = line.density(core.median_hu)
        if not _can_be(density):
            shown = _mineral(density).replace("-", "−")
            why = f"with marrow taken as half fat it would be {shown} mg/cm³"
            why += f" (must be {least:.0f} to {most:.0f})"
            yield NotAssessed(what=f"mineral of {level}", why=why)


def _told(line: InternalCalibration) -> TissueLine:
    return TissueLine(
        found=_tenths(line.found),
        expected=_tenths(line.expected),
        slope=round(line.slope, 4),
        offset_hu=round(line.offset, 1),
        residual_hu=round(line.residual_hu, 1),
    )


def _tenths(one: Floats) -> Floats:
    """Give a reading with one decimal, as it is told."""
    return type(one)(*(round(value, 1) for value in astuple(one)))


def _at_120(hu: float, kilovolts: float | None) -> At120 | None:
    try:
        return None if kilovolts is None else at_120_kv(hu, kilovolts)
    except ValueError:
        return None


def _agent(volume: VolumeRecord) -> str:
    """Why iodine may be in a series; empty if the files say that there is none."""
    if volume.contrast is None:
        return "the files do not say whether a contrast agent was given"
    return "a contrast agent was given, which raises the values" if volume.contrast else ""


def _caution(volume: VolumeRecord, age_years: float | None) -> str:
    """Why published cut-offs do not apply to a series; empty if they do."""
    reasons = []
    if age_years is None:
        reasons.append("the patient's age is not known")
    elif age_years < YOUNGEST:
        reasons.append(f"the patient is under {YOUNGEST:g}")
    if agent := _agent(volume):
        reasons.append(agent)
    if volume.kvp is None:
        reasons.append(NO_VOLTAGE)
    elif _at_120(0.0, volume.kvp) is None:
        reasons.append(f"{volume.kvp:g} kV cannot be compared with {REFERENCE_KV:g} kV")
    return f"Published cut-offs do not apply: {listed(reasons)}." if reasons else ""
