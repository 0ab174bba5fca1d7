"""Lean, fat and mineral of soft tissue along rays, from a coarse lattice.

A cell of the lattice is a piece of a ray. How much of it a tissue fills follows from where its
border crosses the piece, so that thickness comes in no steps; from ray to ray everything is
smooth, so that rays 4 mm apart are enough and pixels lie between them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from scipy.ndimage import map_coordinates

from ..distance import Floats, floats
from ..lattice import Lattice
from ..tissue import Tissue
from .slab import Box, Slab

#: Pieces in which rays are cut where a plaque may be, mm.
FINE: Final = 0.4


@dataclass(frozen=True)
class RayMass:
    """What rays cross of soft tissue.

    Attributes
    ----------
    lean, fat, mineral : ndarray of float32, shape (rows, columns)
        g/cm²; mineral is that of plaques, not of bones.
    """

    lean: Floats
    fat: Floats
    mineral: Floats

    def at(self, rows: Floats, columns: Floats) -> RayMass:
        """Mass at pixels between the rays.

        Parameters
        ----------
        rows, columns : ndarray, shape (R,) and (C,)
            Places in units of the lattice, 0 in its first row or column.

        Returns
        -------
        RayMass
            Of shape (R, C), smoothed as by a slit of one cell: no steps, nothing overshoots.
        """
        places = np.broadcast_arrays(rows[:, None], columns[None, :])
        found = [
            floats(map_coordinates(values, places, order=2, prefilter=False, mode="nearest"))
            for values in (self.lean, self.fat, self.mineral)
        ]
        return RayMass(*found)


def ray_mass(tissues: Sequence[Tissue], lattice: Lattice, bone: Floats | None = None) -> RayMass:
    """Mass of soft tissue along the rays of a lattice.

    Parameters
    ----------
    tissues : sequence of Tissue
        In order.
    lattice : Lattice
        Coarse: rays 3 to 4 mm apart, samples of 2 to 4 mm along them.
    bone : ndarray of float32, shape of the lattice, optional
        Share of each sample that bone fills; tissue is displaced there.

    Notes
    -----
    Plaques are smaller than 4 mm. Along the rays their mass is exact anywhere; to see where they
    are, ask for them alone on the picture's own lattice and take the `mineral`.
    """
    rays = _Rays(lattice)
    lean = np.zeros(lattice.shape, np.float32)
    fat, mineral = np.zeros_like(lean), np.zeros_like(lean)
    for one in tissues:
        made = one.substance
        lipid = made.density * made.fat
        amounts = (made.density - lipid - made.mineral, lipid, made.mineral)
        for part in one.parts:
            window = rays.window(part.box)
            if window is None:
                continue
            share = rays.share(part, window, FINE if made.mineral else None)
            for total, amount in zip((lean, fat, mineral), amounts, strict=True):
                if total is mineral and not amount and not mineral_seen(mineral, window):
                    continue
                cell = total[window]
                cell += share * (np.float32(amount) - cell)
    length = rays.length / 10
    if bone is not None:
        length = length * (1 - bone)
    return RayMass(*(floats((total * length).sum(axis=2)) for total in (lean, fat, mineral)))


def mineral_seen(mineral: Floats, window: tuple[slice, slice, slice]) -> bool:
    """Whether a window has any mineral, so that something laid over it must take it away."""
    return bool(mineral[window].any())


class _Rays:
    """Borders of the cells of a lattice along its rays."""

    def __init__(self, lattice: Lattice) -> None:
        self.axes = tuple(_borders(values) for values in (lattice.x, lattice.y, lattice.z))
        self.shape = lattice.shape
        self.spans = [
            [
                (
                    values.min(axis=tuple(k for k in range(3) if k != axis)),
                    values.max(axis=tuple(k for k in range(3) if k != axis)),
                )
                for values in self.axes
            ]
            for axis in range(3)
        ]
        steps = [np.diff(v, axis=2) if v.shape[2] > 1 else np.float32(0) for v in self.axes]
        self.length = floats(np.sqrt(sum(step * step for step in steps)))

    def window(self, box: Box) -> tuple[slice, slice, slice] | None:
        """Cells that a box may touch."""
        slices = []
        for axis, size in enumerate(self.shape):
            count = size + 1 if axis == 2 else size
            near = np.ones(count, bool)
            for (low, high), start, end in zip(self.spans[axis], *box, strict=True):
                near &= (high >= start) & (low <= end)
            index = np.flatnonzero(near)
            if not len(index):
                return None
            if axis == 2:
                slices.append(slice(max(index[0] - 1, 0), min(index[-1] + 1, size)))
            else:
                slices.append(slice(index[0], index[-1] + 1))
        return slices[0], slices[1], slices[2]

    def borders(self, window: tuple[slice, slice, slice]) -> tuple[Floats, Floats, Floats]:
        """Coordinates of the borders of the cells of a window."""
        i, j, k = window
        found = []
        for values in self.axes:
            index = (
                i if values.shape[0] > 1 else slice(None),
                j if values.shape[1] > 1 else slice(None),
                slice(k.start, k.stop + 1) if values.shape[2] > 1 else slice(None),
            )
            found.append(values[index])
        return found[0], found[1], found[2]

    def share(self, part: Slab, window: tuple[slice, slice, slice], finest: float | None) -> Floats:
        """Share of each cell that a solid fills; in pieces of `finest` mm, or as the cells are."""
        ends = self.borders(window)
        pieces = 1 if finest is None else max(1, math.ceil(float(self.length.max()) / finest))
        if pieces > 1:
            ends = tuple(_divided(values, pieces) for values in ends)  # type: ignore[assignment]
        level = part.level(*ends)
        first, last = level[..., :-1], level[..., 1:]
        low = np.minimum(first, last)
        wide = np.maximum(first, last)
        wide -= low
        np.maximum(wide, np.float32(1e-6), out=wide)
        np.negative(low, out=low)
        low /= wide
        found = np.clip(low, 0, 1, out=low)
        if pieces > 1:
            found = found.reshape(*found.shape[:2], -1, pieces).mean(axis=3)
        return found


def _divided(values: Floats, pieces: int) -> Floats:
    """Borders of cells, each cut into pieces."""
    if values.shape[2] < 2:
        return values
    way = np.arange(pieces, dtype=np.float32) / np.float32(pieces)
    inner = values[..., :-1, None] + np.diff(values, axis=2)[..., None] * way
    inner = inner.reshape(*values.shape[:2], -1)
    return floats(np.concatenate([inner, values[..., -1:]], axis=2))


def _borders(values: Floats) -> Floats:
    """Borders of cells along the last axis, from their middles."""
    if values.shape[2] < 2:
        return values
    between = (values[..., :-1] + values[..., 1:]) / 2
    first = values[..., :1] * 2 - between[..., :1]
    last = values[..., -1:] * 2 - between[..., -1:]
    return floats(np.concatenate([first, between, last], axis=2))
