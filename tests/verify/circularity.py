"""Digital persons carry no shortcut to a BMD that life does not have: tests of the cohort.

A straight line or a regression that is given the truth, and no network, on persons that it was
not fitted on. Areal BMD is the surrogate's (`shared.phantom.person.surrogate`).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from functools import partial as given
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from shared.clinical.references import DIAGNOSTIC_REGIONS, YOUNG_FEMALE
from shared.phantom.person.calibration import calibration
from shared.phantom.person.generator import NEAR_TO_LIFE
from shared.phantom.person.person import Person
from shared.phantom.person.targets import CORRELATION, target
from shared.regions import LUMBAR
from tests.verify.calibration.cohort import (
    Column,
    Columns,
    columns_of,
    draw_cohort,
    fitted,
    partial,
)
from tests.verify.stored import digest_of
from tests.verify.topic import Line, Planned, Runs, Tell, Topic, at_least, at_most, within

SEXES: Final = ("F", "M")
#: Which of the persons, (persons,).
Chosen = NDArray[np.bool_]
#: Persons that are fitted on and persons that are checked, by seed.
FITTED: Final = (101, 4000)
CHECKED: Final = (102, 1000)
#: What a film of the lumbar spine shows beside the vertebrae.
IN_THE_FIELD: Final = ("sacrum", "hip_bones", "ribs")
FILM_LEVELS: Final = ("T11", "T12", *LUMBAR, "L5")
THORACIC: Final = tuple(f"T{number}" for number in range(4, 13))
HIPS: Final = ("femoral_neck", "total_hip")
CUT_OFFS: Final = (160, 135, 110)
#: Limits of issue 21: gain over what perfect lumbar BMD, age and BMI allow; mean absolute error
#: of a line on core density; area under its curve; correlation at a given age.
GAIN: Final = 0.07
LINE_ERROR: Final = {"F": 0.06, "M": 0.09}
LINE_AREA: Final = (0.80, 0.90)
CORE_CORRELATION: Final = {"F": (0.75, 0.83), "M": (0.65, 0.80)}
BESIDE_SPINE: Final = 0.30
#: Correlation by chance of nine levels with nothing, in 1,000 persons; squared about 9/1000.
THORACIC_MOST: Final = 0.12


def floor_of(sex: str, site: str) -> float:
    """Mean absolute error that perfect lumbar BMD, age and BMI allow at the femur, g/cm²."""
    neck, hip, _ = CORRELATION[sex]
    with_spine = neck if site == "femoral_neck" else hip
    return target(sex, site)[3] * math.sqrt(1 - with_spine**2) * math.sqrt(2 / math.pi)


def vertebral(people: Sequence[Person], levels: Sequence[str]) -> Column:
    """Core, walls, plates and posterior elements of levels; a missing one is like the last."""
    return np.array(
        [
            [
                value
                for level in levels
                for d in (p.levels.get(level) or p.levels[p.variants.levels[-1]],)
                for value in (d.core, d.wall, d.plate, d.arch)
            ]
            for p in people
        ]
    )


def beside(people: Sequence[Person]) -> Column:
    """Core and cortex of the other bones in the field."""
    return np.array(
        [[v for k in IN_THE_FIELD for v in (p.bones[k].core, p.bones[k].cortex)] for p in people]
    )


def worn(people: Sequence[Person]) -> Column:
    """Degeneration of L1 to L4 and the aorta's calcium."""
    return np.array(
        [[*(p.worn(k).severity for k in LUMBAR), p.wear.aortic_calcium] for p in people]
    )


def area_under(scores: Column, positive: Chosen) -> float:
    """Share of pairs in which the positive one has the higher score."""
    order = np.sort(scores[~positive])
    below = np.searchsorted(order, scores[positive], "left")
    upto = np.searchsorted(order, scores[positive], "right")
    return float((below + upto).mean() / (2 * len(order)))


def osteoporosis(columns: Columns) -> Chosen:
    """T ≤ −2.5 at any diagnostic site, female reference."""
    scores = [
        (columns.areal[site] - YOUNG_FEMALE[site].mean) / YOUNG_FEMALE[site].sd
        for site in DIAGNOSTIC_REGIONS
    ]
    return np.asarray(np.min(scores, axis=0) <= -2.5)


class Compared:
    """Persons to fit on and persons to check, and errors of lines between them."""

    def __init__(self, fit_on: Sequence[Person], check_on: Sequence[Person]) -> None:
        self.fit_on, self.check_on = fit_on, check_on
        self.first, self.second = columns_of(fit_on), columns_of(check_on)

    def residual(self, site: str, *tables: str) -> Column:
        """What a line on some tables leaves of a site's BMD in those that are checked."""
        known, asked = (
            np.column_stack([self._table(people, columns, name) for name in tables])
            for people, columns in ((self.fit_on, self.first), (self.check_on, self.second))
        )
        spread = known.std(axis=0) + 1e-12
        found, _ = fitted(self.first.areal[site], known / spread)
        design = np.column_stack([np.ones(len(asked)), asked / spread])
        return self.second.areal[site] - design @ found

    def error(self, site: str, *tables: str) -> float:
        """Mean absolute error, g/cm²."""
        return float(np.abs(self.residual(site, *tables)).mean())

    def multiple(self, site: str, base: Sequence[str], more: str) -> float:
        """Multiple partial correlation of a table with a site, given others."""
        before = float((self.residual(site, *base) ** 2).mean())
        after = float((self.residual(site, *base, more) ** 2).mean())
        return math.sqrt(max(1 - after / before, 0.0))

    def _table(self, people: Sequence[Person], columns: Columns, name: str) -> Column:
        if name == "person":
            return np.column_stack([columns.age, columns.bmi])
        if name == "lumbar BMD":
            return columns.areal["L1-L4"][:, None]
        if name == "core":
            return columns.core[:, None]
        if name == "muscle":
            index = [[p.composition.muscle_index(p.height_cm)] for p in people]
            return np.array(index)
        if name == "thoracic":
            return vertebral(people, THORACIC)[:, ::4]
        if name == "lumbar cores":
            return vertebral(people, LUMBAR)[:, ::4]
        if name == "film":
            return vertebral(people, FILM_LEVELS)
        return {"beside": beside, "worn": worn}[name](people)


def circularity(fit_on: Sequence[Person], check_on: Sequence[Person]) -> dict[str, float]:
    """Find how much the truth about densities gives away; persons of one sex from 50 years.

    Returns
    -------
    dict
        Errors in g/cm², shares and correlations by what they are.
    """
    both = Compared(fit_on, check_on)
    columns = both.second
    found: dict[str, float] = {"persons": float(len(check_on))}
    for site in HIPS:
        floor = both.error(site, "person", "lumbar BMD")
        found |= {
            f"{site}: lumbar BMD": floor,
            f"{site}: vertebrae": both.error(site, "person", "film"),
            f"{site}: field": both.error(site, "person", "film", "beside"),
            f"{site}: field and degeneration": both.error(site, "person", "film", "beside", "worn"),
            f"{site}: everything": both.error(
                site, "person", "film", "beside", "worn", "lumbar BMD", "muscle"
            ),
            f"{site}: with other bones": both.multiple(site, ("person", "lumbar BMD"), "beside"),
            f"{site}: with chest": both.multiple(
                site, ("person", "lumbar BMD", "lumbar cores"), "thoracic"
            ),
        }
    sick = osteoporosis(columns)
    found |= {
        "line on core": both.error("L1-L4", "core"),
        "core with areal at all ages": float(
            np.corrcoef(columns.core, columns.areal["L1-L4"])[0, 1]
        ),
        "core with areal at an age": partial(columns.core, columns.areal["L1-L4"], columns.age),
        "osteoporosis": float(sick.mean()),
        "core's area": area_under(-columns.core, sick),
        "L1's area": area_under(-columns.l1_hu, sick),
    }
    for cut in CUT_OFFS:
        found[f"{cut} HU sensitivity"] = float((columns.l1_hu[sick] <= cut).mean())
        found[f"{cut} HU specificity"] = float((columns.l1_hu[~sick] > cut).mean())
    return found


def lines_of(sex: str, found: dict[str, float]) -> list[Line]:
    """Hold figures of one sex against the limits of issue 21; what has none is told."""
    lines = []
    for site in HIPS:
        floor = found[f"{site}: lumbar BMD"]
        what = (
            f"{sex}, {site}: error from lumbar BMD, age, BMI (in theory {floor_of(sex, site):.4f})"
        )
        lines.append(_told(floor, what, 4))
        for name in ("field", "field and degeneration"):
            share = found[f"{site}: {name}"] / floor
            lines.append(at_least(share, 1 - GAIN, f"{sex}, {site}: error from {name} over that"))
        everything = found[f"{site}: everything"] / floor
        lines += [
            _told(everything, f"{sex}, {site}: error from all, lumbar BMD and muscle over that"),
            at_most(
                found[f"{site}: with other bones"], BESIDE_SPINE,
                f"{sex}, {site}: pelvis, sacrum, ribs, given lumbar BMD, age, BMI",
            ),
            at_most(
                found[f"{site}: with chest"], THORACIC_MOST,
                f"{sex}, {site}: T4–T12, given the lumbar spine",
            ),
        ]  # fmt: skip
    low, high = CORE_CORRELATION[sex]
    lines += [
        within(
            found["core with areal at an age"], low, high, f"{sex}: core with areal BMD, an age"
        ),
        _told(found["core with areal at all ages"], f"{sex}: core with areal BMD, all ages"),
        at_least(found["line on core"], LINE_ERROR[sex], f"{sex}: error of a line on core, g/cm²"),
        _told(found["osteoporosis"], f"{sex}: share with osteoporosis at any site"),
        _told(found["L1's area"], f"{sex}: area under the curve of L1's HU"),
    ]
    what = f"{sex}: area under the curve of core"
    area = found["core's area"]
    lines.append(within(area, *LINE_AREA, what) if sex == "F" else _told(area, what))
    limits = {"160 HU sensitivity": 0.90, "110 HU specificity": 0.90} if sex == "F" else {}
    for cut in CUT_OFFS:
        for what in ("sensitivity", "specificity"):
            name = f"{cut} HU {what}"
            aim = limits.get(name)
            if aim is None:
                lines.append(_told(found[name], f"{sex}: {name}"))
            else:
                lines.append(within(found[name], aim - 0.05, aim + 0.05, f"{sex}: {name}"))
    return lines


def _told(found: float, what: str, digits: int = 3) -> Line:
    return Line(what, f"{found:.{digits}f}", "reported", holds=True)


def checked(sex: str, tell: Tell) -> dict[str, Any]:
    """Draw both cohorts and check."""
    tell("persons", 0.0)
    fit_on = draw_cohort(sex, *FITTED)
    tell("persons", 0.8)
    return {"sex": sex, **circularity(fit_on, draw_cohort(sex, *CHECKED))}


def plan() -> Iterator[Planned]:
    """A run a sex."""
    for sex in SEXES:
        settings = [sex, FITTED, CHECKED, NEAR_TO_LIFE.digest, calibration().digest]
        yield Planned(sex, digest_of(settings), given(checked, sex))


def judge(runs: Runs) -> list[Line]:
    """Hold both sexes against the limits."""
    return [line for run in runs.values() for line in lines_of(run.figures["sex"], run.figures)]


TOPIC: Final = Topic(
    "circularity", "What densities give away on digital persons, no more than in life.", plan, judge
)
