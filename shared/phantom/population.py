"""Digital patients as persons: covariates, drawn bone density, fractures and findings.

Figures are those of design/anatomy.md: [R] regressions from a public data set,
[U] right in size and trend but unverified. BMD is on a Hologic-like scale.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from shared.records import Covariates
from shared.regions import LUMBAR
from shared.seeds import numpy_generator

from .person.covariates import ANCESTRY_SHIFT as ANCESTRY_SHIFT
from .person.covariates import POPULATIONS as POPULATIONS
from .person.covariates import PopulationProfile as PopulationProfile
from .person.covariates import draw_age, draw_build, known_covariates
from .person.fractures import VertebralFinding as VertebralFinding
from .person.fractures import draw_deformity, draw_fractures
from .person.fractures import fracture_probability as fracture_probability
from .person.targets import CORRELATION as CORRELATION
from .person.targets import REGRESSION as REGRESSION
from .person.targets import SITES as SITES
from .person.targets import expected_bmd as expected_bmd


@dataclass(frozen=True)
class PhantomPatient:
    """A person as drawn: covariates, bone and what is out of the ordinary.

    `bmd` is the areal BMD that the anatomy will have, g/cm², for `SITES`, and
    `fracture_risk` the probability by which the fractures were drawn.
    `aortic_calcium` in [0, 1]; `scoliosis` in degrees (Cobb).
    """

    number: int
    seed: int
    sex: str
    age_years: float
    height_cm: float
    weight_kg: float
    ancestry: str
    menopause_age: float | None
    bmd: Mapping[str, float]
    residual_z: float
    fracture_risk: float
    findings: Mapping[str, VertebralFinding]
    degenerative: Mapping[str, float]
    aortic_calcium: float
    scoliosis: float

    @property
    def bmi(self) -> float:
        """Body mass index, kg/m²."""
        return self.weight_kg / (self.height_cm / 100) ** 2

    @property
    def covariates(self) -> Covariates:
        """Covariates as a hospital knows them, ages capped at 89 years."""
        return known_covariates(
            self.sex, self.age_years, self.height_cm, self.weight_kg, self.ancestry
        )


def draw_patient(number: int, seed: int, profile: PopulationProfile) -> PhantomPatient:
    """Draw one patient.

    Parameters
    ----------
    number : int
        Number of the patient within the seed.
    seed : int
        Seed of the population; the same two numbers give the same patient.
    profile : PopulationProfile
        Who comes.

    Returns
    -------
    Patient
    """
    rng = numpy_generator(seed, "patient", profile.name, number)
    sex = "F" if rng.random() < profile.female_share else "M"
    age = draw_age(rng, profile)
    mix = dict(profile.ancestry or {"asian": 1.0})
    weights = np.array(list(mix.values())) / sum(mix.values())
    ancestry = str(rng.choice(list(mix), p=weights))
    height, bmi = draw_build(rng, sex, age, profile)
    menopause = float(np.clip(rng.normal(50, 4), 38, 58)) if sex == "F" else None
    bmd, residual_z = _draw_bmd(rng, sex, age, bmi, ancestry, menopause)
    risk = fracture_probability(sex, age, residual_z, profile.fracture_referral)
    findings = draw_fractures(rng) if rng.random() < risk else {}
    if not findings and rng.random() < 0.08:
        findings = draw_deformity(rng)
    calcium = float(np.clip((age - 55) / 40 + 0.25 * rng.normal(), 0, 1)) * rng.random()
    scoliotic = rng.random() < (0.07 if sex == "F" and age > 60 else 0.02)
    scoliosis = rng.normal(0, 2.5) + (rng.choice([-1, 1]) * rng.uniform(10, 24) * scoliotic)
    return PhantomPatient(
        number=number,
        seed=seed,
        sex=sex,
        age_years=age,
        height_cm=height,
        weight_kg=bmi * (height / 100) ** 2,
        ancestry=ancestry,
        menopause_age=menopause,
        bmd=bmd,
        residual_z=residual_z,
        fracture_risk=risk,
        findings=findings,
        degenerative=_draw_degeneration(rng, age),
        aortic_calcium=calcium,
        scoliosis=float(scoliosis),
    )


def _draw_bmd(
    rng: np.random.Generator,
    sex: str,
    age: float,
    bmi: float,
    ancestry: str,
    menopause_age: float | None,
) -> tuple[dict[str, float], float]:
    """BMD by site, g/cm², and the mean residual in SD."""
    neck, hip, both = CORRELATION[sex]
    factor = np.linalg.cholesky([[1, neck, hip], [neck, 1, both], [hip, both, 1]])
    z = np.clip(factor @ rng.normal(size=3), -2.8, 2.8) + ANCESTRY_SHIFT.get(ancestry, 0.0)
    if menopause_age is not None and age > menopause_age:
        # an early menopause leaves more years without oestrogen [U]
        z = z - 0.03 * (50 - menopause_age)
    bmd = {}
    for site, residual in zip(SITES, z, strict=True):
        mean, sd = expected_bmd(sex, age, bmi, site)
        bmd[site] = float(np.clip(mean + sd * residual, 0.42, 1.75))
    mean_z = float(z.mean() / math.sqrt((3 + 2 * (neck + hip + both)) / 9))
    return bmd, mean_z


def _draw_degeneration(rng: np.random.Generator, age: float) -> dict[str, float]:
    """Strength in (0, 1] of degeneration by lumbar level; 30–50 % have some over 70 [U]."""
    share = float(np.interp(age, (40, 55, 70, 85), (0.02, 0.12, 0.35, 0.5)))
    if rng.random() >= share:
        return {}
    levels = rng.choice(
        LUMBAR, size=int(rng.integers(1, 3)), replace=False, p=(0.15, 0.2, 0.3, 0.35)
    )
    return {str(level): float(rng.uniform(0.4, 1.0)) for level in sorted(levels)}
