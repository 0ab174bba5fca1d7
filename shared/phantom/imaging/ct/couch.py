"""The patient table in a slice: two thin shells with foam between, and a mattress."""

from __future__ import annotations

import numpy as np

from shared.phantom.solids.distance import Floats, floats

from .scanner import CouchShape

#: HU of a mattress.
MATTRESS_HU = -940.0


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
    across = np.minimum(np.abs(x) / np.float32(couch.half_width), 1)[None, :]
    upper = floats(top + couch.mattress - couch.lift * across**2)
    # The lower shell is narrower and meets the upper one at the edges.
    lower = floats(upper + couch.depth * (1 - across**4))
    spacing = float(abs(y[1] - y[0]))
    inside = _between(y[:, None], upper, lower, spacing)
    shell, foam = np.float32(couch.shell), np.float32(couch.mattress)
    core = _between(y[:, None], upper + shell, lower - shell, spacing)
    pad = _between(y[:, None], upper - foam, upper, spacing)
    wide = np.abs(x)[None, :] < couch.half_width
    soft = np.abs(x)[None, :] < couch.half_width * 0.9
    skin = (inside - core) * np.float32(couch.shell_hu + 1000)
    return floats(
        wide * (skin + core * np.float32(couch.core_hu + 1000))
        + soft * pad * np.float32(MATTRESS_HU + 1000)
    )


def _between(y: Floats, low: Floats, high: Floats, width: float) -> Floats:
    """Share of pixels that lies between two curves."""
    below = np.clip((y - low) / width + 0.5, 0, 1)
    above = np.clip((high - y) / width + 0.5, 0, 1)
    return floats(np.maximum(below + above - 1, 0))
