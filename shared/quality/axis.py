"""The axis of a spine: the column, in each row, about which left and right look the same."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from shared.quality.pixels import Floats, Picture

#: Half of the width that is compared with its mirror image, mm: bodies and pedicles.
HALF_WIDTH_MM: Final = 28.0
#: How far the axis may lie from the brightest column, mm.
REACH_MM: Final = 18.0
#: No spine runs so near to the side of a field, mm.
SIDE_MM: Final = 30.0
#: Structures wider than this are background, mm.
BACKGROUND_MM: Final = 60.0
#: What half a pixel of a step from row to row costs, in standard deviations of the
#: likeness: an axis that moves with the patient is followed, noise is not.
STEP_COST: Final = 1.5
LONGEST_STEP: Final = 3


def spine_axis(picture: Picture) -> NDArray[np.float64] | None:
    """Find the axis of the spine in a PA view.

    The path of greatest likeness between left and right, from the first row to the last,
    by dynamic programming.

    Returns
    -------
    ndarray of float64, shape (H,), or None
        Column of the axis in each row, to half a pixel; None if the picture is too
        narrow to hold a spine.
    """
    from scipy import ndimage

    lines = _structures(picture)
    side = int(SIDE_MM / picture.column_mm)
    columns = ndimage.gaussian_filter1d(lines.mean(axis=0), 8 / picture.column_mm)
    inner = columns[side : len(columns) - side]
    if len(inner) < 3 or float(inner.max()) <= 0:
        return None
    middle = side + int(np.argmax(inner))
    reach = int(REACH_MM / picture.column_mm)
    candidates = middle + np.arange(-2 * reach, 2 * reach + 1) / 2
    likeness = ndimage.uniform_filter1d(_likeness(picture, lines, candidates), 3, axis=0)
    spread = float(likeness.std())
    if spread <= 0:
        return None
    return candidates[_best_path(likeness / spread)]


def _structures(picture: Picture) -> Floats:
    """Bright structures narrower than a trunk, smoothed along the spine."""
    from scipy import ndimage

    middle = np.float32(np.median(picture.grey[picture.scanned]))
    grey = np.where(picture.scanned, picture.grey, middle)
    grey = ndimage.gaussian_filter(grey, [2.8 / picture.row_mm, 1 / picture.column_mm])
    wide = max(3, int(BACKGROUND_MM / picture.column_mm))
    return np.clip(grey - ndimage.uniform_filter1d(grey, wide, axis=1), 0, None)


def _likeness(
    picture: Picture, lines: Floats, candidates: NDArray[np.float64]
) -> NDArray[np.float64]:
    """How alike left and right are about each candidate: (H, candidates), and how bright."""
    width = int(HALF_WIDTH_MM / picture.column_mm)
    padded = np.pad(lines, ((0, 0), (width, width)), mode="edge")
    fine = np.empty((padded.shape[0], 2 * padded.shape[1] - 1), np.float32)
    fine[:, ::2] = padded
    fine[:, 1::2] = (padded[:, 1:] + padded[:, :-1]) / 2
    found = np.empty((lines.shape[0], len(candidates)))
    for place, middle in enumerate(np.rint(2 * (candidates + width)).astype(int)):
        left = fine[:, middle - 2 * width : middle : 2]
        right = fine[:, middle + 2 * width : middle : -2]
        found[:, place] = (0.5 * (left + right) - np.abs(left - right)).mean(axis=1)
    return found


def straightened(image: Floats, axis: NDArray[np.float64], half: int) -> Floats:
    """Cut a band about the axis: (H, 2·half + 1), the axis in the middle column."""
    rows = np.arange(image.shape[0])[:, None]
    columns = np.clip(axis[:, None] + np.arange(-half, half + 1), 0, image.shape[1] - 1.001)
    low = columns.astype(int)
    share = (columns - low).astype(np.float32)
    return np.asarray(image[rows, low] * (1 - share) + image[rows, low + 1] * share, np.float32)


def _best_path(gain: NDArray[np.float64]) -> NDArray[np.int64]:
    """Indices, one a row, of the path with the greatest gain less the cost of its steps."""
    height, width = gain.shape
    steps = np.arange(-LONGEST_STEP, LONGEST_STEP + 1)
    padded = np.full(width + 2 * LONGEST_STEP, -np.inf)
    came_from = np.zeros((height, width), dtype=np.int64)
    best = gain[0].copy()
    reachable = np.arange(width)[:, None] + steps[None, :] + LONGEST_STEP
    cost = STEP_COST * np.abs(steps)
    for row in range(1, height):
        padded[LONGEST_STEP : LONGEST_STEP + width] = best
        options = padded[reachable] - cost
        chosen = options.argmax(axis=1)
        came_from[row] = np.arange(width) + steps[chosen]
        best = options[np.arange(width), chosen] + gain[row]
    path = np.empty(height, dtype=np.int64)
    path[-1] = int(best.argmax())
    for row in range(height - 1, 0, -1):
        path[row - 1] = came_from[row, path[row]]
    return path
