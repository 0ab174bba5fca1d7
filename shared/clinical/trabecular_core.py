"""The trabecular core of a vertebral body on CT, and its median attenuation.

A core is what lies deep inside the body: `MARGIN_MM` from every surface of the vertebra, so that
no cortex and no end plate blurs into it, and in front of the basivertebral vein, which enters
from behind at the middle of the height. Posterior elements are too thin to have any such part.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from shared.clinical.attenuation import from_120_kv

#: Away from the surface, mm: cortex or end plate (1.5), half a slice of 5 mm and a soft kernel.
MARGIN_MM: Final = 5.0
#: A core reaches back as far as this share of the body's depth, from the front.
IN_FRONT_OF_VEIN: Final = 0.6
#: The least that is a core and not a few voxels, mm³.
LEAST_MM3: Final = 500.0
#: Above what bone has at 120 kV: metal or cement.
METAL_HU: Final = 1_500
#: [U] A core of which so much lies below −130 or above 500 HU (at 120 kV) is not trabecular bone
#: alone.
STRANGE_SHARE: Final = 0.05
STRANGE_HU: Final = (-130, 500)


@dataclass(frozen=True)
class CoreReading:
    """What was measured in a core.

    Attributes
    ----------
    median_hu, sd_hu : float
        Of its voxels.
    volume_mm3 : float
        Of the core.
    """

    median_hu: float
    sd_hu: float
    volume_mm3: float


class NoCoreError(ValueError):
    """A level has no core that can be measured; the text says why, after the level's name."""


def read_core(
    hu: NDArray[np.int16],
    level: NDArray[np.bool_],
    spacing_mm: Sequence[float],
    ends: tuple[bool, bool] = (True, True),
    kilovolts: float | None = None,
    slab: bool = False,
) -> CoreReading:
    """Measure the core of one vertebra.

    Parameters
    ----------
    hu : ndarray of int16, shape (Z, Y, X)
        Axes as in `shared.records.VolumeRecord`: feet to head, front to back, right to left. A
        part of the series that holds the whole vertebra will do.
    level : ndarray of bool, same shape
        The whole vertebra.
    spacing_mm : sequence of three floats
        Distance of voxel centres along the axes.
    ends : (bool, bool)
        Whether the first and the last slice are those of the series.
    kilovolts : float, optional
        Tube voltage: sound cortex at 80 kV is as dense as metal would be at 120.
    slab : bool
        Whether only slices through the middle of the vertebra were outlined: it goes on above
        and below them.

    Raises
    ------
    NoCoreError
        If the level is cut off by the end of the series, holds metal or cement, has no core, or
        one that is not trabecular bone.
    """
    if not level.any():
        raise NoCoreError("is not outlined")
    metal = from_120_kv(METAL_HU, kilovolts)
    if (hu[level] > metal).any():
        raise NoCoreError(f"holds metal or cement (over {metal:,.0f} HU)")
    core = core_of(level, spacing_mm, (True, True) if slab else ends)
    if not slab and ((ends[0] and core[0].any()) or (ends[1] and core[-1].any())):
        raise NoCoreError("is cut off by the end of the series")
    voxel = float(np.prod(spacing_mm))
    if core.sum() * voxel < LEAST_MM3:
        raise NoCoreError(
            f"has no part of {LEAST_MM3:g} mm³ that lies {MARGIN_MM:g} mm inside its outline"
        )
    values = hu[core].astype(np.float64)
    low, high = STRANGE_HU[0], round(from_120_kv(STRANGE_HU[1], kilovolts))
    strange = float(np.mean((values < low) | (values > high)))
    if strange > STRANGE_SHARE:
        raise NoCoreError(
            f"is not trabecular bone alone: {strange:.0%} of its core are below {low} or above "
            f"{high} HU"
        )
    return CoreReading(float(np.median(values)), float(values.std()), float(core.sum() * voxel))


def core_of(
    level: NDArray[np.bool_], spacing_mm: Sequence[float], ends: tuple[bool, bool] = (True, True)
) -> NDArray[np.bool_]:
    """Voxels of a vertebra's trabecular core, same shape (Z, Y, X); none if it has none.

    What reaches the first or last slice is taken to go on beyond it where `ends` says so: of
    whole vertebrae only a body that is cut off has a part of its core there. Parameters as for
    `read_core`.
    """
    more = math.ceil(2 * MARGIN_MM / spacing_mm[0])
    below, above = more * ends[0], more * ends[1]
    whole = np.pad(np.pad(level, ((below, above), (0, 0), (0, 0)), mode="edge"), 1)
    outside = ndimage.distance_transform_edt(whole, spacing_mm)[1:-1, 1:-1, 1:-1]
    outside = outside[below : len(outside) - above]
    # That is the way to the centre of a voxel outside; the surface is half a voxel nearer.
    parts, count = ndimage.label(outside - max(spacing_mm) / 2 >= MARGIN_MM)
    if not count:
        return np.zeros_like(level)
    core: NDArray[np.bool_] = parts == 1 + int(np.argmax(np.bincount(parts.ravel())[1:]))
    rows = np.flatnonzero(core.any((0, 2)))
    # What is deep begins a margin behind the body's front and ends a margin before its back.
    margin = MARGIN_MM / spacing_mm[1]
    front, back = rows[0] - margin, rows[-1] + margin
    core[:, math.ceil(front + IN_FRONT_OF_VEIN * (back - front)) :] = False
    return core
