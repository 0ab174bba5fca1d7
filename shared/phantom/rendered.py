"""What the phantom hands on: one patient's study as a scanner saw it, with its truth."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from shared.records import Covariates, StudyLabels, Vendor, View


@dataclass(frozen=True)
class RenderedImage:
    """One projection.

    Attributes
    ----------
    bone_density : ndarray of float32, shape (H, W)
        What the scanner's own dual-energy decomposition gives, noise included,
        g/cm² of areal bone mineral; NaN = outside the scanned field.
    display : ndarray of float32, shape (H, W)
        What the vendor shows, in [0, 1], before quantisation; NaN = unscanned.
    regions : ndarray of uint8, shape (H, W)
        True region map (`shared.regions.REGION_CODES`).
    spacing_mm : (float, float)
        Row, column. Orientation as in `shared.records.ImageRecord`.
    """

    bone_density: NDArray[np.float32]
    display: NDArray[np.float32]
    regions: NDArray[np.uint8]
    spacing_mm: tuple[float, float]


@dataclass(frozen=True)
class RenderedStudy:
    """One digital patient's visit.

    `labels` are on the vendor's scale and as a technologist would report them;
    `true_bmd` is the anatomy's own areal BMD by region, g/cm² on the Hologic-like
    scale of design; `heights_mm` the true anterior, middle and posterior heights
    by vertebra; `events` names what is out of the ordinary (``fracture:L1:2``,
    ``motion``, ``metal``, ``cut_off``, ``degenerative:L4``, ``rotation``).
    """

    patient_number: int
    seed: int
    vendor: Vendor
    covariates: Covariates
    images: Mapping[View, RenderedImage]
    labels: StudyLabels
    true_bmd: Mapping[str, float]
    heights_mm: Mapping[str, tuple[float, float, float]]
    events: tuple[str, ...]
