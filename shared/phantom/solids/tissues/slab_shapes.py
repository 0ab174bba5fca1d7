"""Slabs of given forms: ellipsoids, tubes, bands, and several in one.

World frame, mm: x to the patient's left, y to the back, z to the feet.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..distance import floats
from .slab import Slab, SlabGrid, clipped, grid, slab


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
