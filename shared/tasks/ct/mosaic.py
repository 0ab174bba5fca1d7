"""Steps D and F: four slabs of a vertebra, cut out around it and laid into one mosaic.

One slab lies towards the head from the middle of the vertebral body, one is the middle, two lie
towards the feet. Counter-clockwise from the top left corner they are, from the head down::

    +1 | -2
    ---+---
     0 | -1
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from shared.tasks.ct.level_slabs import OFFSETS

#: Row and column of each in the mosaic: counter-clockwise from the top left.
CORNERS: Final = ((0, 0), (1, 0), (1, 1), (0, 1))
#: From this part of a slab on, the slab above is a body's middle.
NEARLY_HALF: Final = 0.3
#: Rows and columns of one crop, pixels of 0.75 mm: 147 mm.
CROP: Final = 196


@dataclass(frozen=True)
class LevelCrops:
    """What lies around one vertebra.

    Attributes
    ----------
    hu : ndarray of float32, shape (4, 196, 196)
        From the head down (`level_slabs.OFFSETS`).
    mask : ndarray of bool, same shape
        The vertebra.
    """

    hu: NDArray[np.float32]
    mask: NDArray[np.bool_]


def cut_level(hu: NDArray[np.float32], level: NDArray[np.bool_]) -> LevelCrops | None:
    """Cut the four slabs of a vertebra around the centre of its mask on them.

    Parameters
    ----------
    hu : ndarray of float32, shape (Z, Y, X)
        `slabs.Slabs.hu`.
    level : ndarray of bool, same shape
        The vertebra.

    Returns
    -------
    LevelCrops or None
        None if one of the slabs is outside of the series or has nothing of the mask: where only
        the middle of a vertebra was drawn, the rest of it would count as no bone.
        What is outside of a slab's frame is 0 HU and not of the mask.
    """
    if not level.any():
        return None
    middle = middle_slab(level)
    places = [middle + step for step in OFFSETS]
    if min(places) < 0 or max(places) >= len(hu) or not level[places].any((1, 2)).all():
        return None
    row, column = _middle(level[places], 1), _middle(level[places], 2)
    corner = round(row - (CROP - 1) / 2), round(column - (CROP - 1) / 2)
    return LevelCrops(_window(hu[places], corner), _window(level[places], corner))


def middle_slab(level: NDArray[np.bool_]) -> int:
    """Find the slab through the middle of a body by its mask (Z, Y, X), which is not empty.

    What lies in front of the mask's centre is body: processes hang lower. Where it is nearly as
    far to the next slab, that is taken: a mask of nothing but the four slabs, whose centre is
    half a slab below the middle, gives the one it was made by.
    """
    front = level[:, : math.ceil(_middle(level, 1))]
    heights = (front if front.any() else level).sum((1, 2))
    return math.ceil(np.average(np.arange(len(heights)), weights=heights) - NEARLY_HALF)


def _middle(mask: NDArray[np.bool_], axis: int) -> float:
    """Middle of a mask (Z, Y, X) along an axis, by counts: exact, where sums of places round."""
    others = tuple(one for one in range(mask.ndim) if one != axis)
    counts = np.count_nonzero(mask, axis=others)
    return float(counts @ np.arange(len(counts)) / counts.sum())


def mosaic(crops: NDArray[np.float32], side: int) -> NDArray[np.float32]:
    """Lay four crops into one image.

    Parameters
    ----------
    crops : ndarray of float32, shape (C, 4, 196, 196)
        Channels of a level's crops.
    side : int
        Rows and columns of the mosaic, even; each pixel is the mean of what lies in it, so the
        sum over a channel does not depend on it, pixels' areas counted.

    Returns
    -------
    ndarray of float32, shape (C, side, side)
    """
    half = side // 2
    shares = _shares(half)
    small = shares @ crops @ shares.T  # (C, 4, half, half)
    laid = np.empty((len(crops), side, side), np.float32)
    for number, (row, column) in enumerate(CORNERS):
        place = np.s_[:, row * half : (row + 1) * half, column * half : (column + 1) * half]
        laid[place] = small[:, number]
    return laid


def as_crops(mosaics: Tensor) -> Tensor:
    """Take mosaics (K, C, S, S) apart: crops (K · C · 4, S / 2, S / 2)."""
    units, channels, side, _ = mosaics.shape
    half = side // 2
    apart = mosaics.reshape(units, channels, 2, half, 2, half).permute(0, 1, 2, 4, 3, 5)
    return apart.reshape(-1, half, half)


def as_mosaics(crops: Tensor, shape: Sequence[int]) -> Tensor:
    """Lay crops together again, to mosaics of a shape (K, C, S, S)."""
    units, channels, side, _ = shape
    half = side // 2
    together = crops.reshape(units, channels, 2, 2, half, half).permute(0, 1, 2, 4, 3, 5)
    return together.reshape(units, channels, side, side)


def _shares(count: int) -> NDArray[np.float32]:
    """Each pixel's share in the wider ones, shape (count, 196); rows sum to 1."""
    edges, step = np.arange(CROP), CROP / count
    low = np.maximum(np.arange(count)[:, None] * step, edges)
    high = np.minimum((np.arange(count)[:, None] + 1) * step, edges + 1)
    return np.asarray(np.clip(high - low, 0, None) / step, np.float32)


def _window(slabs: NDArray[Any], corner: tuple[int, int]) -> NDArray[Any]:
    """Cut a window of `CROP` whose first row and column are `corner`; zeros outside."""
    cut = np.zeros((len(slabs), CROP, CROP), slabs.dtype)
    inside, taken = [], []
    for first, size in zip(corner, slabs.shape[1:], strict=True):
        begin, end = max(0, -first), min(CROP, size - first)
        inside.append(slice(begin, max(begin, end)))
        taken.append(slice(first + begin, first + max(begin, end)))
    cut[:, inside[0], inside[1]] = slabs[:, taken[0], taken[1]]
    return cut
