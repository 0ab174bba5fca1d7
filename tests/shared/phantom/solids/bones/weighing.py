"""Weigh a placed bone on any lattice, and project it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from shared.phantom.solids.bone import Bone, mineral_of
from shared.phantom.solids.distance import Floats, floats
from shared.phantom.solids.lattice import Lattice, straight

#: Samples a mass may not depend on: rows, columns, way in mm, and where the lattice begins.
LATTICES = (
    ((0.7, 0.7, 0.7), 0.0),
    ((1.0, 1.0, 1.0), 0.37),
    ((1.05, 0.6, 1.5), 0.81),
)


def around(
    bones: Sequence[Bone], low: Sequence[float], high: Sequence[float],
    steps: tuple[float, float, float], shift: float = 0.0,
) -> Lattice:  # fmt: skip
    """A lattice of rays from front to back over a box (x, y, z in mm)."""
    row, column, way = steps
    starts = [a + shift * s for a, s in zip(low, (column, way, row), strict=True)]
    x, y, z = (
        floats(np.arange(a, b, s)) for a, b, s in zip(starts, high, (column, way, row), strict=True)
    )
    return straight(z, x, y)


def box(bones: Sequence[Bone], margin: float = 3.0) -> tuple[list[float], list[float]]:
    """Corners of a box that holds bones, mm: found on a coarse lattice."""
    low = np.min([b.centre - b.reach for b in bones], axis=0)
    high = np.max([b.centre + b.reach for b in bones], axis=0)
    coarse = around(bones, low.tolist(), high.tolist(), (4.0, 4.0, 4.0))
    filled = np.argwhere(mineral_of(bones, coarse) > 0)
    first, last = filled.min(axis=0), filled.max(axis=0)
    x, y, z = coarse.x.ravel(), coarse.y.ravel(), coarse.z.ravel()
    margin += 4.0
    return (
        [float(x[first[1]]) - margin, float(y[first[2]]) - margin, float(z[first[0]]) - margin],
        [float(x[last[1]]) + margin, float(y[last[2]]) + margin, float(z[last[0]]) + margin],
    )


def grams(
    bones: Sequence[Bone], steps: tuple[float, float, float] = (1.0, 1.0, 1.0), shift: float = 0.0
) -> float:
    """Mineral of bones, g."""
    lattice = around(bones, *box(bones), steps, shift)
    return float(mineral_of(bones, lattice).sum(dtype=np.float64)) * float(np.prod(steps)) / 1000


def depths(bone: Bone, points: Floats) -> Floats:
    """Distance of a placed bone at world points (N, 3), mm."""
    x, y, z = points.T
    return bone.looked_up(*bone.frame(x, y, z))[:, 0]


def densities(bone: Bone, points: Floats, step: tuple[float, float, float]) -> Floats:
    """Mineral of a placed bone at world points (N, 3), g/cm³."""
    x, y, z = points.T
    return bone.matter(x, y, z, step).mineral


def surface(bone: Bone, count: int = 400000, thick: float = 1.0, seed: int = 1) -> Floats:
    """World points (N, 3) that lie on a bone's surface: followed there from near it."""
    low, high = box([bone])
    points = floats(np.random.default_rng(seed).uniform(low, high, (count, 3)))
    points = points[np.abs(depths(bone, points)) < thick]
    for _ in range(2):
        x, y, z = points.T
        rows = bone.looked_up(*bone.frame(x, y, z))
        points = points - rows[:, :1] * (rows[:, 1:4] @ bone.rotation.T)
    return points[np.abs(depths(bone, points)) < 0.1]
