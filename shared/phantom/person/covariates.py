"""Who comes: sex, age, height, body mass index, ancestry and menopause.

Figures are those of design/anatomy.md: [R] regressions from a public data set, [U] right in
size and trend but unverified.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np

from shared.records import Covariates

#: [R] Height in cm at 55, 65, 75, 85 years, and SD.
HEIGHT: Final = {
    "F": ((156.7, 154.3, 151.5, 148.5), 5.4),
    "M": ((169.0, 166.2, 165.8, 162.6), 6.0),
}
#: [R] Body mass index at 55, 65, 75, 85 years.
BODY_MASS: Final = {"F": (25.0, 25.3, 25.2, 23.6), "M": (24.9, 25.4, 24.3, 22.3)}
#: [U] Shift of BMD by ancestry group, in residual SD.
ANCESTRY_SHIFT: Final = {"asian": 0.0, "european": 0.0, "african": 0.5, "other": 0.1}


@dataclass(frozen=True)
class PopulationProfile:
    """Who comes to a hospital.

    Shifts are added to the figures of design/anatomy.md. `fracture_referral` is
    the factor on the odds of a fracture: people sent for a lateral scan have
    more of them than the population (1 = the population).
    """

    name: str
    female_share: float = 0.75
    age_mean: float = 65.0
    age_sd: float = 10.0
    age_range: tuple[float, float] = (40.0, 95.0)
    height_shift_cm: float = 0.0
    bmi_shift: float = 0.0
    bmi_sd: float = 3.4
    ancestry: Mapping[str, float] | None = None
    fracture_referral: float = 1.0


#: Populations by name. `generic` is the wide mix of public pretraining.
POPULATIONS: Final[dict[str, PopulationProfile]] = {
    profile.name: profile
    for profile in (
        PopulationProfile(
            "generic", 0.65, 62, 14, (25, 95), 5, 1.5, 4.5,
            {"asian": 0.3, "european": 0.4, "african": 0.15, "other": 0.15}, 5.0,
        ),
        PopulationProfile(
            "urban", 0.72, 61, 11, (40, 92), 8, 2.0, 4.6,
            {"european": 0.5, "african": 0.2, "asian": 0.2, "other": 0.1}, 3.0,
        ),
        PopulationProfile(
            "rural", 0.80, 70, 9, (45, 95), 6, 3.5, 5.0, {"european": 0.95, "other": 0.05}, 4.0,
        ),
        PopulationProfile("university", 0.60, 58, 13, (30, 92), 0, 0.0, 3.5, {"asian": 1.0}, 4.0),
        PopulationProfile(
            "northern", 0.70, 67, 10, (45, 95), 10, 2.5, 4.8,
            {"european": 0.85, "asian": 0.1, "other": 0.05}, 4.0,
        ),
        PopulationProfile("community", 0.75, 67, 9.5, (50, 95), 0, 0.0, 3.4, {"asian": 1.0}, 1.0),
    )
}  # fmt: skip


def draw_age(rng: np.random.Generator, profile: PopulationProfile) -> float:
    """Age from the normal of the profile, drawn again until it is in range."""
    low, high = profile.age_range
    for _ in range(100):
        age = float(rng.normal(profile.age_mean, profile.age_sd))
        if low <= age <= high:
            return age
    return float(np.clip(profile.age_mean, low, high))


def draw_build(
    rng: np.random.Generator, sex: str, age: float, profile: PopulationProfile
) -> tuple[float, float]:
    """Height in cm and body mass index in kg/m²."""
    decades = (55.0, 65.0, 75.0, 85.0)
    heights, height_sd = HEIGHT[sex]
    height = float(np.interp(age, decades, heights)) + profile.height_shift_cm
    height += height_sd * float(np.clip(rng.normal(), -2.5, 2.5))
    bmi = float(np.interp(age, decades, BODY_MASS[sex])) + profile.bmi_shift
    return height, float(np.clip(bmi + profile.bmi_sd * rng.normal(), 16.5, 45.0))


def known_covariates(
    sex: str, age_years: float, height_cm: float, weight_kg: float, ancestry: str
) -> Covariates:
    """Covariates as a hospital knows them: whole years, capped at 89, and one decimal."""
    return Covariates(
        sex=sex,
        age_years=float(min(math.floor(age_years), 89)),
        height_cm=round(height_cm, 1),
        weight_kg=round(weight_kg, 1),
        ethnic_group=ancestry,
    )
