"""Variants of the skeleton: how many vertebrae and ribs, and how the spine is curved."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np

from .densities import SPINE
from .fractures import VertebralFinding
from .generator import GeneratorSettings

#: [U] Rates (design/anatomy.md: L6 or sacralised L5 in 5–10 %, thirteenth or missing rib 1–5 %).
FOUR_LUMBAR: Final = 0.02
SIX_LUMBAR: Final = 0.025
TRANSITIONAL: Final = 0.04
THIRTEENTH_RIB: Final = 0.015
MISSING_RIB: Final = 0.015
SHORT_RIB: Final = 0.15
#: [U] Scoliosis over 10°: women over 60 and everybody else (design/anatomy.md: 5–8 % of the old).
SCOLIOTIC: Final = (0.07, 0.02)
#: [U] Kyphosis T4–T12 at 60 years, its growth a year and SD; what a fracture adds for each
#: share of height lost; lordosis L1–S1 and SD; slope of the sacrum and SD; all in degrees.
KYPHOSIS: Final = (40.0, 0.25, 7.0)
KYPHOSIS_BY_LOSS: Final = 18.0
LORDOSIS: Final = (47.0, 7.0)
SACRAL_SLOPE: Final = (38.0, 4.5)


@dataclass(frozen=True)
class Curves:
    """How the spine is curved, degrees.

    Attributes
    ----------
    kyphosis, lordosis : float
        Cobb angles T4–T12 and L1–S1.
    sacral_slope : float
        Of the sacrum's upper plate.
    scoliosis : float
        Cobb angle, positive with the convexity to the left.
    apex : str
        Level where the scoliosis is furthest out.
    turn : float
        Axial rotation at the apex.
    """

    kyphosis: float
    lordosis: float
    sacral_slope: float
    scoliosis: float
    apex: str
    turn: float


@dataclass(frozen=True)
class Variants:
    """What is there.

    Attributes
    ----------
    lumbar : int
        Number of lumbar vertebrae, 4 to 6.
    transitional : str or None
        Level whose transverse processes are grown together with the sacrum, the last lumbar one.
    joined : tuple of str
        On which sides, ``left`` and ``right``.
    ribs : dict
        Length of the last ribs as shares of the usual, by side and number: ``left_12`` and
        ``right_12`` (0 = missing), ``left_13`` and ``right_13`` where there are any.
    curves : Curves
        Of the spine.
    """

    lumbar: int
    transitional: str | None
    joined: tuple[str, ...]
    ribs: Mapping[str, float]
    curves: Curves

    @property
    def levels(self) -> tuple[str, ...]:
        """Vertebrae from C7 down to the last lumbar one."""
        return levels_to(self.lumbar)

    @property
    def is_usual(self) -> bool:
        """Whether vertebrae and ribs are as many as usual and nothing has grown together."""
        extra = any(name.endswith("_13") for name in self.ribs)
        missing = any(length == 0 for length in self.ribs.values())
        return self.lumbar == 5 and self.transitional is None and not extra and not missing


def levels_to(lumbar: int) -> tuple[str, ...]:
    """Vertebrae from C7 down with so many lumbar ones."""
    return SPINE[: SPINE.index(f"L{lumbar}") + 1]


def draw_counts(
    rng: np.random.Generator, generator: GeneratorSettings
) -> tuple[int, str | None, tuple[str, ...], dict[str, float]]:
    """Lumbar vertebrae, the transitional one and its sides, and the last ribs."""
    rarity = generator.rarity
    first, second, third = rng.random(3)
    lumbar = 5
    if first < rarity * FOUR_LUMBAR:
        lumbar = 4
    elif first > 1 - rarity * SIX_LUMBAR:
        lumbar = 6
    transitional: str | None = None
    joined: tuple[str, ...] = ()
    sides = (("left",), ("right",), ("left", "right"))[int(rng.integers(3))]
    if second < rarity * TRANSITIONAL:
        transitional, joined = f"L{lumbar}", sides
    short = {
        side: float(rng.uniform(0.5, 0.85)) if rng.random() < SHORT_RIB else 1.0
        for side in ("left", "right")
    }
    ribs = {f"{side}_12": length for side, length in short.items()}
    affected = (("left",), ("right",), ("left", "right"))[int(rng.integers(3))]
    length = float(rng.uniform(0.15, 0.5))
    if third < rarity * MISSING_RIB:
        ribs.update({f"{side}_12": 0.0 for side in affected})
    elif third > 1 - rarity * THIRTEENTH_RIB:
        ribs.update({f"{side}_13": length for side in affected})
    return lumbar, transitional, joined, ribs


def draw_curves(
    rng: np.random.Generator,
    sex: str,
    age_years: float,
    vertebrae: Mapping[str, VertebralFinding],
    generator: GeneratorSettings,
) -> Curves:
    """Draw curves; lost height in front tips the spine forward."""
    spread = generator.anatomy_spread
    mean, yearly, sd = KYPHOSIS
    kyphosis = mean + yearly * (age_years - 60) + sd * spread * float(rng.normal())
    kyphosis += KYPHOSIS_BY_LOSS * sum(
        max(one.anterior - one.posterior, 0.0)
        for level, one in vertebrae.items()
        if level.startswith("T")
    )
    lordosis = LORDOSIS[0] + LORDOSIS[1] * spread * float(rng.normal())
    slope = SACRAL_SLOPE[0] + SACRAL_SLOPE[1] * spread * float(rng.normal())
    rate = generator.rarity * (SCOLIOTIC[0] if sex == "F" and age_years > 60 else SCOLIOTIC[1])
    cobb = 2.5 * spread * float(rng.normal())
    large = float(rng.choice([-1, 1]) * rng.uniform(10, 24))
    if rng.random() < rate:
        cobb = large
    apex = str(rng.choice(["T9", "T12", "L2"], p=[0.3, 0.4, 0.3]))
    turn = 0.5 * cobb + 1.0 * spread * float(rng.normal())
    return Curves(
        float(np.clip(kyphosis, 15, 95)), float(np.clip(lordosis, 22, 72)),
        float(np.clip(slope, 20, 55)), float(np.clip(cobb, -28, 28)), apex, turn,
    )  # fmt: skip
