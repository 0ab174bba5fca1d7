"""How alike an image is to what a view looks like, wherever, however large it lies in the field.

An image is laid on a coarse grid of millimetres and every part of it is brought to the same
contrast, so that neither a vendor's window nor the bone's density counts. Patterns of the same
kind are then laid over it everywhere; what counts is the correlation.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from shared.records import ImageRecord

Floats = NDArray[np.float32]

#: Millimetres per cell: a disc is just seen.
GRID_MM: Final = 4.0
#: Contrast is made even over this distance, mm.
EVEN_MM: Final = 40.0
#: Contrast below this share of the whole image's is not raised to it: noise stays small.
LEAST_CONTRAST: Final = 0.5
#: A cell of which less than this share was scanned is unknown.
SCANNED: Final = 0.5
#: Fewest and most cells of a side; what is smaller or larger is no field of a DXA scanner.
CELLS: Final = (12, 200)


@dataclass(frozen=True)
class Pattern:
    """What a view looks like, seen at some size.

    Attributes
    ----------
    cells : ndarray of float32, shape (h, w)
        Even contrast on the grid, of norm 1.
    anchor : (int, int)
        Row and column of the place that positions are told by.
    stretch : (float, float)
        Size over the usual one, down and across.
    """

    cells: Floats
    anchor: tuple[int, int]
    stretch: tuple[float, float]


@dataclass(frozen=True)
class Match:
    """Where a pattern fits best.

    `score` is the correlation, at most 1; `row_mm` and `column_mm` the anchor's place from the
    image's first corner; `stretch` the pattern's; `inverse` the strongest correlation with
    dark and bright exchanged, of any pattern anywhere.
    """

    score: float
    row_mm: float
    column_mm: float
    stretch: tuple[float, float]
    inverse: float


def even_contrast(image: ImageRecord) -> Floats | None:
    """Lay an image on the grid with even contrast; 0 where nothing was scanned.

    Returns
    -------
    ndarray of float32, shape (H, W), or None
        None if it is too small or too large in millimetres for any field.
    """
    from scipy import ndimage

    shape = [
        int(n * mm / GRID_MM) for n, mm in zip(image.pixels.shape, image.spacing_mm, strict=True)
    ]
    if min(shape) < CELLS[0] or max(shape) > CELLS[1]:
        return None
    pixels = np.asarray(image.pixels, np.float32)
    known = np.isfinite(pixels)
    blur = [GRID_MM / mm / 2.5 for mm in image.spacing_mm]
    places = np.meshgrid(
        *(
            (np.arange(n) + 0.5) * GRID_MM / mm - 0.5
            for n, mm in zip(shape, image.spacing_mm, strict=True)
        ),
        indexing="ij",
    )

    def laid(values: Floats) -> Floats:
        smooth = ndimage.gaussian_filter(values, blur)
        return np.asarray(ndimage.map_coordinates(smooth, places, order=1, mode="nearest"))

    share = laid(known.astype(np.float32))
    grey = laid(np.where(known, pixels, np.float32(0))) / np.maximum(share, SCANNED)
    inside = share > SCANNED
    return _evened(np.where(inside, grey, np.float32(0)), inside)


def _evened(grey: Floats, inside: NDArray[np.bool_]) -> Floats:
    """Take the surroundings' mean off and divide by their contrast."""
    from scipy import ndimage

    wide = EVEN_MM / GRID_MM / 2
    weight = np.maximum(ndimage.gaussian_filter(inside.astype(np.float32), wide), 1e-3)
    off = np.where(inside, grey - ndimage.gaussian_filter(grey, wide) / weight, 0)
    contrast = np.sqrt(ndimage.gaussian_filter(off * off, wide) / weight)
    whole = float(np.sqrt((off * off).sum() / max(int(inside.sum()), 1)))
    return np.asarray(
        np.where(inside, off / (contrast + LEAST_CONTRAST * whole + 1e-4), 0), np.float32
    )


def stretched(cells: Floats, anchor: tuple[int, int], stretch: tuple[float, float]) -> Pattern:
    """Make a pattern of another size; its anchor stays where it is in the body."""
    from scipy import ndimage

    if min(stretch) < 1:
        cells = ndimage.gaussian_filter(cells, [max(0.0, 0.6 * (1 / one - 1)) for one in stretch])
    ends = [
        (round(at * one), round((n - 1 - at) * one))
        for n, at, one in zip(cells.shape, anchor, stretch, strict=True)
    ]
    places = np.meshgrid(
        *(
            np.arange(-before, after + 1) / one + at
            for (before, after), at, one in zip(ends, anchor, stretch, strict=True)
        ),
        indexing="ij",
    )
    made = np.asarray(ndimage.map_coordinates(cells, places, order=1, mode="nearest"), np.float32)
    return Pattern(made / np.linalg.norm(made), (ends[0][0], ends[1][0]), stretch)


def along_rows(cells: Floats) -> Floats:
    """Leave only what changes from row to row: long bones that run down the image go."""
    return np.asarray(cells - cells.mean(axis=0, keepdims=True), np.float32)


def matches(images: Sequence[Floats], patterns: Sequence[Pattern]) -> list[Match]:
    """Lay patterns over images of one shape, wherever the anchor is inside.

    Parameters
    ----------
    images : sequence of ndarray of float32, shape (H, W)
        From `even_contrast`.
    patterns : sequence of Pattern

    Returns
    -------
    list of Match
        The best one of each image.
    """
    from scipy import fft

    height, width = images[0].shape
    size = tuple(
        fft.next_fast_len(side + max(one.cells.shape[axis] for one in patterns), real=True)
        for axis, side in enumerate((height, width))
    )
    laid = np.zeros((len(patterns), *size), np.float32)
    for place, one in zip(laid, patterns, strict=True):
        place[: one.cells.shape[0], : one.cells.shape[1]] = one.cells
    spectra = np.conj(fft.rfft2(laid))
    found = []
    for image in images:
        norm = max(float(np.linalg.norm(image)), 1e-6)
        everywhere = fft.irfft2(fft.rfft2(image, size)[None] * spectra, size) / norm
        inside = np.stack(
            [
                np.roll(one, pattern.anchor, (0, 1))[:height, :width]
                for one, pattern in zip(everywhere, patterns, strict=True)
            ]
        )
        which, row, column = np.unravel_index(int(inside.argmax()), inside.shape)
        found.append(
            Match(
                float(inside.max()),
                (float(row) + 0.5) * GRID_MM,
                (float(column) + 0.5) * GRID_MM,
                patterns[int(which)].stretch,
                -float(inside.min()),
            )
        )
    return found
