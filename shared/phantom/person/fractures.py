"""Vertebral fractures and deformities that are none, by their losses of height.

Figures of design/anatomy.md, [U]: right in size and trend but unverified.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

import numpy as np

from shared.regions import VERTEBRAE

#: [U] Share of women with a vertebral fracture at 55, 70 and 85 years.
FRACTURE_SHARE: Final = ((55.0, 0.05), (70.0, 0.125), (85.0, 0.275))
#: [U] Where fractures are: weights by level.
FRACTURE_LEVELS: Final = {
    "T4": 0.5, "T5": 1.2, "T6": 2.2, "T7": 4.2, "T8": 4.2, "T9": 2.2, "T10": 1.6, "T11": 2.8,
    "T12": 6.2, "L1": 6.4, "L2": 3.2, "L3": 2.2, "L4": 1.6,
}  # fmt: skip
FRACTURE_SHAPES: Final = (("wedge", 0.6), ("biconcave", 0.3), ("crush", 0.1))
#: [U] Shares of grades 1 to 3, and the loss of height that each stands for
#: (Genant: 20–25, 25–40, over 40 %), kept off the borders by a reader's error.
GRADES: Final = ((1, 0.40, (0.205, 0.248)), (2, 0.40, (0.262, 0.385)), (3, 0.20, (0.42, 0.58)))


@dataclass(frozen=True)
class VertebralFinding:
    """A change of shape of one vertebra: loss of height as shares of the healthy height.

    `grade` is the Genant grade, 0 for a deformity that is no fracture.
    """

    kind: str
    grade: int
    anterior: float
    middle: float
    posterior: float


def fracture_probability(sex: str, age_years: float, residual_z: float, referral: float) -> float:
    """Probability of at least one vertebral fracture [U].

    Two thirds in men, odds × 2 per SD of low BMD, odds × `referral`. The
    population's share is kept by lowering the odds at mean BMD: for a normal z
    the mean odds factor is exp(ln²2/2).
    """
    ages, shares = zip(*FRACTURE_SHARE, strict=True)
    logits = [math.log(s / (1 - s)) for s in shares]
    slope = (logits[2] - logits[0]) / (ages[2] - ages[0])
    logit = logits[1] + slope * (age_years - ages[1])
    share = 1 / (1 + math.exp(-logit)) * (1.0 if sex == "F" else 2 / 3)
    odds = share / (1 - share) * math.exp(-(math.log(2) ** 2) / 2 * (1 - share))
    odds *= 2.0 ** (-residual_z) * referral
    return odds / (1 + odds)


def _loss(kind: str, loss: float, rng: np.random.Generator) -> tuple[float, float, float]:
    """Loss of the anterior, middle and posterior height of a fracture."""
    if kind == "wedge":
        return loss, loss * rng.uniform(0.45, 0.75), loss * rng.uniform(0.0, 0.12)
    if kind == "biconcave":
        return loss * rng.uniform(0.1, 0.35), loss, loss * rng.uniform(0.0, 0.2)
    return loss * rng.uniform(0.85, 1.0), loss, loss * rng.uniform(0.85, 1.0)


def draw_fractures(rng: np.random.Generator) -> dict[str, VertebralFinding]:
    """Fractures of one patient; a third has more than one."""
    count = 1 if rng.random() > 1 / 3 else int(rng.integers(2, 5))
    weights = np.array([FRACTURE_LEVELS[level] for level in VERTEBRAE])
    findings: dict[str, VertebralFinding] = {}
    for _ in range(count):
        level = str(rng.choice(VERTEBRAE, p=weights / weights.sum()))
        grade, _, (low, high) = GRADES[int(rng.choice(3, p=[share for _, share, _ in GRADES]))]
        kind = str(
            rng.choice([k for k, _ in FRACTURE_SHAPES], p=[share for _, share in FRACTURE_SHAPES])
        )
        losses = _loss(kind, float(rng.uniform(low, high)), rng)
        findings[level] = VertebralFinding(kind, grade, *losses)
        # the next one is likelier near the last
        near = np.abs(np.arange(len(VERTEBRAE)) - VERTEBRAE.index(level))
        weights = weights * np.where(near <= 2, 2.5, 1.0)
    return findings


def draw_deformity(rng: np.random.Generator) -> dict[str, VertebralFinding]:
    """A deformity that is no fracture: Scheuermann's disease or short heights."""
    if rng.random() < 0.5:
        first = int(rng.integers(2, 6))
        levels = VERTEBRAE[first : first + 4]
        return {
            level: VertebralFinding("scheuermann", 0, rng.uniform(0.08, 0.15), 0.05, 0.0)
            for level in levels
        }
    first = int(rng.integers(3, 10))
    loss = float(rng.uniform(0.10, 0.15))
    levels = VERTEBRAE[first : first + 3]
    return {level: VertebralFinding("short", 0, loss, loss, loss * 0.9) for level in levels}
