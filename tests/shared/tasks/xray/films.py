"""Films for tests: a column of boxes on a picture, and a study with a paired density."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from shared.records import (
    Covariates,
    ImageRecord,
    PairedLabels,
    StudyLabels,
    StudyRecord,
    Vendor,
    View,
)
from shared.regions import UNNAMED_VERTEBRA

#: Height and width of a box; L5 is lower.
HIGH, WIDE = 32, 42
L5_HIGH = 30


def marked_column(
    vertebrae: int = 7, top: int = 40, middle: int = 120, shape: tuple[int, int] = (400, 240)
) -> NDArray[np.uint8]:
    """Mark so many vertebrae one under the other, the lowest an L5, without names."""
    regions = np.zeros(shape, np.uint8)
    bottom = top + (vertebrae - 1) * HIGH + L5_HIGH
    regions[top:bottom, middle - WIDE // 2 : middle + WIDE // 2] = UNNAMED_VERTEBRA
    return regions


def film_study(regions: NDArray[np.uint8] | None, seed: int = 0) -> StudyRecord:
    """Make a film whose vertebrae are brighter than what lies beside them."""
    shape = (400, 240) if regions is None else regions.shape
    rng = np.random.default_rng(seed)
    pixels = gaussian_filter(rng.normal(0.4, 0.5, shape).astype(np.float32), 4)
    if regions is not None:
        pixels[regions > 0] += 0.3
    image = ImageRecord(np.clip(pixels, 0, 1), (1.0, 1.0), "detector", regions)
    bmd = {"L1-L4": 0.95, "femoral_neck": 0.70, "total_hip": 0.80}
    paired = PairedLabels(StudyLabels(bmd=bmd), Vendor.HOLOGIC, 3.0)
    known = Covariates("F", 65.0, 160.0, 64.0)
    return StudyRecord(
        "p", "s", Vendor.OTHER, {View.LUMBAR_AP: image}, StudyLabels(), known, paired=paired
    )
