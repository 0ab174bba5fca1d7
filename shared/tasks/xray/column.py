"""Where L1 to L4 stand on a frontal film, by what is marked as vertebrae on it.

Marks of vertebrae touch each other: a body is boxed with half of its discs, and a network draws
one column. So levels follow from the column: its lower end is that of L5, and a vertebra with
its disc is so much lower than wide. Where somebody named levels, those count.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from shared.records import VertebraBox
from shared.regions import LUMBAR, REGION_CODES, UNNAMED_VERTEBRA, VERTEBRAE
from shared.tasks.xray.proportions import L5_HEIGHT, LEVEL_HEIGHT

#: Fewer vertebrae of L1 to L4 than this in view are no lumbar spine.
FEWEST: Final = 3.0
#: Share of the box around a column that it fills, at least; of a bent one less.
FILLED: Final = 0.35
#: How far the middle may go to the side on the way from L1 to L4, in widths of a body.
MOST_LEAN: Final = 1.2
#: Share of the height of a level by which a column may end short of an edge and count as cut.
AT_EDGE: Final = 0.15
#: Gaps in a column that are closed, as a share of the image's height.
GAP: Final = 0.02


class NoColumnError(ValueError):
    """Why a film cannot be assessed, as part of a sentence that begins with "because"."""


@dataclass(frozen=True)
class LumbarColumn:
    """L1 to L4 on a film.

    Attributes
    ----------
    top, bottom : float
        Rows of the upper end of L1 and the lower end of L4, half of the discs included.
    middle : float
        Column of their middle.
    width : float
        Of a body, in columns.
    seen : float
        How many of the four are in the field, at most 4.
    named : bool
        Whether somebody named levels; otherwise they were counted from the lowest.
    """

    top: float
    bottom: float
    middle: float
    width: float
    seen: float
    named: bool

    @property
    def level(self) -> float:
        """Rows from one vertebra to the next."""
        return (self.bottom - self.top) / len(LUMBAR)


def find_column(regions: NDArray[np.uint8], aspect: float = 1.0) -> LumbarColumn:
    """Find L1 to L4.

    Parameters
    ----------
    regions : ndarray of uint8, shape (H, W)
        In the codes of `shared.regions`; `UNNAMED_VERTEBRA` where nobody said which.
    aspect : float
        Height of a pixel over its width.

    Raises
    ------
    NoColumnError
        If fewer than three of them are in view, or what is marked is no upright column.
    """
    codes = [REGION_CODES[name] for name in LUMBAR]
    named = [code for code in codes if (regions == code).any()]
    if len(named) >= FEWEST:
        return _by_names(regions, named)
    if named:
        raise NoColumnError("fewer than three of the vertebrae L1 to L4 are marked in it")
    return _by_counting(regions, aspect)


def _by_names(regions: NDArray[np.uint8], named: list[int]) -> LumbarColumn:
    """L1 to L4 where three or four are marked by name; what is missing is as high as the rest."""
    places = np.array([REGION_CODES[name] for name in LUMBAR])
    inside = np.isin(regions, named)
    rows = [np.flatnonzero((regions == code).any(1)) for code in named]
    numbers = [int(np.flatnonzero(places == code)[0]) for code in named]
    first, last = rows[0][0], rows[-1][-1] + 1
    level = (last - first) / (numbers[-1] - numbers[0] + 1)
    if level <= 0:
        raise NoColumnError("the vertebrae L1 to L4 that are marked in it stand in no order")
    top = float(first - numbers[0] * level)
    bottom = float(last + (len(LUMBAR) - 1 - numbers[-1]) * level)
    widths = inside.sum(1)
    _, columns = np.nonzero(inside)
    return LumbarColumn(
        top, bottom, float(columns.mean()) + 0.5, float(np.median(widths[widths > 0])),
        float(len(named)), True,
    )  # fmt: skip


def _by_counting(regions: NDArray[np.uint8], aspect: float) -> LumbarColumn:
    """L1 to L4 by the largest column, counted from its lower end."""
    column = _largest(np.isin(regions, [UNNAMED_VERTEBRA, *(REGION_CODES[n] for n in VERTEBRAE)]))
    rows = np.flatnonzero(column.any(1))
    first, last = int(rows[0]), int(rows[-1]) + 1
    widths = column.sum(1)
    width = float(np.median(widths[rows]))
    for _ in range(3):  # bodies grow towards the feet: those of the lumbar spine count
        reach = round((4 * LEVEL_HEIGHT + L5_HEIGHT) * width / aspect)
        own = widths[max(first, last - reach) : last]
        width = float(np.median(own[own > 0]))
    level, lowest = LEVEL_HEIGHT * width / aspect, L5_HEIGHT * width / aspect
    bottom = last - lowest
    top = bottom - len(LUMBAR) * level
    seen = float(np.clip((bottom - max(top, first)) / level, 0, len(LUMBAR)))
    if seen < FEWEST - AT_EDGE:
        raise NoColumnError("fewer than three of the vertebrae L1 to L4 are recognised in it")
    if last >= len(regions) - AT_EDGE * level:
        raise NoColumnError(
            "the lower end of the lumbar spine is not in it, so levels cannot be counted"
        )
    inside = column[max(first, round(top)) : round(bottom)]
    middles = [np.flatnonzero(row).mean() for row in inside if row.any()]
    box = inside[:, inside.any(0)]
    if not box.size or box.mean() < FILLED or np.ptp(middles) > MOST_LEAN * width:
        raise NoColumnError("what looks like vertebrae in it is no upright column")
    return LumbarColumn(top, bottom, float(np.mean(middles)) + 0.5, width, seen, False)


def _largest(marked: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Largest connected part, across small gaps between boxes."""
    from scipy import ndimage

    high = max(1, round(GAP * len(marked)))
    closed = ndimage.binary_closing(np.pad(marked, high), np.ones((2 * high + 1, 1), bool))
    parts, count = ndimage.label(closed[high:-high, high:-high] | marked)
    if not count:
        raise NoColumnError("no vertebrae are recognised in it")
    sizes = np.bincount(parts.ravel())[1:]
    return np.asarray(parts == int(sizes.argmax()) + 1)


def column_of_boxes(boxes: Sequence[VertebraBox]) -> LumbarColumn:
    """Find L1 to L4 among boxes of single vertebrae: by their names, otherwise from the lowest.

    Parameters
    ----------
    boxes : sequence of VertebraBox
        In pixels; the lowest is an L5 where L1 to L4 have no names.

    Raises
    ------
    NoColumnError
        If fewer than three of them are marked, or they stand beside each other.
    """
    ordered = sorted(boxes, key=lambda one: one.y0 + one.y1)
    found = {one.vertebra: one for one in ordered if one.vertebra in LUMBAR}
    if not found:
        unnamed = [one for one in ordered if not one.vertebra][:-1][-len(LUMBAR) :]
        found = dict(zip(LUMBAR[-len(unnamed) :], unnamed, strict=True)) if unnamed else {}
    if len(found) < FEWEST:
        raise NoColumnError("fewer than three of the vertebrae L1 to L4 are marked in it")
    numbers = [LUMBAR.index(name) for name in found]
    middles = [(one.y0 + one.y1) / 2 for one in found.values()]
    level, first = np.polyfit(numbers, middles, 1)
    width = float(np.median([one.x1 - one.x0 for one in found.values()]))
    across = [(one.x0 + one.x1) / 2 for one in found.values()]
    if level <= 0 or np.ptp(across) > MOST_LEAN * width:
        raise NoColumnError("the vertebrae that are marked in it stand in no upright column")
    top = float(first - level / 2)
    bottom = top + len(LUMBAR) * float(level)
    named = any(one.vertebra in LUMBAR for one in ordered)
    return LumbarColumn(top, bottom, float(np.mean(across)), width, float(len(found)), named)


def levels_of(regions: NDArray[np.uint8], column: LumbarColumn) -> NDArray[np.uint8]:
    """Give the marked column the names of L1 to L4 by rows; the rest stays without one, (H, W)."""
    marked = regions > 0
    named = np.where(marked, np.uint8(UNNAMED_VERTEBRA), np.uint8(0))
    for number, name in enumerate(LUMBAR):
        first = max(0, round(column.top + number * column.level))
        last = max(0, round(column.top + (number + 1) * column.level))
        named[first:last][marked[first:last]] = REGION_CODES[name]
    return named
