"""Degeneration: osteophytes, facets, sclerosis of end plates, calcium of the aorta.

Its share grows with age and is larger in men. It adds to areal BMD and never to the core; it is
why men's areal BMD rises while their core falls (design/anatomy.md).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np

from .densities import SPINE

#: [U] A person's liability is (age − onset) / pace + bmi·(BMI − 24) + a normal draw; what is
#: above 0 is degeneration. Onset and pace in years.
LIABILITY: Final = {"F": (60.0, 14.0, 0.06), "M": (48.0, 11.5, 0.08)}
#: [U] Severity of single levels beside the lumbar mean.
LEVEL_WEIGHT: Final = {
    **dict.fromkeys(SPINE, 0.35),
    "T10": 0.45, "T11": 0.5, "T12": 0.55, "L1": 0.75, "L2": 0.9, "L3": 1.1, "L4": 1.25,
    "L5": 1.3, "L6": 1.3,
}  # fmt: skip
#: [U] SD of the logarithm of a level's own severity.
LEVEL_SD: Final = 0.45
#: [U] What a severity of 1 adds: mineral of osteophytes in g, and to the factors of posterior
#: elements (facets) and end plates; SD of the logarithm of the mixture.
OSTEOPHYTES_G: Final = {"F": 4.2, "M": 5.0}
FACETS: Final = 1.5
SCLEROSIS: Final = 2.2
MIXTURE_SD: Final = 0.3
#: [U] Height of the disc that is lost at a severity of 1, as a share, at most `DISC_LOSS_MOST`.
DISC_LOSS: Final = 1.2
DISC_LOSS_MOST: Final = 0.6
#: [U] Mineral of a fully calcified aorta in front of L1 to L4, g, and what men have more.
AORTA_G: Final = (0.08, 0.13, 0.20, 0.25)
AORTA_MEN: Final = 1.3


@dataclass(frozen=True)
class LevelWear:
    """Degeneration of one level.

    Attributes
    ----------
    severity : float
        0 none, about 0.1 slight, 0.3 and more marked.
    osteophytes_g : float
        Mineral added at the rims, g.
    facets, sclerosis : float
        Added to the factors of posterior elements and of end plates.
    disc_loss : float
        Lost height of the disc below, as a share.
    right : float
        Share of the osteophytes on the person's right.
    """

    severity: float
    osteophytes_g: float
    facets: float
    sclerosis: float
    disc_loss: float
    right: float


#: A level without any.
NO_WEAR: Final = LevelWear(0.0, 0.0, 0.0, 0.0, 0.0, 0.5)


@dataclass(frozen=True)
class Wear:
    """Degeneration of a person; `deviation` from its mean at the age and BMI, in liability."""

    levels: Mapping[str, LevelWear]
    deviation: float
    aortic_calcium: float
    aorta_g: Mapping[str, float]


def expected_wear(liability: float) -> float:
    """Mean of max(0, liability + a normal draw)."""
    density = math.exp(-(liability**2) / 2) / math.sqrt(2 * math.pi)
    return liability * 0.5 * (1 + math.erf(liability / math.sqrt(2))) + density


def draw_wear(
    rng: np.random.Generator, sex: str, age_years: float, bmi: float, scale: float
) -> Wear:
    """Draw degeneration.

    Parameters
    ----------
    rng : Generator
        Of this purpose.
    sex : str
        ``F`` or ``M``.
    age_years, bmi : float
        Age and body mass index in kg/m².
    scale : float
        Mean lumbar severity for each unit of liability, from the calibration.
    """
    onset, pace, by_bmi = LIABILITY[sex]
    mean = (age_years - onset) / pace + by_bmi * (bmi - 24)
    reached = max(mean + float(np.clip(rng.normal(), -3, 3)), 0.0)
    own, single, right = (
        np.exp(LEVEL_SD * rng.normal(size=len(SPINE)) - LEVEL_SD**2 / 2).tolist(),
        np.exp(MIXTURE_SD * rng.normal(size=(len(SPINE), 3)) - MIXTURE_SD**2 / 2).tolist(),
        rng.uniform(0.3, 0.7, len(SPINE)).tolist(),
    )
    levels = {}
    for place, level in enumerate(SPINE):
        severity = scale * reached * LEVEL_WEIGHT[level] * own[place]
        growths, facets, plates = single[place]
        levels[level] = LevelWear(
            severity,
            OSTEOPHYTES_G[sex] * severity * growths,
            FACETS * severity * facets,
            SCLEROSIS * severity * plates,
            min(DISC_LOSS * severity, DISC_LOSS_MOST),
            # in the chest osteophytes grow on the side without the aorta
            right[place] + 0.3 * level.startswith("T"),
        )
    # age decides whether there is calcium, chance how much: design/anatomy.md [U]
    calcium = float(np.clip((age_years - 55) / 40 + 0.25 * rng.normal(), 0, 1)) * rng.random()
    more = AORTA_MEN if sex == "M" else 1.0
    aorta = {
        f"L{number}": mass * calcium * more * float(np.exp(0.4 * rng.normal()))
        for number, mass in enumerate(AORTA_G, start=1)
    }
    return Wear(levels, reached - expected_wear(mean), calcium, aorta)
