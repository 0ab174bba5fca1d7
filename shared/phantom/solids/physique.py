"""From a person's numbers to the numbers of soft tissue."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np

from shared.phantom.person.composition import (
    CHEST,
    LEAN_HU,
    LUMBAR_SHARES,
    MUSCLE_INDEX,
    Composition,
)
from shared.phantom.person.person import Person
from shared.seeds import numpy_generator

from .tissue import SUBSTANCES
from .tissues.course import Physique

Arms = Literal["above", "beside"]


@dataclass(frozen=True)
class Section:
    """What is seen of a muscle at L3 beside bones and other muscles.

    `area` in cm² at an amount of 1, size 1, a trunk whose width and depth are
    together 560 mm, and 20 mm of fat under the skin, and the powers by which it goes with
    each.
    """

    area: float
    amount: float
    size: float
    around: float = 0.0
    fat: float = 0.0


#: Fitted to 90 persons of all builds: what is left is 1 % of the psoas, 2 % of the paraspinal
#: muscles and 4 % of the wall (SD).
SECTIONS: Final[Mapping[str, Mapping[str, Section]]] = {
    "psoas": {"F": Section(18.76, 1.05, 1.99), "M": Section(22.52, 1.036, 1.985)},
    "paraspinal": {"F": Section(44.47, 0.936, 1.97), "M": Section(47.07, 0.866, 1.994)},
    "abdominal_wall": {
        "F": Section(44.34, 0.936, 0.384, 1.663, -0.244),
        "M": Section(51.39, 0.954, 0.157, 1.399, -0.123),
    },
}
#: Share of the belly at L3 that is fat in one of average build, and between which bowel leaves it.
USUAL_SHARE: Final = 0.39
VISCERAL_SHARES: Final = (0.2, 0.75)
#: Outer diameter of the abdominal aorta in mm at 60 years, for each year more, SD [U].
AORTA_MM: Final = {"F": (19.5, 0.07, 1.4), "M": (22.5, 0.10, 1.8)}


def physique_of(person: Person, arms: Arms = "above", inspiration: float = 0.7) -> Physique:
    """Soft tissue of a person in numbers; the same person always has the same."""
    rng = numpy_generator(person.seed, "physique", person.generator, person.profile, person.number)
    gas, bladder, wide = rng.random(), rng.random(), float(np.clip(rng.normal(), -2.5, 2.5))
    at_60, yearly, sd = AORTA_MM[person.sex]
    made = person.composition
    return Physique(
        sex=person.sex,
        height_cm=person.height_cm,
        bmi=person.bmi,
        visceral=_visceral(person),
        muscle=_amounts(person),
        infiltration=_infiltration(made),
        lean_hu=made.muscles["psoas"].lean_hu - LEAN_HU[0],
        inspiration=inspiration,
        gas=0.4 + 1.2 * gas,
        bladder=40.0 + 260.0 * bladder,
        aortic_calcium=person.wear.aorta_g,
        aorta_mm=at_60 + yearly * (person.age_years - 60) + sd * wide,
        arms=arms,
        trunk=(made.trunk_width, made.trunk_depth),
        under_skin=(
            made.subcutaneous["front"], made.subcutaneous["side"], made.subcutaneous["back"]
        ),
    )  # fmt: skip


def _visceral(person: Person) -> float:
    """Visceral fat as a factor on what lies between bowel loops in this trunk.

    The room that skin, fat under it, muscle and bone leave at L3 was fitted to 90 persons.
    """
    made = person.composition
    front, side, back = (made.subcutaneous[place] for place in ("front", "side", "back"))
    wide, deep = made.trunk_width - 2 * side, made.trunk_depth - front - back
    muscle = sum(made.muscles[name].amount for name in LUMBAR_SHARES)
    room = 0.912 * math.pi / 400 * wide * deep - 0.90 * muscle - 51.2
    share = float(np.clip(made.visceral / max(room, 20.0), *VISCERAL_SHARES))
    return share / USUAL_SHARE


def _amounts(person: Person) -> dict[str, float]:
    """Muscles as factors on the average of the sex at the size of the skeleton."""
    made, size, sex = person.composition, person.sizes.overall, person.sex
    around = (made.trunk_width + made.trunk_depth) / 560
    fat = float(np.mean(list(made.subcutaneous.values()))) / 20
    factors = {}
    for name, law in SECTIONS.items():
        one = law[sex]
        usual = one.area * size**one.size * around**one.around * fat**one.fat
        factors[name] = (made.muscles[name].amount / usual) ** (1 / one.amount)
    whole = made.muscle_index(person.height_cm) / MUSCLE_INDEX[sex][0]
    return {
        "psoas": factors["psoas"], "paraspinal": factors["paraspinal"],
        "quadratus": factors["paraspinal"], "wall": factors["abdominal_wall"],
        "chest": made.muscles["pectoral"].amount / CHEST[sex]["pectoral"],
        "gluteal": whole, "thigh": whole, "arm": whole,
    }  # fmt: skip


def _infiltration(composition: Composition) -> dict[str, float]:
    """Share of fat by muscle: drawn by volume, wanted by mass."""
    lean, fat = (SUBSTANCES[name].density for name in ("psoas_muscle", "subcutaneous_fat"))
    own = {
        name: one.infiltration * fat / (one.infiltration * fat + (1 - one.infiltration) * lean)
        for name, one in composition.muscles.items()
    }
    return {
        "psoas": own["psoas"], "paraspinal": own["paraspinal"], "quadratus": own["paraspinal"],
        "wall": own["abdominal_wall"], "chest": own["pectoral"], "gluteal": own["paraspinal"],
        "thigh": own["psoas"], "arm": own["psoas"],
    }  # fmt: skip
