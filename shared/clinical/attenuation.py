"""Attenuation of trabecular bone on CT: to 120 kV, to a density, and what L1's says.

A second opinion beside a BMD, from nothing but Hounsfield units. The published cut-offs are of
series at 120 kV and are used for unenhanced ones; what was taken at another voltage is brought
there first, in two ways that bracket what is known of it. A scanner's own offset, a large body, a
tin filter and marrow that is fatter than usual move values as well, and are not in that range.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np

REFERENCE_KV: Final = 120.0
#: HU of 100 mg/cm³ hydroxyapatite in water, and of red and of yellow marrow, by tube voltage in
#: kV: computed with CatSim's filtered tungsten spectra behind 25 cm of water.
MINERAL_HU: Final[Mapping[float, float]] = {
    80: 194.7, 100: 160.3, 110: 148.1, 120: 138.0, 130: 129.7, 140: 122.7,
}  # fmt: skip
MARROW_HU: Final[Mapping[float, tuple[float, float]]] = {
    80: (1.8, -74.9), 100: (7.0, -60.9), 110: (8.8, -55.9),
    120: (10.4, -51.7), 130: (11.6, -48.4), 140: (12.7, -45.5),
}  # fmt: skip
#: [U] Fat's share of vertebral marrow; its error moves a value at 80 kV by 1 HU for each tenth.
MARROW_FAT: Final = 0.5
#: What 80 kV shows over 120 kV in 538,946 real series (preprint of June 2025). The spectra
#: above give more, because nothing is scattered in them: the truth lies between the two.
MEASURED_80_OVER_120: Final = 1.23
#: Mineral of the usual trabecular core, g/cm³: at which `MEASURED_80_OVER_120` is compared.
USUAL_CORE: Final = 0.12


@dataclass(frozen=True)
class CutOff:
    """A published cut-off for L1, HU at 120 kV, unenhanced; shares are of the source's patients.

    Attributes
    ----------
    hu : float
        The cut-off.
    sensitivity, specificity : float or None
        Of "at most `hu`" for osteoporosis by DXA, in [0, 1]; None where the source gives none.
    """

    hu: float
    sensitivity: float | None
    specificity: float | None


#: L1 in one study (Pickhardt and others 2013, 1,867 adults with CT and DXA): at most 160 HU finds
#: nine of ten with osteoporosis, at most 110 HU leaves out nine of ten without; 135 HU lies
#: between. Other cohorts need other values for the same shares.
L1_CUT_OFFS: Final[tuple[CutOff, ...]] = (
    CutOff(110.0, None, 0.90), CutOff(135.0, None, None), CutOff(160.0, 0.90, None),
)  # fmt: skip


@dataclass(frozen=True)
class At120:
    """HU as 120 kV would show them; `low` to `high` is what two ways of converting give."""

    hu: float
    low: float
    high: float


def at_120_kv(hu: float, kilovolts: float) -> At120:
    """Bring the attenuation of trabecular bone to 120 kV.

    Marrow and mineral are apart: marrow hardly depends on the voltage, mineral does.
    ``HU(120) = m(120) + (HU(U) − m(U)) · k(120)/k(U)`` with marrow m and mineral k.

    Parameters
    ----------
    hu : float
        At the tube voltage `kilovolts`.
    kilovolts : float
        80 to 140.

    Returns
    -------
    At120
        By the computed spectra, with the range to what real series say of voltages; at 120 kV
        itself the value as it is.

    Raises
    ------
    ValueError
        If the voltage is outside of what was computed.
    """
    known = sorted(MINERAL_HU)
    if not known[0] <= kilovolts <= known[-1]:
        raise ValueError(f"{kilovolts:g} kV (must be {known[0]:g} to {known[-1]:g})")
    marrow, mineral = marrow_hu(kilovolts), _mineral(kilovolts)
    at_120, reference = marrow_hu(REFERENCE_KV), _mineral(REFERENCE_KV)
    found = at_120 + (hu - marrow) * reference / mineral
    other = hu / _as_measured(kilovolts)
    return At120(found, min(found, other), max(found, other))


def from_120_kv(hu: float, kilovolts: float | None) -> float:
    """What a tube voltage shows of bone that 120 kV shows as `hu`, by the computed spectra.

    Parameters
    ----------
    hu : float
        At 120 kV.
    kilovolts : float or None
        Where it is not known, or not one of 80 to 140, `hu` is given back.
    """
    known = sorted(MINERAL_HU)
    if kilovolts is None or not known[0] <= kilovolts <= known[-1]:
        return hu
    ratio = _mineral(kilovolts) / _mineral(REFERENCE_KV)
    return marrow_hu(kilovolts) + (hu - marrow_hu(REFERENCE_KV)) * ratio


def at_voltage(table: Mapping[float, float], kilovolts: float) -> float:
    """Value of a table by tube voltage in kV, on a line between those that stand in it."""
    return float(np.interp(kilovolts, list(table), list(table.values())))


def mineral_of(hu: float) -> float:
    """Mineral in mg/cm³ hydroxyapatite of trabecular bone with `hu` at 120 kV, marrow half fat."""
    return 100 * (hu - marrow_hu(REFERENCE_KV)) / MINERAL_HU[REFERENCE_KV]


def _mineral(kilovolts: float) -> float:
    return at_voltage(MINERAL_HU, kilovolts)


def marrow_hu(kilovolts: float) -> float:
    """HU of the usual vertebral marrow without mineral at 80 to 140 kV."""
    usual = {kv: red + MARROW_FAT * (yellow - red) for kv, (red, yellow) in MARROW_HU.items()}
    return at_voltage(usual, kilovolts)


def _as_measured(kilovolts: float) -> float:
    """What a voltage shows over 120 kV, its excess as much smaller as real series say of 80."""

    def computed(voltage: float) -> float:
        return marrow_hu(voltage) + 10 * USUAL_CORE * _mineral(voltage)

    excess = computed(kilovolts) / computed(REFERENCE_KV) - 1
    largest = computed(80.0) / computed(REFERENCE_KV) - 1
    return 1 + excess * (MEASURED_80_OVER_120 - 1) / largest


@dataclass(frozen=True)
class DensityLine:
    """Mineral by attenuation, of one scanner at one voltage.

    Attributes
    ----------
    slope : float
        HU for each mg/cm³.
    offset : float
        HU of no mineral.
    """

    slope: float
    offset: float

    @classmethod
    def through(cls, inserts: Mapping[float, float]) -> DensityLine:
        """Lay a line through inserts of known density.

        Parameters
        ----------
        inserts : mapping of float to float
            HU by hydroxyapatite in mg/cm³; two at least.

        Raises
        ------
        ValueError
            If there are fewer than two, or more mineral does not attenuate more.
        """
        if len(inserts) < 2:
            raise ValueError(f"{len(inserts)} densities (a line needs two or more)")
        slope, offset = np.polyfit(list(inserts), list(inserts.values()), 1)
        if slope <= 0:
            raise ValueError(f"the inserts' HU change by {slope:.3g} for each mg/cm³ (must be > 0)")
        return cls(float(slope), float(offset))

    def density(self, hu: float) -> float:
        """Mineral in mg/cm³ that shows as `hu`."""
        return (hu - self.offset) / self.slope
