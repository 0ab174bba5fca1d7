"""The mineral of a body on a grid of voxels, for modalities that see it in three dimensions."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from .body import Mineral
from .solid import Floats, floats


def voxelise(
    bones: Iterable[Mineral],
    low: tuple[float, float, float],
    shape: tuple[int, int, int],
    spacing_mm: float,
) -> Floats:
    """Mineral density of a region of the body.

    Each point is shared between its eight nearest voxel centres, so that the
    mass in the region is exactly that of the points. Summed along y, the volume
    is the PA projection; along x, the lateral one.

    Parameters
    ----------
    bones : iterable of Mineral
        For example the values of `shared.phantom.truth.minerals`.
    low : (float, float, float)
        World x, y, z of the outer corner of voxel (0, 0, 0), mm.
    shape : (int, int, int)
        Voxels along z, y, x.
    spacing_mm : float
        Side of a voxel.

    Returns
    -------
    ndarray of float32, shape (Z, Y, X)
        Hydroxyapatite, g/cm³.
    """
    depth, rows, cols = shape
    padded = (depth + 2, rows + 2, cols + 2)
    total = np.zeros(padded[0] * padded[1] * padded[2])
    for bone in bones:
        place = (bone.points - floats(low)) / np.float32(spacing_mm) + np.float32(0.5)
        limits = floats([cols + 1, rows + 1, depth + 1])
        inside = ((place > 0) & (place < limits)).all(axis=1)
        place, mass = place[inside], bone.mass[inside]
        base = place.astype(np.int64)
        share = place - base
        for corner in range(8):
            step = np.array([corner & 1, corner >> 1 & 1, corner >> 2 & 1])
            weight = np.where(step, share, 1 - share).prod(axis=1) * mass
            x, y, z = (base + step).T
            index = (z * padded[1] + y) * padded[2] + x
            total += np.bincount(index, weights=weight, minlength=total.size)
    volume = total.reshape(padded)[1:-1, 1:-1, 1:-1]
    return floats(volume / (spacing_mm / 10) ** 3)
