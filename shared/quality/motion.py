"""Motion: a scanner takes line after line, so a patient who moves shifts lines sideways."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from shared.quality.pixels import Picture, strength_of

#: A spine bends smoothly: this degree of a polynomial follows scoliosis, not motion.
DEGREE: Final = 3
#: Standard deviation of the axis about that curve at which one would object, mm.
SPINE_MM: Final = 0.55
#: Shift from line to line, in mm a line, root mean square over 25 lines, for a hip.
HIP_MM: Final = 0.08
#: Slopes count from about this many times the noise's own on: noise wanders by itself.
NOISE: Final = 3.0
_LINES: Final = 25
_TREND_LINES: Final = 61


def of_spine(picture: Picture, axis: NDArray[np.float64]) -> float:
    """Strength of motion in a PA spine, from how its axis wavers.

    Parameters
    ----------
    picture : Picture
    axis : ndarray of float, shape (H,)
        `shared.quality.axis.spine_axis`.
    """
    place = np.linspace(-1, 1, len(axis))
    smooth = np.polyval(np.polyfit(place, axis, DEGREE), place)
    return strength_of(float((axis - smooth).std()) * picture.column_mm, SPINE_MM)


def of_hip(picture: Picture) -> float:
    """Strength of motion in a hip, from the sideways shift of each line against the last.

    The shift is that on which most of a line's columns agree: an edge that runs
    obliquely moves alone, motion moves the whole line.
    """
    from scipy import ndimage

    shift = _shifts(picture)
    shift = shift - ndimage.median_filter(shift, _TREND_LINES, mode="nearest")
    power = ndimage.uniform_filter1d(shift**2, _LINES, mode="nearest")
    inner = power[8:-8]
    return strength_of(float(np.sqrt(inner.max())) if len(inner) else 0.0, HIP_MM)


def _shifts(picture: Picture) -> NDArray[np.float64]:
    """Sideways shift of each line against the one before, mm; robust least squares."""
    from scipy import ndimage

    inside = ndimage.binary_erosion(picture.scanned, iterations=3, border_value=1)
    grey = ndimage.gaussian_filter(picture.grey, [1.0, 1.5]).astype(np.float64)
    both = inside[1:] & inside[:-1]
    along = np.gradient(grey, axis=1)
    slope = np.where(both, (along[1:] + along[:-1]) / 2, 0)
    change = np.where(both, np.diff(grey, axis=0), 0)
    # Lines with next to no structure, or with nothing but noise, say nothing.
    noise = 1.48 * float(np.median(np.abs(slope[both]))) if both.any() else 0.0
    least = 0.1 * float(np.median((slope**2).sum(axis=1))) + 1e-9
    least += NOISE * noise**2 * slope.shape[1]
    shift = np.zeros((len(slope), 1))
    for _ in range(6):
        left = change + shift * slope
        scale = 1.5 * np.median(np.abs(left), axis=1, keepdims=True) + 2e-3
        weight = 1 / (1 + (left / scale) ** 2)
        moved = (weight * slope * change).sum(axis=1, keepdims=True)
        shift = -moved / ((weight * slope**2).sum(axis=1, keepdims=True) + least)
    return np.asarray(shift[:, 0] * picture.column_mm)
