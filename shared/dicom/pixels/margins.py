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
ROWS_BETWEEN_LOOKS: Final = 16


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
    runs, found = np.zeros(saturated.shape, bool), np.zeros(saturated.shape, bool)
    for step in (1, -1):
        _add_runs_down(runs[::step], saturated[::step])
        _add_runs_across(runs[:, ::step], saturated[:, ::step])
    # Most images have none, and margins are narrow: the rest need not be opened or labelled.
    rows, columns = _near(runs, 1), _near(runs, 0)
    if not len(rows):
        return found
    places = np.ix_(rows, columns)
    labels, count = ndimage.label(_opened(runs[places]))
    large = np.bincount(labels.ravel(), minlength=count + 1) >= SMALLEST_MARGIN
    large[0] = False
    found[places] = large[labels]
    return found


def _near(runs: NDArray[np.bool_], axis: int) -> NDArray[np.intp]:
    """Lines across an axis with runs, and as many beside them as an opening looks at."""
    some = np.asarray(runs.any(axis=axis))
    return np.flatnonzero(ndimage.binary_dilation(some, iterations=THINNEST_STEP))


def _add_runs_down(runs: NDArray[np.bool_], saturated: NDArray[np.bool_]) -> None:
    """Add the unbroken runs from the first row on, down the columns."""
    unbroken = saturated[0].copy()
    for number, row in enumerate(saturated):
        unbroken &= row
        if number % ROWS_BETWEEN_LOOKS == 0 and not unbroken.any():
            return
        runs[number] |= unbroken


def _add_runs_across(runs: NDArray[np.bool_], saturated: NDArray[np.bool_]) -> None:
    """Add the unbroken runs from the first column on, along the rows."""
    begun = np.flatnonzero(saturated[:, 0])
    if len(begun):
        lengths = saturated[begun].argmin(axis=1)
        lengths[lengths == 0] = saturated.shape[1]  # the first pixel is saturated: so are all
        longest = int(lengths.max())
        runs[begun, :longest] |= np.arange(longest) < lengths[:, None]


def _opened(runs: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Morphological opening with a square, as if the edges went on beyond the image.

    Padding lets steps at the edge be thinner inside the image than they are.
    """
    border = THINNEST_STEP
    opened = np.pad(runs, border, mode="edge")
    opened = _slid(_slid(opened, np.logical_and).T, np.logical_and).T  # erosion
    opened = np.pad(opened, THINNEST_STEP - 1)
    opened = _slid(_slid(opened, np.logical_or).T, np.logical_or).T  # dilation
    return opened[border:-border, border:-border]


def _slid(array: NDArray[np.bool_], combine: np.ufunc) -> NDArray[np.bool_]:
    """Combine `THINNEST_STEP` neighbours of a column; the result has two rows less."""
    last = len(array) - THINNEST_STEP + 1
    result = array[:last]
    for place in range(1, THINNEST_STEP):
        result = combine(result, array[place : last + place])
    return result
