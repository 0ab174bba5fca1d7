"""Solids between a front and a back sheet, which is all that soft tissue needs.

At each place (x, z) a slab reaches from one depth y to another. Kept are their middle and the
square of half their distance, negative beside the solid, on a table over x and z. For an
ellipsoid that square is a polynomial, through the edge as well, so tables of 3 mm give smooth
outlines; line integrals from front to back are exact, and an axial slice costs two curves.

World frame, mm: x to the patient's left, y to the back, z to the feet.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..distance import Floats, floats

Point = tuple[float, float, float]
Box = tuple[Point, Point]


@dataclass(frozen=True)
class SlabGrid:
    """Places (x, z) at which sheets are tabulated.

    Attributes
    ----------
    x, z : ndarray of float32
        Evenly spaced, mm.
    """

    x: Floats
    z: Floats

    @property
    def columns(self) -> Floats:
        """Places x as a row that broadcasts."""
        return self.x[None, :]

    @property
    def rows(self) -> Floats:
        """Heights z as a column that broadcasts."""
        return self.z[:, None]


def grid(x: tuple[float, float], z: tuple[float, float], spacing: tuple[float, float]) -> SlabGrid:
    """SlabGrid over a rectangle and one node more on every side; `spacing` along x and z, mm."""
    axes = []
    for (low, high), step in zip((x, z), spacing, strict=True):
        count = int(np.ceil((high - low) / step)) + 3
        axes.append(floats(low + step * (np.arange(count) - 1)))
    return SlabGrid(axes[0], axes[1])


@dataclass(frozen=True)
class Slab:
    """A solid between two sheets.

    Attributes
    ----------
    low, spacing : (float, float)
        Place of the first node and distance of nodes along x and z, mm.
    middle, squared : ndarray of float32, shape (nodes along z, nodes along x)
        Middle of the sheets, mm, and square of half their distance, mm², negative beside.
    """

    low: tuple[float, float]
    spacing: tuple[float, float]
    middle: Floats
    squared: Floats

    @cached_property
    def _table(self) -> Floats:
        return np.stack([self.middle.reshape(-1), self.squared.reshape(-1)])

    @cached_property
    def box(self) -> Box:
        """Corners of a box around it, mm."""
        rows, columns = np.nonzero(self.squared > 0)
        if not len(rows):
            return (0.0, 0.0, 0.0), (-1.0, -1.0, -1.0)
        half = np.sqrt(np.maximum(self.squared, 0))
        front, back = (self.middle - half)[rows, columns], (self.middle + half)[rows, columns]
        (x0, z0), (sx, sz) = self.low, self.spacing
        low = (x0 + sx * (columns.min() - 1), front.min() - 2.0, z0 + sz * (rows.min() - 1))
        high = (x0 + sx * (columns.max() + 1), back.max() + 2.0, z0 + sz * (rows.max() + 1))
        return tuple(map(float, low)), tuple(map(float, high))  # type: ignore[return-value]

    @cached_property
    def volume(self) -> float:
        """Volume in mm³."""
        squared = self.squared
        parts = 4 if squared.size < 2500 else 1  # a small one's edge is most of it
        if parts > 1:
            own = grid_of(self)
            x = own.x[0] + np.arange(parts * len(own.x)) * (self.spacing[0] / parts)
            z = own.z[0] + np.arange(parts * len(own.z)) * (self.spacing[1] / parts)
            _, squared = self.sheets(floats(x)[None, :], floats(z)[:, None])
        half = np.sqrt(np.maximum(squared, 0)).sum(dtype=np.float64)
        return float(2 * half * self.spacing[0] * self.spacing[1]) / parts**2

    def sheets(self, x: Floats, z: Floats) -> tuple[Floats, Floats]:
        """Middle and squared half thickness at places that broadcast, mm and mm²."""
        rows, columns = self.middle.shape
        across = (x - np.float32(self.low[0])) * np.float32(1 / self.spacing[0])
        down = (z - np.float32(self.low[1])) * np.float32(1 / self.spacing[1])
        across = np.clip(across, 0, np.float32(columns - 1.001))
        down = np.clip(down, 0, np.float32(rows - 1.001))
        i, j = down.astype(np.int32), across.astype(np.int32)
        u, v = across - j, down - i
        if _apart(z.shape, x.shape):
            return self._crossed(i, j, u, v)
        node = i * np.int32(columns) + j
        table = self._table
        upper = table.take(node, axis=1)
        upper += u * (table.take(node + 1, axis=1) - upper)
        node += np.int32(columns)
        lower = table.take(node, axis=1)
        lower += u * (table.take(node + 1, axis=1) - lower)
        upper += v * (lower - upper)
        return upper[0], upper[1]

    def _crossed(
        self, i: NDArray[np.int32], j: NDArray[np.int32], u: Floats, v: Floats
    ) -> tuple[Floats, Floats]:
        """Look up where heights and places across vary along different axes: one after the other.

        `i`, `j` are nodes along z and x, `v`, `u` how far on to the next.
        """
        shape = np.broadcast_shapes(i.shape, j.shape)
        table = self._table.reshape(2, *self.middle.shape)
        i, v = i.reshape(-1), v.reshape(-1, 1)
        j, u = j.reshape(-1), u.reshape(-1)
        first, last = int(j.min()), int(j.max()) + 2
        near = table[:, :, first:last]
        lines = near[:, i]
        lines += v * (near[:, i + 1] - lines)
        j = j - np.int32(first)
        slopes = lines[:, :, 1:] - lines[:, :, :-1]
        found = slopes.take(j, axis=2)
        found *= u
        found += lines.take(j, axis=2)
        found = found.reshape(2, *shape)
        return found[0], found[1]

    def level(self, x: Floats, y: Floats, z: Floats) -> Floats:
        """Continuous measure, negative inside, mm²."""
        middle, squared = self.sheets(x, z)
        away = y - middle
        away *= away
        away -= squared
        return np.asarray(away, np.float32)

    def inside(self, x: Floats, y: Floats, z: Floats) -> NDArray[np.bool_]:
        """Whether points that broadcast are in it."""
        middle, squared = self.sheets(x, z)
        if middle.size >= np.size(y) and middle.size > 10_000:  # depth varies with the height
            return np.asarray(np.square(y - middle) < squared, np.bool_)
        half = np.sqrt(np.maximum(squared, 0))
        within = (y > middle - half) & (y < middle + half)
        return np.asarray(within, np.bool_)

    def faces(self, on: SlabGrid) -> tuple[Floats, Floats]:
        """Depth of front and back on a grid, mm; beside the solid the front is behind the back."""
        middle, squared = self.sheets(on.columns, on.rows)
        half = np.copysign(np.sqrt(np.abs(squared)), squared)
        return middle - half, middle + half


def _apart(z: tuple[int, ...], x: tuple[int, ...]) -> bool:
    """Whether all axes along which z varies come before all along which x does."""
    length = max(len(z), len(x))
    first = [k + length - len(x) for k, size in enumerate(x) if size > 1]
    last = [k + length - len(z) for k, size in enumerate(z) if size > 1]
    return not first or not last or max(last) < min(first)


def slab(on: SlabGrid, middle: ArrayLike, squared: ArrayLike) -> Slab:
    """Make a slab of its sheets on a grid; the grid's border is always outside."""
    shape = (len(on.z), len(on.x))
    square = np.array(np.broadcast_to(floats(squared), shape))
    for border in (square[0], square[-1], square[:, 0], square[:, -1]):
        np.minimum(border, np.float32(-0.01), out=border)
    spacing = (float(on.x[1] - on.x[0]), float(on.z[1] - on.z[0]))
    middles = np.array(np.broadcast_to(floats(middle), shape))
    return Slab((float(on.x[0]), float(on.z[0])), spacing, middles, square)


def between(on: SlabGrid, front: ArrayLike, back: ArrayLike) -> Slab:
    """Slab from one sheet to another; nothing where the front is behind the back."""
    first, last = floats(front), floats(back)
    half = (last - first) / 2
    return slab(on, (first + last) / 2, half * np.abs(half))


def clipped(solid: Slab, *, front: ArrayLike | None = None, back: ArrayLike | None = None) -> Slab:
    """Part of a solid behind `front` and before `back`, sheets on its own grid."""
    half = np.sqrt(np.maximum(solid.squared, 0))
    first, last = solid.middle - half, solid.middle + half
    if front is not None:
        first = np.maximum(first, floats(front))
    if back is not None:
        last = np.minimum(last, floats(back))
    half = (last - first) / 2
    squared = np.where(solid.squared > 0, half * np.abs(half), solid.squared)
    return slab(grid_of(solid), (first + last) / 2, squared)


def within(solid: Slab, hull: Slab, margin: float = 0.0) -> Slab:
    """Part of a solid that is in another one, `margin` mm off its sheets."""
    on = grid_of(solid)
    middle, squared = hull.sheets(on.columns, on.rows)
    half = np.sqrt(np.maximum(squared, 0)) - np.float32(margin)
    part = clipped(solid, front=middle - half, back=middle + half)
    return slab(on, part.middle, np.minimum(part.squared, squared - np.float32(margin**2)))


def grid_of(solid: Slab) -> SlabGrid:
    """SlabGrid on which a solid is tabulated."""
    rows, columns = solid.middle.shape
    return SlabGrid(
        floats(solid.low[0] + solid.spacing[0] * np.arange(columns)),
        floats(solid.low[1] + solid.spacing[1] * np.arange(rows)),
    )
