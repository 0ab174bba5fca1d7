"""Unscanned margins: white steps along the edges where the scan arm did not reach.

They are of one value at or near the top of the grey scale: 255 in some real files, 252 in others.
"""

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
#: A margin is at least this bright, on [0, 1]; 252 of 255 was seen in real files.
NEAR_TOP: Final = 0.9
#: A margin's width changes once a step of the arm, in at most this share of its rows. The outline
#: of bone or metal that touches an edge changes from row to row.
MOST_CHANGES: Final = 0.25
#: A step too thin for `THINNEST_STEP` is one where it keeps its width over so many rows.
THIN_ROWS: Final = 8


def constant_margin(unit: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Find the unscanned margins of an image, whatever bright value they have.

    A margin is of one value only, touches the left or the right edge (the arm moves from side to
    side), and its width changes in steps. What is as bright within the scan, as metal is, stays.

    Parameters
    ----------
    unit : ndarray of float32, shape (H, W)
        Display values in [0, 1].

    Returns
    -------
    ndarray of bool, shape (H, W)
        True where nothing was scanned.
    """
    found = np.zeros(unit.shape, bool)
    sides = np.concatenate([unit[:, 0], unit[:, -1]])
    values, counts = np.unique(sides[sides >= NEAR_TOP], return_counts=True)
    if not len(values):
        return found
    bright = unit == values[np.argmax(counts)]
    steps = unscanned_margin(bright)
    labels, count = ndimage.label(steps)
    for number in range(1, count + 1):
        part = labels == number
        if (part[:, 0].any() or part[:, -1].any()) and _is_stepped(part):
            found |= part
    for side, seen in ((found, bright), (found[:, ::-1], bright[:, ::-1])):
        _add_thin(side, seen)
    return found


def _add_thin(found: NDArray[np.bool_], bright: NDArray[np.bool_]) -> None:
    """Add the steps at the first column that are thinner than `THINNEST_STEP`."""
    widths = bright[:, :THINNEST_STEP].argmin(axis=1)  # 0 where there is none, or it is wider
    ends = np.flatnonzero(np.diff(widths)) + 1
    for rows in np.split(np.arange(len(widths)), ends):
        if len(rows) >= THIN_ROWS:
            found[rows, : widths[rows[0]]] = True


def _is_stepped(part: NDArray[np.bool_]) -> bool:
    """Say whether the width of a part changes in a few of its rows only, on either side."""
    halves = (part, part[:, ::-1])
    widths = [half.argmin(axis=1) for half in halves]  # of the run from each edge
    changes = sum(int(np.count_nonzero(np.diff(one))) for one in widths)
    rows = int(np.count_nonzero(part.any(axis=1)))
    return changes <= max(2, MOST_CHANGES * rows)


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
