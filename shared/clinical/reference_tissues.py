"""Air, subcutaneous fat and muscle around a vertebra on CT, by where they lie and what they show.

Air is looked for in front of the body, where there is no couch; gas inside the body is inside.
Fat is what lies under the skin, at least `SKIN_MM` below the surface. Muscle is what lies beside
the spinous process, where there is neither kidney nor bowel. A voxel counts if it shows about
what its tissue is computed to show and everything around it within `MARGIN_MM` does, too.

About: within `OFF_HU` of what is computed, and then once more of what that gave, so that a scanner
with an offset or muscle that holds fat is not cut off on one side. A tissue that is farther off
than that is still missing or read too near to what is expected; the residual cannot show it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from shared.records import PADDING_HU

from .internal_calibration import TissueHu, expected_hu

Plane = NDArray[np.float32]
Mask = NDArray[np.bool_]
#: Slices so far around the middle of a vertebra are averaged, mm: noise would hide the borders.
AROUND_MM: Final = 5.0
#: SD in mm of the blur behind which a tissue is told by its HU; values are taken without it.
BLUR_MM: Final = 1.5
#: Tissues are looked for on pixels of about this size, mm: finer ones tell nothing more.
PIXEL_MM: Final = 1.5
#: Below is air, lung or gas; the body is what lies above.
BODY_HU: Final = -300.0
#: Anything thinner than twice this is no part of the body, mm: sheets, tubes, a couch's shells.
THIN_MM: Final = 5.0
#: Air is measured so far from the body, mm.
AIR_MM: Final = (8.0, 60.0)
#: Subcutaneous fat lies so deep below the surface, mm: under the skin and its blur.
SKIN_MM: Final = (4.0, 40.0)
#: Muscle lies so far to either side of the vertebra's middle, mm: beside the spinous process, and
#: not yet where kidneys are.
BESIDE_MM: Final = (12.0, 50.0)
#: Behind the body's back the outline must go on so far, mm, or no spinous process is in it: then
#: nothing tells the muscle of the back from psoas, crura and kidneys.
PROCESS_MM: Final = 25.0
#: How far a voxel of a tissue may be off what is computed, and then off what that gave, HU.
OFF_HU: Final = 40.0
#: Everything within this of a voxel is of its tissue, mm.
MARGIN_MM: Final = 2.5
#: The least that is a reference and not a few voxels, mm².
LEAST_MM2: Final = 100.0


@dataclass(frozen=True)
class SeenTissues:
    """What was found of the reference tissues around a level, HU; None where one was not.

    `process` says whether the outline holds a spinous process, without which no muscle is read.
    """

    air: float | None
    fat: float | None
    muscle: float | None
    process: bool = True


def read_tissues(
    hu: NDArray[np.int16], level: Mask, spacing_mm: Sequence[float], kilovolts: float
) -> SeenTissues:
    """Measure air, fat and muscle around one vertebra.

    Parameters
    ----------
    hu : ndarray of int16, shape (Z, Y, X)
        Whole slices, axes as in `shared.records.VolumeRecord`.
    level : ndarray of bool, same shape
        The vertebra, or what was outlined of it.
    spacing_mm : sequence of three floats
        Distance of voxel centres along the axes.
    kilovolts : float
        Tube voltage, 80 to 140.

    Returns
    -------
    SeenTissues
        Medians.

    Raises
    ------
    NotCalibratedError
        If the voltage is outside of what was computed.
    ValueError
        If nothing is outlined.
    """
    if not level.any():
        raise ValueError("nothing is outlined")
    expected = expected_hu(kilovolts)
    areas = level.sum((1, 2))
    middle, reach = int(np.argmax(areas)), int(AROUND_MM / spacing_mm[0])
    around = slice(max(middle - reach, 0), middle + reach + 1)
    plane = hu[around].mean(0, dtype=np.float32)
    blurred = ndimage.gaussian_filter(plane, [BLUR_MM / side for side in spacing_mm[1:]])
    down, across = (max(1, round(PIXEL_MM / side)) for side in spacing_mm[1:])
    coarse = (slice(None, None, down), slice(None, None, across))
    plane, blurred = plane[coarse], blurred[coarse]
    bone: Mask = np.asarray(level[around].any(0))[coarse]
    pixel_mm = (spacing_mm[1] * down, spacing_mm[2] * across)
    body = _body(blurred, bone, pixel_mm)
    if not body.any():
        return SeenTissues(None, None, None)
    measured = ~_padded(plane, pixel_mm)
    rows = np.flatnonzero(bone.any(1))
    beyond = ndimage.distance_transform_edt(~body, pixel_mm)
    air = _between(beyond, AIR_MM) & measured
    air[rows[0] :] = False  # the couch is behind
    # Where the field ends the body goes on: that is no surface.
    fat = body & measured & _between(_depth(body | ~measured, pixel_mm), SKIN_MM)
    back = _back(bone, pixel_mm)
    reach_mm = (np.flatnonzero(level.any((0, 2)))[-1] / down - back) * pixel_mm[0]
    centre_column = ndimage.center_of_mass(bone)[1]
    aside = np.abs(np.arange(plane.shape[1]) - centre_column) * pixel_mm[1]
    muscle = body & measured & ~bone & _between(aside, BESIDE_MM)[None, :]
    muscle[: math.ceil(back)] = False
    muscle[rows[-1] + 1 :] = False
    process = bool(reach_mm >= PROCESS_MM)
    muscle &= process
    return SeenTissues(
        air=_reading(plane, blurred, air, expected.air, pixel_mm),
        fat=_reading(plane, blurred, fat, expected.fat, pixel_mm),
        muscle=_reading(plane, blurred, muscle, expected.muscle, pixel_mm),
        process=process,
    )


def together(seen: Sequence[SeenTissues]) -> tuple[TissueHu | None, tuple[str, ...]]:
    """Put together what was seen around several levels of a series.

    Returns
    -------
    TissueHu or None, tuple of str
        The median of the levels that show a tissue, and the names of tissues that none shows,
        with the reason where one is known; without one of them there is no TissueHu.
    """
    values = {
        name: [value for one in seen if (value := getattr(one, name)) is not None]
        for name in ("air", "fat", "muscle")
    }
    missing = [name for name, found in values.items() if not found]
    if missing:
        if missing[-1] == "muscle" and seen and not any(one.process for one in seen):
            missing[-1] += " (no outline holds a spinous process)"
        return None, tuple(missing)
    return TissueHu(**{name: float(np.median(found)) for name, found in values.items()}), ()


def _body(blurred: Plane, bone: Mask, pixel_mm: tuple[float, float]) -> Mask:
    """The part of a slice that holds the vertebra, with what is inside of it."""
    dense = blurred > BODY_HU
    # Opening by two distances: as with a disc, and as fast for every pixel size.
    kernel = _depth(dense, pixel_mm) > THIN_MM
    if not kernel.any():
        return np.zeros_like(bone)
    opened = ndimage.distance_transform_edt(~kernel, pixel_mm) <= THIN_MM
    parts, _ = ndimage.label(opened & dense)
    held = np.bincount(parts[bone], minlength=2)[1:]
    if not held.any():
        return np.zeros_like(bone)
    return np.asarray(ndimage.binary_fill_holes(parts == 1 + int(np.argmax(held))))


def _padded(plane: Plane, pixel_mm: tuple[float, float]) -> Mask:
    """Where the scanner did not look, with a margin; noise that was cut at the same value is not.

    It is made of single pixels.
    """
    empty = plane <= PADDING_HU
    inner = ndimage.binary_erosion(empty, np.ones((5, 5), bool), border_value=1)
    if not inner.any():
        return np.zeros_like(empty)
    return np.asarray(ndimage.distance_transform_edt(~inner, pixel_mm) <= 2 * MARGIN_MM)


def _depth(mask: Mask, pixel_mm: tuple[float, float]) -> NDArray[np.float64]:
    """Way from each pixel of a mask to what is outside of it, mm; none without an outside."""
    if mask.all():
        return np.full(mask.shape, np.inf)
    return np.asarray(ndimage.distance_transform_edt(mask, pixel_mm))


def _between(distance: NDArray[np.float64], bounds: tuple[float, float]) -> Mask:
    return np.asarray((distance >= bounds[0]) & (distance <= bounds[1]))


def _back(bone: Mask, pixel_mm: tuple[float, float]) -> float:
    """Row of the back of a vertebral body: where the largest disc inside the bone ends.

    It lies in the body, which is as deep as wide or less; arch and processes are thinner.
    """
    depth = _depth(np.pad(bone, 1), pixel_mm)
    row = int(np.unravel_index(int(np.argmax(depth)), depth.shape)[0]) - 1
    return row + float(depth.max()) / pixel_mm[0]


def _reading(
    plane: Plane, blurred: Plane, place: Mask, expected: float, pixel_mm: tuple[float, float]
) -> float | None:
    """Median of what shows about what is expected, then of what shows about that."""
    found: float | None = expected
    for _ in range(2):
        if found is not None:
            found = _median(plane, place & (np.abs(blurred - found) < OFF_HU), pixel_mm)
    return found


def _median(plane: Plane, region: Mask, pixel_mm: tuple[float, float]) -> float | None:
    """Median deep inside a region; None if that is too little."""
    inside = _depth(region, pixel_mm) > MARGIN_MM
    if inside.sum() * pixel_mm[0] * pixel_mm[1] < LEAST_MM2:
        return None
    return float(np.median(plane[inside]))
