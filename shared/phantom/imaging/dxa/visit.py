"""How a DXA visit goes: how the patient lies, where the fields are, what moves and what is worn."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

import numpy as np

from shared.phantom.person.generator import GeneratorSettings
from shared.phantom.person.person import Person
from shared.phantom.solids.skeleton import SIDES, Lie
from shared.records import DXA_VIEWS, View

from .objects import draw_objects
from .placed import OperatorHand, draw_hand

#: Share of patients who lie turned or whose foot is not held, and of scans during which somebody
#: moves or that end too early (design/anatomy.md).
ROTATED: Final = 0.03
MOVING: Final = 0.025
CUT_OFF: Final = 0.02
#: Rotation from which positioning counts as wrong, degrees.
WRONG_ROTATION: Final = {View.SPINE_PA: 8.0, View.HIP_LEFT: 13.0, View.SPINE_LATERAL: 8.0}
#: How far who lies turned is turned, degrees.
TURNED: Final = (8.0, 15.0)
#: SD of the trunk's roll, of a leg's turn and lean, degrees.
ROLL_SD: Final = 2.0
TURN_SD: Final = 4.5
LEAN_SD: Final = 2.5


@dataclass(frozen=True)
class DxaVisit:
    """How one visit goes.

    Attributes
    ----------
    lie : Lie
        Of the patient on the back.
    lateral_roll : float
        How far the patient is turned from the pure side view, degrees.
    facing : str
        Which way the patient of a lateral scan looks in the scanner's own picture.
    off : dict
        How far each view's field lies from where it belongs, down and across, in SD.
    cut_off : str or None
        Which end of the PA spine is missing, ``head`` or ``feet``.
    moving : frozenset of View
        Views during which the patient moved.
    objects : tuple of str
        Kinds of `objects.place_objects`.
    hand : OperatorHand
        How the operator draws regions.
    """

    lie: Lie
    lateral_roll: float
    facing: Literal["left", "right"]
    off: dict[View, tuple[float, float]]
    cut_off: Literal["head", "feet"] | None
    moving: frozenset[View]
    objects: tuple[str, ...]
    hand: OperatorHand


def draw_visit(
    person: Person, generator: GeneratorSettings, rng: np.random.Generator, care: float = 1.0
) -> DxaVisit:
    """Draw a visit.

    Parameters
    ----------
    person : Person
        Who comes.
    generator : GeneratorSettings
        Plain visits go wrong less often.
    rng : numpy.random.Generator
        Of the visit.
    care : float
        Factor on the spread of positioning: technologists differ.
    """
    spread, rarity = care * generator.anatomy_spread, generator.rarity
    lie = draw_lie(generator, rng, care)
    lateral = _angle(rng, ROLL_SD * spread, rarity)
    facing: Literal["left", "right"] = "left" if rng.random() < 0.5 else "right"
    shifts = np.clip(rng.normal(0, 1, (len(DXA_VIEWS), 2)), -2.2, 2.2) * min(spread, 1.2)
    off = {
        view: (float(down), float(across))
        for view, (down, across) in zip(DXA_VIEWS, shifts, strict=True)
    }
    chances = rng.random(1 + len(DXA_VIEWS))
    end: Literal["head", "feet"] = "head" if rng.random() < 0.5 else "feet"
    return DxaVisit(
        lie=lie,
        lateral_roll=lateral,
        facing=facing,
        off=off,
        cut_off=end if chances[0] < rarity * CUT_OFF else None,
        moving=frozenset(
            view
            for view, chance in zip(DXA_VIEWS, chances[1:], strict=True)
            if chance < rarity * MOVING
        ),
        objects=draw_objects(rng, person.sex, rarity),
        hand=draw_hand(rng),
    )


def draw_lie(generator: GeneratorSettings, rng: np.random.Generator, care: float = 1.0) -> Lie:
    """Draw how somebody lies on the back; parameters as for `draw_visit`."""
    spread, rarity = care * generator.anatomy_spread, generator.rarity
    roll = _angle(rng, ROLL_SD * spread, rarity)
    return Lie(roll_degrees=roll, legs={side: _leg(rng, spread, rarity) for side in SIDES})


def _angle(rng: np.random.Generator, sd: float, rarity: float) -> float:
    """A small angle, rarely a large one, degrees."""
    small = sd * float(np.clip(rng.normal(), -2.5, 2.5))
    large = float(rng.choice([-1, 1]) * rng.uniform(*TURNED))
    return large if rng.random() < rarity * ROTATED else small


def _leg(rng: np.random.Generator, spread: float, rarity: float) -> tuple[float, float]:
    """Turn and lean of a leg, degrees; a foot that is not held falls outwards."""
    turn = float(np.clip(TURN_SD * spread * rng.normal(), -11, 11))
    fallen = -float(rng.uniform(14, 24))
    if rng.random() < rarity * ROTATED:
        turn = fallen
    return turn, LEAN_SD * spread * float(np.clip(rng.normal(), -2.5, 2.5))
