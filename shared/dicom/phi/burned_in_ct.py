"""Text in the pixels of a CT slice, at a cost that is paid for each of a thousand slices.

Bone and table make half of a slice look busy to `burned_in`, whose full look then costs
30 to 80 ms. But what was drawn into a slice has one value to the very Hounsfield unit, and
what was scanned has noise: so the first look asks for that, and only the few places that
are left are looked at in full, in the windows in which text can stand out. Compression with
loss leaves no value as it was drawn: such slices, which are rare, are looked at in full.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import numpy as np
from numpy.typing import NDArray

from .burned_in import (
    FEWEST_TILES,
    SAME_VALUE,
    SHARP_EDGE,
    TILE,
    Places,
    busy_boxes,
    looks_burned_in,
)
from .text_detection import STROKE

#: Text over tissue and air stands out here; brighter text over bone in the full range only.
BONE_WINDOW: Final = (-200, 1000)
#: Neighbours along a stroke differ by no more, HU: 0 as drawn, 1 or 2 once rescaled.
SAME_HU: Final = 2
#: A picture of 8 bits that was saved as a slice fits no window but its own.
FEW_GREYS: Final = 256
#: Text is further from what is behind it. Planes through air and a blanket, whose values lie
#: within 57 HU, had "letters" in 5 of 20: folds that a resampling had smoothed.
LEAST_CONTRAST: Final = 100


def slice_looks_burned_in(
    hu: NDArray[np.int16], *, lossy: bool = False, tesseract: bool | None = None
) -> str:
    """Say why a slice seems to hold text; empty if it does not.

    Parameters
    ----------
    hu : ndarray, shape (H, W)
        Hounsfield units, or whatever the slice has for them.
    lossy : bool
        Whether it was compressed with loss.
    tesseract : bool or None
        Whether to read doubtful rows by OCR; None = if the program is there.
    """
    hu = np.ascontiguousarray(hu)
    height, width = hu.shape
    if min(height, width) < TILE or max(height, width) < FEWEST_TILES * TILE:
        return ""
    least, most = int(hu.min()), int(hu.max())
    if most - least < LEAST_CONTRAST:
        return ""
    # In noise of a few grey values neighbours are alike by chance; as drawn they are the same.
    alike = SAME_HU if most - least > FEW_GREYS else 0
    span = min(most - least, BONE_WINDOW[1] - BONE_WINDOW[0])
    places = None if lossy else _places(hu, span, alike)
    for low, high, here in _looks(hu, least, most, places):
        unit = hu.astype(np.float32)
        unit -= low
        unit /= high - low
        np.clip(unit, 0, 1, out=unit)
        same = SAME_VALUE if lossy else (alike + 0.5) / (high - low)
        text = looks_burned_in(unit, tesseract=tesseract, places=here, same=same)
        if text:
            return text
    return ""


def _looks(
    hu: NDArray[np.int16], least: int, most: int, places: Places | None
) -> Iterator[tuple[int, int, Places | None]]:
    """Windows in which text can stand out, and where: lowest and highest value, places.

    Places are None where they are still to be found.
    """
    low, high = BONE_WINDOW
    if places == []:
        return
    if most - least <= FEW_GREYS or least >= high:
        yield least, most, places
        return
    if most <= low:
        low, high = least, least + high - low
    yield low, high, places
    if most <= high:
        return
    brighter = places and [place for place in places if hu[place[0]].max() > high]
    if brighter != []:
        yield least, most, brighter


def _places(hu: NDArray[np.int16], span: int, alike: int) -> Places:
    """Boxes in which sharp edges of one value stand close together."""
    places: Places = []
    for upwards in (False, True):
        # A turned, contiguous copy is faster to work on than a view.
        drawn = _drawn(np.ascontiguousarray(hu.T) if upwards else hu, span, alike)
        for down, across in busy_boxes(drawn):
            places.append(((across, down) if upwards else (down, across), upwards))
    return places


def _drawn(hu: NDArray[np.int16], span: int, alike: int) -> NDArray[np.bool_]:
    """Where a stroke of one value may end: a sharp edge, and the same value below."""
    sample = hu[::7].astype(np.int32)
    usual = float(np.quantile(np.abs(sample[:, :-2:3] - sample[:, 2::3]), 0.95))
    least, most = (share * span for share in SHARP_EDGE)
    edge = _far(hu[:-1, :-2], hu[:-1, 2:], int(min(max(least, 1.5 * usual), most)))
    drawn = np.zeros(hu.shape, bool)
    drawn[:-1, :-2] = edge & ~_far(hu[:-1, :-2], hu[1:, :-2], alike)
    # Flat as drawn, but too wide for a stroke: blanked air beside the body or the table.
    before, between, here = hu[:, :-STROKE], hu[:, STROKE // 2 :], hu[:, STROKE:]
    between = between[:, : here.shape[1]]
    drawn[:, STROKE:] &= (before != here) | (between != here)
    return drawn


def _far(one: NDArray[np.int16], other: NDArray[np.int16], limit: int) -> NDArray[np.bool_]:
    """Where values are further apart than a limit: one comparison of what wraps around."""
    apart = one - other
    apart += np.int16(limit)
    return apart.view(np.uint16) > np.uint16(2 * limit)
