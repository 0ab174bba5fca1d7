"""Which slices of a CT series are shown: those that pass through the spine."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

PLANES: Final = ("axial", "coronal", "sagittal")

#: Above it something is of the body and not of the air around it, HU.
BODY_HU: Final = -300.0
#: From here on something counts as bone, the more the denser it is, up to `DENSEST_HU`: so that
#: neither a vessel with contrast agent nor a piece of metal outweighs the vertebrae.
BONE_HU: Final = 200.0
DENSEST_HU: Final = 600.0
#: How far to either side of the body's middle the spine may lie, mm.
ASIDE_MM: Final = 60.0
#: About how deep a vertebral body is from front to back, mm.
VERTEBRA_MM: Final = 30.0
#: What is looked at: every voxel is not needed to find a spine.
STEP_MM: Final = 2.0
LOOKED_AT_SLICES: Final = 40


def slices_through_spine(
    hu: NDArray[Any], spacing_mm: tuple[float, float, float]
) -> dict[str, int]:
    """Find the slices that pass through the spine.

    Behind the body's middle, and not far to its sides, lies the column along which there is
    most bone from head to feet: the spine. Ribs and hip bones lie further to the side, the
    breastbone in front. Of what is bone there in a slice the front is the front of a vertebral
    body; the coronal slice is the one that lies within a body in most slices.

    Parameters
    ----------
    hu : ndarray, shape (Z, Y, X)
        Hounsfield units; Z from the feet, Y from the front, X from the patient's right.
    spacing_mm : tuple of float
        Of (Z, Y, X).

    Returns
    -------
    dict of str to int
        Number of the slice by plane; where no bone is found, and always of the axial plane,
        the middle one.
    """
    middle = dict(zip(PLANES, (side // 2 for side in hu.shape), strict=True))
    _, row_mm, column_mm = spacing_mm
    down = max(1, hu.shape[0] // LOOKED_AT_SLICES)
    back, across = (max(1, int(STEP_MM // mm)) for mm in (row_mm, column_mm))
    seen = np.asarray(hu[::down, ::back, ::across], np.float32)
    step_mm = (row_mm * back, column_mm * across)
    body = (seen > BODY_HU).sum(axis=0)
    if not body.any():
        return middle
    front, side = _median(body.sum(axis=1)), _median(body.sum(axis=0))
    bone = np.clip(seen, BONE_HU, DENSEST_HU) - BONE_HU
    bone[:, :front] = 0.0
    bone[:, :, np.abs(np.arange(bone.shape[2]) - side) * step_mm[1] > ASIDE_MM] = 0.0
    if not bone.any():
        return middle
    rows, columns = (max(1, round(VERTEBRA_MM / mm)) for mm in step_mm)
    near = ndimage.uniform_filter(bone.mean(axis=0), (rows, columns), mode="constant")
    column = int(np.unravel_index(np.argmax(near), near.shape)[1])
    row = _within_bodies(
        bone[:, :, max(0, column - columns // 2) : column + columns // 2 + 1], rows
    )
    last = (hu.shape[1] - 1, hu.shape[2] - 1)
    return middle | {
        "coronal": min(row * back, last[0]),
        "sagittal": min(column * across, last[1]),
    }


def cut_slice(volume: NDArray[Any], plane: str, number: int) -> NDArray[Any]:
    """Cut a volume of shape (Z, Y, X), head or front at the top.

    Axial slices are seen from the feet, the patient's right on the left, as radiologists
    hang them.

    Parameters
    ----------
    volume : ndarray, shape (Z, Y, X)
        Hounsfield units, or codes of regions.
    plane : str
        One of `PLANES`.
    number : int
        Which slice, from 0.

    Raises
    ------
    KeyError
        If there is no such plane.
    """
    cuts = {
        "axial": lambda: volume[number],
        "coronal": lambda: volume[::-1, number],
        "sagittal": lambda: volume[::-1, :, number],
    }
    return np.asarray(cuts[plane]())


def slice_spacing(spacing_mm: tuple[float, float, float], plane: str) -> tuple[float, float]:
    """Millimetres per pixel of a slice, row first; spacing of the volume is (Z, Y, X)."""
    slice_mm, row_mm, column_mm = spacing_mm
    return {
        "axial": (row_mm, column_mm),
        "coronal": (slice_mm, column_mm),
        "sagittal": (slice_mm, row_mm),
    }[plane]


def _within_bodies(spine: NDArray[Any], deep: int) -> int:
    """Row of a spine, shape (Z, Y, X), that lies in most slices behind where bone begins.

    At most `deep` rows behind; of several such rows the middle one.
    """
    profile = spine.mean(axis=2)
    most = profile.max(axis=1)
    begins = np.argmax(profile >= most[:, None] / 3, axis=1)[most > 0]
    row = np.arange(spine.shape[1])[:, None]
    within = ((begins <= row) & (row < begins + deep)).sum(axis=1)
    return int(np.median(np.flatnonzero(within == within.max())))


def _median(counts: NDArray[Any]) -> int:
    """Place up to which half of all lies."""
    total = np.cumsum(counts)
    return int(np.searchsorted(total, total[-1] / 2))
