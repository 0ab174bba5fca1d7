"""From a person's numbers to the numbers of soft tissue."""

from __future__ import annotations

from typing import Final, Literal

import numpy as np

from shared.phantom.person.composition import LUMBAR_SHARES, MUSCLE_INDEX, Composition
from shared.phantom.person.person import Person
from shared.seeds import numpy_generator

from .tissues.course import Physique

Arms = Literal["above", "beside"]
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
        muscle=_amounts(person),
        infiltration=_infiltration(made),
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


def _amounts(person: Person) -> dict[str, float]:
    """Muscles as factors on the average of the sex at the person's height."""
    mean = MUSCLE_INDEX[person.sex][0] * (person.height_cm / 100) ** 2
    factors = {
        name: person.composition.muscles[name].amount / (share * mean)
        for name, share in LUMBAR_SHARES.items()
    }
    whole = float(np.mean(list(factors.values())))
    return {
        "psoas": factors["psoas"], "paraspinal": factors["paraspinal"],
        "quadratus": factors["paraspinal"], "wall": factors["abdominal_wall"], "chest": whole,
        "gluteal": whole, "thigh": whole, "arm": whole,
    }  # fmt: skip


def _infiltration(composition: Composition) -> dict[str, float]:
    """Share of fat by muscle."""
    own = {name: muscle.infiltration for name, muscle in composition.muscles.items()}
    return {
        "psoas": own["psoas"], "paraspinal": own["paraspinal"], "quadratus": own["paraspinal"],
        "wall": own["abdominal_wall"], "chest": own["pectoral"], "gluteal": own["paraspinal"],
        "thigh": own["psoas"], "arm": own["psoas"],
    }  # fmt: skip
