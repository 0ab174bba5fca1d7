"""Which thoracolumbar levels of a chest CT may be believed; a network only proposes them.

Levels are counted from the twelfth ribs: with these out of view nobody knows which is which.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from typing import Final

from torch import Tensor

from shared.records import VolumeRecord
from shared.tasks.ct.landmarks import TOP, Canvas, FoundLandmark, way_mm
from shared.tasks.ct.levels import ReadLevels, is_seen, shows_ribs
from shared.tasks.ct.slabs import Slabs

#: The levels that are read, from the head down, and all landmarks with them.
LEVELS: Final[tuple[str, ...]] = ("T11", "T12", "L1")
LANDMARKS: Final[tuple[str, ...]] = (TOP, *LEVELS)
#: [U] Of the way from one middle to the next the upper end of the lower one takes so much
#: (design/anatomy.md: half a body of L1 is 12 of 30.5 mm; T12's lower end and the disc below it
#: are 18.5 mm where T11 to T12 are 28.8).
L1_TOP_OF_WAY: Final = 0.39
T12_TO_TOP_OF_WAY: Final = 0.64
#: [U] Middles of neighbours are so far apart, mm, and one way at most so many times the other.
WAY_MM: Final = (17.0, 46.0)
MOST_UNEVEN: Final = 1.5
#: Both stages disagree if they put the upper end of L1 further apart than this share of the way.
DISAGREEMENT: Final = 0.5
#: One level alone is certain by nothing.
FEWEST: Final = 2


def marked_rows(volume: VolumeRecord, slabs: Slabs) -> dict[str, float]:
    """Rows of the landmarks that somebody marked, as `shared.tasks.ct.landmarks.marked_rows`."""
    canvas = Canvas(len(slabs.hu))
    first, last = canvas.scanned
    rows = {
        level: canvas.row_of(slabs.placed.slab_at(volume.marked_slices[level]))
        for level in LEVELS
        if level in volume.marked_slices
    }
    if {"T12", "L1"} <= set(rows):
        rows[TOP] = rows["L1"] - L1_TOP_OF_WAY * (rows["L1"] - rows["T12"])
    elif {"T11", "T12"} <= set(rows):
        rows[TOP] = rows["T12"] + T12_TO_TOP_OF_WAY * (rows["T12"] - rows["T11"])
    return {name: row for name, row in rows.items() if first <= row <= last}


def read_chest_levels(
    found: Mapping[str, FoundLandmark], picture: Tensor, canvas: Canvas
) -> ReadLevels:
    """Say which found levels are certain; parameters as of `shared.tasks.ct.levels.read_levels`."""
    rows = {name: one.row for name, one in found.items() if is_seen(one, canvas)}
    if TOP not in rows:
        return _none("the upper end of L1 was not found in this series")
    if not shows_ribs(picture, rows[TOP], canvas):
        return _none("the twelfth ribs were not found, so nothing says which vertebra is which")
    seen = [name for name in LEVELS if name in rows]
    if len(seen) < FEWEST:
        return _none(f"of {LEVELS[0]} to {LEVELS[-1]} too few are in view to tell which is which")
    odd = _out_of_step(rows, seen)
    if odd:
        return _none(odd)
    doubts = {name: "was not found" for name in LEVELS if name not in rows}
    return ReadLevels({name: canvas.slab_of(rows[name]) for name in seen}, doubts)


def _out_of_step(rows: Mapping[str, float], seen: list[str]) -> str:
    """Say what does not fit together as in a spine; empty = nothing."""
    ways = {
        pair: way_mm(rows, *pair) / (LEVELS.index(pair[1]) - LEVELS.index(pair[0]))
        for pair in pairwise(seen)
    }
    for (upper, lower), way in ways.items():
        if not WAY_MM[0] <= way <= WAY_MM[1]:
            return f"{upper} and {lower} seem {way_mm(rows, upper, lower):.0f} mm apart"
    if max(ways.values()) > MOST_UNEVEN * min(ways.values()):
        return "neighbours seem more unevenly apart than in a spine"
    way = list(ways.values())[-1]
    lowest = seen[-1]
    expected = {"L1": -L1_TOP_OF_WAY, "T12": T12_TO_TOP_OF_WAY}[lowest] * way
    if abs(way_mm(rows, lowest, TOP) - expected) > DISAGREEMENT * way:
        return "the two stages of the search disagree where L1 is"
    return ""


def _none(why: str) -> ReadLevels:
    return ReadLevels({}, dict.fromkeys(LEVELS, f"is not certain: {why}"))
