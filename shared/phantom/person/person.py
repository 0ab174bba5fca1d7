"""A digital patient as numbers: everything that is drawn, and no geometry."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np

from shared.records import Covariates
from shared.seeds import derive_seed, numpy_generator

from .calibration import Calibration, calibration
from .composition import Composition, draw_composition
from .covariates import (
    ANCESTRY_SHIFT,
    PopulationProfile,
    draw_age,
    draw_build,
    known_covariates,
)
from .degeneration import NO_WEAR, LevelWear, Wear, draw_wear
from .densities import (
    BoneDensity,
    FemurDensity,
    LevelDensity,
    draw_factors,
    draw_femora,
    draw_levels,
    draw_other_bones,
    hip_deviations,
    shared_factor,
    spine_deviations,
)
from .findings import PersonFindings, draw_findings
from .fractures import fracture_probability
from .generator import GeneratorSettings
from .sizes import Sizes, draw_sizes
from .targets import CORRELATION
from .variants import Variants, draw_counts, draw_curves, levels_to

#: [U] Mean age at menopause, SD, and the loss for each year that it comes earlier, in SD of BMD.
MENOPAUSE: Final = (50.0, 4.0, 0.03)
#: [U] Grain of trabecular texture: size in mm, relative strength, how much longer it is along
#: the body than across; (mean, SD) of each in life. The plain generator has the means.
GRAIN_IN_LIFE: Final = ((1.0, 0.15), (0.16, 0.03), (1.5, 0.2))


@dataclass(frozen=True)
class Grain:
    """Grain of trabecular bone: `seed` of its pattern, size in mm, strength, length over width."""

    seed: int
    size: float
    strength: float
    length: float


@dataclass(frozen=True)
class Person:
    """One digital patient, from which the anatomy is built.

    Attributes
    ----------
    number, seed : int
        Which one, of which population's draw.
    profile, generator : str
        Names of who comes and of the generator's settings.
    sex : str
        ``F`` or ``M``.
    age_years, height_cm, bmi : float
        Age, height in cm, body mass index in kg/m².
    ancestry : str
        Group.
    menopause_age : float or None
        Years; None in men.
    sizes : Sizes
        Of bones.
    levels : dict
        Densities of the vertebrae that are there, healthy and without degeneration, from C7 down.
    femora : dict
        Densities of ``left`` and ``right`` femur.
    bones : dict
        Densities of sacrum, hip bones, ribs, sternum, scapulae, clavicles and humeri.
    wear : Wear
        Degeneration and aortic calcium.
    variants : Variants
        Numbers of vertebrae and ribs, curves.
    findings : PersonFindings
        Fractures and the rest.
    composition : Composition
        Fat and muscle.
    texture : Grain
        Of trabecular bone.
    """

    number: int
    seed: int
    profile: str
    generator: str
    sex: str
    age_years: float
    height_cm: float
    bmi: float
    ancestry: str
    menopause_age: float | None
    sizes: Sizes
    levels: Mapping[str, LevelDensity]
    femora: Mapping[str, FemurDensity]
    bones: Mapping[str, BoneDensity]
    wear: Wear
    variants: Variants
    findings: PersonFindings
    composition: Composition
    texture: Grain

    @property
    def weight_kg(self) -> float:
        """Weight."""
        return self.bmi * (self.height_cm / 100) ** 2

    @property
    def covariates(self) -> Covariates:
        """Covariates as a hospital knows them, ages capped at 89 years."""
        return known_covariates(
            self.sex, self.age_years, self.height_cm, self.weight_kg, self.ancestry
        )

    def worn(self, level: str) -> LevelWear:
        """Degeneration of a level."""
        return self.wear.levels.get(level, NO_WEAR)


def draw_person(
    number: int,
    seed: int,
    profile: PopulationProfile,
    generator: GeneratorSettings,
    table: Calibration | None = None,
) -> Person:
    """Draw one person; the same arguments always give the same one.

    Parameters
    ----------
    number : int
        Number of the person within the seed.
    seed : int
        Seed of the population.
    profile : PopulationProfile
        Who comes.
    generator : GeneratorSettings
        `PLAIN` or `NEAR_TO_LIFE`.
    table : Calibration, optional
        The committed one by default.
    """

    def stream(purpose: str) -> np.random.Generator:
        return numpy_generator(seed, "person", purpose, generator.name, profile.name, number)

    rng = stream("covariates")
    sex = "F" if rng.random() < profile.female_share else "M"
    age = draw_age(rng, profile)
    mix = dict(profile.ancestry or {"asian": 1.0})
    weights = np.array(list(mix.values())) / sum(mix.values())
    ancestry = str(rng.choice(list(mix), p=weights))
    height, bmi = draw_build(rng, sex, age, profile)
    menopause, shift = _menopause(rng, sex, age)
    law = (table or calibration()).of(sex)

    lumbar, transitional, joined, ribs = draw_counts(stream("variants"), generator)
    wear = draw_wear(stream("wear"), sex, age, bmi, law.degeneration)
    factors = draw_factors(stream("bone"), shift + ANCESTRY_SHIFT.get(ancestry, 0.0))
    spine = spine_deviations(factors, law.shell_with_core)
    shared = shared_factor(spine, wear.deviation, law.shared)
    hip, neck = hip_deviations(factors, shared, law)
    risk = fracture_probability(
        sex, age, _strength(sex, shared, hip, neck), profile.fracture_referral
    )
    findings = draw_findings(stream("findings"), age, risk, levels_to(lumbar), generator)
    curves = draw_curves(stream("curves"), sex, age, findings.vertebrae, generator)
    variants = Variants(lumbar, transitional, joined, ribs, curves)
    levels = draw_levels(spine, sex, age, bmi, law)
    return Person(
        number=number,
        seed=seed,
        profile=profile.name,
        generator=generator.name,
        sex=sex,
        age_years=age,
        height_cm=height,
        bmi=bmi,
        ancestry=ancestry,
        menopause_age=menopause,
        sizes=draw_sizes(stream("sizes"), sex, height, variants.levels, generator),
        levels={level: levels[level] for level in variants.levels},
        femora=draw_femora(factors, hip, neck, age, bmi, law),
        bones=draw_other_bones(factors, shared, age),
        wear=wear,
        variants=variants,
        findings=findings,
        composition=draw_composition(stream("composition"), sex, age, height, bmi, hip),
        texture=_texture(stream("texture"), seed, number, profile, generator),
    )


def _menopause(rng: np.random.Generator, sex: str, age: float) -> tuple[float | None, float]:
    """Age at menopause, and what an early one costs, in SD of areal BMD."""
    if sex != "F":
        return None, 0.0
    mean, sd, loss = MENOPAUSE
    menopause = float(np.clip(rng.normal(mean, sd), 38, 58))
    return menopause, -loss * (mean - menopause) if age > menopause else 0.0


def _strength(sex: str, shared: float, hip: float, neck: float) -> float:
    """Mean deviation of spine, hip and neck in SD, by which the odds of a fracture go."""
    return (shared + hip + neck) / math.sqrt(3 + 2 * sum(CORRELATION[sex]))


def _texture(
    rng: np.random.Generator,
    seed: int,
    number: int,
    profile: PopulationProfile,
    generator: GeneratorSettings,
) -> Grain:
    """Grain of the trabecular bone."""
    own = not generator.one_texture
    size, strength, length = (
        mean + sd * own * float(np.clip(rng.normal(), -2.5, 2.5)) for mean, sd in GRAIN_IN_LIFE
    )
    pattern = derive_seed(seed, "texture", generator.name, profile.name, number)
    return Grain(pattern, size, strength, length)
