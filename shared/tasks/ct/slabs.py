"""Step A: a CT series on slabs of one thickness, in one frame around the spine, and back again.

Series come with slices of 0.5 to 5 mm and fields of 250 to 500 mm. Everything after this sees
slabs of 3 mm with pixels of 0.75 mm, each the mean of what lies in it, in a frame that is laid
by the body itself: its middle from side to side, its skin at the back.
"""

from __future__ import annotations

import weakref
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage, sparse

from shared.clinical.ct_gates import THICKEST_MM, is_thick
from shared.records import VolumeRecord

SLAB_MM: Final = 3.0
PIXEL_MM: Final = 0.75
#: Rows and columns of the frame: 294 mm, which holds spine, psoas and aorta of anybody.
FRAME: Final = (392, 392)
#: No scanner's table goes further: a series that says more is not one, and would fill memory.
HIGHEST_MM: Final = 2500.0
#: The frame ends so far behind the skin of the back, mm.
BEHIND_MM: Final = 12.0
#: What is not scanned counts as air.
AIR_HU: Final = -1000
#: The body is looked for by voxels above this, one in so many mm.
BODY_HU: Final = -300
LOOKED_MM: Final = 6.0


class SlabsError(ValueError):
    """A series cannot be brought to slabs; the text says why."""


@dataclass(frozen=True)
class SlabPlacement:
    """Where slabs lie in their series, in voxels of the series, by voxels of the slabs.

    Attributes
    ----------
    first : (float, float, float)
        Place of the middle of slab voxel [0, 0, 0] in the series' voxels, along (Z, Y, X).
    step : (float, float, float)
        Voxels of the series for one of the slabs.
    original : (int, int, int)
        Shape of the series.
    """

    first: tuple[float, float, float]
    step: tuple[float, float, float]
    original: tuple[int, int, int]

    def slab_at(self, place: float) -> float:
        """Where a slice of the series lies, in slabs; 0 is the middle of the one at the feet."""
        return (place - self.first[0]) / self.step[0]

    def slice_at(self, slab: float) -> float:
        """Where a slab lies, in slices of the series."""
        return self.first[0] + self.step[0] * slab


@dataclass(frozen=True)
class Slabs:
    """A series on slabs.

    Attributes
    ----------
    hu : ndarray of float32, shape (Z, 392, 392)
        Axes as in `shared.records.VolumeRecord`: feet to head, front to back, right to left;
        read-only.
    placed : SlabPlacement
        Where they lie in the series.
    """

    hu: NDArray[np.float32]
    placed: SlabPlacement


#: The slabs that were made last, with their series' array and spacing. Tasks that read a study
#: one after the other all begin with them; they are gone with the array.
_LAST: Final[list[tuple[weakref.ref[Any], tuple[float, float, float], Slabs]]] = []


def to_slabs(volume: VolumeRecord) -> Slabs:
    """Bring a series to slabs; asked for the same series in a row, they are made once.

    Parameters
    ----------
    volume : VolumeRecord
        Its array may be mapped from a file: no more than the slices of one slab are held beside
        the result.

    Raises
    ------
    SlabsError
        If its slices are too thick or too far apart, it is lower than one slab or higher than a
        scanner's table goes, or no body is in it.
    """
    if is_thick(volume):
        raise SlabsError(
            f"its slices are {volume.thickest_mm:g} mm thick (must be at most {THICKEST_MM:g})"
        )
    height = len(volume.hu) * volume.spacing_mm[0]
    count = int(height // SLAB_MM)
    if height > HIGHEST_MM:
        raise SlabsError(f"it is {height:g} mm high (must be at most {HIGHEST_MM:g})")
    if count < 1:
        raise SlabsError(f"it is {height:g} mm high (must be {SLAB_MM:g} or more)")
    for series, spacing, known in _LAST:
        if series() is volume.hu and spacing == volume.spacing_mm:
            return known
    slabs = _made(volume, count)
    _LAST[:] = [(weakref.ref(volume.hu, lambda gone: _LAST.clear()), volume.spacing_mm, slabs)]
    return slabs


def _made(volume: VolumeRecord, count: int) -> Slabs:
    """Make `count` slabs of a series."""
    back, middle = find_body(volume)
    steps = tuple(
        new / old for new, old in zip((SLAB_MM, PIXEL_MM, PIXEL_MM), volume.spacing_mm, strict=True)
    )
    first = (
        (len(volume.hu) - (count - 1) * steps[0] - 1) / 2,
        back + BEHIND_MM / volume.spacing_mm[1] - (FRAME[0] - 1) * steps[1],
        middle - (FRAME[1] - 1) / 2 * steps[2],
    )
    placed = SlabPlacement(first, (steps[0], steps[1], steps[2]), _shape(volume.hu))
    rows, columns = (
        _blend(first[axis], steps[axis], FRAME[axis - 1], volume.hu.shape[axis]) for axis in (1, 2)
    )
    through = _shares(first[0], steps[0], count, len(volume.hu))
    outside = 1 - np.outer(_sums(rows), _sums(columns))
    slabs = np.empty((count, *FRAME), np.float32)
    for place, shares in enumerate(through):
        used = np.flatnonzero(shares)
        taken = np.maximum(volume.hu[used[0] : used[-1] + 1], AIR_HU).astype(np.float32)
        mean = np.tensordot(shares[used[0] : used[-1] + 1], taken, 1)
        slabs[place] = (columns @ (rows @ mean).T).T + AIR_HU * outside
    slabs.flags.writeable = False
    return Slabs(slabs, placed)


def find_body(volume: VolumeRecord) -> tuple[float, float]:
    """Find the skin of the back and the middle of the body, in rows and columns of the series.

    The table is not the body: it is thin, and the largest piece of what is left is taken.

    Raises
    ------
    SlabsError
        If there is nothing that could be a body.
    """
    every = [max(1, round(LOOKED_MM / spacing)) for spacing in volume.spacing_mm]
    seen = np.asarray(volume.hu[:: every[0], :: every[1], :: every[2]])
    solid = ndimage.binary_opening(seen > BODY_HU, np.ones((1, 3, 3)))
    parts, many = ndimage.label(solid)
    if not many:
        raise SlabsError(f"nothing in it is above {BODY_HU} HU: no body is in the field")
    body = parts == 1 + int(np.argmax(np.bincount(parts.ravel())[1:]))
    filled = body.any(2)
    backs = [np.flatnonzero(rows)[-1] for rows in filled if rows.any()]
    columns = np.flatnonzero(body.any((0, 1)))
    widths = body.sum((0, 1))[columns]
    middle = float(np.average(columns, weights=widths))
    return float(np.median(backs)) * every[1], middle * every[2]


def regions_to_slabs(regions: NDArray[np.uint8], placed: SlabPlacement) -> NDArray[np.uint8]:
    """Codes of the series' voxels that lie nearest, shape of the slabs; 0 outside of it."""
    slabs = np.zeros((_count(placed), *FRAME), np.uint8)
    inside, taken = [], []
    for axis, size in enumerate(slabs.shape):
        nearest = np.rint(placed.first[axis] + placed.step[axis] * np.arange(size)).astype(int)
        known = (nearest >= 0) & (nearest < placed.original[axis])
        inside.append(np.flatnonzero(known))
        taken.append(nearest[known])
    slabs[np.ix_(*inside)] = regions[np.ix_(*taken)]
    return slabs


def regions_of_series(slabs: NDArray[np.uint8], placed: SlabPlacement) -> NDArray[np.uint8]:
    """Codes of the slab voxels that lie nearest, shape of the series; 0 outside of the frame.

    Of thick slices each that lies nearest to an outlined slab has its outline, so that
    `regions_to_slabs` finds again what was outlined.
    """
    regions = np.zeros(placed.original, np.uint8)
    inside, taken = [], []
    for axis, size in enumerate(placed.original):
        place = (np.arange(size) - placed.first[axis]) / placed.step[axis]
        nearest = np.rint(place).astype(int)
        if axis == 0:
            nearest = _outlined_first(nearest, slabs, placed)
        known = (nearest >= 0) & (nearest < slabs.shape[axis])
        inside.append(np.flatnonzero(known))
        taken.append(nearest[known])
    regions[np.ix_(*inside)] = slabs[np.ix_(*taken)]
    return regions


def _outlined_first(
    nearest: NDArray[np.int_], slabs: NDArray[np.uint8], placed: SlabPlacement
) -> NDArray[np.int_]:
    """Of the slabs that a slice is nearest to, let an outlined one count; then the nearest."""
    chosen = nearest.copy()
    best = np.full(len(nearest), np.inf)
    for slab in np.flatnonzero(slabs.any((1, 2))):
        place = placed.slice_at(float(slab))
        at = round(place)
        if 0 <= at < len(chosen) and abs(place - at) < best[at]:
            chosen[at], best[at] = slab, abs(place - at)
    return chosen


def _shape(hu: NDArray[np.int16]) -> tuple[int, int, int]:
    deep, high, wide = hu.shape
    return deep, high, wide


def _count(placed: SlabPlacement) -> int:
    """How many slabs there are: they are laid in the middle of the series, whole ones only."""
    return round((placed.original[0] - 1 - 2 * placed.first[0]) / placed.step[0]) + 1


def _shares(first: float, step: float, count: int, size: int) -> NDArray[np.float32]:
    """Each slice's share of each slab, shape (count, size): what of it lies inside."""
    middles = first + step * np.arange(count)
    edges = np.arange(size)
    low = np.maximum(middles[:, None] - step / 2, edges - 0.5)
    high = np.minimum(middles[:, None] + step / 2, edges + 0.5)
    overlap = np.clip(high - low, 0, None)
    return np.asarray(overlap / overlap.sum(1, keepdims=True), np.float32)


def _blend(first: float, step: float, count: int, size: int) -> Any:
    """Weights of old pixels in new ones, sparse (count, size): a triangle as wide as the wider.

    Rows of pixels outside of the series are empty.
    """
    places = first + step * np.arange(count)
    wide = max(1.0, step)
    weights = np.clip(1 - np.abs(places[:, None] - np.arange(size)) / wide, 0, None)
    known = (places > -0.5) & (places < size - 0.5)
    total = np.where(known, weights.sum(1), 1.0)
    return sparse.csr_array(np.asarray(weights * known[:, None] / total[:, None], np.float32))


def _sums(weights: Any) -> NDArray[np.float32]:
    """One for pixels inside of the series, else zero."""
    return np.asarray(weights.sum(1), np.float32)
