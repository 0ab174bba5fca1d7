"""From trabecular mineral to Hounsfield units and back: the one place that does it.

HU at 120 kV of hydroxyapatite in marrow, computed for filtered tungsten spectra behind 25 cm of
water (`ct_kvp_oracle`: red marrow 10.4, yellow −51.7, 100 mg/cm³ hydroxyapatite in water 138.0).
It is an upper bound: real scanners have a slope and an offset of their own, which is imaging's.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from shared.clinical.attenuation import MARROW_HU, MINERAL_HU, REFERENCE_KV

#: [R, computed] HU at 120 kV of marrow without and with fat only.
RED_MARROW: Final = MARROW_HU[REFERENCE_KV][0]
YELLOW_MARROW: Final = MARROW_HU[REFERENCE_KV][1]
#: [R, computed] HU at 120 kV of 1 g/cm³ hydroxyapatite that takes the place of water.
HYDROXYAPATITE_SLOPE: Final = 10 * MINERAL_HU[REFERENCE_KV]
#: Density of solid hydroxyapatite, g/cm³: so much marrow gives way.
HYDROXYAPATITE_DENSITY: Final = 3.16
#: [U] Mean trabecular HU of L1 by age, both sexes, 120 kV, unenhanced (design/anatomy.md).
HU_BY_AGE: Final = (
    (25.0, 226.0), (55.0, 163.0), (65.0, 142.0), (75.0, 121.0), (85.0, 100.0), (93.0, 89.0),
)  # fmt: skip
#: [U] Fat's share of vertebral marrow at 50 years, its growth a year, and what women have more
#: from ten years after the menopause on; SD between persons.
MARROW_FAT: Final = (0.38, 0.004)
MARROW_FAT_WOMEN: Final = 0.03
MARROW_FAT_SD: Final = 0.06


def marrow_hu(marrow_fat: float) -> float:
    """HU at 120 kV of marrow with a share of fat in [0, 1]."""
    return RED_MARROW + (YELLOW_MARROW - RED_MARROW) * marrow_fat


def hounsfield(core: float, marrow_fat: float) -> float:
    """HU at 120 kV of a core of `core` g/cm³ hydroxyapatite, its marrow fat a share in [0, 1]."""
    marrow = marrow_hu(marrow_fat)
    return marrow + (HYDROXYAPATITE_SLOPE - marrow / HYDROXYAPATITE_DENSITY) * core


def core_for(hu: float, marrow_fat: float) -> float:
    """Core in g/cm³ that shows as `hu`: the inverse of `hounsfield`."""
    marrow = marrow_hu(marrow_fat)
    return (hu - marrow) / (HYDROXYAPATITE_SLOPE - marrow / HYDROXYAPATITE_DENSITY)


def mean_marrow_fat(sex: str, age_years: float) -> float:
    """Mean share of fat in vertebral marrow."""
    at_50, yearly = MARROW_FAT
    more = MARROW_FAT_WOMEN * float(np.clip((age_years - 50) / 10, 0, 1)) * (sex == "F")
    return float(np.clip(at_50 + yearly * (age_years - 50) + more, 0.2, 0.8))


def mean_core(sex: str, age_years: float) -> float:
    """Mean core density of L1 by age, g/cm³, so that the mean HU is that of `HU_BY_AGE`."""
    ages, values = zip(*HU_BY_AGE, strict=True)
    return core_for(float(np.interp(age_years, ages, values)), mean_marrow_fat(sex, age_years))
