"""A cohort as columns of numbers, and what is asked of it: regressions, spreads, correlations."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from shared.phantom.person.attenuation import hounsfield
from shared.phantom.person.calibration import Calibration
from shared.phantom.person.covariates import POPULATIONS, PopulationProfile
from shared.phantom.person.generator import NEAR_TO_LIFE, GeneratorSettings
from shared.phantom.person.person import Person, draw_person
from shared.phantom.person.surrogate import areal_bmd
from shared.regions import LUMBAR

Column = NDArray[np.float64]
SITES: Final = ("L1-L4", "femoral_neck", "total_hip")


def profile_of(sex: str, low: float, high: float) -> PopulationProfile:
    """The community, of one sex and a range of ages; it has the source's ancestry and build."""
    middle = float(np.clip(67.0, low, high)) if low >= 50 else (low + high) / 2
    return replace(
        POPULATIONS["community"],
        name=f"community-{sex}-{low:g}-{high:g}",
        female_share=float(sex == "F"),
        age_range=(low, high),
        age_mean=middle,
        age_sd=10.0,
    )


def draw_cohort(
    sex: str,
    seed: int,
    persons: int,
    ages: tuple[float, float] = (50.0, 95.0),
    generator: GeneratorSettings = NEAR_TO_LIFE,
    table: Calibration | None = None,
) -> list[Person]:
    """Draw persons of one sex."""
    profile = profile_of(sex, *ages)
    return [draw_person(number, seed, profile, generator, table) for number in range(persons)]


@dataclass(frozen=True)
class Columns:
    """What is asked of a cohort, each (persons,): years, kg/m², g/cm², g/cm³, HU."""

    age: Column
    bmi: Column
    areal: dict[str, Column]
    core: Column
    l1_hu: Column


def columns_of(people: Sequence[Person], table: Calibration | None = None) -> Columns:
    """Columns of a cohort; areal BMD is the surrogate's."""
    areal = [areal_bmd(person, table) for person in people]
    return Columns(
        age=np.array([p.age_years for p in people]),
        bmi=np.array([p.bmi for p in people]),
        areal={site: np.array([one[site] for one in areal]) for site in SITES},
        core=np.array([np.mean([p.levels[k].core for k in LUMBAR]) for p in people]),
        l1_hu=np.array([hounsfield(p.levels["L1"].core, p.composition.marrow_fat) for p in people]),
    )


def fitted(targets: Column, *given: Column) -> tuple[Column, Column]:
    """Coefficients (constant first) and residuals of a least-squares fit."""
    design = np.column_stack([np.ones(len(targets)), *given])
    found, *_ = np.linalg.lstsq(design, targets, rcond=None)
    return np.asarray(found), np.asarray(targets - design @ found)


def partial(first: Column, second: Column, *given: Column) -> float:
    """Correlation of what is left of two columns beside others."""
    return float(np.corrcoef(fitted(first, *given)[1], fitted(second, *given)[1])[0, 1])


@dataclass(frozen=True)
class Regression:
    """BMD = a + b·(age − 65) + c·(BMI − 24) ± sd, g/cm², with the residuals."""

    a: float
    b: float
    c: float
    sd: float
    residual: Column


def regression(columns: Columns, site: str) -> Regression:
    """Regression of a site as design/anatomy.md has it."""
    (a, b, c), residual = fitted(columns.areal[site], columns.age - 65, columns.bmi - 24)
    return Regression(float(a), float(b), float(c), float(residual.std()), residual)
