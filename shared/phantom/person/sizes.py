"""Sizes and proportions of bones, as factors on the design's figures for men.

All [U] (design/anatomy.md): women 0.90 to 0.93 of men, individual variation 6 to 8 % in all.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from .calibration import TYPICAL_SIZE
from .generator import GeneratorSettings

#: [U] Height in cm at which a skeleton has the typical size, and the share of a difference in
#: height that bones follow.
TYPICAL_HEIGHT: Final = {"F": 156.0, "M": 168.0}
HEIGHT_SHARE: Final = 0.6
#: [U] Spread (SD of the logarithm) of overall size, of the spine's proportions, of a level's own
#: proportions and of its processes.
SIZE_SD: Final = 0.025
PROPORTION_SD: Final = 0.035
LEVEL_SD: Final = 0.015
PROCESS_SD: Final = 0.08


@dataclass(frozen=True)
class LevelSize:
    """Proportions of a vertebra: factors on the design's width, depth, posterior height of men.

    `taper` is a factor on anterior over posterior height, `process` on the length of the
    processes, `disc` on the height of the disc below; `lean` left minus right height over width.
    """

    width: float
    depth: float
    height: float
    taper: float
    process: float
    disc: float
    lean: float


@dataclass(frozen=True)
class FemurSize:
    """Proportions of the proximal femora.

    `size` and `neck_length` are factors on the design's men; `neck_angle` is added to the mean
    neck–shaft angle and `anteversion` to its mean, degrees; `head` a factor on the head's radius.
    """

    size: float
    neck_length: float
    neck_angle: float
    anteversion: float
    head: float


@dataclass(frozen=True)
class Sizes:
    """Sizes of one skeleton; `overall` is a factor on all of the design's men."""

    overall: float
    levels: Mapping[str, LevelSize]
    femur: FemurSize
    pelvis_width: float
    chest_width: float
    chest_depth: float
    rib_droop: float


def draw_sizes(
    rng: np.random.Generator,
    sex: str,
    height_cm: float,
    levels: Sequence[str],
    generator: GeneratorSettings,
) -> Sizes:
    """Draw sizes; they follow the body's height and nothing else."""
    spread = generator.anatomy_spread
    followed = 1 + HEIGHT_SHARE * (height_cm / TYPICAL_HEIGHT[sex] - 1)
    overall = TYPICAL_SIZE[sex] * followed * float(np.exp(rng.normal(0, SIZE_SD * spread)))
    whole = (overall * np.exp(rng.normal(0, PROPORTION_SD * spread, 4))).tolist()
    width, depth, height, disc = whole
    own = np.exp(rng.normal(0, LEVEL_SD * spread, (len(levels), 5))).tolist()
    process = np.exp(rng.normal(0, PROCESS_SD * spread, len(levels))).tolist()
    lean = rng.normal(0, 0.01 * spread, len(levels)).tolist()
    sizes = {
        level: LevelSize(
            width=width * own[place][0],
            depth=depth * own[place][1],
            height=height * own[place][2],
            taper=own[place][3],
            process=process[place],
            disc=disc * own[place][4],
            lean=lean[place],
        )
        for place, level in enumerate(levels)
    }
    femur = FemurSize(
        size=overall * float(np.exp(rng.normal(0, 0.02 * spread))),
        neck_length=float(np.exp(rng.normal(0, 0.06 * spread))),
        neck_angle=float(np.clip(rng.normal(0, 3), -7, 7)) * spread,
        anteversion=float(np.clip(rng.normal(0, 3), -7, 7)) * spread,
        head=float(np.exp(rng.normal(0, 0.02 * spread))),
    )
    pelvis, chest, deep, droop = np.exp(rng.normal(0, (0.03, 0.04, 0.05, 0.10))).tolist()
    return Sizes(
        overall, sizes, femur,
        overall * pelvis**spread, overall * chest**spread, overall * deep**spread, droop**spread,
    )  # fmt: skip
