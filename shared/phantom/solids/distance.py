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


def polygon(points: Floats, loop: Floats) -> Floats:
    """Distance of points (N, 2) of a plane to a closed polygon of corners (M, 2)."""
    nearest = np.full(len(points), np.inf, np.float32)
    inside = np.zeros(len(points), bool)
    for a, b in zip(loop, np.roll(loop, -1, axis=0), strict=True):
        edge, offset = b - a, points - a
        share = np.clip(offset @ edge / (edge @ edge), 0, 1)
        away = offset - share[:, None] * edge
        nearest = np.minimum(nearest, np.einsum("ij,ij->i", away, away))
        crosses = (a[1] > points[:, 1]) != (b[1] > points[:, 1])
        side = edge[0] * offset[:, 1] - edge[1] * offset[:, 0]
        inside ^= crosses & ((side < 0) == (edge[1] < 0)) & (edge[1] != 0)
    return floats(np.where(inside, -1, 1) * np.sqrt(nearest))


def plate(points: Floats, corners: Floats, thickness: float) -> Floats:
    """Distance to a flat plate with a round rim: `corners` (M, 3) in its middle plane."""
    half = np.float32(thickness / 2)
    down = corners[1] - corners[0]
    down = down / np.linalg.norm(down)
    across = np.cross(down, corners[2] - corners[0])
    across = across / np.linalg.norm(across)
    axes = floats(np.stack([down, np.cross(across, down)], axis=1))
    rim = polygon(floats((points - corners[0]) @ axes), floats((corners - corners[0]) @ axes))
    flat = np.abs((points - corners[0]) @ floats(across))
    return floats(np.sqrt(flat**2 + np.maximum(rim + half, 0) ** 2) - half)


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
