"""Text in the pixels of an image: a name, a date, a number burned in by the scanner.

First a look that costs a few milliseconds: text is many sharp edges close together, rising and
falling, which anatomy is not. Only where there are such places are shapes like letters looked
for: of one height, in a row, drawn in one value. A row that is beyond doubt is text; where
Tesseract is installed, a doubtful row, or one that runs sideways, is text if it can be read.

What is taken for text on purpose: any row of five letters or more (of four, if it can be
read), also words as harmless as PORTABLE, for a person to decide. What is not: markers of
sides and projections of up to three letters (L, R, AP, LAT), scale bars and their ticks,
grids, and a single letter anywhere.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from .ocr import can_be_read, tesseract_there
from .text_detection import EVERY_NEIGHBOUR, FEWEST_LETTERS, STANDS_OUT, LetterRow, rows_in

#: Letters, and share of a row's pixels of one value, from which on it is text without being
#: read. In clean images no more than 0.29 was seen, and no more than 8 letters at 0.06.
BEYOND_DOUBT: Final = ((5, 0.35), (10, 0.25))
#: Letters and share from which on a row is worth reading; reading takes a tenth of a second.
#: Text that runs sideways is text only if it can be read, since saturated bone has such rows.
DOUBTFUL: Final = ((FEWEST_LETTERS, 0.5), (5, 0.2), (10, 0.08))
DOUBTFUL_UPWARDS: Final = ((5, 0.5),)
TILE: Final = 16
#: Sharp, drawn edges in a tile of 16 x 16; anatomy has few that go on evenly.
EDGES_IN_TILE: Final = 11
#: What a sharp edge is, as a difference of neighbours; more where an image is noisy.
SHARP_EDGE: Final = (STANDS_OUT, 0.36)
#: Neighbours along a stroke that was drawn differ by less; those in anatomy have noise.
SAME_VALUE: Final = 0.008
#: Grey values of the first look, and how many apart are the same there.
GREYS: Final = 250
SAME_GREY: Final = 3
FEWEST_TILES: Final = 2
ROWS_AT_A_TIME: Final = 64
#: Edges that rise, and edges that fall, where there are strokes.
FEWEST_EITHER_WAY: Final = 6
ROWS_READ: Final = 8

#: Boxes in which text may stand, and whether it would run upwards there.
Places = list[tuple[tuple[slice, slice], bool]]


def looks_burned_in(
    unit: NDArray[np.float32],
    *,
    unscanned: NDArray[np.bool_] | None = None,
    tesseract: bool | None = None,
    places: Places | None = None,
    same: float = SAME_VALUE,
) -> str:
    """Say why an image seems to hold text; empty if it does not.

    Parameters
    ----------
    unit : ndarray, shape (H, W)
        Display values in [0, 1]; NaN = not scanned.
    unscanned : ndarray of bool, shape (H, W), or None
        What is to be blanked. Text is looked for as the image is and once that is blank:
        letters that touch a margin are as white as it is, and would be a hole in their shape.
    tesseract : bool or None
        Whether to read doubtful rows by OCR; None = if the program is there.
    places : list or None
        Where the first look found what may be text; None = it is done here.
    same : float
        How far values are apart that were drawn as one.

    Returns
    -------
    str
        Free of what was read.
    """
    if tesseract is None:
        tesseract = tesseract_there()
    if places is not None:
        return _text_at(places, unit, None, same, tesseract=tesseract)
    blank, grey = np.isnan(unit), _grey(unit)
    places = _busy_places(grey, blank)
    text = _text_at(places, unit, None, same, tesseract=tesseract)
    if text or unscanned is None or not unscanned.any():
        return text
    # Without the margin's edges fainter ones count, and words are no longer one place with it;
    # what was looked at before and has nothing blanked would be seen the same again.
    others = [
        (place, upwards)
        for place, upwards in _busy_places(grey * ~unscanned, blank | unscanned)
        if unscanned[place].any() or (place, upwards) not in places
    ]
    return _text_at(others, unit, unscanned, same, tesseract=tesseract)


def _text_at(
    places: Places,
    unit: NDArray[np.float32],
    unscanned: NDArray[np.bool_] | None,
    same: float,
    *,
    tesseract: bool,
) -> str:
    """Say why some place of an image seems to hold text; empty if none does."""
    doubtful = []
    for row in _letter_rows(places, unit, unscanned, same):
        if not row.upwards and _reaches(row, BEYOND_DOUBT):
            return f"{row.letters} letters in a row"
        if _reaches(row, DOUBTFUL_UPWARDS if row.upwards else DOUBTFUL):
            doubtful.append(row)
    if doubtful and unscanned is not None:
        unit = np.where(unscanned, np.float32(np.nan), unit)
    read = tesseract and any(can_be_read(unit, row) for row in doubtful[:ROWS_READ])
    return "a word that can be read" if read else ""


def _reaches(row: LetterRow, limits: tuple[tuple[int, float], ...]) -> bool:
    return any(row.letters >= letters and row.even >= even for letters, even in limits)


def _letter_rows(
    places: Places, unit: NDArray[np.float32], unscanned: NDArray[np.bool_] | None, same: float
) -> list[LetterRow]:
    """Find rows of shapes like letters in some places, longest first."""
    rows: list[LetterRow] = []
    for place, upwards in places:
        patch = unit[place]
        blank = np.isnan(patch) if unscanned is None else np.isnan(patch) | unscanned[place]
        if blank.all():
            continue
        filled = np.where(blank, np.median(patch[~blank]), patch) if blank.any() else patch
        turned = np.ascontiguousarray(np.rot90(filled, -1)) if upwards else filled
        for bright in (True, False):
            for row in rows_in(turned if bright else 1 - turned, same):
                inside, across = _turned_back(row.place, filled.shape, upwards=upwards)
                whole = (_moved(inside, place[0].start), _moved(across, place[1].start))
                rows.append(replace(row, place=whole, bright=bright, upwards=upwards))
    return sorted(rows, key=lambda row: -row.letters)


def _moved(part: slice, by: int) -> slice:
    return slice(part.start + by, part.stop + by)


def _turned_back(
    place: tuple[slice, slice], shape: tuple[int, ...], *, upwards: bool
) -> tuple[slice, slice]:
    """Place in the patch of a place in the patch turned clockwise."""
    down, across = place
    if not upwards:
        return place
    return slice(shape[0] - across.stop, shape[0] - across.start), down


def _grey(unit: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Grey values for the first look; 0 at what is blank."""
    grey = np.empty(unit.shape, np.uint8)
    with np.errstate(invalid="ignore"):
        np.multiply(unit, GREYS, out=grey, casting="unsafe")
    return grey


def _busy_places(grey: NDArray[np.uint8], blank: NDArray[np.bool_]) -> Places:
    """Boxes in which sharp, drawn edges stand close together, and whether of upward text."""
    height, width = (size // TILE for size in grey.shape)
    if height < 1 or width < 2:
        return []
    some = np.zeros_like(grey[::7])
    some[:, :-2] = _steps(grey[::7, :-2], grey[::7, 2:])
    some[:, :-2][blank[::7, :-2] | blank[::7, 2:]] = 0
    least, most = SHARP_EDGE
    usual = float(np.quantile(some[:, ::3], 0.95))
    limit = int(min(max(least * GREYS, 1.5 * usual), most * GREYS))
    some_blank = blank if blank.any() else None
    places: Places = []
    for upwards in (False, True):
        drawn = _drawn(grey, some_blank, limit, upwards=upwards)
        places += [
            (place, upwards)
            for place in busy_boxes(drawn)
            if _holds_strokes(place, drawn, grey, upwards=upwards)
        ]
    return places


def _drawn(
    grey: NDArray[np.uint8], blank: NDArray[np.bool_] | None, limit: int, *, upwards: bool
) -> NDArray[np.bool_]:
    """Where an edge, across or (of upward text) along the columns, goes on evenly; (H, W).

    An edge is a difference over two pixels, since that of a smoothed letter is two steps; it
    goes on where the next pixel at right angles is the same. None is at what is blank.
    """
    drawn = np.zeros(grey.shape, bool)
    # From a pixel to the other side of an edge, and to where the edge goes on.
    across, along = ((2, 0), (0, 1)) if upwards else ((0, 2), (1, 0))
    height = grey.shape[0] - max(across[0], along[0])
    width = grey.shape[1] - max(across[1], along[1])
    # Some rows at a time: what is worked on stays in the processor's cache.
    for top in range(0, height, ROWS_AT_A_TIME):
        here = slice(top, min(top + ROWS_AT_A_TIME, height)), slice(0, width)
        behind = _moved(here[0], across[0]), _moved(here[1], across[1])
        beside = _moved(here[0], along[0]), _moved(here[1], along[1])
        edges = _steps(grey[here], grey[behind]) > limit
        edges &= _steps(grey[here], grey[beside]) < SAME_GREY
        if blank is not None:
            edges &= ~(blank[here] | blank[behind])
        drawn[here] = edges
    return drawn


def _steps(one: NDArray[np.uint8], other: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """How far grey values are apart."""
    steps = np.maximum(one, other)
    steps -= np.minimum(one, other)
    return steps


def _holds_strokes(
    place: tuple[slice, slice], drawn: NDArray[np.bool_], grey: NDArray[np.uint8], *, upwards: bool
) -> bool:
    """Whether edges rise and fall in a place: a stroke has two sides, the rim of a bone one.

    Two places of three are rims.
    """
    if upwards:
        place, drawn, grey = place[::-1], drawn.T, grey.T
    down, across = place
    stop = min(across.stop, grey.shape[1] - 2)
    edges = drawn[down, across.start : stop]
    before, behind = grey[down, across.start : stop], grey[down, across.start + 2 : stop + 2]
    rising = int(np.count_nonzero(edges & (behind > before)))
    return min(rising, int(np.count_nonzero(edges)) - rising) >= FEWEST_EITHER_WAY


def busy_boxes(drawn: NDArray[np.bool_]) -> list[tuple[slice, slice]]:
    """Boxes, in pixels, where many edges that were drawn are close together.

    A single busy tile is no word.
    """
    shape = drawn.shape
    height, width = (size // TILE for size in shape)
    tiles = drawn[: height * TILE, : width * TILE].view(np.uint8)
    counts = tiles.reshape(height, TILE, width * TILE).sum(axis=1, dtype=np.uint8)
    busy = counts.reshape(height, width, TILE).sum(axis=2, dtype=np.uint16) >= EDGES_IN_TILE
    if np.count_nonzero(busy) < FEWEST_TILES:
        return []
    grown = ndimage.binary_dilation(busy, EVERY_NEIGHBOUR)
    labelled, number = ndimage.label(grown, EVERY_NEIGHBOUR)
    tiles = ndimage.sum_labels(busy, labelled, range(1, number + 1))
    return [
        (
            slice(box[0].start * TILE, min(box[0].stop * TILE, shape[0])),
            slice(box[1].start * TILE, min(box[1].stop * TILE, shape[1])),
        )
        for box, busy_tiles in zip(ndimage.find_objects(labelled), tiles, strict=True)
        if busy_tiles >= FEWEST_TILES
    ]
