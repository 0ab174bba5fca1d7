"""Text in the pixels of an image: a name, a date, a number burned in by the scanner.

First a look that costs a few milliseconds: text is many sharp edges close together, which
anatomy is not. Only where there are such places are shapes like letters looked for: of one
height, in a row, drawn in one value. A row that is beyond doubt is text; where Tesseract is
installed, a doubtful row, or one that runs sideways, is text if it can be read.

What is taken for text on purpose: any row of five letters or more (of four, if it can be
read), also words as harmless as PORTABLE, for a person to decide. What is not: markers of
sides and projections of up to three letters (L, R, AP, LAT), scale bars and their ticks,
grids, and a single letter anywhere.
"""

from __future__ import annotations

import io
import os
import re
import shutil
import subprocess
from dataclasses import dataclass, replace
from functools import cache
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps
from scipy import ndimage

#: Letters in a row from which on it is text: L, R, AP and LAT are markers.
FEWEST_LETTERS: Final = 4
#: Letters, and share of a row's pixels of one value, from which on it is text without being
#: read. In clean images no more than 0.29 was seen, and no more than 8 letters at 0.06.
BEYOND_DOUBT: Final = ((5, 0.35), (10, 0.25))
#: Letters and share from which on a row is worth reading; reading takes a tenth of a second.
#: Text that runs sideways is text only if it can be read, since saturated bone has such rows.
DOUBTFUL: Final = ((FEWEST_LETTERS, 0.5), (5, 0.2), (10, 0.08))
DOUBTFUL_UPWARDS: Final = ((5, 0.5),)
#: Height of letters, pixels.
LETTER_HEIGHT: Final = (5, 80)
TILE: Final = 16
#: Sharp, drawn edges in a tile of 16 x 16; anatomy has few that go on evenly.
EDGES_IN_TILE: Final = 11
#: What a sharp edge is, as a difference of neighbours; more where an image is noisy.
SHARP_EDGE: Final = (0.12, 0.36)
#: Neighbours along a stroke that was drawn differ by less; those in anatomy have noise.
SAME_VALUE: Final = 0.008
#: Grey values of the first look, and how many apart are the same there.
GREYS: Final = 250
SAME_GREY: Final = 3
FEWEST_TILES: Final = 2
NEAR_VALUE: Final = 0.15
STROKE: Final = 15
MOST_SHAPES: Final = 3000
#: Letters of a row have one brightness, anatomy has not.
SAME_BRIGHTNESS: Final = 0.06
SAME_HEIGHT: Final = 0.3
ROWS_READ: Final = 8
OCR_SECONDS: Final = 20.0
OCR_HEIGHT: Final = 36
#: What OCR has to have read, and how sure it has to be, in percent.
READ: Final = re.compile(r"[^\W_]{4,}")
SURE: Final = 70.0
EVERY_NEIGHBOUR: Final = np.ones((3, 3), bool)

#: Boxes in which text may stand, and whether it would run upwards there.
Places = list[tuple[tuple[slice, slice], bool]]


@dataclass(frozen=True)
class Row:
    """Shapes like letters in a row: how many, where, brighter than around, read upwards.

    `even` is the share of their pixels that have one and the same value.
    """

    letters: int
    even: float
    place: tuple[slice, slice]
    bright: bool
    upwards: bool = False


@dataclass(frozen=True)
class _Shape:
    """One connected shape: its box, brightness, share of the box, letters it may be."""

    top: int
    bottom: int
    left: int
    right: int
    brightness: float
    values: NDArray[np.float32]
    letters: int

    @property
    def height(self) -> int:
        return self.bottom - self.top


def looks_burned_in(
    unit: NDArray[np.float32],
    *,
    tesseract: bool | None = None,
    places: Places | None = None,
    same: float = SAME_VALUE,
) -> str:
    """Say why an image seems to hold text; empty if it does not.

    Parameters
    ----------
    unit : ndarray, shape (H, W)
        Display values in [0, 1]; NaN = not scanned.
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
    doubtful = []
    for row in letter_rows(unit, places, same):
        if not row.upwards and _reaches(row, BEYOND_DOUBT):
            return f"{row.letters} letters in a row"
        if _reaches(row, DOUBTFUL_UPWARDS if row.upwards else DOUBTFUL):
            doubtful.append(row)
    if tesseract is None:
        tesseract = tesseract_there()
    read = tesseract and any(_read_row(unit, row) for row in doubtful[:ROWS_READ])
    return "a word that can be read" if read else ""


def _reaches(row: Row, limits: tuple[tuple[int, float], ...]) -> bool:
    return any(row.letters >= letters and row.even >= even for letters, even in limits)


def letter_rows(
    unit: NDArray[np.float32], places: Places | None = None, same: float = SAME_VALUE
) -> list[Row]:
    """Find rows of shapes like letters, longest first; parameters as of `looks_burned_in`."""
    rows: list[Row] = []
    for place, upwards in _busy_places(unit) if places is None else places:
        patch = unit[place]
        filled = np.where(np.isnan(patch), np.nanmedian(patch), patch) if patch.size else patch
        if not np.isfinite(filled).all():
            continue
        turned = np.rot90(filled, -1) if upwards else filled
        for bright in (True, False):
            for row in _rows_of(turned if bright else 1 - turned, same):
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


def _busy_places(unit: NDArray[np.float32]) -> Places:
    """Boxes in which sharp, drawn edges stand close together, and whether of upward text."""
    height, width = (size // TILE for size in unit.shape)
    if height < 1 or width < 2:
        return []
    blank = np.isnan(unit)
    with np.errstate(invalid="ignore"):
        grey = (unit * GREYS).astype(np.uint8)
    across, along = _steps(grey, blank)
    # Turned, contiguous copies are faster to work on than views.
    down, below = (np.ascontiguousarray(one.T) for one in _steps(grey.T.copy(), blank.T.copy()))
    some = across[::7, ::3]
    least, most = SHARP_EDGE
    limit = int(min(max(least * GREYS, 1.5 * float(np.quantile(some, 0.95))), most * GREYS))
    places: Places = []
    for upwards, edge, same in ((False, across, below), (True, down, along)):
        drawn = np.greater(edge, limit) & same
        places += [(place, upwards) for place in busy_boxes(drawn)]
    return places


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


def _steps(
    grey: NDArray[np.uint8], blank: NDArray[np.bool_]
) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
    """Differences over two pixels of a row, and where the next pixel is the same; (H, W) each.

    Over two, since the edge of a smoothed letter is two steps. None at what is blank.
    """
    steps = np.zeros_like(grey)
    same = np.zeros_like(blank)
    left, right = grey[:, :-2], grey[:, 2:]
    steps[:, :-2] = np.maximum(left, right) - np.minimum(left, right)
    steps[:, :-2][blank[:, :-2] | blank[:, 2:]] = 0
    left, right = grey[:, :-1], grey[:, 1:]
    same[:, :-1] = (np.maximum(left, right) - np.minimum(left, right)) < SAME_GREY
    return steps, same


def _rows_of(patch: NDArray[np.float32], same: float) -> list[Row]:
    """Rows of shapes that are brighter than what is around them."""
    thin = patch - ndimage.grey_opening(patch, size=(STROKE, STROKE))
    limit = max(SHARP_EDGE[0], 0.5 * _quantile(thin, 0.995))
    # Text was drawn in one value: what is far from the most frequent one is no part of it.
    counts, edges = np.histogram(patch[thin > limit], bins=128, range=(0.0, 1.0))
    drawn = float(edges[int(counts.argmax())]) + 1 / 256
    mask = (thin > max(SHARP_EDGE[0], limit / 2)) & (np.abs(patch - drawn) < NEAR_VALUE)
    labelled, number = ndimage.label(mask, EVERY_NEIGHBOUR)
    if number > MOST_SHAPES:
        return []
    shapes = []
    for index, box in enumerate(ndimage.find_objects(labelled), start=1):
        if not _may_be_letter(box):
            continue
        shape = _shape(labelled[box] == index, patch[box], box)
        if shape is not None:
            shapes.append(shape)
    return [row for chain in _chains(shapes) if (row := _row(chain, same)) is not None]


def _shape(
    inside: NDArray[np.bool_], values: NDArray[np.float32], box: tuple[slice, slice]
) -> _Shape | None:
    """Describe a connected shape; None if it is neither a letter nor letters that touch."""
    height, width = inside.shape
    fill = np.count_nonzero(inside) / inside.size
    letters = 1
    if width > 1.6 * height:
        begun = np.diff(inside.astype(np.int8), axis=1, prepend=0) == 1
        letters = max(1, round(float(begun.sum(axis=1).mean()) / 1.7))
    if not 0.12 <= fill <= 0.95 and width > 0.35 * height:
        return None
    return _Shape(
        box[0].start, box[0].stop, box[1].start, box[1].stop,
        _quantile(values[inside], 0.8), values[inside], letters,
    )  # fmt: skip


def _may_be_letter(box: tuple[slice, slice]) -> bool:
    """Whether a box has the size of a letter, or of letters that touch."""
    height, width = (side.stop - side.start for side in box)
    return LETTER_HEIGHT[0] <= height <= LETTER_HEIGHT[1] and width <= 14 * height


def _quantile(values: NDArray[np.float32], share: float) -> float:
    """`numpy.quantile` of values without NaN, at a tenth of its cost for a few of them."""
    place = share * (values.size - 1)
    low = int(place)
    high = min(low + 1, values.size - 1)
    parted = np.partition(values, (low, high), axis=None)
    return float(parted[low] + (place - low) * (parted[high] - parted[low]))


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
            if following.left > last.right + 1.6 * LETTER_HEIGHT[1]:
                break
            if place not in used and _beside(last, following):
                chain.append(following)
                used.add(place)
                last = following
        chains.append(chain)
    return chains


def _beside(last: _Shape, following: _Shape) -> bool:
    """Whether a shape can be the next letter of a row."""
    low, high = sorted((last.height, following.height))
    overlap = min(last.bottom, following.bottom) - max(last.top, following.top)
    gap = following.left - last.right
    near = -0.3 * high <= gap <= 1.3 * high
    alike = abs(last.brightness - following.brightness) <= 2 * SAME_BRIGHTNESS
    return near and alike and high <= 1.9 * low and overlap >= 0.6 * low


def _row(chain: list[_Shape], same: float) -> Row | None:
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
    return Row(letters, float(alike.max() / values.size), (down, across), bright=True)


# --- reading -----------------------------------------------------------------


@cache
def tesseract_there() -> bool:
    """Whether Tesseract is installed (Debian: ``apt-get install tesseract-ocr``)."""
    return shutil.which("tesseract") is not None


def read_text(picture: bytes, *options: str) -> str | None:
    """Read the text in a picture by Tesseract; None if it does not end in time.

    Parameters
    ----------
    picture : bytes
        A PNG, JPEG or TIFF file.
    *options : str
        Of Tesseract; none = text scattered over the picture.
    """
    try:
        done = subprocess.run(
            ["tesseract", "-", "-", *(options or ("--psm", "11"))],
            input=picture,
            capture_output=True,
            timeout=OCR_SECONDS,
            check=False,
            env={**os.environ, "OMP_THREAD_LIMIT": "1"},
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.decode("utf-8", "replace")


def _read_row(unit: NDArray[np.float32], row: Row) -> bool:
    """Whether a word can be read in a row, black on white and at the size that OCR is made for."""
    down, across = row.place
    height = (across.stop - across.start) if row.upwards else (down.stop - down.start)
    border = max(2, height // 3)
    part = unit[
        max(0, down.start - border) : down.stop + border,
        max(0, across.start - border) : across.stop + border,
    ]
    part = np.nan_to_num(part, nan=float(np.nanmedian(part)))
    grey = np.rint(255 * (1 - part if row.bright else part)).astype(np.uint8)
    for turn in (-1, 1) if row.upwards else (0,):
        image = Image.fromarray(np.rot90(grey, turn))
        scale = max(1.0, OCR_HEIGHT / height)
        size = (round(image.width * scale), round(image.height * scale))
        bordered = ImageOps.expand(image.resize(size, Image.Resampling.BICUBIC), 12, fill=255)
        file = io.BytesIO()
        bordered.save(file, "PNG")
        said = read_text(file.getvalue(), "--psm", "7", "tsv")
        if said is None:
            return True  # what could not be looked at is not let through
        for line in said.splitlines()[1:]:
            cells = line.split("\t")
            if len(cells) == 12 and READ.search(cells[11]) and float(cells[10]) >= SURE:
                return True
    return False
