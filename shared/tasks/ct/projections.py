"""Step B: frontal and sagittal maximum-intensity projections, by which levels are found."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from shared.tasks.ct.slabs import PIXEL_MM, SLAB_MM

#: HU that are drawn black and white.
WINDOW: Final = (-100.0, 900.0)
#: The frontal projection goes through this much of the frame's back, mm: the spine with its ribs,
#: not the sternum, the arms or what was drunk.
DEPTH_MM: Final = 180.0
#: The sagittal projection goes through this much beside the middle, to each side, mm.
BESIDE_MM: Final = 45.0
#: Columns of a projection that become one, so that its pixels are as wide as slabs are high.
TOGETHER: Final = round(SLAB_MM / PIXEL_MM)


def frontal(hu: NDArray[np.float32]) -> NDArray[np.float32]:
    """What is brightest from front to back.

    Parameters
    ----------
    hu : ndarray of float32, shape (Z, 392, 392)
        `slabs.Slabs.hu`.

    Returns
    -------
    ndarray of float32, shape (Z, 98)
        In [0, 1] by `WINDOW`; row 0 is at the feet, column 0 the patient's right.
    """
    depth = round(DEPTH_MM / PIXEL_MM)
    return _shown(hu[:, -depth:].max(1))


def sagittal(hu: NDArray[np.float32]) -> NDArray[np.float32]:
    """What is brightest from side to side, near the middle; as `frontal`, column 0 is the front."""
    middle, beside = hu.shape[2] // 2, round(BESIDE_MM / PIXEL_MM)
    return _shown(hu[:, :, middle - beside : middle + beside].max(2))


def _shown(brightest: NDArray[np.float32]) -> NDArray[np.float32]:
    """Bring to [0, 1], and to pixels that are as wide as high."""
    low, high = WINDOW
    grey = np.clip((brightest - low) / (high - low), 0, 1)
    return np.asarray(grey.reshape(len(grey), -1, TOGETHER).mean(2), np.float32)
