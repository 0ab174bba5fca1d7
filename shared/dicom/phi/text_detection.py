"""Shapes like letters: of one height, side by side, drawn in one value.

`rows_in` is called for every place of an image where sharp edges stand close together, some
twenty times an image, nearly always in vain: what is cheap is asked first.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

#: Letters in a row from which on it is text: L, R, AP and LAT are markers.
FEWEST_LETTERS: Final = 4
#: Height of letters, pixels.
LETTER_HEIGHT: Final = (5, 80)
#: A stroke is less than this wide, pixels.
STROKE: Final = 15
#: How much a stroke differs from what is behind it at least, in display values.
STANDS_OUT: Final = 0.12
#: Text was drawn in one value: how far from it its smooth edges may be, and how fine values
#: are told apart to find it (a power of two, so that a product with it is exact).
NEAR_VALUE: Final = 0.15
VALUES: Final = 128
#: More connected shapes than this in one place are noise.
MOST_SHAPES: Final = 3000
#: Letters of a row have one brightness, anatomy has not.
SAME_BRIGHTNESS: Final = 0.06
SAME_HEIGHT: Final = 0.3
#: Of two letters side by side the higher one is at most so much higher, and in their heights:
#: how far they may overlap, how far apart they may stand.
HEIGHTS_APART: Final = 1.9
GAP: Final = (-0.3, 1.3)
#: A shape that is wider, in its height, is of letters that touch.
TOUCHING: Final = 1.6
#: Of more shapes it is not asked which stand beside which before they are looked at.
MOST_PAIRED: Final = 200
EVERY_NEIGHBOUR: Final = np.ones((3, 3), bool)


@dataclass(frozen=True)
class LetterRow:
    """Shapes like letters in a row: how many, where, brighter than around, read upwards.

    `even` is the share of their pixels that have one and the same value.
    """

    letters: int
    even: float
    place: tuple[slice, slice]
    bright: bool
    upwards: bool = False


@dataclass(slots=True)
class _Shape:
    """One connected shape: its box, brightness, the letters it may be, its pixels."""

    top: int
    bottom: int
    left: int
    right: int
    height: int
    brightness: float
    letters: int
    values: NDArray[np.float32]


def rows_in(patch: NDArray[np.float32], same: float) -> list[LetterRow]:
    """Find rows of shapes that are brighter than what is around them.

    Parameters
    ----------
    patch : ndarray, shape (H, W)
        A part of an image, display values in [0, 1], none missing.
    same : float
        How far values are apart that were drawn as one.
    """
    thin = patch - _opened(patch)
    if float(thin.max()) <= STANDS_OUT:
        return []
    limit = max(STANDS_OUT, 0.5 * _quantile_above(thin, 0.995, 2 * STANDS_OUT))
    strokes = thin > limit
    # Text was drawn in one value: what is far from the most frequent one is no part of it.
    levels = (patch[strokes] * VALUES).astype(np.intp)
    counts = np.bincount(np.minimum(levels, VALUES - 1), minlength=VALUES)
    drawn = (float(counts.argmax()) + 0.5) / VALUES
    mask = (thin > max(STANDS_OUT, limit / 2)) & (np.abs(patch - drawn) < NEAR_VALUE)
    labelled, number = ndimage.label(mask, EVERY_NEIGHBOUR)
    if number > MOST_SHAPES:
        return []
    boxes = ndimage.find_objects(labelled)
    shapes = []
    for index in _may_be_in_rows(boxes):
        box = boxes[index]
        shape = _shape(labelled[box] == index + 1, patch[box], box)
        if shape is not None:
            shapes.append(shape)
    if sum(shape.letters for shape in shapes) < FEWEST_LETTERS:
        return []
    return [row for chain in _chains(shapes) if (row := _row(chain, same)) is not None]


def _opened(patch: NDArray[np.float32]) -> NDArray[np.float32]:
    """Grey opening by a square; `ndimage.grey_opening` gives the same at six times the cost."""
    return _extreme(_extreme(patch, np.minimum), np.maximum)


def _extreme(patch: NDArray[np.float32], of: np.ufunc) -> NDArray[np.float32]:
    """Least or greatest of a square around each pixel; beyond its edges a patch is mirrored."""
    for axis in (0, 1):
        lines = patch.take(_mirrored(patch.shape[axis]), axis)
        width = 1
        while width < STROKE:  # of twice as many neighbours each time
            more = min(width, STROKE - width)
            near, far = (lines[:-more], lines[more:]) if axis == 0 else (
                lines[:, :-more], lines[:, more:]
            )  # fmt: skip
            lines, width = of(near, far), width + more
        patch = lines
    return patch


@lru_cache(maxsize=1024)
def _mirrored(size: int) -> NDArray[np.intp]:
    """Places of a line with half a stroke of mirrored ones on both sides."""
    places = np.arange(-(STROKE // 2), size + STROKE // 2) % (2 * size)
    return np.minimum(places, 2 * size - 1 - places)


def _may_be_in_rows(boxes: list[tuple[slice, slice]]) -> list[int]:
    """Indices of boxes that have the size of a letter beside another, or of letters that touch.

    Most shapes stand alone, and what is asked here needs none of their pixels.
    """
    if len(boxes) == 0:
        return []
    sides = np.array([(d.start, d.stop, a.start, a.stop) for d, a in boxes])
    heights, widths = sides[:, 1] - sides[:, 0], sides[:, 3] - sides[:, 2]
    sized = (heights >= LETTER_HEIGHT[0]) & (heights <= LETTER_HEIGHT[1]) & (widths <= 14 * heights)
    some = np.flatnonzero(sized)
    if len(some) > MOST_PAIRED:
        return [int(index) for index in some]
    top, bottom, left, right = sides[some].T
    height = heights[some]
    low, high = np.minimum(height, height[:, None]), np.maximum(height, height[:, None])
    gap = left - right[:, None]
    overlap = np.minimum(bottom, bottom[:, None]) - np.maximum(top, top[:, None])
    beside = (high <= HEIGHTS_APART * low) & (overlap >= 0.6 * low)
    beside &= (GAP[0] * high <= gap) & (gap <= GAP[1] * high)
    np.fill_diagonal(beside, val=False)
    wide = widths[some] > TOUCHING * height
    kept = beside.any(axis=0) | beside.any(axis=1) | wide
    return [int(index) for index in some[kept]]


def _shape(
    inside: NDArray[np.bool_], values: NDArray[np.float32], box: tuple[slice, slice]
) -> _Shape | None:
    """Describe a connected shape; None if it is neither a letter nor letters that touch."""
    height, width = inside.shape
    mine = values[inside]
    if width > 0.35 * height and not 0.12 <= mine.size / inside.size <= 0.95:
        return None
    letters = 1
    if width > TOUCHING * height:
        begun = np.diff(inside.astype(np.int8), axis=1, prepend=0) == 1
        letters = max(1, round(float(begun.sum(axis=1).mean()) / 1.7))
    down, across = box
    return _Shape(
        down.start, down.stop, across.start, across.stop, height,
        _quantile(mine, 0.8), letters, mine,
    )  # fmt: skip


def _quantile(values: NDArray[np.float32], share: float) -> float:
    """`numpy.quantile` of values without NaN, at a tenth of its cost for a few of them."""
    place = share * (values.size - 1)
    low = int(place)
    return _between(values.flatten(), low, min(low + 1, values.size - 1), place - low)


def _quantile_above(values: NDArray[np.float32], share: float, least: float) -> float:
    """The quantile, or `least` where it is less: only what is above is put in order."""
    place = share * (values.size - 1)
    low = int(place)
    above = values[values > least]
    below = values.size - above.size
    if low + 1 < below or above.size == 0:
        return least
    if low < below:
        return _quantile(values, share)
    high = min(low + 1, values.size - 1)
    return _between(above, low - below, high - below, place - low)


def _between(values: NDArray[np.float32], low: int, high: int, part: float) -> float:
    """What lies a part of the way from the low-th to the high-th value; their order changes."""
    values.partition((low, high))
    return float(values[low] + part * (values[high] - values[low]))


def _chains(shapes: list[_Shape]) -> list[list[_Shape]]:
    """Follow shapes from left to right as long as the next one stands beside the last."""
    shapes = sorted(shapes, key=lambda shape: (shape.left, shape.top))
    used: set[int] = set()
    chains = []
    for first, shape in enumerate(shapes):
        if first in used:
            continue
        chain, last = [shape], shape
        for place in range(first + 1, len(shapes)):
            following = shapes[place]
            # None from here on is near enough, however high it may be.
            if following.left > last.right + GAP[1] * HEIGHTS_APART * last.height:
                break
            if place not in used and _beside(last, following):
                chain.append(following)
                used.add(place)
                last = following
        chains.append(chain)
    return chains


def _beside(last: _Shape, following: _Shape) -> bool:
    """Whether a shape can be the next letter of a row."""
    if abs(last.brightness - following.brightness) > 2 * SAME_BRIGHTNESS:
        return False
    low, high = last.height, following.height
    if low > high:
        low, high = high, low
    if high > HEIGHTS_APART * low:
        return False
    if not GAP[0] * high <= following.left - last.right <= GAP[1] * high:
        return False
    overlap = min(last.bottom, following.bottom) - max(last.top, following.top)
    return overlap >= 0.6 * low


def _row(chain: list[_Shape], same: float) -> LetterRow | None:
    """Row of a chain of shapes, None if they are no letters."""
    letters = sum(shape.letters for shape in chain)
    if letters < FEWEST_LETTERS:
        return None
    heights = np.array([shape.height for shape in chain])
    if np.std([shape.brightness for shape in chain]) > SAME_BRIGHTNESS:
        return None
    if heights.std() > SAME_HEIGHT * heights.mean():
        return None
    widths = [shape.right - shape.left for shape in chain]
    if len(chain) >= FEWEST_LETTERS and max(widths) - min(widths) <= 1 and heights.std() <= 1:
        return None  # ticks of a scale
    down = slice(min(s.top for s in chain), max(s.bottom for s in chain))
    across = slice(min(s.left for s in chain), max(s.right for s in chain))
    values = np.sort(np.concatenate([shape.values for shape in chain]))
    alike = np.searchsorted(values, values + same, side="right") - np.arange(values.size)
    return LetterRow(letters, float(alike.max() / values.size), (down, across), bright=True)
