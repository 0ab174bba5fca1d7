"""How far osteophytes of a given mass widen the rims of a vertebra, and how dense they are."""

from __future__ import annotations

from functools import lru_cache
from typing import Final

import numpy as np
from numpy.typing import NDArray

from shared.phantom.solids.distance import Floats, floats

from .vertebra import FORWARD, BodyShape, VertebraKind, kind_of, rim_share, template_of

#: Mineral of an osteophyte, cortex and core together, g/cm³ [U]: denser than a body, but no more
#: than so much wider (as a share of the body's half width) than it.
DENSITY: Final = 0.7
WIDEST: Final = 0.30
#: Flares of one side for which volumes are known.
FLARES: Final = tuple(0.05 * step for step in range(13))


def osteophytes(shape: BodyShape, grams: float, right: float) -> tuple[tuple[float, float], float]:
    """Flare to the left and to the right, and the density of what it adds, g/cm³.

    Parameters
    ----------
    shape : BodyShape
        The body; its own flare does not count.
    grams : float
        Mineral to be added.
    right : float
        Share of it on the patient's right, 0 to 1.
    """
    if grams <= 0:
        return (0.0, 0.0), 0.0
    kind = kind_of(shape.level)
    half_width, half_depth, height = kind.outline
    tall = (shape.anterior + 2 * shape.middle + shape.posterior) / 4
    scale = shape.width / 2 / half_width * shape.depth / 2 / half_depth * tall / height
    sides = (2 * (1 - right), 2 * right)
    tried = np.linspace(0, WIDEST, len(FLARES))
    volumes = sum(scale * np.interp(tried * side, FLARES, grown_volumes(kind)) for side in sides)
    flare = float(np.interp(grams / DENSITY, volumes, tried))
    density = grams / float(np.interp(flare, tried, volumes))
    return (flare * sides[0], flare * sides[1]), density


@lru_cache(maxsize=3)
def grown_volumes(kind: VertebraKind) -> NDArray[np.float64]:
    """Volume in cm³ that each of `FLARES` adds to one side of a template's body."""
    table = template_of(kind)
    grid = [
        low + table.spacing * np.arange(n) for low, n in zip(table.low, table.shape, strict=True)
    ]
    points = floats(np.stack(np.meshgrid(*grid, indexing="ij"), axis=-1).reshape(-1, 3))
    rims = rim_share(points[:, 2], kind.body[2])
    near = (points[:, 0] > 0) & (rims > 0) & (points[:, 1] < kind.body[1])
    near &= np.abs(table.table[:, 0]) < WIDEST * 3 * kind.body[0]
    (x, y, z), rims = points[near].T, rims[near]

    def filled(u: Floats, v: Floats) -> Floats:
        return np.clip(0.5 - table.at(u, v, z)[:, 0] / np.float32(table.spacing), 0, 1)

    before, found = filled(x, y), []
    for flare in FLARES:
        wider = rims * np.float32(flare)
        after = filled(x / (1 + wider), np.where(y < 0, y / (1 + FORWARD * wider), y))
        found.append(float(np.maximum(after - before, 0).sum()) * table.spacing**3 / 1000)
    return np.array(found)
