"""Unscanned margins: saturated white steps along the edges where the scan arm did not reach."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

#: A step is at least this many pixels in both directions; thinner is a bright edge.
THINNEST_STEP: Final = 3
#: Fewer pixels than this are a bright corner and no margin.
SMALLEST_MARGIN: Final = 24


def unscanned_margin(saturated: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Find the step-shaped margins among saturated pixels.

    A margin is what an unbroken run of saturated pixels from an edge covers,
    along its row or its column, in steps that are wide enough. A flood from the
    edge would leak into saturated bone or metal that touches a margin; a run
    stops where the step ends, up to what lies in its own row.

    Parameters
    ----------
    saturated : ndarray of bool, shape (H, W)
        Pixels at the brightest value.

    Returns
    -------
    ndarray of bool, shape (H, W)
        True where nothing was scanned.
    """
    if not saturated.any():
        return np.zeros(saturated.shape, bool)
    runs = np.zeros(saturated.shape, bool)
    for flipped in (False, True):
        for axis in (0, 1):
            view = np.flip(saturated, axis) if flipped else saturated
            run = np.logical_and.accumulate(view, axis=axis)
            runs |= np.flip(run, axis) if flipped else run
    # Padding lets steps at the edge be thinner inside the image than they are.
    border = THINNEST_STEP
    padded = np.pad(runs, border, mode="edge")
    steps = ndimage.binary_opening(padded, np.ones((THINNEST_STEP, THINNEST_STEP), bool))
    steps = steps[border:-border, border:-border]
    labels, count = ndimage.label(steps)
    sizes = np.bincount(labels.ravel(), minlength=count + 1)
    large = sizes >= SMALLEST_MARGIN
    large[0] = False
    return np.asarray(large[labels])
