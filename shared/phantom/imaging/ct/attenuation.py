"""Hounsfield units of what a patient is made of, by tube voltage.

A scanner is calibrated so that water is 0 and air −1000 at every voltage; everything else
follows from how it attenuates the beam that is left behind a body. Spectra are spekpy's (7°
tungsten, 3 mm aluminium) behind 25 cm of water, weighted by energy as an integrating detector
does; coefficients are xraydb's. Both take seconds to load, so what follows from them stands in
`beam_table`; `computed_beam` makes it, and a test holds the table against it.

Bone is hydroxyapatite that displaces marrow, so its HU are linear in mineral density. The
ratio of that line's slopes at 80 and 120 kV is 1.40 computed, an upper bound: 1.23 is measured
over scanners (design/clinical.md), because scatter and corrections of hardening dampen it. How
much is a scanner's own (`scanner.CtScannerProfile.voltage_response`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

import numpy as np
from numpy.typing import NDArray

from shared.errors import PhantomError
from shared.phantom.solids.distance import Floats, floats

from .beam_table import BEAMS

#: Tube voltages, kV, of the table.
KILOVOLTS: Final = tuple(BEAMS)
#: Water, g/cm², behind which HU are defined here.
REFERENCE_WATER: Final = 25.0
#: Density of hydroxyapatite, g/cm³ (ct_kvp_oracle).
HYDROXYAPATITE_DENSITY: Final = 3.16
#: Aluminium in mm, anode angle in degrees, and bins of equal signal of a computed beam.
ALUMINIUM_MM: Final = 3.0
ANODE: Final = 7.0
BINS: Final = 8

#: Density in g/cm³ and mass fractions (ICRU-44 adipose, red and yellow marrow; alloys rounded).
#: Adipose tissue is 0.92 to 0.96 g/cm³; at 0.92 it has the −107 HU of ct_kvp_oracle.
SUBSTANCES: Final[dict[str, tuple[float, dict[str, float]]]] = {
    "water": (1.0, {"H": 0.1119, "O": 0.8881}),
    "hydroxyapatite": (3.16, {"Ca": 0.39894, "P": 0.18499, "O": 0.41406, "H": 0.00201}),
    "adipose": (
        0.92, {"H": 0.114, "C": 0.598, "N": 0.007, "O": 0.278, "Na": 0.001, "S": 0.001, "Cl": 0.001}
    ),
    "red_marrow": (
        1.03,
        {
            "H": 0.105, "C": 0.414, "N": 0.034, "O": 0.439, "P": 0.001, "S": 0.002, "Cl": 0.002,
            "K": 0.002, "Fe": 0.001,
        },
    ),
    "yellow_marrow": (
        0.98, {"H": 0.115, "C": 0.644, "N": 0.007, "O": 0.231, "Na": 0.001, "S": 0.001, "Cl": 0.001}
    ),
    "iodine": (4.93, {"I": 1.0}),
    "titanium": (4.43, {"Ti": 0.90, "Al": 0.06, "V": 0.04}),
    "cobalt_chrome": (8.3, {"Co": 0.66, "Cr": 0.28, "Mo": 0.06}),
    "cement": (1.35, {"H": 0.068, "C": 0.51, "O": 0.312, "Ba": 0.065, "S": 0.045}),
}  # fmt: skip


@dataclass(frozen=True)
class TubeBeam:
    """A tube's spectrum in a few bins.

    Attributes
    ----------
    weight : ndarray of float32, shape (bins,)
        Detected signal without a body, sum 1.
    attenuation : mapping of str to ndarray of float32, shape (bins,)
        cm²/g by substance.
    """

    weight: Floats
    attenuation: Mapping[str, Floats]

    def effective(self, substance: str) -> float:
        """Mean attenuation behind the reference water, cm²/g."""
        behind = self.weight * np.exp(-REFERENCE_WATER * self.attenuation["water"])
        return float((behind * self.attenuation[substance]).sum() / behind.sum())


@lru_cache(maxsize=16)
def tube_beam(kvp: int) -> TubeBeam:
    """Beam of a tube voltage.

    Raises
    ------
    PhantomError
        If the table has no such voltage.
    """
    return beam_of(BEAMS, kvp)


def beam_of(beams: Mapping[int, tuple[tuple[float, ...], ...]], kvp: int) -> TubeBeam:
    """Beam of a tube voltage in a table like `beam_table`: weights, then attenuation by substance.

    Raises
    ------
    PhantomError
        If the table has no such voltage.
    """
    if kvp not in beams:
        raise PhantomError(f"tube voltage {kvp} kV (must be one of {tuple(beams)})")
    weight, *tables = beams[kvp]
    names = list(SUBSTANCES)
    table = {name: floats(values) for name, values in zip(names, tables, strict=True)}
    return TubeBeam(floats(weight), table)


def computed_beam(kvp: int) -> tuple[tuple[float, ...], ...]:
    """Row of `beam_table` from spekpy and xraydb: weights, then attenuation by substance.

    Bins are of equal signal behind the reference water; a bin's attenuation is the mean over
    what of it is left there.
    """
    import spekpy

    from shared.phantom.imaging.physics import mass_attenuation

    tube = spekpy.Spek(kvp=kvp, th=ANODE, dk=1.0).filter("Al", ALUMINIUM_MM)
    energies, fluence = tube.get_spectrum()
    kev: NDArray[np.float64] = np.asarray(energies, np.float64)
    signal = kev * np.asarray(fluence)
    water = mass_attenuation(SUBSTANCES["water"][1], kev)
    behind = signal * np.exp(-REFERENCE_WATER * water)
    label = np.minimum((np.cumsum(behind) / behind.sum() * BINS).astype(int), BINS - 1)

    def in_bins(values: NDArray[np.float64]) -> tuple[float, ...]:
        pairs = [(values[label == b], behind[label == b]) for b in range(BINS)]
        return tuple(float(np.average(value, weights=weight)) for value, weight in pairs)

    rows = [in_bins(mass_attenuation(parts, kev)) for _, parts in SUBSTANCES.values()]
    # So much enters that behind the water each bin has its share.
    entering = np.array([behind[label == b].sum() for b in range(BINS)])
    entering = entering * np.exp(REFERENCE_WATER * np.array(rows[0]))
    return (tuple((entering / entering.sum()).tolist()), *rows)


def substance_hu(substance: str, kvp: int) -> float:
    """HU of a pure substance at its density."""
    beam = tube_beam(kvp)
    ratio = beam.effective(substance) / beam.effective("water")
    return 1000 * (SUBSTANCES[substance][0] * ratio - 1)


def marrow_hu(kvp: int, fat: float) -> float:
    """HU of marrow without mineral; `fat` is the share of yellow marrow."""
    return (1 - fat) * substance_hu("red_marrow", kvp) + fat * substance_hu("yellow_marrow", kvp)


def mineral_hu(kvp: int, fat: float = 0.5) -> float:
    """HU that each g/cm³ of hydroxyapatite adds to the marrow that it displaces."""
    beam = tube_beam(kvp)
    ratio = beam.effective("hydroxyapatite") / beam.effective("water")
    return 1000 * ratio - (marrow_hu(kvp, fat) + 1000) / HYDROXYAPATITE_DENSITY


def iodine_hu(kvp: int) -> float:
    """HU that each mg/ml of iodine adds."""
    beam = tube_beam(kvp)
    return beam.effective("iodine") / beam.effective("water")


def tissue_hu(at_120: Floats, kvp: int) -> Floats:
    """HU at a voltage of soft tissues whose HU at 120 kV are given; fat alone changes."""
    fat = substance_hu("adipose", 120)
    share = np.where(at_120 < 2 * fat, 0, np.clip(at_120 / np.float32(fat), 0, 1))
    return floats(at_120 + share * np.float32(substance_hu("adipose", kvp) - fat))
