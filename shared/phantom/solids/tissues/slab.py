"""Solids between a front and a back sheet, which is all that soft tissue needs.

At each place (x, z) a slab reaches from one depth y to another. Kept are their middle and the
square of half their distance, negative beside the solid, on a table over x and z. For an
ellipsoid that square is a polynomial, through the edge as well, so tables of 3 mm give smooth
outlines; line integrals from front to back are exact, and an axial slice costs two curves.

World frame, mm: x to the patient's left, y to the back, z to the feet.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
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


def ball(
    centre: ArrayLike,
    radii: ArrayLike,
    axes: NDArray[np.floating] | None = None,
    spacing: float = 3.0,
) -> Slab:
    """Ellipsoid.

    Parameters
    ----------
    centre, radii : array_like, shape (3,)
        Place and half axes, mm.
    axes : ndarray, shape (3, 3), optional
        Columns are the directions of the half axes.
    spacing : float
        Of the table, at most; small ones get a finer one, mm.
    """
    turn = np.eye(3) if axes is None else np.asarray(axes, float)
    place = np.asarray(centre, float)
    squares = np.square(np.asarray(radii, float))
    form = turn @ np.diag(1 / squares) @ turn.T
    reach = np.sqrt(turn**2 @ squares)
    steps = (min(spacing, float(reach[0]) / 5), min(spacing, float(reach[2]) / 5))
    low, high = place - reach, place + reach
    on = grid((float(low[0]), float(high[0])), (float(low[2]), float(high[2])), steps)
    x, z = on.columns - np.float32(place[0]), on.rows - np.float32(place[2])
    lean = (form[0, 1] * x + form[1, 2] * z) / form[1, 1]
    rest = (form[0, 0] * x * x + 2 * form[0, 2] * x * z + form[2, 2] * z * z - 1) / form[1, 1]
    return slab(on, np.float32(place[1]) - lean, lean * lean - rest)


def tube(
    z: ArrayLike,
    x: ArrayLike,
    y: ArrayLike,
    wide: ArrayLike,
    deep: ArrayLike,
    turn: ArrayLike = 0.0,
    spacing: tuple[float, float] = (2.5, 4.0),
    power: float = 2.0,
) -> Slab:
    """Solid along z whose sections are turned ellipses.

    Parameters
    ----------
    z : array_like, shape (N,)
        Heights, rising, mm; between them everything is linear.
    x, y : array_like, shape (N,)
        Middle of the section, mm.
    wide, deep : array_like, shape (N,) or number
        Half axes of the section, mm; nothing where one is not positive.
    turn : array_like, shape (N,) or number
        How far the wide axis is turned towards the back at its left end, radians.
    spacing : (float, float)
        Of the table along x and z, mm.
    power : float
        Of the section's outline, 2 for an ellipse; others only without turn.
    """
    heights = np.asarray(z, float)
    given = [np.broadcast_to(np.asarray(v, float), heights.shape) for v in (x, y, wide, deep, turn)]
    reach = float(np.max(np.maximum(given[2], given[3])))
    on = grid(
        (float(given[0].min()) - reach, float(given[0].max()) + reach),
        (float(heights[0]), float(heights[-1])),
        spacing,
    )
    cx, cy, a, b, t = (floats(np.interp(on.z, heights, v))[:, None] for v in given)
    beyond = (on.rows < heights[0]) | (on.rows > heights[-1]) | (a <= 0) | (b <= 0)
    a, b = np.maximum(a, np.float32(0.3)), np.maximum(b, np.float32(0.3))
    off = on.columns - cx
    if power != 2.0:
        share = 1 - np.abs(off / a) ** np.float32(power)
        squared = b * b * np.copysign(np.abs(share) ** np.float32(2 / power), share)
        return slab(on, cy, np.where(beyond, np.float32(-1), squared))
    cos, sin = np.cos(t), np.sin(t)
    xx = (cos / a) ** 2 + (sin / b) ** 2
    yy = (sin / a) ** 2 + (cos / b) ** 2
    xy = cos * sin * (1 / a**2 - 1 / b**2)
    lean = xy * off / yy
    squared = lean * lean - (xx * off * off - 1) / yy
    return slab(on, cy - lean, np.where(beyond, np.float32(-1), squared))


def band(
    x: ArrayLike, y: ArrayLike, z: ArrayLike, deep: ArrayLike, high: ArrayLike, spacing: float = 3.0
) -> Slab:
    """Solid along x whose sections are ellipses; as `tube`, with `x` rising."""
    places = np.asarray(x, float)
    given = [np.broadcast_to(np.asarray(v, float), places.shape) for v in (y, z, deep, high)]
    on = grid(
        (float(places[0]), float(places[-1])),
        (float((given[1] - given[3]).min()), float((given[1] + given[3]).max())),
        (spacing, spacing),
    )
    cy, cz, b, c = (floats(np.interp(on.x, places, v))[None, :] for v in given)
    beyond = (on.columns < places[0]) | (on.columns > places[-1])
    squared = b * b * (1 - ((on.rows - cz) / np.maximum(c, np.float32(0.3))) ** 2)
    return slab(on, cy, np.where(beyond, np.float32(-1), squared))


def pooled(parts: Sequence[Slab], spacing: tuple[float, float]) -> Slab:
    """One slab of several that do not lie behind each other; where two do, the thicker is kept.

    Parameters
    ----------
    parts : sequence of Slab
        At least one.
    spacing : (float, float)
        Of the common table along x and z, mm.
    """
    low = np.min([part.box[0] for part in parts], axis=0)
    high = np.max([part.box[1] for part in parts], axis=0)
    on = grid((float(low[0]), float(high[0])), (float(low[2]), float(high[2])), spacing)
    middle = np.zeros((len(on.z), len(on.x)), np.float32)
    squared = np.full(middle.shape, -np.inf, np.float32)
    for part in parts:
        (x0, _, z0), (x1, _, z1) = part.box
        rows = slice(*on.z.searchsorted([z0 - spacing[1], z1 + spacing[1]]))
        columns = slice(*on.x.searchsorted([x0 - spacing[0], x1 + spacing[0]]))
        own, square = part.sheets(on.x[None, columns], on.z[rows, None])
        better = square > squared[rows, columns]
        middle[rows, columns] = np.where(better, own, middle[rows, columns])
        squared[rows, columns] = np.where(better, square, squared[rows, columns])
    return slab(on, middle, np.maximum(squared, np.float32(-100)))


def balls(
    on: SlabGrid,
    centres: NDArray[np.floating],
    radii: NDArray[np.floating],
    axes: NDArray[np.floating],
    levels: NDArray[np.floating] | None = None,
) -> Slab:
    """One slab of ellipsoids that do not lie behind each other, as `ball` and `pooled`.

    Parameters
    ----------
    on : SlabGrid
        Evenly spaced.
    centres, radii : ndarray, shape (N, 3)
        Places and half axes, mm.
    axes : ndarray, shape (N, 3, 3)
        Columns of each are the directions of its half axes.
    levels : ndarray, shape (N,), optional
        Depth y behind which nothing of each is kept (the level of a gas bubble), mm.
    """
    middle = np.zeros((len(on.z), len(on.x)), np.float32)
    squared = np.full(middle.shape, -25, np.float32)
    owner = np.full(middle.shape, -1, np.int32)
    forms = np.einsum("nij,nj,nkj->nik", axes, 1 / np.square(radii), axes)
    reaches = np.sqrt(np.einsum("nij,nj->ni", np.square(axes), np.square(radii))) + 4.0
    for place, (centre, form, reach) in enumerate(zip(centres, forms, reaches, strict=True)):
        rows = slice(*on.z.searchsorted([centre[2] - reach[2], centre[2] + reach[2]]))
        columns = slice(*on.x.searchsorted([centre[0] - reach[0], centre[0] + reach[0]]))
        x = on.x[None, columns] - np.float32(centre[0])
        z = on.z[rows, None] - np.float32(centre[2])
        a, b, c, d, e = (
            np.float32(form[i, j] / form[1, 1]) for i, j in ((0, 0), (0, 1), (0, 2), (1, 2), (2, 2))
        )
        lean = b * x + d * z
        square = lean * lean - (a * x * x + 2 * c * x * z + e * z * z) + np.float32(1 / form[1, 1])
        own = np.float32(centre[1]) - lean
        if levels is not None:
            half = np.copysign(np.sqrt(np.abs(square)), square)
            first, last = own - half, np.minimum(own + half, np.float32(levels[place]))
            half = (last - first) / 2
            own, square = (first + last) / 2, np.where(square > 0, half * np.abs(half), square)
        better = square > squared[rows, columns]
        middle[rows, columns] = np.where(better, own, middle[rows, columns])
        squared[rows, columns] = np.where(better, square, squared[rows, columns])
        owner[rows, columns][better] = place
    # A seam between neighbours: half way from one to the other's depth there is nothing.
    for first, second in (
        (np.s_[:, :-1], np.s_[:, 1:]), (np.s_[:-1], np.s_[1:]),
    ):  # fmt: skip
        seam = owner[first] != owner[second]
        seam &= (squared[first] > 0) & (squared[second] > 0)
        seam &= np.abs(middle[first] - middle[second]) > 1.5
        squared[first][seam] = np.float32(-4)
        squared[second][seam] = np.float32(-4)
    # Beside an edge the depth is that of its own solid, or the edge would be drawn out.
    for first, second in (
        (np.s_[:, :-1], np.s_[:, 1:]), (np.s_[:-1], np.s_[1:]),
    ):  # fmt: skip
        for empty, full in ((first, second), (second, first)):
            edge = (squared[empty] <= 0) & (squared[full] > 0)
            middle[empty][edge] = middle[full][edge]
    return slab(on, middle, squared)


def topped(solid: Slab, share: float) -> Slab:
    """Front part of a solid, where gas gathers in one who lies on the back.

    `share` of the depth at each height's deepest place lies before the flat border.
    """
    half = np.sqrt(np.maximum(solid.squared, 0))
    front, back = solid.middle - half, solid.middle + half
    full = solid.squared > 0
    first = np.where(full, front, np.inf).min()
    last = np.where(full, back, -np.inf).max()
    return clipped(solid, back=np.full(solid.middle.shape, first + share * (last - first)))


def turned(about: str, angle: float) -> NDArray[np.float64]:
    """Axes (columns) turned about "x", "y" or "z" by an angle in radians."""
    cos, sin = math.cos(angle), math.sin(angle)
    if about == "z":
        return np.array([[cos, -sin, 0], [sin, cos, 0], [0, 0, 1]])
    if about == "y":
        return np.array([[cos, 0, sin], [0, 1, 0], [-sin, 0, cos]])
    return np.array([[1, 0, 0], [0, cos, -sin], [0, sin, cos]])
