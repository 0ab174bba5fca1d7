"""Solids as clouds of mineral: sampled once from a distance function, then bent per patient.

A bone is kept as points that carry mass: points on its surface that stand for
the cortical shell, and points inside it that stand for trabecular bone. Bending
and moving points costs next to nothing, every projection of the same points
shows the same bone, and the mass is conserved exactly. The sampling is a
low-discrepancy sequence, so that projections are smooth.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from shared.phantom.solids.distance import (
    Distance,
    Floats,
    blend,
    carve,
    floats,
    smoothstep,
    vector,
)
from shared.seeds import numpy_generator

__all__ = [
    "Floats",
    "PointSolid",
    "blend",
    "capsule",
    "carve",
    "ellipsoid",
    "even_points",
    "even_sheet",
    "floats",
    "rounded_box",
    "sample_solid",
    "smoothstep",
    "vector",
]

#: Root of x^4 = x + 1: the generalised golden ratio of three dimensions.
_GOLDEN_3 = 1.2207440846057596
_CELL_MM = 8.0


@dataclass(frozen=True)
class PointSolid:
    """A sampled solid in its own frame, mm.

    Attributes
    ----------
    surface, normal : ndarray of float32, shape (N, 3)
        Points on the surface and outward unit normals there.
    area : ndarray of float32, shape (N,)
        Surface that each point stands for, mm².
    depth : ndarray of float32, shape (N,)
        Evenly spread in [0, 1]: where in the cortex, as a share of its thickness.
    core : ndarray of float32, shape (M, 3)
        Points inside.
    volume : float
        Volume that each core point stands for, mm³.
    """

    surface: Floats
    normal: Floats
    area: Floats
    depth: Floats
    core: Floats
    volume: float


def even_points(count: int, offset: int = 0) -> Floats:
    """Low-discrepancy points in the unit cube, (count, 3): an additive recurrence.

    Source: M. Roberts, "The unreasonable effectiveness of quasirandom
    sequences" (generalised golden ratio).
    """
    steps = (1.0 / _GOLDEN_3) ** np.arange(1, 4)
    index = np.arange(offset + 1, offset + count + 1, dtype=np.float64)[:, None]
    return np.asarray((0.5 + index * steps) % 1.0, dtype=np.float32)


def even_sheet(count: int) -> tuple[Floats, Floats]:
    """Two coordinates of evenly spread points of a sheet or tube (Fibonacci lattice)."""
    index = np.arange(count, dtype=np.float64)
    first = (index + 0.5) / count
    return floats(first), floats((index * 0.6180339887498949) % 1.0)


def _fill(distance: Distance, low: Floats, high: Floats, spacing: float, reach: float) -> Floats:
    """Points of one spacing in all cells of a box that the solid comes near."""
    sides = [np.arange(a, b, _CELL_MM, dtype=np.float32) for a, b in zip(low, high, strict=True)]
    cells = np.stack(np.meshgrid(*sides, indexing="ij"), axis=-1).reshape(-1, 3)
    near = distance(cells + np.float32(_CELL_MM / 2)) < _CELL_MM * 0.9 + reach
    cells = cells[near]
    each = max(1, round((_CELL_MM / spacing) ** 3))
    points = even_points(len(cells) * each).reshape(len(cells), each, 3)
    # each cell has its own shift, so that no lattice shows through a projection
    shift = numpy_generator(0, "cells").random((len(cells), 1, 3), dtype=np.float32)
    points = (points + shift) % np.float32(1.0)
    return np.asarray((cells[:, None] + points * np.float32(_CELL_MM)).reshape(-1, 3))


def sample_solid(
    distance: Distance,
    low: tuple[float, float, float],
    high: tuple[float, float, float],
    *,
    surface_spacing: float = 1.0,
    core_spacing: float = 1.7,
) -> PointSolid:
    """Sample a solid given by its signed distance.

    Parameters
    ----------
    distance : callable
        Signed distance in mm; need not be exact away from the surface.
    low, high : (float, float, float)
        Box that holds the solid, mm.
    surface_spacing, core_spacing : float
        Mean distance between points, mm.

    Returns
    -------
    PointSolid
    """
    box_low, box_high = floats(low), floats(high)
    band = np.float32(surface_spacing)
    points = _fill(distance, box_low, box_high, surface_spacing, float(band))
    value = distance(points)
    near = np.abs(value) < band
    points, value = points[near], value[near]
    gradient = np.empty_like(points)
    step = np.float32(0.25)
    for axis in range(3):
        shift = np.zeros(3, np.float32)
        shift[axis] = step
        gradient[:, axis] = (distance(points + shift) - distance(points - shift)) / (2 * step)
    length = np.maximum(np.sqrt((gradient**2).sum(axis=1)), np.float32(0.2))
    normal = gradient / length[:, None]
    surface = points - normal * (value / length)[:, None]
    # co-area formula: the band of half-width h has volume 2h·area/|gradient|
    area = length * np.float32(surface_spacing**3 / (2 * band))
    core = _fill(distance, box_low, box_high, core_spacing, 0.0)
    core = core[distance(core) < -0.7]
    depth = even_points(len(surface))[:, 0]
    return PointSolid(surface, normal, area, depth, core, core_spacing**3)


# --- distance functions, to the bits of the pictures made with them ---------------


def capsule(points: Floats, start: Floats, end: Floats, r0: float, r1: float) -> Floats:
    """Distance to a rod from `start` to `end` whose radius goes from `r0` to `r1`."""
    axis = end - start
    along = np.clip(((points - start) @ axis) / np.float32(axis @ axis), 0, 1)
    away = points - start - along[:, None] * axis
    return np.sqrt((away**2).sum(axis=1)) - (r0 + (r1 - r0) * along)


def ellipsoid(points: Floats, centre: Floats, radii: Floats) -> Floats:
    """First-order distance to an ellipsoid."""
    scaled = (points - centre) / radii
    q = np.sqrt((scaled**2).sum(axis=1))
    slope = np.sqrt(((scaled / radii) ** 2).sum(axis=1))
    return q * (q - 1) / np.maximum(slope, np.float32(1e-6))


def rounded_box(points: Floats, centre: Floats, half: Floats, radius: float) -> Floats:
    """Distance to a box of half sides `half` (rounding included)."""
    q = np.abs(points - centre) - (half - np.float32(radius))
    outside = np.sqrt((np.maximum(q, 0) ** 2).sum(axis=1))
    return outside + np.minimum(q.max(axis=1), 0) - np.float32(radius)
