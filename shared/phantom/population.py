"""Digital patients as persons: covariates, drawn bone density, fractures and findings.

Figures are those of design/anatomy.md: [R] regressions from a public data set,
[U] right in size and trend but unverified. BMD is on a Hologic-like scale.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np

from shared.records import Covariates
from shared.regions import LUMBAR, VERTEBRAE
from shared.seeds import numpy_generator

#: Order of the BMD figures below.
SITES: Final = ("L1-L4", "femoral_neck", "total_hip")

#: [R] BMD = a + b·(age − 65) + c·(BMI − 24) + residual (SD), g/cm², ages from 50.
REGRESSION: Final[dict[str, dict[str, tuple[float, float, float, float]]]] = {
    "F": {
        "L1-L4": (0.851, -0.0035, 0.0111, 0.130),
        "femoral_neck": (0.793, -0.0083, 0.0075, 0.124),
        "total_hip": (0.744, -0.0070, 0.0097, 0.100),
    },
    "M": {
        "L1-L4": (1.021, 0.0028, 0.0169, 0.181),
        "femoral_neck": (0.920, -0.0046, 0.0154, 0.154),
        "total_hip": (0.890, -0.0032, 0.0146, 0.120),
    },
}
#: [R] Residual correlations spine–neck, spine–hip, neck–hip.
CORRELATION: Final = {"F": (0.46, 0.55, 0.80), "M": (0.55, 0.63, 0.82)}
#: Young adults (clinical.md [S], women); men about 5 % above [U].
YOUNG_MEAN: Final = {"L1-L4": 1.047, "femoral_neck": 0.858, "total_hip": 0.942}
YOUNG_FACTOR: Final = {"F": 1.0, "M": 1.05}
#: [R] Height in cm at 55, 65, 75, 85 years, and SD.
HEIGHT: Final = {
    "F": ((156.7, 154.3, 151.5, 148.5), 5.4),
    "M": ((169.0, 166.2, 165.8, 162.6), 6.0),
}
#: [R] Body mass index at 55, 65, 75, 85 years.
BODY_MASS: Final = {"F": (25.0, 25.3, 25.2, 23.6), "M": (24.9, 25.4, 24.3, 22.3)}
#: [U] Shift of BMD by ancestry group, in residual SD.
ANCESTRY_SHIFT: Final = {"asian": 0.0, "european": 0.0, "african": 0.5, "other": 0.1}
#: [U] Share of women with a vertebral fracture at 55, 70 and 85 years.
FRACTURE_SHARE: Final = ((55.0, 0.05), (70.0, 0.125), (85.0, 0.275))
#: [U] Where fractures are: weights by level.
FRACTURE_LEVELS: Final = {
    "T4": 0.5, "T5": 1.2, "T6": 2.2, "T7": 4.2, "T8": 4.2, "T9": 2.2, "T10": 1.6, "T11": 2.8,
    "T12": 6.2, "L1": 6.4, "L2": 3.2, "L3": 2.2, "L4": 1.6,
}  # fmt: skip
FRACTURE_SHAPES: Final = (("wedge", 0.6), ("biconcave", 0.3), ("crush", 0.1))
#: [U] Shares of grades 1 to 3, and the loss of height that each stands for
#: (Genant: 20–25, 25–40, over 40 %), kept off the borders by a reader's error.
GRADES: Final = ((1, 0.40, (0.205, 0.248)), (2, 0.40, (0.262, 0.385)), (3, 0.20, (0.42, 0.58)))


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


@dataclass(frozen=True)
class VertebralFinding:
    """A change of shape of one vertebra: loss of height as shares of the healthy height.

    `grade` is the Genant grade, 0 for a deformity that is no fracture.
    """

    kind: str
    grade: int
    anterior: float
    middle: float
    posterior: float


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
        return Covariates(
            sex=self.sex,
            age_years=float(min(math.floor(self.age_years), 89)),
            height_cm=round(self.height_cm, 1),
            weight_kg=round(self.weight_kg, 1),
            ethnic_group=self.ancestry,
        )


def expected_bmd(sex: str, age_years: float, bmi: float, site: str) -> tuple[float, float]:
    """Mean and residual SD of BMD, g/cm².

    From 50 years the regression of design/anatomy.md [R]; up to 40 the young
    adult's mean with the same effect of BMI and 0.9 of its SD; linear between.
    """
    a, b, c, sd = REGRESSION[sex][site]
    old = a + b * (max(age_years, 50.0) - 65) + c * (bmi - 24)
    young = YOUNG_MEAN[site] * YOUNG_FACTOR[sex] + c * (bmi - 24)
    share = float(np.clip((age_years - 40) / 10, 0, 1))
    return young + (old - young) * share, sd * (0.9 + 0.1 * share)


def fracture_probability(sex: str, age_years: float, residual_z: float, referral: float) -> float:
    """Probability of at least one vertebral fracture [U].

    Two thirds in men, odds × 2 per SD of low BMD, odds × `referral`. The
    population's share is kept by lowering the odds at mean BMD: for a normal z
    the mean odds factor is exp(ln²2/2).
    """
    ages, shares = zip(*FRACTURE_SHARE, strict=True)
    logits = [math.log(s / (1 - s)) for s in shares]
    slope = (logits[2] - logits[0]) / (ages[2] - ages[0])
    logit = logits[1] + slope * (age_years - ages[1])
    share = 1 / (1 + math.exp(-logit)) * (1.0 if sex == "F" else 2 / 3)
    odds = share / (1 - share) * math.exp(-(math.log(2) ** 2) / 2 * (1 - share))
    odds *= 2.0 ** (-residual_z) * referral
    return odds / (1 + odds)


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
    age = _draw_age(rng, profile)
    mix = dict(profile.ancestry or {"asian": 1.0})
    weights = np.array(list(mix.values())) / sum(mix.values())
    ancestry = str(rng.choice(list(mix), p=weights))
    height, bmi = _draw_build(rng, sex, age, profile)
    menopause = float(np.clip(rng.normal(50, 4), 38, 58)) if sex == "F" else None
    bmd, residual_z = _draw_bmd(rng, sex, age, bmi, ancestry, menopause)
    risk = fracture_probability(sex, age, residual_z, profile.fracture_referral)
    findings = _draw_fractures(rng) if rng.random() < risk else {}
    if not findings and rng.random() < 0.08:
        findings = _draw_deformity(rng)
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


def _draw_age(rng: np.random.Generator, profile: PopulationProfile) -> float:
    """Age from the normal of the profile, drawn again until it is in range."""
    low, high = profile.age_range
    for _ in range(100):
        age = float(rng.normal(profile.age_mean, profile.age_sd))
        if low <= age <= high:
            return age
    return float(np.clip(profile.age_mean, low, high))


def _draw_build(
    rng: np.random.Generator, sex: str, age: float, profile: PopulationProfile
) -> tuple[float, float]:
    """Height in cm and body mass index in kg/m²."""
    decades = (55.0, 65.0, 75.0, 85.0)
    heights, height_sd = HEIGHT[sex]
    height = float(np.interp(age, decades, heights)) + profile.height_shift_cm
    height += height_sd * float(np.clip(rng.normal(), -2.5, 2.5))
    bmi = float(np.interp(age, decades, BODY_MASS[sex])) + profile.bmi_shift
    return height, float(np.clip(bmi + profile.bmi_sd * rng.normal(), 16.5, 45.0))


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


def _loss(kind: str, loss: float, rng: np.random.Generator) -> tuple[float, float, float]:
    """Loss of the anterior, middle and posterior height of a fracture."""
    if kind == "wedge":
        return loss, loss * rng.uniform(0.45, 0.75), loss * rng.uniform(0.0, 0.12)
    if kind == "biconcave":
        return loss * rng.uniform(0.1, 0.35), loss, loss * rng.uniform(0.0, 0.2)
    return loss * rng.uniform(0.85, 1.0), loss, loss * rng.uniform(0.85, 1.0)


def _draw_fractures(rng: np.random.Generator) -> dict[str, VertebralFinding]:
    """Fractures of one patient; a third has more than one."""
    count = 1 if rng.random() > 1 / 3 else int(rng.integers(2, 5))
    weights = np.array([FRACTURE_LEVELS[level] for level in VERTEBRAE])
    findings: dict[str, VertebralFinding] = {}
    for _ in range(count):
        level = str(rng.choice(VERTEBRAE, p=weights / weights.sum()))
        grade, _, (low, high) = GRADES[int(rng.choice(3, p=[share for _, share, _ in GRADES]))]
        kind = str(
            rng.choice([k for k, _ in FRACTURE_SHAPES], p=[share for _, share in FRACTURE_SHAPES])
        )
        losses = _loss(kind, float(rng.uniform(low, high)), rng)
        findings[level] = VertebralFinding(kind, grade, *losses)
        # the next one is likelier near the last
        near = np.abs(np.arange(len(VERTEBRAE)) - VERTEBRAE.index(level))
        weights = weights * np.where(near <= 2, 2.5, 1.0)
    return findings


def _draw_deformity(rng: np.random.Generator) -> dict[str, VertebralFinding]:
    """A deformity that is no fracture: Scheuermann's disease or short heights."""
    if rng.random() < 0.5:
        first = int(rng.integers(2, 6))
        levels = VERTEBRAE[first : first + 4]
        return {
            level: VertebralFinding("scheuermann", 0, rng.uniform(0.08, 0.15), 0.05, 0.0)
            for level in levels
        }
    first = int(rng.integers(3, 10))
    loss = float(rng.uniform(0.10, 0.15))
    levels = VERTEBRAE[first : first + 3]
    return {level: VertebralFinding("short", 0, loss, loss, loss * 0.9) for level in levels}


def _draw_degeneration(rng: np.random.Generator, age: float) -> dict[str, float]:
    """Strength in (0, 1] of degeneration by lumbar level; 30–50 % have some over 70 [U]."""
    share = float(np.interp(age, (40, 55, 70, 85), (0.02, 0.12, 0.35, 0.5)))
    if rng.random() >= share:
        return {}
    levels = rng.choice(
        LUMBAR, size=int(rng.integers(1, 3)), replace=False, p=(0.15, 0.2, 0.3, 0.35)
    )
    return {str(level): float(rng.uniform(0.4, 1.0)) for level in sorted(levels)}
