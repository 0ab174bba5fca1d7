"""What density is read from on a film: L1 to L4 in one size, without the maker's look.

A processed film keeps which of two neighbouring pixels is denser and little else, so grey levels
are replaced by their ranks within the crop: any tone curve, window or inversion of the scale that
keeps their order gives the same crop.
"""

from __future__ import annotations

import math
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from shared.records import ImageRecord
from shared.tasks.xray.column import LumbarColumn

Floats = NDArray[np.float32]

#: Levels that a crop is high: L1 to L4 with one more above and below.
HIGH: Final = 6.0
#: Local contrast is taken over so many levels, and its spread is this share of the range.
LOCAL: Final = 0.35
LOCAL_SPREAD: Final = 0.2
LEAST_SPREAD: Final = 0.02


def crop_lumbar(image: ImageRecord, column: LumbarColumn, size: tuple[int, int]) -> Tensor:
    """Cut L1 to L4 out of a film.

    Parameters
    ----------
    image : ImageRecord
        A frontal film.
    column : LumbarColumn
        On its grid.
    size : (int, int)
        Height and width of the crop in pixels.

    Returns
    -------
    Tensor of float32, shape (2, h, w)
        In [0, 1]: ranks of grey levels within the crop, and their local contrast; 0 and 0.5 where
        the film does not reach.
    """
    from scipy.stats import rankdata

    pixels, inside = _cut(image, column, size)
    ranks = np.zeros(size, np.float32)
    if inside.any():
        ranks[inside] = (rankdata(pixels[inside]) - 0.5) / inside.sum()
    return torch.as_tensor(np.stack([ranks, local_contrast(ranks, inside)]))


def local_contrast(
    ranks: Floats,
    inside: NDArray[np.bool_],
) -> Floats:
    """Give what stands out from its surroundings, by their spread, (h, w) in [0, 1]."""
    from scipy.ndimage import gaussian_filter

    wide = LOCAL * ranks.shape[0] / HIGH
    share = np.maximum(gaussian_filter(inside.astype(np.float32), wide), 1e-3)
    off = np.where(inside, ranks - gaussian_filter(ranks * inside, wide) / share, 0)
    spread = np.sqrt(gaussian_filter(off * off, 2 * wide) / share)
    even = 0.5 + LOCAL_SPREAD * off / (spread + LEAST_SPREAD)
    return np.asarray(np.where(inside, np.clip(even, 0, 1), 0.5), np.float32)


def _cut(
    image: ImageRecord, column: LumbarColumn, size: tuple[int, int]
) -> tuple[
    Floats,
    NDArray[np.bool_],
]:
    """Resample the crop: pixels (h, w), and which of them the film has."""
    values = np.asarray(image.pixels, np.float32)
    aspect = image.spacing_mm[0] / image.spacing_mm[1]
    high = HIGH * column.level
    wide = high * aspect * size[1] / size[0]
    middle = (column.top + column.bottom) / 2
    rows = (round(middle - high / 2), max(round(high), 1))
    columns = (round(column.middle - wide / 2), max(round(wide), 1))
    seen = np.isfinite(values)
    laid = [
        _window(one, rows, columns)
        for one in (np.where(seen, values, 0).astype(np.float32), seen.astype(np.float32))
    ]
    both = torch.as_tensor(np.stack(laid))[None]
    small = functional.interpolate(both, size=size, mode="bilinear", antialias=True)[0].numpy()
    inside = small[1] > 0.5
    return np.where(inside, small[0] / np.maximum(small[1], 0.5), 0), inside


def _window(
    values: Floats,
    rows: tuple[int, int],
    columns: tuple[int, int],
) -> Floats:
    """Part of an array from a first row and column, so many each; 0 outside of it."""
    found = np.zeros((rows[1], columns[1]), np.float32)
    first = [max(0, rows[0]), max(0, columns[0])]
    last = [
        min(values.shape[0], rows[0] + rows[1]),
        min(values.shape[1], columns[0] + columns[1]),
    ]
    if last[0] > first[0] and last[1] > first[1]:
        found[
            first[0] - rows[0] : last[0] - rows[0], first[1] - columns[0] : last[1] - columns[0]
        ] = values[first[0] : last[0], first[1] : last[1]]
    return found


def size_of_level(image: ImageRecord, column: LumbarColumn) -> float:
    """Logarithm of the way from one vertebra to the next over 40 mm; 0 without a known spacing."""
    if image.spacing_provenance == "none":
        return 0.0
    return math.log(max(column.level * image.spacing_mm[0], 1.0) / 40.0)
