"""Step D: the four slabs of a vertebra, and what was drawn on them.

From the middle of a vertebra one slab towards the head, the middle one, and two towards the
feet: 12 mm that hold the pedicles, the arch and most of the spinous process.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from shared.records import VolumeRecord
from shared.regions import LUMBAR, code_of
from shared.tasks.ct.slabs import PIXEL_MM, SlabPlacement, regions_to_slabs

#: Slabs from a level's middle, higher ones nearer to the head; in the order of a level's units.
OFFSETS: Final[tuple[int, ...]] = (1, 0, -1, -2)
#: A vertebra's front share, from the front of its body to the tip of its spinous process, that
#: is body. [U] 34 of 90 mm.
BODY_SHARE: Final = 0.38
#: Less bone than this on all slabs of a level is no vertebra, cm².
LEAST_CM2: Final = 4.0
#: A body's back is where so little is bone, and the canal behind it is so deep at least, mm.
HALF: Final = 0.5
CANAL_MM: Final = 8.0
#: The body's back is looked for so near to its middle, mm to either side.
NEAR_MIDDLE_MM: Final = 6.0
#: [U] An arch begins so far behind its body at most, mm: the canal is 14 to 20 mm deep. The
#: spinous process of the level above lies behind the arch, 28 mm and more from the body.
ARCH_WITHIN_MM: Final = 24.0
#: [U] An arch has 4 cm² on each slab; a body with less than this behind it on all four together
#: has none, only the ends of the pedicles.
LEAST_ARCH_CM2: Final = 3.0
#: [U] So much of an arch lies within that: half of it without its spinous process. What only
#: reaches in is another level's.
ARCH_SHARE: Final = 0.2
#: [U] It begins so near to the middle, mm to either side: facets and what touches them.
ARCH_BESIDE_MM: Final = 25.0


@dataclass(frozen=True)
class LevelSlabs:
    """The slabs of one vertebra.

    Attributes
    ----------
    level : str
        L1 to L4.
    slabs : tuple of 4 (int or None)
        Indices into `slabs.Slabs.hu` in the order of `OFFSETS`; None outside of the series.
    """

    level: str
    slabs: tuple[int | None, ...]


def middle_slices(volume: VolumeRecord) -> dict[str, int]:
    """Slices through the middles of L1 to L4: marked ones, otherwise those of drawn bodies."""
    marked = {
        level: volume.marked_slices[level] for level in LUMBAR if level in volume.marked_slices
    }
    absent = [level for level in LUMBAR if level not in marked]
    if volume.regions is None or not absent:
        return marked
    return marked | body_middles(volume.regions, absent)


def body_middles(regions: NDArray[np.uint8], levels: list[str]) -> dict[str, int]:
    """Find the middle slices of drawn vertebral bodies.

    The spinous process hangs down, so the middle of all that is drawn is too low: only the
    front of each vertebra counts, which is its body. Where a single slice is drawn, it is that.

    Parameters
    ----------
    regions : ndarray of uint8, shape (Z, Y, X)
        As `VolumeRecord.regions`.
    levels : list of str
        Those that are wanted.

    Returns
    -------
    dict of str to int
        Index along axis 0; a level that nobody drew is absent.
    """
    codes = {code_of(level, "volume"): level for level in levels}
    profiles = {level: np.zeros(regions.shape[:2], np.int64) for level in levels}
    for place, drawn in enumerate(regions):
        if not drawn.any():
            continue
        for code, level in codes.items():
            profiles[level][place] = (drawn == code).sum(1)
    found = {}
    for level, profile in profiles.items():
        rows = np.flatnonzero(profile.any(0))
        if not len(rows):
            continue
        behind = rows[0] + BODY_SHARE * (rows[-1] + 1 - rows[0])
        body = profile[:, rows[0] : max(round(behind), rows[0] + 1)].sum(1)
        found[level] = round(float(np.average(np.arange(len(body)), weights=body)))
    return found


def slabs_of_levels(
    middles: Mapping[str, int], placed: SlabPlacement, count: int
) -> list[LevelSlabs]:
    """Lay four slabs around each level's middle.

    Parameters
    ----------
    middles : mapping of str to int
        Slice of the series by level.
    placed : SlabPlacement
    count : int
        How many slabs the series has.

    Returns
    -------
    list of LevelSlabs
        Of L1 to L4, in this order, without those that have no middle.
    """
    found = []
    for level in LUMBAR:
        if level in middles:
            middle = round(placed.slab_at(middles[level]))
            wanted = [middle + offset for offset in OFFSETS]
            slabs = tuple(slab if 0 <= slab < count else None for slab in wanted)
            found.append(LevelSlabs(level, slabs))
    return found


def drawn_slices(regions: NDArray[np.uint8] | None) -> NDArray[np.int64]:
    """Slices of a series on which somebody drew; on all others nobody looked."""
    if regions is None:
        return np.zeros(0, np.int64)
    return np.asarray([place for place, drawn in enumerate(regions) if drawn.any()], np.int64)


def drawn_on_slab(
    regions: NDArray[np.uint8], drawn: NDArray[np.int64], placed: SlabPlacement, slab: int
) -> NDArray[np.uint8] | None:
    """Codes on a slab, by the drawn slice that lies nearest to its middle.

    Parameters
    ----------
    regions : ndarray of uint8, shape (Z, Y, X)
        Of the series.
    drawn : ndarray of int64
        `drawn_slices` of it.
    placed : SlabPlacement
    slab : int
        Which.

    Returns
    -------
    ndarray of uint8, shape (392, 392), or None
        None where no drawn slice lies in the slab: it is not annotated.
    """
    if not len(drawn):
        return None
    place = placed.slice_at(slab)
    nearest = int(drawn[np.abs(drawn - place).argmin()])
    # Half a slab away, or half a slice where slices are thicker than slabs.
    if abs(nearest - place) > max(placed.step[0], 1.0) / 2 + 1e-6:
        return None
    (_, *first), (_, *step), (_, *size) = placed.first, placed.step, placed.original
    alone = SlabPlacement((0.0, first[0], first[1]), (1.0, step[0], step[1]), (1, size[0], size[1]))
    return regions_to_slabs(np.asarray(regions[nearest : nearest + 1]), alone)[0]


def own_bone(bone: NDArray[np.bool_]) -> NDArray[np.bool_] | None:
    """Which of the bone on a level's four slabs is its own.

    The body is the largest part by far: 12 cm² of each slab. What hangs together with it over
    the slabs is its own, as the arch does by the pedicles. Where these lie above the slabs, as
    low in a lordosis, the body stands alone: then its arch is what begins right behind the canal.
    The spinous process of the level above begins further back.

    Parameters
    ----------
    bone : ndarray of bool, shape (4, 392, 392)
        All that is bone, the neighbours' as well.

    Returns
    -------
    ndarray of bool, shape (4, 392, 392), or None
        None if there is less than `LEAST_CM2` of it.
    """
    from scipy import ndimage

    parts, many = ndimage.label(bone, ndimage.generate_binary_structure(3, 3))
    if not many:
        return None
    sizes = np.bincount(parts.ravel())[1:]
    if sizes.max() * PIXEL_MM**2 / 100 < LEAST_CM2:
        return None
    body = 1 + int(sizes.argmax())
    own = np.asarray(parts == body)
    places = [place for slab in own if (place := _behind_body(slab)) is not None]
    if not places:
        return own
    # The slabs lie within 9 mm: one on which half of a body was missed says nothing.
    row, middle = (round(float(each)) for each in np.median(places, axis=0))
    if own[:, row:].sum() * PIXEL_MM**2 / 100 >= LEAST_ARCH_CM2:
        return own
    beside = round(ARCH_BESIDE_MM / PIXEL_MM)
    near = parts[
        :, row : row + round(ARCH_WITHIN_MM / PIXEL_MM), max(middle - beside, 0) : middle + beside
    ]
    touched = np.bincount(near.ravel(), minlength=many + 1)[1:]
    arch = 1 + np.flatnonzero(touched >= np.maximum(ARCH_SHARE * sizes, 1))
    return np.asarray(np.isin(parts, [body, *arch]))


def _behind_body(own: NDArray[np.bool_]) -> tuple[int, int] | None:
    """First row behind a body on a slab, and its middle column; None where it is not there."""
    if not own.any():
        return None
    rows, _ = np.nonzero(own)
    front = own[: rows.min() + round(2 * CANAL_MM / PIXEL_MM)]
    middle = round(float(np.nonzero(front)[1].mean()))
    near = round(NEAR_MIDDLE_MM / PIXEL_MM)
    solid = own[:, max(middle - near, 0) : middle + near + 1].mean(1) >= HALF
    deep = round(CANAL_MM / PIXEL_MM)
    first = int(rows.min())
    for row in range(first + deep, len(solid) - deep):
        if not solid[row : row + deep].any() and solid[first:row].any():
            return row, middle
    return None
