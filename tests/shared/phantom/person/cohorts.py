"""Small cohorts that several tests look at."""

from __future__ import annotations

from functools import lru_cache

from shared.phantom.person.generator import GENERATORS
from shared.phantom.person.person import Person
from tests.verify.calibration.cohort import Columns, columns_of, draw_cohort

PERSONS = 600


@lru_cache(maxsize=4)
def cohort(sex: str, generator: str = "near_to_life") -> tuple[Person, ...]:
    """Persons of one sex from 50 years, of a seed that nothing was fitted on."""
    return tuple(draw_cohort(sex, 7, PERSONS, generator=GENERATORS[generator]))


@lru_cache(maxsize=2)
def columns(sex: str) -> Columns:
    """Their columns."""
    return columns_of(cohort(sex))
