"""Metal in the body: surgical clips and interbody cages."""

from __future__ import annotations

import numpy as np

from .body import Mineral, PointAnatomy
from .solid import even_points, floats, vector

#: Attenuation of a clip and of a cage, as grams of mineral that attenuate as much [U].
CLIP_GRAMS = 0.25
CAGE_GRAMS = 9.0


def place_metal(anatomy: PointAnatomy, rng: np.random.Generator) -> tuple[Mineral, str]:
    """Draw metal and the event that names it: ``metal:clip`` or ``metal:cage:<level>``."""
    if rng.random() < 0.3:
        level = str(rng.choice(["L3", "L4"]))
        return _cage(anatomy, level), f"metal:cage:{level}"
    return _clips(rng), "metal:clip"


def _cage(anatomy: PointAnatomy, level: str) -> Mineral:
    """A block in the disc below a vertebra."""
    body = anatomy.vertebrae[level]
    below = np.float32(body.shape.middle / 2 + body.disc_below / 2)
    cube = (even_points(6000) - np.float32(0.5)) * vector(26, 22, max(body.disc_below, 6))
    points = cube @ body.rotation.T + (body.centre + body.rotation[:, 2] * below)
    return Mineral(floats(points), np.full(6000, CAGE_GRAMS / 6000, np.float32))


def _clips(rng: np.random.Generator) -> Mineral:
    """One to four rods of 7 mm in front of the spine."""
    parts = []
    count = int(rng.integers(1, 5))
    for _ in range(count):
        angle = rng.uniform(0, np.pi)
        rod = (even_points(600) - np.float32(0.5)) * vector(7, 1.5, 1.5)
        cos, sin = np.cos(angle), np.sin(angle)
        turn = floats([[cos, 0, sin], [0, 1, 0], [-sin, 0, cos]])
        place = vector(rng.uniform(-60, 60), rng.uniform(-90, -45), rng.uniform(-60, 110))
        parts.append(floats(rod @ turn.T + place))
    mass = np.full(600 * count, CLIP_GRAMS / 600, np.float32)
    return Mineral(np.concatenate(parts), mass)
