"""Density from attenuation by what every body brings along: air, subcutaneous fat and muscle.

Their attenuation at a tube voltage is computed; where a series shows them says how its Hounsfield
units lie to the computed ones, and mineral is read from the corrected ones. Regression of density
on internal materials of known composition is that of Michalski and others (Med Eng Phys 78,
2020), with fewer materials and the tube voltage as the files name it.

It takes away a scanner's offset and wrong scale, and the residual shows where a body does not fit
(cupping, infiltrated muscle, iodine). It cannot know how strongly a scanner shows mineral at its
voltage: air, fat and muscle hardly depend on that.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np

from .attenuation import at_120_kv, at_voltage, mineral_of

#: HU of air at every tube voltage, by the definition of the scale.
AIR_HU: Final = -1000.0
#: HU of adipose tissue and of muscle by tube voltage in kV: computed with the same spectra and
#: from the same tissues as `attenuation.MINERAL_HU` (CatSim's ncat_adipose and ncat_muscle).
FAT_HU: Final[Mapping[float, float]] = {
    80: -129.5, 100: -115.8, 110: -110.9, 120: -106.9, 130: -103.6, 140: -100.8,
}  # fmt: skip
MUSCLE_HU: Final[Mapping[float, float]] = {
    80: 45.6, 100: 44.2, 110: 43.7, 120: 43.3, 130: 43.0, 140: 42.7,
}  # fmt: skip
#: [U] SD between persons of what is computed for air, fat and muscle, HU: air has none but the
#: scanner's, muscle of the old holds fat. Each counts on the line by its own.
SPREAD_HU: Final = (2.0, 5.0, 10.0)
#: [U] Two SD of muscle: farther off the line, something else than a body's composition is wrong.
LARGEST_RESIDUAL_HU: Final = 20.0


class NotCalibratedError(ValueError):
    """A series cannot be calibrated by its own tissues; the text says why."""


@dataclass(frozen=True)
class TissueHu:
    """Attenuation of the reference tissues, HU."""

    air: float
    fat: float
    muscle: float


@dataclass(frozen=True)
class MineralDensity:
    """Mineral of trabecular bone in mg/cm³ hydroxyapatite.

    Attributes
    ----------
    value : float
        By the computed spectra.
    low, high : float
        What two ways of comparing tube voltages give (`attenuation.At120`).
    """

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class InternalCalibration:
    """How the Hounsfield units of a series lie to computed ones: found = offset + slope · computed.

    Attributes
    ----------
    found, expected : TissueHu
        What the series shows, and what was computed for its voltage.
    slope : float
        HU of the series for each computed HU.
    offset : float
        HU of the series where 0 was computed.
    residual_hu : float
        How far the three lie off the line: root of the sum of squares over the one degree of
        freedom that is left.
    kilovolts : float
        Tube voltage.
    """

    found: TissueHu
    expected: TissueHu
    slope: float
    offset: float
    residual_hu: float
    kilovolts: float

    def density(self, hu: float) -> MineralDensity:
        """Mineral of trabecular bone that this series shows as `hu`.

        Marrow is taken to be half fat. Inserts of hydroxyapatite in water, by which quantitative
        CT is usually calibrated, read the same bone about 15 mg/cm³ lower: fat in marrow counts
        against mineral there.
        """
        brought = at_120_kv((hu - self.offset) / self.slope, self.kilovolts)
        return MineralDensity(*map(mineral_of, (brought.hu, brought.low, brought.high)))


def expected_hu(kilovolts: float) -> TissueHu:
    """Computed attenuation of the reference tissues.

    Parameters
    ----------
    kilovolts : float
        80 to 140.

    Raises
    ------
    NotCalibratedError
        If the voltage is outside of what was computed.
    """
    known = sorted(FAT_HU)
    if not known[0] <= kilovolts <= known[-1]:
        raise NotCalibratedError(
            f"nothing was computed for {kilovolts:g} kV (must be {known[0]:g} to {known[-1]:g})"
        )
    return TissueHu(AIR_HU, at_voltage(FAT_HU, kilovolts), at_voltage(MUSCLE_HU, kilovolts))


def calibrate(found: TissueHu, kilovolts: float) -> InternalCalibration:
    """Lay a line through what a series shows of air, fat and muscle, each by its `SPREAD_HU`.

    Parameters
    ----------
    found : TissueHu
        As the series shows them, HU.
    kilovolts : float
        Its tube voltage, 80 to 140.

    Raises
    ------
    NotCalibratedError
        If the voltage is outside of what was computed, or the three lie off their line by more
        than `LARGEST_RESIDUAL_HU`.
    """
    expected = expected_hu(kilovolts)
    computed = np.array([expected.air, expected.fat, expected.muscle])
    shown = np.array([found.air, found.fat, found.muscle])
    slope, offset = np.polyfit(computed, shown, 1, w=1 / np.array(SPREAD_HU))
    residual = math.sqrt(float(((shown - offset - slope * computed) ** 2).sum()))
    if residual > LARGEST_RESIDUAL_HU:
        raise NotCalibratedError(
            f"air, fat and muscle ({found.air:.0f}, {found.fat:.0f} and {found.muscle:.0f} HU) lie "
            f"{residual:.0f} HU off one line (must be at most {LARGEST_RESIDUAL_HU:.0f})"
        )
    return InternalCalibration(found, expected, float(slope), float(offset), residual, kilovolts)
