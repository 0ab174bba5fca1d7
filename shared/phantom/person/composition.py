"""Composition of the body: fat, and the amount and density of each muscle.

It goes with age, sex, body mass index and a little with bone. All [U] unless said otherwise.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np

from .attenuation import MARROW_FAT_SD, mean_marrow_fat

#: [R] Deurenberg 1991: fat share in % = 1.20·BMI + 0.23·age − 10.8·(men) − 5.4; SD 3.5 [U].
FAT_SHARE: Final = (1.20, 0.23, 10.8, 5.4, 3.5)
#: Depth and width of the trunk at L3 in mm at a BMI of 22, and for each kg/m² more
#: (design/anatomy.md: 18–22 cm at 22, 24–28 at 30, 30–35 at 38).
TRUNK_DEPTH: Final = (200.0, 7.6)
TRUNK_WIDTH: Final = (315.0, 5.5)
#: Subcutaneous fat in front at L3 in mm at a BMI of 24, and for each kg/m² more; SD of the log.
SUBCUTANEOUS: Final = {"F": (21.0, 1.6), "M": (15.0, 1.4)}
#: Visceral fat at L3 in cm² at a BMI of 24 and 60 years, for each kg/m² and year more.
VISCERAL: Final = {"F": (85.0, 8.5, 1.2), "M": (120.0, 12.0, 1.0)}
FAT_SD: Final = 0.28
#: Skeletal muscle at L3 in cm²/m² of height squared, at a BMI of 24 and 60 years, for each kg/m²
#: and each year more, and SD.
MUSCLE_INDEX: Final = {"F": (40.0, 0.65, -0.18, 6.0), "M": (50.5, 0.85, -0.28, 7.8)}
#: What the muscle index shares with the hip's density at an age, sex and BMI; its partial
#: correlation with total hip is to be 0.10 to 0.25 (issue 21).
MUSCLE_WITH_HIP: Final = 0.16
#: Shares of the area at L3.
LUMBAR_SHARES: Final = {"psoas": 0.14, "paraspinal": 0.40, "abdominal_wall": 0.46}
#: Thickness of the intercostal muscle in mm, and area of the pectoral muscles at T4 in cm², at
#: the mean index of each sex.
CHEST: Final = {"F": {"intercostal": 4.0, "pectoral": 26.0},
                "M": {"intercostal": 5.0, "pectoral": 42.0}}  # fmt: skip
#: Fat's share of a muscle at 60 years and a BMI of 24; women have more; by year and kg/m².
INFILTRATION: Final = {
    "psoas": 0.05, "paraspinal": 0.08, "abdominal_wall": 0.08, "intercostal": 0.08,
    "pectoral": 0.07,
}  # fmt: skip
INFILTRATION_WOMEN: Final = 1.25
INFILTRATION_SLOPES: Final = (0.016, 0.035)
INFILTRATION_SD: Final = (0.32, 0.15)
#: HU at 120 kV of muscle without fat (mean, SD between persons) and of fat.
LEAN_HU: Final = (57.0, 3.0)
FAT_HU: Final = -100.0
MUSCLES: Final = tuple(INFILTRATION)


@dataclass(frozen=True)
class Muscle:
    """One muscle, both sides together.

    Attributes
    ----------
    amount : float
        Area in cm² at L3 (pectoral: at T4); of the intercostal muscle thickness in mm.
    lean_hu : float
        HU at 120 kV of its fibres.
    infiltration : float
        Fat's share in [0, 1], spread through it.
    """

    amount: float
    lean_hu: float
    infiltration: float

    @property
    def mean_hu(self) -> float:
        """Mean HU at 120 kV, fat included."""
        return self.lean_hu * (1 - self.infiltration) + FAT_HU * self.infiltration


@dataclass(frozen=True)
class Composition:
    """Fat and muscle.

    Attributes
    ----------
    fat_share : float
        Of the body's mass.
    trunk_depth, trunk_width : float
        At L3, mm.
    subcutaneous : dict
        Thickness of the fat under the skin at L3 by ``front``, ``side`` and ``back``, mm.
    visceral : float
        Area of visceral fat at L3, cm².
    marrow_fat : float
        Share of fat in vertebral marrow.
    muscles : dict
        By `MUSCLES`.
    """

    fat_share: float
    trunk_depth: float
    trunk_width: float
    subcutaneous: Mapping[str, float]
    visceral: float
    marrow_fat: float
    muscles: Mapping[str, Muscle]

    def muscle_index(self, height_cm: float) -> float:
        """Skeletal muscle at L3 over height squared, cm²/m²."""
        area = sum(self.muscles[name].amount for name in LUMBAR_SHARES)
        return area / (height_cm / 100) ** 2


def draw_composition(
    rng: np.random.Generator, sex: str, age_years: float, height_cm: float, bmi: float, hip: float
) -> Composition:
    """Draw fat and muscle; `hip` is the deviation of the hip's density in SD."""
    z = np.clip(rng.normal(size=8), -3, 3)
    by_bmi, by_age, men, less, sd = FAT_SHARE
    fat = by_bmi * bmi + by_age * age_years - men * (sex == "M") - less + sd * z[0]
    fat_share = float(np.clip(fat / 100, 0.08, 0.60))
    at_24, more = SUBCUTANEOUS[sex]
    under = max(at_24 + more * (bmi - 24), 5.0) * float(np.exp(FAT_SD * (0.6 * z[0] + 0.6 * z[1])))
    at_24, more, yearly = VISCERAL[sex]
    inside = max(at_24 + more * (bmi - 24) + yearly * (age_years - 60), 12.0)
    visceral = inside * float(np.exp(FAT_SD * (0.6 * z[0] - 0.5 * z[1] + 0.6 * z[2])))
    marrow = mean_marrow_fat(sex, age_years) + MARROW_FAT_SD * (0.3 * z[2] + 0.95 * z[3])
    sides = rng.uniform(0.85, 1.15, 2)
    depth = TRUNK_DEPTH[0] + TRUNK_DEPTH[1] * (bmi - 22) + 10 * z[4]
    width = TRUNK_WIDTH[0] + TRUNK_WIDTH[1] * (bmi - 22) + 12 * z[5]
    width *= (height_cm / 165) ** 0.5
    return Composition(
        fat_share=fat_share,
        trunk_depth=float(np.clip(depth, 150, 400)),
        trunk_width=float(np.clip(width, 240, 480)),
        subcutaneous={
            "front": float(np.clip(under, 4, 60)),
            "side": float(np.clip(0.8 * under * sides[0], 4, 60)),
            "back": float(np.clip(0.9 * under * sides[1], 4, 60)),
        },
        visceral=float(np.clip(visceral, 8, 450)),
        marrow_fat=float(np.clip(marrow, 0.1, 0.9)),
        muscles=_muscles(rng, sex, age_years, height_cm, bmi, hip, z[6:8]),
    )


def _muscles(
    rng: np.random.Generator,
    sex: str,
    age_years: float,
    height_cm: float,
    bmi: float,
    hip: float,
    z: np.ndarray,
) -> dict[str, Muscle]:
    """Each muscle; the amount goes with the hip's density a little, and fat against it."""
    with_hip = float(np.clip(hip, -3, 3))
    own = float(np.sqrt(1 - MUSCLE_WITH_HIP**2))
    amount = MUSCLE_WITH_HIP * with_hip + own * float(z[0])
    level, by_bmi, by_age, sd = MUSCLE_INDEX[sex]
    index = level + by_bmi * (bmi - 24) + by_age * (age_years - 60) + sd * amount
    index = max(index, 18.0)
    area = index * (height_cm / 100) ** 2
    yearly, heavier = INFILTRATION_SLOPES
    common, single = INFILTRATION_SD
    fatty = yearly * (age_years - 60) + heavier * (bmi - 24)
    fatty += common * (float(z[1]) - 0.10 * with_hip - 0.25 * float(z[0]))
    women = INFILTRATION_WOMEN if sex == "F" else 1.0
    lean = LEAN_HU[0] + LEAN_HU[1] * float(rng.normal())
    amounts = {name: share * area for name, share in LUMBAR_SHARES.items()}
    amounts.update({name: value * index / level for name, value in CHEST[sex].items()})
    found = {}
    for name in MUSCLES:
        size, fat = np.exp(rng.normal(0, (0.07, single))).tolist()
        share = INFILTRATION[name] * women * float(np.exp(fatty)) * fat
        found[name] = Muscle(amounts[name] * size, lean, float(np.clip(share, 0.01, 0.6)))
    return found
