"""Text in the pixels of an image: a name, a date, a number burned in by the scanner.

First a look that costs a few milliseconds: text is many sharp edges close together, which
anatomy is not. Only where there are such places are shapes like letters looked for: of one
height, in a row, of one brightness. A row that is beyond doubt is text; where Tesseract is
installed, a doubtful row is text if it can be read.

What is taken for text on purpose: any row of `FEWEST_LETTERS` or more letters, also words as
harmless as PORTABLE, for a person to decide. What is not: markers of sides and projections
of up to three letters (L, R, AP, LAT), scale bars, grids, and a single letter anywhere.
"""

from __future__ import annotations

import io
import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from functools import cache
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps
from scipy import ndimage

#: Letters in a row from which on it is text: L, R, AP and LAT are markers.
FEWEST_LETTERS: Final = 4
#: Letters in a row that are text without being read.
BEYOND_DOUBT: Final = 7
#: Height of letters, pixels.
LETTER_HEIGHT: Final = (6, 80)
TILE: Final = 16
#: Sharp edges in a tile of 16 x 16: an outline of a bone gives 16, letters more.
EDGES_IN_TILE: Final = 18
#: What a sharp edge is, as a difference of neighbours; more where an image is noisy.
SHARP_EDGE: Final = (0.12, 0.36)
STROKE: Final = 15
MOST_SHAPES: Final = 3000
#: Letters of a row have one brightness, anatomy has not.
SAME_BRIGHTNESS: Final = 0.06
SAME_HEIGHT: Final = 0.3
ROWS_READ: Final = 8
OCR_SECONDS: Final = 20.0
OCR_HEIGHT: Final = 36
READ: Final = re.compile(r"[^\W_]{3,}")
EVERY_NEIGHBOUR: Final = np.ones((3, 3), bool)


@dataclass(frozen=True)
class Row:
    """Shapes like letters in a row: how many, where, brighter than around, read upwards."""

    letters: int
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
    fill: float
    letters: int

    @property
    def height(self) -> int:
        return self.bottom - self.top


def looks_burned_in(unit: NDArray[np.float32], *, tesseract: bool | None = None) -> str:
    """Say why an image seems to hold text; empty if it does not.

    Parameters
    ----------
    unit : ndarray, shape (H, W)
        Display values in [0, 1]; NaN = not scanned.
    tesseract : bool or None
        Whether to read doubtful rows by OCR; None = if the program is there.

    Returns
    -------
    str
        Free of what was read.
    """
    rows = letter_rows(unit)
    if not rows:
        return ""
    most = max(row.letters for row in rows)
    if most >= BEYOND_DOUBT:
        return f"{most} letters in a row"
    if tesseract is None:
        tesseract = tesseract_there()
    if tesseract and any(READ.search(_read_row(unit, row)) for row in rows[:ROWS_READ]):
        return "a word that can be read"
    return ""


def letter_rows(unit: NDArray[np.float32]) -> list[Row]:
    """Find rows of shapes like letters, longest first.

    Parameters
    ----------
    unit : ndarray, shape (H, W)
        Display values in [0, 1]; NaN = not scanned.
    """
    rows: list[Row] = []
    for place in _busy_places(unit):
        patch = unit[place]
        filled = np.where(np.isnan(patch), np.nanmedian(patch), patch) if patch.size else patch
        if not np.isfinite(filled).all():
            continue
        for upwards in (False, True):
            turned = np.rot90(filled, -1) if upwards else filled
            for bright in (True, False):
                for row in _rows_of(turned if bright else 1 - turned):
                    down, across = _turned_back(row.place, filled.shape, upwards=upwards)
                    whole = (_moved(down, place[0].start), _moved(across, place[1].start))
                    rows.append(Row(row.letters, whole, bright, upwards))
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


def _busy_places(unit: NDArray[np.float32]) -> list[tuple[slice, slice]]:
    """Boxes in which sharp edges stand close together."""
    height, width = (size // TILE for size in unit.shape)
    if height < 1 or width < 2:
        return []
    steps = np.abs(np.diff(unit[: height * TILE], axis=1, append=np.nan))[:, : width * TILE]
    some = steps[::7, ::3]
    some = some[np.isfinite(some)]
    if not some.size:
        return []
    least, most = SHARP_EDGE
    limit = min(max(least, 1.5 * float(np.quantile(some, 0.95))), most)
    sharp = (steps > limit).reshape(height, TILE, width * TILE)
    counts = sharp.sum(axis=1, dtype=np.uint8).reshape(height, width, TILE).sum(axis=2)
    busy = counts >= EDGES_IN_TILE
    if not busy.any():
        return []
    # Letters between two busy tiles, and the ends of a row, belong to it.
    grown = ndimage.binary_dilation(busy, EVERY_NEIGHBOUR)
    labelled, _ = ndimage.label(grown, EVERY_NEIGHBOUR)
    return [
        (
            slice(box[0].start * TILE, min(box[0].stop * TILE, unit.shape[0])),
            slice(box[1].start * TILE, min(box[1].stop * TILE, unit.shape[1])),
        )
        for box in ndimage.find_objects(labelled)
    ]


def _rows_of(patch: NDArray[np.float32]) -> list[Row]:
    """Rows of shapes that are brighter than what is around them."""
    thin = patch - ndimage.grey_opening(patch, size=(STROKE, STROKE))
    limit = max(SHARP_EDGE[0], 0.5 * float(np.quantile(thin, 0.995)))
    mask = thin > limit
    labelled, number = ndimage.label(mask, EVERY_NEIGHBOUR)
    if number > MOST_SHAPES:
        return []
    shapes = []
    for index, box in enumerate(ndimage.find_objects(labelled), start=1):
        shape = _shape(labelled[box] == index, patch[box], box)
        if shape is not None:
            shapes.append(shape)
    return [row for chain in _chains(shapes) if (row := _row(chain)) is not None]


def _shape(
    inside: NDArray[np.bool_], values: NDArray[np.float32], box: tuple[slice, slice]
) -> _Shape | None:
    """Describe a connected shape; None if it is neither a letter nor letters that touch."""
    height, width = inside.shape
    if not LETTER_HEIGHT[0] <= height <= LETTER_HEIGHT[1] or width > 14 * height:
        return None
    fill = float(inside.mean())
    letters = 1
    if width > 1.6 * height:
        begun = np.diff(inside.astype(np.int8), axis=1, prepend=0) == 1
        letters = max(1, round(float(begun.sum(axis=1).mean()) / 1.7))
    if not 0.12 <= fill <= 0.95 and width > 0.35 * height:
        return None
    return _Shape(
        box[0].start, box[0].stop, box[1].start, box[1].stop,
        float(np.quantile(values[inside], 0.8)), fill, letters,
    )  # fmt: skip


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


def _row(chain: list[_Shape]) -> Row | None:
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
    return Row(letters, (down, across), bright=True)


# --- reading -----------------------------------------------------------------


@cache
def tesseract_there() -> bool:
    """Whether Tesseract is installed (Debian: ``apt-get install tesseract-ocr``)."""
    return shutil.which("tesseract") is not None


def read_text(picture: bytes, layout: int = 11) -> str:
    """Read the text in a picture by Tesseract; empty if there is none, or it takes too long.

    Parameters
    ----------
    picture : bytes
        A PNG, JPEG or TIFF file.
    layout : int
        Tesseract's page segmentation mode: 11 = scattered text, 7 = one line.
    """
    try:
        done = subprocess.run(
            ["tesseract", "-", "-", "--psm", str(layout)],
            input=picture,
            capture_output=True,
            timeout=OCR_SECONDS,
            check=False,
            env={**os.environ, "OMP_THREAD_LIMIT": "1"},
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.decode("utf-8", "replace")


def _read_row(unit: NDArray[np.float32], row: Row) -> str:
    """Read one row, black on white and at the size that OCR is made for."""
    down, across = row.place
    height = (across.stop - across.start) if row.upwards else (down.stop - down.start)
    border = max(2, height // 3)
    part = unit[
        max(0, down.start - border) : down.stop + border,
        max(0, across.start - border) : across.stop + border,
    ]
    part = np.nan_to_num(part, nan=float(np.nanmedian(part)))
    grey = np.rint(255 * (1 - part if row.bright else part)).astype(np.uint8)
    turns = (-1, 1) if row.upwards else (0,)
    texts = []
    for turn in turns:
        image = Image.fromarray(np.rot90(grey, turn))
        scale = max(1.0, OCR_HEIGHT / height)
        size = (round(image.width * scale), round(image.height * scale))
        bordered = ImageOps.expand(image.resize(size, Image.Resampling.BICUBIC), 12, fill=255)
        file = io.BytesIO()
        bordered.save(file, "PNG")
        texts.append(read_text(file.getvalue(), layout=7))
    return "\n".join(texts)
