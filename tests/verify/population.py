"""Eighty thousand digital persons have the figures of the design.

`tests/shared/phantom/test_population.py` holds the same for five thousand, with wider limits.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from itertools import combinations
from typing import Any, Final

import numpy as np

from shared.phantom.population import (
    CORRELATION,
    POPULATIONS,
    SITES,
    PhantomPatient,
    draw_patient,
    expected_bmd,
)
from tests.verify.stored import digest_of
from tests.verify.topic import Line, Planned, Runs, Tell, Topic, within

SEEDS: Final = range(1, 21)
PERSONS: Final = 2000
SEXES: Final = ("F", "M")
#: The share of women with a fracture by age, as the design has it.
FRACTURED: Final = {(50, 60): 0.05, (65, 75): 0.125}
#: Deviations that a figure may lie off by chance.
ERRORS: Final = 5.0


def plan() -> Iterator[Planned]:
    """A run a seed and sex."""
    for sex in SEXES:
        for seed in SEEDS:
            digest = digest_of([sex, seed, PERSONS, sorted(map(str, FRACTURED))])
            yield Planned(f"{sex}-{seed:02d}", digest, partial(drawn, sex, seed, PERSONS))


def drawn(sex: str, seed: int, persons: int, tell: Tell) -> dict[str, Any]:
    """Draw persons and add up what the limits are held against."""
    tell("persons", 0.0)
    profile = replace(POPULATIONS["community"], female_share=float(sex == "F"), age_sd=9.0)
    people = [draw_patient(number, seed, profile) for number in range(persons)]
    z = np.array([[_deviation(person, sex, site) for site in SITES] for person in people])
    by_age = {
        f"{low}-{high}": _fractures([p for p in people if low <= p.age_years < high])
        for low, high in FRACTURED
    }
    return {
        "sex": sex, "persons": persons, "sums": z.sum(axis=0).tolist(),
        "products": (z.T @ z).tolist(), "fractures": _fractures(people), "by_age": by_age,
    }  # fmt: skip


def _deviation(person: PhantomPatient, sex: str, site: str) -> float:
    mean, deviation = expected_bmd(sex, person.age_years, person.bmi, site)
    return (person.bmd[site] - mean) / deviation


def _fractures(people: list[PhantomPatient]) -> dict[str, float]:
    """Persons, those with a fracture, and what their risks add up to."""
    return {
        "persons": len(people),
        "fractured": sum(any(f.grade for f in p.findings.values()) for p in people),
        "risk": float(sum(p.fracture_risk for p in people)),
        "variance": float(sum(p.fracture_risk * (1 - p.fracture_risk) for p in people)),
    }


def judge(runs: Runs) -> list[Line]:
    """Means, spreads, correlations and fractures lie within chance of the design's."""
    lines = []
    for sex in SEXES:
        mine = [run.figures for run in runs.values() if run.figures["sex"] == sex]
        if mine:
            lines += _densities(sex, mine) + _broken(sex, mine)
    return lines


def _densities(sex: str, mine: list[dict[str, Any]]) -> list[Line]:
    count = sum(one["persons"] for one in mine)
    sums = np.sum([one["sums"] for one in mine], axis=0) / count
    products = np.sum([one["products"] for one in mine], axis=0) / count
    covariance = products - np.outer(sums, sums)
    spread = np.sqrt(np.diag(covariance))
    off = ERRORS / math.sqrt(count)
    lines = []
    for place, site in enumerate(SITES):
        who = f"{sex}, {site}, {count:,} persons"
        lines.append(within(float(sums[place]), -off, off, f"{who}: mean deviation"))
        lines.append(within(float(spread[place]), 1 - off, 1 + off, f"{who}: spread"))
    for expected, (a, b) in zip(CORRELATION[sex], combinations(range(len(SITES)), 2), strict=True):
        found = float(covariance[a, b] / spread[a] / spread[b])
        what = f"{sex}: {SITES[a]} with {SITES[b]}"
        lines.append(within(found, expected - off, expected + off, what))
    return lines


def _broken(sex: str, mine: list[dict[str, Any]]) -> list[Line]:
    total = _added([one["fractures"] for one in mine])
    off = ERRORS * math.sqrt(total["variance"])
    what = f"{sex}: persons with a fracture, against what their risks add up to"
    lines = [within(total["fractured"], total["risk"] - off, total["risk"] + off, what, 0)]
    if sex == "F":
        for (low, high), share in FRACTURED.items():
            some = _added([one["by_age"][f"{low}-{high}"] for one in mine])
            found = some["risk"] / some["persons"]
            what = f"women of {low} to {high} with a fracture"
            lines.append(within(found, 0.75 * share, 1.25 * share, what))
    return lines


def _added(parts: list[dict[str, float]]) -> Counter[str]:
    total: Counter[str] = Counter()
    for part in parts:
        total.update(part)
    return total


TOPIC: Final = Topic(
    "population", "Eighty thousand digital persons have the figures of the design.", plan, judge
)
