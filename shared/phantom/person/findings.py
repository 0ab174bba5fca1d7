"""What is out of the ordinary: fractures, deformities, fusions, lesions, cement and metal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from shared.regions import LUMBAR, VERTEBRAE

from .fractures import VertebralFinding, draw_deformity, draw_fractures
from .generator import GeneratorSettings

#: [U] Deformity that is no fracture (Scheuermann, short vertebrae): 5–10 % (design/anatomy.md).
DEFORMED: Final = 0.08
#: [U] Two vertebrae grown together.
FUSED: Final = 0.01
#: [U] Focal lesions a person, by kind: rate, radius in mm (low, high), factor on the core.
LESIONS: Final = {
    "haemangioma": (0.08, (4.0, 9.0), 0.65), "bone_island": (0.04, (2.0, 5.0), 5.0),
    "sclerotic": (0.006, (4.0, 12.0), 3.5), "lytic": (0.004, (5.0, 12.0), 0.25),
}  # fmt: skip
#: [U] Cement in a person with a fracture of grade 2 or 3.
CEMENTED: Final = 0.06
#: [U] Screws in pedicles; an artificial hip at 65 years and more for each year, at most.
SCREWS: Final = 0.010
HIP_IMPLANT: Final = (0.015, 0.0008, 0.04)


@dataclass(frozen=True)
class FocalLesion:
    """A ball in a vertebra's body whose core differs.

    `place` is its centre as shares of half width, half depth and half height from the body's
    centre (left, back, down positive); `radius` in mm; `core` a factor.
    """

    kind: str
    level: str
    place: tuple[float, float, float]
    radius: float
    core: float


@dataclass(frozen=True)
class PersonFindings:
    """What a person has.

    Attributes
    ----------
    vertebrae : dict
        Losses of height by level: Genant fractures, and deformities of grade 0.
    fused : tuple of str
        Levels that have grown together with the next one below.
    lesions : tuple of FocalLesion
        In vertebrae.
    cement : dict
        Cement by level, cm³.
    screws : tuple of str
        Levels with screws in both pedicles and rods between them.
    hip_implant : tuple of str
        Sides with an artificial hip.
    fracture_risk : float
        Probability by which the fractures were drawn.
    """

    vertebrae: Mapping[str, VertebralFinding]
    fused: tuple[str, ...]
    lesions: tuple[FocalLesion, ...]
    cement: Mapping[str, float]
    screws: tuple[str, ...]
    hip_implant: tuple[str, ...]
    fracture_risk: float

    @property
    def fractured(self) -> bool:
        """Whether any vertebra has a grade of 1 or more."""
        return any(one.grade for one in self.vertebrae.values())

    @property
    def metal(self) -> bool:
        """Whether there are implants of metal."""
        return bool(self.screws or self.hip_implant)


def draw_findings(
    rng: np.random.Generator,
    age_years: float,
    risk: float,
    levels: Sequence[str],
    generator: GeneratorSettings,
) -> PersonFindings:
    """Draw findings.

    Parameters
    ----------
    rng : Generator
        Of this purpose.
    age_years : float
        Age.
    risk : float
        Probability of a vertebral fracture, before the generator's limit.
    levels : sequence of str
        Vertebrae that the person has.
    generator : GeneratorSettings
        Rates.
    """
    rarity = generator.rarity
    risk = min(risk, generator.fractured_at_most)
    chances = rng.random(4)
    vertebrae: dict[str, VertebralFinding] = {}
    if chances[0] < risk:
        vertebrae = draw_fractures(rng)
    elif chances[1] < rarity * DEFORMED:
        vertebrae = draw_deformity(rng)
    fused = (str(rng.choice(VERTEBRAE[:-1])),) if chances[2] < rarity * FUSED else ()
    broken = [level for level, one in vertebrae.items() if one.grade >= 2]
    cement = {}
    if broken and chances[3] < CEMENTED * min(1.0, 2 * rarity):
        cement = {level: float(rng.uniform(2.0, 6.0)) for level in broken[:2]}
    return PersonFindings(
        vertebrae, fused, _lesions(rng, levels, rarity), cement,
        _screws(rng, rarity), _hips(rng, age_years, rarity), risk,
    )  # fmt: skip


def _lesions(
    rng: np.random.Generator, levels: Sequence[str], rarity: float
) -> tuple[FocalLesion, ...]:
    found = []
    for kind, (rate, (low, high), core) in LESIONS.items():
        chance = rng.random()
        if chance < rarity * rate:
            for _ in range(1 if kind == "bone_island" else int(rng.integers(1, 3))):
                side, deep, down = rng.uniform(-0.5, 0.5, 3).tolist()
                level, radius = str(rng.choice(levels)), float(rng.uniform(low, high))
                found.append(FocalLesion(kind, level, (side, deep, down), radius, core))
    return tuple(found)


def _screws(rng: np.random.Generator, rarity: float) -> tuple[str, ...]:
    chance, first, count = rng.random(), int(rng.integers(1, 3)), int(rng.integers(2, 4))
    return LUMBAR[first : first + count] if chance < rarity * SCREWS else ()


def _hips(rng: np.random.Generator, age_years: float, rarity: float) -> tuple[str, ...]:
    at_65, yearly, most = HIP_IMPLANT
    rate = float(np.clip(at_65 + yearly * (age_years - 65), 0, most))
    side = ("left", "right")[int(rng.integers(2))]
    return (side,) if rng.random() < rarity * rate else ()
