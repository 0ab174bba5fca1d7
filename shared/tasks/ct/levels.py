"""Which found levels may be believed: what is in view, what fits together, how many there are.

Without a network. Levels are counted from the ribs down or from the sacrum up; with neither in
view nobody knows which vertebra is which.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

import numpy as np
from torch import Tensor

from shared.findings.region_names import levels as level_words
from shared.findings.region_names import levels_by_reason
from shared.regions import LUMBAR, SACRUM
from shared.tasks.ct.landmarks import (
    HALF_BODY,
    TOP,
    Canvas,
    FoundLandmark,
    way_mm,
)
from shared.tasks.ct.slabs import SLAB_MM

#: A landmark that is less likely than this was not found.
LEAST_CHANCE: Final = 0.5
#: [U] Middles of neighbouring lumbar vertebrae are so far apart, mm: small women with fractures
#: to tall men.
WAY_MM: Final = (20.0, 50.0)
#: [U] The longest way is at most so many times the shortest, a severe fracture included.
MOST_UNEVEN: Final = 1.35
#: Both stages disagree if they put L1 further apart than this share of the way to the next.
DISAGREEMENT: Final = 0.5
#: The twelfth rib leaves T12 in this height above L1, beside the spine by so much, mm.
RIB_ABOVE_MM: Final = (3.0, 30.0)
RIB_BESIDE_MM: Final = (30.0, 75.0)
#: What is as bright as this in the frontal projection (400 HU) is bone, in so many rows of those.
BONE: Final = 0.5
RIB_ROWS: Final = 4
USUAL: Final = 5
MOST_LUMBAR: Final = 6
#: The count of vertebrae above the sacrum is clear if it is so near to a whole number.
CLEAR: Final = 0.3


@dataclass(frozen=True)
class ReadLevels:
    """What may be said of the levels of a series.

    Attributes
    ----------
    slabs : mapping of str to float
        Middle of each level that is certain, in slabs from the feet.
    doubts : mapping of str to str
        Why a level is not certain, in words that follow its name.
    note : str
        What else a doctor should know; empty = nothing.
    """

    slabs: Mapping[str, float]
    doubts: Mapping[str, str]
    note: str = ""


def read_levels(found: Mapping[str, FoundLandmark], picture: Tensor, canvas: Canvas) -> ReadLevels:
    """Say which found levels are certain.

    Parameters
    ----------
    found : mapping of str to FoundLandmark
        By `LANDMARKS`.
    picture : Tensor, shape (2, 224, 96)
        `landmarks.draw_canvas`.
    canvas : Canvas
        How the slabs lie on it.
    """
    rows = {name: one.row for name, one in found.items() if is_seen(one, canvas)}
    if TOP not in rows:
        return _none("the upper end of L1 was not found in this series")
    ribs, sacrum = shows_ribs(picture, rows[TOP], canvas), SACRUM in rows
    if not (ribs or sacrum):
        return _none("neither the twelfth ribs nor the sacrum is in view, so nothing says which "
                     "vertebra is which")  # fmt: skip
    odd = _out_of_step(rows)
    if odd:
        return _none(odd)
    if not _stages_agree(rows):
        return _none("the two stages of the search disagree where L1 is")
    lumbar, note = _count(rows) if sacrum else (None, "")
    if not ribs and lumbar != USUAL:
        return _none("the ribs are not in view, and five vertebrae above the sacrum are not "
                     "certain")  # fmt: skip
    if lumbar is not None and lumbar > MOST_LUMBAR:
        return _none(f"{lumbar} vertebrae seem to lie between the ribs and the sacrum")
    doubts = {name: "was not found" for name in LUMBAR if name not in rows}
    certain = {name: canvas.slab_of(rows[name]) for name in LUMBAR if name not in doubts}
    return ReadLevels(certain, doubts, note)


def shows_ribs(picture: Tensor, top: float, canvas: Canvas) -> bool:
    """Say whether ribs leave the spine just above L1: bone beside it in the frontal projection.

    Parameters
    ----------
    picture : Tensor, shape (2, 224, 96)
    top : float
        Row of the upper end of L1.
    canvas : Canvas
    """
    first, last = canvas.scanned
    low, high = (round(top - mm / SLAB_MM) for mm in RIB_ABOVE_MM)
    shown = picture[0, max(first, high) : min(last, low) + 1].numpy()
    if not len(shown):
        return False
    beside = np.abs(np.arange(shown.shape[1]) - (shown.shape[1] - 1) / 2) * SLAB_MM
    near = (beside >= RIB_BESIDE_MM[0]) & (beside <= RIB_BESIDE_MM[1])
    right = near & (np.arange(shown.shape[1]) < shown.shape[1] / 2)
    bright = shown >= BONE
    each = [int(bright[:, side].any(1).sum()) for side in (right, near & ~right)]
    return max(each) >= RIB_ROWS


def is_seen(one: FoundLandmark, canvas: Canvas) -> bool:
    """Say whether a landmark was found, on a row that was scanned."""
    first, last = canvas.scanned
    return one.chance >= LEAST_CHANCE and first <= one.row <= last


def _out_of_step(rows: Mapping[str, float]) -> str:
    """Say which neighbours are as far apart as in no spine; empty = none.

    A vertebra was then left out or taken twice, and which of the names are right is not known.
    """
    found = [name for name in LUMBAR if name in rows]
    steps = {
        (upper, lower): way_mm(rows, upper, lower) / (LUMBAR.index(lower) - LUMBAR.index(upper))
        for upper, lower in pairwise(found)
    }
    for (upper, lower), step in steps.items():
        if not WAY_MM[0] <= step <= WAY_MM[1]:
            return f"{upper} and {lower} seem {way_mm(rows, upper, lower):.0f} mm apart"
    if steps and max(steps.values()) > MOST_UNEVEN * min(steps.values()):
        most, least = max(steps.values()), min(steps.values())
        return f"neighbours seem {least:.0f} to {most:.0f} mm apart, more unevenly than in a spine"
    return ""


def _stages_agree(rows: Mapping[str, float]) -> bool:
    """Say whether the levels of the second stage lie where the first one's end of L1 has them."""
    found = [name for name in LUMBAR if name in rows]
    if len(found) < 2:
        return False
    first, last = found[0], found[-1]
    step = way_mm(rows, first, last) / (LUMBAR.index(last) - LUMBAR.index(first))
    expected = (HALF_BODY + LUMBAR.index(first)) * step
    return abs(way_mm(rows, TOP, first) - expected) <= DISAGREEMENT * step


def _count(rows: Mapping[str, float]) -> tuple[int | None, str]:
    """Count the lumbar vertebrae between the upper end of L1 and the sacrum."""
    ways = [way_mm(rows, u, w) for u, w in pairwise(LUMBAR) if u in rows and w in rows]
    if not ways:
        return None, ""
    number = way_mm(rows, TOP, SACRUM) / float(np.mean(ways))
    nearest = round(number)
    if abs(number - nearest) > CLEAR or nearest < USUAL - 1:
        return None, "how many lumbar vertebrae there are is not clear"
    if nearest == USUAL:
        return nearest, ""
    return nearest, (
        f"there seem to be {nearest} lumbar vertebrae (usually {USUAL}); levels are counted down "
        "from the ribs"
    )


def _none(why: str) -> ReadLevels:
    return ReadLevels({}, dict.fromkeys(LUMBAR, f"is not certain: {why}"))


def doubts_in_words(doubts: Mapping[str, str]) -> list[tuple[str, str]]:
    """Put levels with the same doubt together: (levels in words, why), from the head down."""
    return [(level_words(names), why) for why, names in levels_by_reason(doubts).items()]
