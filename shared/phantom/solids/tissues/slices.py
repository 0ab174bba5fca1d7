"""Axial slices: codes of what is there, and areas measured on them."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence

import numpy as np
from numpy.typing import NDArray

from ..distance import Floats, floats
from ..tissue import SKELETAL, Labels, Tissue
from .slab import Slab


def axial_labels(
    tissues: Sequence[Tissue], x: Floats, y: Floats, z: float, tilt_degrees: float = 0.0
) -> Labels:
    """Code map of an axial slice.

    Parameters
    ----------
    tissues : sequence of Tissue
        In order; bones are not among them.
    x, y : ndarray of float32, shape (columns,) and (rows,)
        Places of the pixels, rising, mm.
    z : float
        Height of the slice at y = 0, mm.
    tilt_degrees : float
        Tilt of the gantry: positive if the back of the slice is nearer to the feet.

    Returns
    -------
    ndarray of uint8, shape (rows, columns)
        Codes; 0 outside the patient.
    """
    heights = floats(z) if tilt_degrees == 0 else floats(z + np.tan(np.deg2rad(tilt_degrees)) * y)
    return plane_labels(tissues, x, y, heights)


def plane_labels(tissues: Sequence[Tissue], x: Floats, y: Floats, z: Floats) -> Labels:
    """Code map of a plane whose rows are at heights `z`: one for all, or one a row, mm.

    As `axial_labels`.
    """
    labels = np.zeros((len(y), len(x)), np.uint8)
    low, high = float(z.min()), float(z.max())
    for one in tissues:
        for part in one.parts:
            box = part.box
            if box[0][2] > high or box[1][2] < low:
                continue
            _paint(labels, part, one.code, x, y, z)
    return labels


def _paint(labels: Labels, part: Slab, code: int, x: Floats, y: Floats, z: Floats) -> None:
    """Lay one solid over a slice, in the rectangle of its box."""
    low, high = part.box
    left, right = x.searchsorted(low[0]), x.searchsorted(high[0])
    first, last = y.searchsorted(low[1]), y.searchsorted(high[1])
    if left >= right or first >= last:
        return
    window = labels[first:last, left:right]
    height = z if z.ndim == 0 else z[first:last, None]
    within = part.inside(x[None, left:right], y[first:last, None], height)
    window[within] = code


def tissue_areas(labels: Labels, pixel_mm2: float) -> dict[int, float]:
    """Area of each code on a slice, cm²."""
    counts = np.bincount(labels.ravel(), minlength=256)
    return {int(c): float(counts[c]) * pixel_mm2 / 100 for c in np.flatnonzero(counts)}


def skeletal_muscle_area(
    tissues: Sequence[Tissue],
    z: float,
    bone: NDArray[np.bool_] | None = None,
    spacing: float = 1.5,
    codes: Collection[int] = SKELETAL,
) -> float:
    """Skeletal muscle on an axial slice, cm²; over the height in metres squared it is an index.

    Parameters
    ----------
    tissues : sequence of Tissue
        In order.
    z : float
        Height of the slice (the middle of L3), mm.
    bone : ndarray of bool, optional
        Pixels that bone takes, on the grid of `measuring_grid`.
    spacing : float
        Of that grid, mm.
    codes : collection of int
        What counts; all skeletal muscle if left out.
    """
    x, y = measuring_grid(tissues, spacing)
    labels = axial_labels(tissues, x, y, z)
    counted = np.isin(labels, list(codes))
    if bone is not None:
        counted &= ~bone
    return float(counted.sum()) * spacing**2 / 100


def measuring_grid(tissues: Sequence[Tissue], spacing: float = 1.5) -> tuple[Floats, Floats]:
    """Places x and y of pixels that cover the patient, mm."""
    low, high = tissues[0].box
    axes = []
    for axis in (0, 1):
        count = math.ceil((high[axis] - low[axis]) / spacing) + 2
        axes.append(floats(low[axis] - spacing + spacing * np.arange(count)))
    return axes[0], axes[1]
