"""Signed distances of simple solids, and how they are joined: mm, negative inside.

Points are float32 arrays of shape (N, 3). A distance need not be exact away from the surface;
near it its slope is close to one.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float32]
#: Signed distance in mm of points (N, 3).
Distance = Callable[[Floats], Floats]


def floats(values: ArrayLike) -> Floats:
    """Make a float32 array, without a copy if it is one."""
    return np.asarray(values, dtype=np.float32)


def length(vectors: Floats) -> Floats:
    """Lengths of vectors (N, 3); a sum over so short an axis would take five times as long."""
    return floats(np.sqrt(np.einsum("ij,ij->i", vectors, vectors)))


def capsule(points: Floats, start: Floats, end: Floats, r0: float, r1: float) -> Floats:
    """Distance to a rod from `start` to `end` whose radius goes from `r0` to `r1`."""
    axis = end - start
    along = np.clip(((points - start) @ axis) / np.float32(axis @ axis), 0, 1)
    away = points - start - along[:, None] * axis
    return floats(length(away) - (r0 + np.float32(r1 - r0) * along))


def ellipsoid(points: Floats, centre: Floats, radii: Floats) -> Floats:
    """First-order distance to an ellipsoid."""
    scaled = (points - centre) / radii
    q = length(scaled)
    slope = length(scaled / radii)
    return floats(q * (q - 1) / np.maximum(slope, np.float32(1e-6)))


def rounded_box(points: Floats, centre: Floats, half: Floats, radius: float) -> Floats:
    """Distance to a box of half sides `half` (rounding included)."""
    q = np.abs(points - centre) - (half - np.float32(radius))
    inside = np.maximum(np.maximum(q[:, 0], q[:, 1]), q[:, 2])
    return length(np.maximum(q, 0)) + np.minimum(inside, 0) - np.float32(radius)


def blend(first: Floats, second: Floats, width: float) -> Floats:
    """Union with a fillet of about `width` mm."""
    gap = np.maximum(width - np.abs(first - second), 0) / np.float32(width)
    return np.minimum(first, second) - gap * gap * np.float32(width / 4)


def carve(first: Floats, hole: Floats, width: float) -> Floats:
    """The first solid without the hole, its edge rounded."""
    return -blend(-first, hole, width)


def smoothstep(value: Floats, low: float, high: float) -> Floats:
    """0 below `low`, 1 above `high`, smooth between."""
    t = np.clip((value - np.float32(low)) / np.float32(high - low), 0, 1)
    return t * t * (3 - 2 * t)


def vector(*values: float) -> Floats:
    """Make a float32 vector."""
    return np.array(values, dtype=np.float32)
