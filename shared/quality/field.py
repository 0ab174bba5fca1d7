"""The field: how much of it was scanned, and whether it shows the lumbar spine.

In a PA spine the iliac crests are the landmark: the field ends some centimetres below them.
A field that lies a vertebra too high or too low shows them elsewhere or not at all.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from shared.quality.pixels import Floats, Picture, strength_of

#: Share of the picture that was not scanned at which one would object.
UNSCANNED: Final = 0.25
#: How high the crests stand above the lower edge of a lumbar field, mm.
CREST_MM: Final = (17.0, 83.0)
#: From this height on the field begins below the upper end of L1; mm.
TOO_LOW_MM: Final = 104.0
#: Below this height the field ends above the lower end of L4; mm.
TOO_HIGH_MM: Final = 6.0
#: Where the pelvis is looked for beside the spine, mm.
BESIDE_MM: Final = (38.0, 75.0)
#: Least rise of grey from flank to pelvis, over that from flank to dense bone.
LEAST_RISE: Final = 0.12
#: Millimetres beyond a bound that make the strength 1.
_CERTAIN_MM: Final = 40.0


def unscanned_margin(picture: Picture) -> float:
    """Strength of unscanned margins: the share of pixels that were not scanned."""
    return strength_of(1.0 - float(picture.scanned.mean()), UNSCANNED)


def of_spine(picture: Picture, axis: NDArray[np.float64]) -> tuple[float, float]:
    """Strengths of a cut-off field and of a wrong level, in a PA spine.

    Where the field is cut off, the level is not told.
    """
    height = crest_height(picture, axis)
    beyond = max(height - TOO_LOW_MM, TOO_HIGH_MM - height)
    cut_off = _strength(beyond)
    away = max(height - CREST_MM[1], CREST_MM[0] - height)
    return cut_off, 0.0 if cut_off >= 0.5 else _strength(away)


def _strength(beyond_mm: float) -> float:
    return float(np.clip(0.5 + 0.5 * beyond_mm / _CERTAIN_MM, 0.0, 1.0))


def crest_height(picture: Picture, axis: NDArray[np.float64]) -> float:
    """Height of the iliac crests above the lower edge of a PA spine, mm; 0 = none seen."""
    profile, dense = _flanks(picture, axis)
    soft = float(np.percentile(profile, 25))
    lowest = max(1, int(15 / picture.row_mm))
    pelvis = float(np.median(profile[-lowest:]))
    if pelvis - soft < LEAST_RISE * (dense - soft):
        return 0.0
    below = profile > soft + 0.5 * (pelvis - soft)
    above = np.flatnonzero(~below)
    first = int(above[-1]) + 1 if len(above) else 0
    return (len(profile) - first) * picture.row_mm


def _flanks(picture: Picture, axis: NDArray[np.float64]) -> tuple[Floats, float]:
    """Median grey of each row on both sides of the spine (H,), and that of dense bone."""
    from scipy import ndimage

    columns = np.arange(picture.grey.shape[1])
    beside = np.abs(columns[None, :] - axis[:, None]) * picture.column_mm
    zone = picture.scanned & (beside > BESIDE_MM[0]) & (beside < BESIDE_MM[1])
    # Rows sorted with what is outside the zone behind: the median of those inside.
    ordered = np.sort(np.where(zone, picture.grey, np.float32(np.inf)), axis=1)
    inside = zone.sum(axis=1)
    known = inside > 0
    profile = ordered[np.arange(len(axis)), np.maximum(inside - 1, 0) // 2]
    profile[~known] = np.median(profile[known]) if known.any() else 0.0
    smooth = ndimage.median_filter(profile, int(7 / picture.row_mm) | 1, mode="nearest")
    return smooth, float(np.percentile(picture.grey[picture.scanned], 99))
