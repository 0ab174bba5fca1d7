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
    runs = np.zeros(saturated.shape, bool)
    for axis in (0, 1):
        for flipped in (False, True):
            lines = np.moveaxis(saturated, axis, 0)
            _add_runs(np.moveaxis(runs, axis, 0), lines, backwards=flipped)
    # Most images have none, and margins are narrow: the rest need not be opened or labelled.
    found = np.zeros_like(runs)
    rows, columns = _with_runs(runs, axis=1), _with_runs(runs, axis=0)
    if rows.stop == 0:
        return found
    steps = _opened(runs[rows, columns])
    labels, count = ndimage.label(steps)
    sizes = np.bincount(labels.ravel(), minlength=count + 1)
    large = sizes >= SMALLEST_MARGIN
    large[0] = False
    found[rows, columns] = large[labels]
    return found


def _with_runs(runs: NDArray[np.bool_], axis: int) -> slice:
    """Lines across an axis from the first to the last one with runs, and some beside them."""
    some = np.flatnonzero(runs.any(axis=axis))
    if not len(some):
        return slice(0, 0)
    # Beyond what is cut out there has to be as much of nothing as an opening looks at.
    return slice(max(0, int(some[0]) - THINNEST_STEP), int(some[-1]) + 1 + THINNEST_STEP)


def _add_runs(runs: NDArray[np.bool_], lines: NDArray[np.bool_], *, backwards: bool) -> None:
    """Add, along axis 0, the unbroken runs that begin at an edge."""
    lines, runs = (lines[::-1], runs[::-1]) if backwards else (lines, runs)
    begun = np.flatnonzero(lines[0])
    if len(begun):
        mine = lines[:, begun]
        lengths = np.where(mine.all(axis=0), len(mine), mine.argmin(axis=0))
        runs[:, begun] |= np.arange(len(mine))[:, None] < lengths


def _opened(runs: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Morphological opening with a square, as if the edges went on beyond the image.

    Padding lets steps at the edge be thinner inside the image than they are.
    """
    border = THINNEST_STEP
    opened = np.pad(runs, border, mode="edge")
    for axis in (0, 1):
        opened = _slid(opened, axis, np.logical_and)  # erosion
    opened = np.pad(opened, THINNEST_STEP - 1)
    for axis in (0, 1):
        opened = _slid(opened, axis, np.logical_or)  # dilation
    return opened[border:-border, border:-border]


def _slid(array: NDArray[np.bool_], axis: int, combine: np.ufunc) -> NDArray[np.bool_]:
    """Combine `THINNEST_STEP` neighbours along an axis, which is shorter by two afterwards."""
    lines = np.moveaxis(array, axis, 0)
    result = lines[: len(lines) - THINNEST_STEP + 1].copy()
    for place in range(1, THINNEST_STEP):
        combine(result, lines[place : len(lines) - THINNEST_STEP + 1 + place], out=result)
    return np.moveaxis(result, 0, axis)
