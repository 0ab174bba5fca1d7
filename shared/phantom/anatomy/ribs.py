"""Twelve pairs of ribs as hollow flattened tubes along their curves."""

from __future__ import annotations

from functools import lru_cache
from typing import Final

import numpy as np

from .solid import Floats, even_sheet, floats, vector
from .vertebra import CORTICAL

#: Half width and depth of the rib cage (mm, men), drop of a rib from its head to
#: its end, and how far round it goes (radians), by rib 4..12 [U].
RIBS: Final[dict[int, tuple[float, float, float, float]]] = {
    4: (112, 78, 62, 2.75), 5: (120, 84, 78, 2.7), 6: (126, 88, 92, 2.65), 7: (130, 92, 104, 2.6),
    8: (132, 92, 112, 2.45), 9: (132, 90, 114, 2.25), 10: (130, 88, 108, 2.0),
    11: (126, 84, 92, 1.5), 12: (112, 76, 62, 0.95),
}  # fmt: skip
POINTS_PER_MM: Final = 13
#: Half height and half thickness of a rib, cortex, mm; the floating ribs are thinner.
SECTION: Final = (5.4, 3.1)
FLOATING: Final = {11: 0.88, 12: 0.72}
CORTEX: Final = 0.7


@lru_cache(maxsize=16)
def _rib(number: int) -> tuple[Floats, Floats]:
    """Points and masses (g) of a left rib, origin at the head of the rib."""
    a, b, drop, reach = RIBS[number]
    length = float(np.hypot((a + b) / 2 * reach, drop))
    u, v = even_sheet(int(length * POINTS_PER_MM))
    bend = reach * u
    # from beside the vertebra outwards, first a little to the back, then round to the front
    x = (a - 16) * np.sin(np.minimum(bend, np.pi / 2)) ** 0.85
    late = np.maximum(bend - np.pi / 2, 0)
    x = np.where(bend > np.pi / 2, (a - 16) * (1 - 0.62 * (1 - np.cos(late))), x)
    y = 14 * np.sin(np.clip(bend / 0.6, 0, np.pi)) - b * (1 - np.cos(bend)) * 0.95
    z = drop * (u + 0.22 * np.sin(np.pi * u)) * (0.65 + 0.35 * u)
    angle = 2 * np.pi * v
    high, thin = (side * FLOATING.get(number, 1.0) for side in SECTION)
    fade = 0.75 + 0.25 * np.minimum(u * 8, 1)
    if number in FLOATING:
        fade *= 1 - 0.5 * u**2
    z = z + high * np.cos(angle) * fade
    out = thin * np.sin(angle) * fade
    x = x + out * np.sin(bend)
    y = y + out * np.cos(bend)
    perimeter = np.pi * (1.5 * (high + thin) - np.sqrt(high * thin))
    mass = np.full(len(u), length * perimeter * CORTEX * CORTICAL / len(u), np.float32)
    return floats(np.stack([x, y, z], axis=1)), mass


def place_rib(
    number: int, left: bool, head: Floats, size: float, droop: float
) -> tuple[Floats, Floats]:
    """Mineral points (N, 3) in mm and masses in g of one rib with its head at `head`.

    `droop` scales how steeply the rib falls.
    """
    points, mass = _rib(number)
    scale = vector(size if left else -size, size, size * droop)
    return np.asarray(points * scale + head, np.float32), mass * np.float32(size**2)
