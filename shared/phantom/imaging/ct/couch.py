"""The patient table in a slice: a sandwich of two shells under a mattress, and a lower shell."""

from __future__ import annotations

from typing import Final

import numpy as np

from shared.phantom.solids.distance import Floats, floats

from .scanner import CouchShape

#: HU of a mattress.
MATTRESS_HU: Final = -945.0
#: Foam between the two upper shells, mm.
SANDWICH_MM: Final = 4.5
#: How wide an open table's lower shell is, as a share of the upper one.
OPEN_WIDTH: Final = 0.78


def couch_hu(couch: CouchShape, x: Floats, y: Floats, top: float) -> Floats:
    """HU over those of air that a table adds.

    Parameters
    ----------
    couch : CouchShape
        Its form.
    x, y : ndarray of float32, shape (W,) and (H,)
        Offsets of pixels from the table's middle, and downwards, mm.
    top : float
        Where a body's lowest point lies on the mattress, mm.

    Returns
    -------
    ndarray of float32, shape (H, W)
        0 where there is no table.
    """
    share = np.abs(x)[None, :] / np.float32(couch.half_width)
    down, spacing = y[:, None], float(abs(y[1] - y[0]))
    upper = floats(top + couch.mattress - couch.lift * np.minimum(share, 1) ** 2)
    edge = OPEN_WIDTH if couch.open else 1.0
    # A closed table's lower shell rises to the upper one's edges.
    rise = couch.lift * share**2 if couch.open else couch.depth * share**4 + couch.lift * share**2
    lower = floats(top + couch.mattress + couch.depth - rise)
    shell, foam = np.float32(couch.shell), np.float32(SANDWICH_MM)
    skin = _between(down, upper, upper + shell, spacing)
    skin += _between(down, upper + shell + foam, upper + 2 * shell + foam, spacing)
    core = _between(down, upper + shell, upper + shell + foam, spacing)
    below = _between(down, lower, lower + shell, spacing) * (share < edge)
    if not couch.open:
        core = core + _between(down, upper + 2 * shell + foam, lower, spacing)
    pad = _between(down, upper - np.float32(couch.mattress), upper, spacing) * (share < 0.9)
    return floats(
        (share < 1) * (skin + below) * np.float32(couch.shell_hu + 1000)
        + (share < 1) * core * np.float32(couch.core_hu + 1000)
        + pad * np.float32(MATTRESS_HU + 1000)
    )


def _between(y: Floats, low: Floats, high: Floats, width: float) -> Floats:
    """Share of pixels that lies between two curves."""
    below = np.clip((y - low) / width + 0.5, 0, 1)
    above = np.clip((high - y) / width + 0.5, 0, 1)
    return floats(np.maximum(below + above - 1, 0))
