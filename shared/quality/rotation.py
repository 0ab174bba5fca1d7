"""Rotation: a spine that lies turned shows its left and right halves differently."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from shared.quality.axis import straightened
from shared.quality.pixels import Picture, strength_of

#: Half of the width that is compared, mm: the bodies.
HALF_WIDTH_MM: Final = 20.0
#: Difference of left and right over what is seen at which one would object; 8° of roll.
DIFFERENCE: Final = 0.335
#: The rows in which L1 to L4 lie in every field.
ROWS: Final = (0.15, 0.75)


def rotation(picture: Picture, axis: NDArray[np.float64]) -> float:
    """Strength of the rotation of a PA spine about its own axis.

    Parameters
    ----------
    picture : Picture
    axis : ndarray of float, shape (H,)
        `shared.quality.axis.spine_axis`.
    """
    from scipy import ndimage

    grey = ndimage.gaussian_filter(picture.grey, 1.0)
    band = straightened(grey, axis, int(HALF_WIDTH_MM / picture.column_mm))
    height = len(band)
    band = band[int(ROWS[0] * height) : int(ROWS[1] * height)]
    band = band - band.min(axis=1, keepdims=True)
    seen = float((band**2).sum())
    if seen <= 0:
        return 0.0
    odd = float(((band - band[:, ::-1]) ** 2).sum())
    return strength_of(float(np.sqrt(odd / seen)), DIFFERENCE)
