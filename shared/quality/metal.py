"""Metal: compact parts far brighter than bone, beside the spine (clips) or in it (cages)."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from shared.quality.pixels import Picture, strength_of
from shared.records import Vendor

#: A clip is smaller than this, mm; what is larger is bone or tissue.
CLIP_MM: Final = 11.0
#: The column of bone about the axis, where clips cannot be told from pedicles, mm.
COLUMN_MM: Final = 32.0
#: How far a clip stands out from its surroundings, in grey values, by how much of the
#: grey scale a vendor gives to soft tissue.
CLIP_CONTRAST: Final = {
    Vendor.LUNAR: 0.50,
    Vendor.HOLOGIC: 0.31,
    Vendor.NORLAND: 0.48,  # as of any: none was seen
    Vendor.GENERIC: 0.48,
    Vendor.OTHER: 0.48,
}
#: A cage fills at least so much of the ceiling: height and width in mm.
CAGE_MM: Final = (5.0, 18.0)
CAGE_GREY: Final = 0.995
#: ... and is brighter than the middle of the spine by this factor.
CAGE_RATIO: Final = 1.38


def metal(picture: Picture, axis: NDArray[np.float64], vendor: Vendor) -> float:
    """Strength of metal in a PA spine.

    Parameters
    ----------
    picture : Picture
    axis : ndarray of float, shape (H,)
        `shared.quality.axis.spine_axis`.
    vendor : Vendor
    """
    columns = np.arange(picture.grey.shape[1])
    beside = np.abs(columns[None, :] - axis[:, None]) * picture.column_mm
    return max(_clip(picture, beside, vendor), _cage(picture, beside))


def _clip(picture: Picture, beside: NDArray[np.float64], vendor: Vendor) -> float:
    from scipy import ndimage

    margin = max(1, int(2 / picture.column_mm))
    inside = ndimage.binary_erosion(picture.scanned, iterations=margin, border_value=1)
    size = (int(CLIP_MM / picture.row_mm) | 1, int(CLIP_MM / picture.column_mm) | 1)
    small = picture.grey - ndimage.grey_opening(picture.grey, size=size)
    small = np.where(inside & (beside > COLUMN_MM), small, 0)
    found = float(ndimage.gaussian_filter(small, 0.7).max())
    return strength_of(found, CLIP_CONTRAST[vendor])


def _cage(picture: Picture, beside: NDArray[np.float64]) -> float:
    from scipy import ndimage

    near = beside < 22.0
    grey = ndimage.gaussian_filter(picture.grey, [1 / picture.row_mm, 1 / picture.column_mm])
    box = (max(1, int(CAGE_MM[0] / picture.row_mm)), max(1, int(CAGE_MM[1] / picture.column_mm)))
    darkest = float(ndimage.minimum_filter(np.where(near, grey, 0), size=box).max())
    if darkest < CAGE_GREY:
        return 0.0
    middle = float(np.median(grey[beside < 18.0]))
    return strength_of(darkest / max(middle, 1e-3), CAGE_RATIO)
