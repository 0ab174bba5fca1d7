"""Persons of both generators have the population, densities and rates of the design.

Areal BMD is the surrogate's (`shared.phantom.person.surrogate`): that of projection comes with
the solids.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from functools import partial as given
from typing import Any, Final

import numpy as np

from shared.clinical.references import YOUNG_FEMALE
from shared.phantom.person.attenuation import HU_BY_AGE
from shared.phantom.person.calibration import calibration
from shared.phantom.person.densities import SPINE
from shared.phantom.person.generator import GENERATORS, NEAR_TO_LIFE, PLAIN, GeneratorSettings
from shared.phantom.person.person import Person
from shared.phantom.person.targets import CORRELATION, target
from shared.regions import LUMBAR
from tests.verify.calibration.cohort import (
    SITES,
    Columns,
    columns_of,
    draw_cohort,
    fitted,
    partial,
    regression,
)
from tests.verify.circularity import area_under, osteoporosis
from tests.verify.stored import digest_of
from tests.verify.topic import Line, Planned, Runs, Tell, Topic, at_least, at_most, within

SEXES: Final = ("F", "M")
SEED: Final = 103
PERSONS: Final = 2000
#: Deviations that a figure may lie off by chance.
ERRORS: Final = 3.5
#: Levels between which neighbours are compared.
COMPARED: Final = SPINE[SPINE.index("T4") : SPINE.index("L4") + 1]
#: [U] Share of women with a vertebral fracture by age (design/anatomy.md); men two thirds.
FRACTURED: Final = {"50-60": (0.03, 0.07), "65-75": (0.09, 0.17), "80-90": (0.20, 0.33)}
Figures = dict[str, float]


def population_of(people: Sequence[Person]) -> Figures:
    """What is asked of a cohort of one sex from 50 years."""
    columns = columns_of(people)
    found: Figures = {"persons": float(len(people))}
    for site in SITES:
        one = regression(columns, site)
        found |= {f"{site} a": one.a, f"{site} b": one.b, f"{site} c": one.c, f"{site} sd": one.sd}
    for a, b in ((0, 1), (0, 2), (1, 2)):
        first, second = (columns.areal[SITES[k]] for k in (a, b))
        found[f"{SITES[a]} with {SITES[b]}"] = partial(first, second, columns.age, columns.bmi)
    return found | _femoral(columns) | _cores(people, columns) | _muscle(people, columns)


def _femoral(columns: Columns) -> Figures:
    neck, hip = columns.areal["femoral_neck"], columns.areal["total_hip"]
    first, second = (
        (columns.areal[site] - YOUNG_FEMALE[site].mean) / YOUNG_FEMALE[site].sd
        for site in ("femoral_neck", "total_hip")
    )
    return {
        "neck below total hip": float((neck < hip).mean()),
        "neck's T beside total hip's": float((first - second).mean()),
    }


def _cores(people: Sequence[Person], columns: Columns) -> Figures:
    cores = np.array([[p.levels[level].core for level in COMPARED] for p in people])
    left = np.stack([fitted(column, columns.age)[1] for column in cores.T])
    table = np.asarray(np.corrcoef(left))
    neighbours = np.diag(table, 1)
    found = {
        "neighbouring cores, least": float(neighbours.min()),
        "neighbouring cores, most": float(neighbours.max()),
        "T4 with L1": float(table[COMPARED.index("T4"), COMPARED.index("L1")]),
        "T4 over L1": float(cores[:, 0].mean() / cores[:, COMPARED.index("L1")].mean()),
        "HU with BMI at an age": partial(columns.l1_hu, columns.bmi, columns.age),
        "HU with BMI": float(np.corrcoef(columns.l1_hu, columns.bmi)[0, 1]),
        "core a year": float(fitted(columns.core, columns.age)[0][1]),
    }
    ages, values = (np.array(one) for one in zip(*HU_BY_AGE, strict=True))
    for low in (50, 60, 70, 80):
        chosen = (columns.age >= low) & (columns.age < low + 10)
        found |= {
            f"HU {low}s": float(columns.l1_hu[chosen].mean()),
            f"HU {low}s in theory": float(np.interp(columns.age[chosen], ages, values).mean()),
            f"HU {low}s sd": float(columns.l1_hu[chosen].std()),
        }
    return found


def _muscle(people: Sequence[Person], columns: Columns) -> Figures:
    index = np.array([p.composition.muscle_index(p.height_cm) for p in people])
    paraspinal = np.array([p.composition.muscles["paraspinal"].mean_hu for p in people])
    hip = columns.areal["total_hip"]
    return {
        "muscle index": float(index.mean()),
        "muscle index with total hip": partial(index, hip, columns.age, columns.bmi),
        "paraspinal HU": float(paraspinal.mean()),
        "paraspinal HU with total hip": partial(paraspinal, hip, columns.age, columns.bmi),
    }


def rates_of(people: Sequence[Person]) -> Figures:
    """Shares of persons with what is out of the ordinary."""

    def share(values: Sequence[bool]) -> float:
        return float(np.mean(values)) if len(values) else 0.0

    found = {
        "unusual numbers": share([not p.variants.is_usual for p in people]),
        "lumbar variant": share(
            [p.variants.lumbar != 5 or p.variants.transitional is not None for p in people]
        ),
        "rib variant": share(
            [any(v == 0 or k.endswith("13") for k, v in p.variants.ribs.items()) for p in people]
        ),
        "scoliosis over 10": share([abs(p.variants.curves.scoliosis) >= 10 for p in people]),
        "fractured": share([p.findings.fractured for p in people]),
        "deformed": share(
            [bool(p.findings.vertebrae) and not p.findings.fractured for p in people]
        ),
        "metal": share([p.findings.metal for p in people]),
        "implant": share([p.findings.metal or bool(p.findings.cement) for p in people]),
        "worn over 70": share(
            [max(p.worn(k).severity for k in LUMBAR) > 0.13 for p in people if p.age_years > 70]
        ),
        "worn 50-60": share(
            [max(p.worn(k).severity for k in LUMBAR) > 0.13 for p in people if p.age_years < 60]
        ),
    }
    for band in FRACTURED:
        low, high = map(int, band.split("-"))
        risks = [p.findings.fracture_risk for p in people if low <= p.age_years < high]
        found[f"fractured {band}"] = float(np.mean(risks)) if risks else 0.0
    return found


def muscle_areas(women: Sequence[Person], men: Sequence[Person]) -> Figures:
    """Areas under the curve for osteoporosis at any site, of the muscle index with age and sex."""
    found = {}
    for who, people in (("both", [*women, *men]), ("F", women), ("M", men)):
        columns = columns_of(people)
        index = np.array([p.composition.muscle_index(p.height_cm) for p in people])
        sex = np.array([float(p.sex == "F") for p in people])
        sick = osteoporosis(columns)
        for name, known in (
            ("alone", (columns.age, sex)),
            ("index", (columns.age, sex, index, index * sex)),
        ):
            _, residual = fitted(sick.astype(float), *known)
            found[f"{who} {name}"] = area_under(sick - residual, sick)
    return found


def population_lines(sex: str, found: Figures) -> list[Line]:
    """Hold a population against the design, within chance of its size."""
    count = found["persons"]
    by_chance = ERRORS / math.sqrt(count)
    lines = []
    for site in SITES:
        a, b, c, sd = target(sex, site)
        # spreads of age and of body mass index in the community: 9 years, 3.4 kg/m²
        for name, aim, off in (
            ("a", a, sd * by_chance + 0.004),
            ("b", b, sd * by_chance / 9.0),
            ("c", c, sd * by_chance / 3.4),
            ("sd", sd, sd * (0.72 * by_chance + 0.02)),
        ):
            what = f"{sex}, {site}: {name}"
            lines.append(within(found[f"{site} {name}"], aim - off, aim + off, what, 4))
    for value, (a, b) in zip(CORRELATION[sex], ((0, 1), (0, 2), (1, 2)), strict=True):
        name = f"{SITES[a]} with {SITES[b]}"
        lines.append(within(found[name], value - by_chance, value + by_chance, f"{sex}: {name}"))
    lines += [
        at_least(found["neck below total hip"], 0.95, f"{sex}: neck below total hip"),
        within(found["neck's T beside total hip's"], -0.7, 0.0, f"{sex}: T(neck) − T(total hip)"),
        at_least(found["neighbouring cores, least"], 0.93, f"{sex}: neighbouring cores, least"),
        at_most(found["neighbouring cores, most"], 0.97, f"{sex}: neighbouring cores, most"),
        within(found["T4 with L1"], 0.80, 0.90, f"{sex}: core of T4 with L1's"),
        at_least(found["T4 over L1"], 1.1, f"{sex}: core of T4 over L1's"),
        at_most(abs(found["HU with BMI at an age"]), 0.1, f"{sex}: HU with BMI at an age"),
        at_most(found["core a year"], -0.001, f"{sex}: core, g/cm³ a year", 4),
        within(
            found["muscle index with total hip"], 0.10, 0.25,
            f"{sex}: muscle index with total hip at an age and BMI",
        ),
    ]  # fmt: skip
    for low in (50, 60, 70, 80):
        aim, name = found[f"HU {low}s in theory"], f"HU {low}s"
        off = 40 * by_chance * 2.2
        lines.append(within(found[name], aim - off, aim + off, f"{sex}: {name}", 1))
        lines.append(within(found[f"{name} sd"], 28, 40, f"{sex}: {name}, SD without scanners", 1))
    return lines


def muscle_lines(found: Figures) -> list[Line]:
    """Hold the muscle index, with age, against osteoporosis.

    The design has 0.65 to 0.78 with age and sex; its own population gives age and sex alone as
    much, so that the range is held within each sex and the index may add little to both.
    """
    about = "area for osteoporosis of age and sex"
    alone, index = found["both alone"], found["both index"]
    lines = [
        Line(f"{about} alone", f"{alone:.3f}", "reported", holds=True),
        Line(f"{about} with the muscle index", f"{index:.3f}", "reported", holds=True),
        at_most(index - alone, 0.03, "what the muscle index adds"),
    ]
    for sex in SEXES:
        what = f"{sex}: area for osteoporosis of age and the muscle index"
        lines.append(within(found[f"{sex} index"], 0.65, 0.78, what))
    return lines


def rate_lines(sex: str, generator: GeneratorSettings, found: Figures) -> list[Line]:
    """Hold rates against the design."""
    who = f"{sex}, {generator.name}"
    if generator == PLAIN:
        names = ("unusual numbers", "scoliosis over 10", "fractured", "deformed", "implant")
        return [at_most(found[name], 0.05, f"{who}: {name}") for name in names]
    lines = [
        within(found["lumbar variant"], 0.05, 0.10, f"{who}: lumbar variant"),
        within(found["rib variant"], 0.01, 0.05, f"{who}: extra or missing rib"),
        within(found["deformed"], 0.04, 0.10, f"{who}: deformity that is no fracture"),
        within(found["metal"], 0.015, 0.045, f"{who}: metal"),
        at_least(found["worn over 70"], 0.30, f"{who}: a level well worn, over 70"),
        at_most(found["worn 50-60"], found["worn over 70"], f"{who}: a level well worn, 50 to 60"),
    ]
    if sex == "F":
        lines.append(within(found["scoliosis over 10"], 0.04, 0.09, f"{who}: scoliosis over 10°"))
    for band, (low, high) in FRACTURED.items():
        share = 1.0 if sex == "F" else 2 / 3
        lines.append(
            within(
                found[f"fractured {band}"], low * share, high * share, f"{who}: fractured {band}"
            )
        )
    return lines


def drawn(sex: str, generator: GeneratorSettings, tell: Tell) -> dict[str, Any]:
    """Draw one sex of one generator."""
    tell("persons", 0.0)
    people = draw_cohort(sex, SEED, PERSONS, generator=generator)
    return {
        "sex": sex, "generator": generator.name, "population": population_of(people),
        "rates": rates_of(people),
    }  # fmt: skip


def muscles(tell: Tell) -> dict[str, Any]:
    """Draw both sexes alike and hold the muscle index against osteoporosis."""
    tell("persons", 0.0)
    women, men = (draw_cohort(sex, SEED, PERSONS) for sex in SEXES)
    return {"areas": muscle_areas(women, men)}


def plan() -> Iterator[Planned]:
    """A run a generator and sex, and one of both sexes."""
    for generator in GENERATORS.values():
        for sex in SEXES:
            settings = [sex, SEED, PERSONS, generator.digest, calibration().digest]
            key = f"{generator.name}-{sex}"
            yield Planned(key, digest_of(settings), given(drawn, sex, generator))
    settings = [SEED, PERSONS, NEAR_TO_LIFE.digest, calibration().digest]
    yield Planned("muscle", digest_of(settings), muscles)


def judge(runs: Runs) -> list[Line]:
    """Hold what was drawn against the design."""
    lines = []
    for run in runs.values():
        if "areas" in run.figures:
            lines += muscle_lines(run.figures["areas"])
            continue
        sex, generator = run.figures["sex"], GENERATORS[run.figures["generator"]]
        lines += population_lines(sex, run.figures["population"])
        lines += rate_lines(sex, generator, run.figures["rates"])
    return lines


TOPIC: Final = Topic(
    "persons", "Persons of both generators have the figures of the design.", plan, judge
)
