"""Places of rays along an axis, and where pixels lie between them."""

from __future__ import annotations

import numpy as np

from shared.phantom.solids.distance import Floats, floats

from .projection import Frame


def even(low: float, high: float, step: float) -> Floats:
    """Places a step apart, mm."""
    return floats(np.arange(low, high + step / 2, step))


def between(
    frame: Frame, step: tuple[float, float], margin: float
) -> tuple[Floats, Floats, tuple[Floats, Floats]]:
    """Rows and columns of rays that are `step` apart, mm, and where pixels lie between them.

    They begin and end `margin` steps beyond the middle of the first and the last pixel.
    """
    found, places = [], []
    for values, one in zip((frame.rows, frame.columns), step, strict=True):
        first = float(values[0]) - margin * one
        found.append(even(first, float(values[-1]) + margin * one, one))
        places.append(floats((values - np.float32(first)) / np.float32(one)))
    return found[0], found[1], (places[0], places[1])
