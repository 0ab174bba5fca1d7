"""Scanners: how the same body becomes different numbers and different pictures."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from shared.records import Vendor, View
from shared.seeds import numpy_generator

from .physics import Physics


@dataclass(frozen=True)
class Window:
    """How a vendor shows areal mineral: black and white level in g/cm², and tone curve.

    `soft` is how much of a g/cm² of soft tissue stays visible, as mineral, and
    `pedestal` the grey of mean soft tissue.
    """

    low: float
    high: float
    gamma: float
    soft: float
    pedestal: float
    smooth_mm: float


@dataclass(frozen=True)
class ScannerProfile:
    """One scanner.

    Attributes
    ----------
    physics : {"k_edge", "switched"}
        Beams and decomposition.
    spacing_mm : (float, float)
        Row, column.
    photons : mapping of View to float
        Detected photons a mm² in air and beam.
    blur_mm : float
        Standard deviation of the point spread.
    density_scale : float
        The vendor's areal densities over the anatomy's Hologic-like ones.
    calibration : float
        This machine's own factor on BMD; 1 is exact.
    window : mapping of View to Window
    auto_window : float
        Spread (SD, share) by which a picture's white level differs from the fixed one.
    stepped_border : bool
        Whether unscanned margins and the hip's masking have the form of steps.
    """

    name: str
    vendor: Vendor
    physics: Physics
    spacing_mm: tuple[float, float]
    photons: Mapping[View, float]
    blur_mm: float
    density_scale: float
    calibration: float
    window: Mapping[View, Window]
    auto_window: float
    stepped_border: bool


def _photons(dose: float) -> dict[View, float]:
    return {
        View.SPINE_PA: dose,
        View.HIP_LEFT: dose,
        View.SPINE_LATERAL: 6 * dose,
    }


#: Lunar: bone on nearly black, soft tissue only as a trace.
_LUNAR_WINDOW: Final = {
    View.SPINE_PA: Window(0.05, 2.20, 0.80, 0.020, 0.06, 0.6),
    View.HIP_LEFT: Window(0.06, 2.30, 0.78, 0.010, 0.03, 0.6),
    View.SPINE_LATERAL: Window(0.05, 2.90, 0.80, 0.022, 0.10, 0.8),
}
#: Hologic: more like a radiograph, soft tissue grey, softer tone.
_HOLOGIC_WINDOW: Final = {
    View.SPINE_PA: Window(-0.25, 2.05, 1.05, 0.050, 0.30, 0.8),
    View.HIP_LEFT: Window(-0.25, 2.20, 1.05, 0.040, 0.25, 0.8),
    View.SPINE_LATERAL: Window(-0.30, 3.20, 1.00, 0.050, 0.30, 1.0),
}

#: The clinical scanners of the demo.
SCANNERS: Final[dict[str, ScannerProfile]] = {
    "lunar": ScannerProfile(
        "lunar", Vendor.LUNAR, "k_edge", (1.0, 1.0), _photons(2.0e6), 0.55, 1.13, 1.004,
        _LUNAR_WINDOW, 0.03, True,
    ),
    "lunar_prodigy": ScannerProfile(
        "lunar_prodigy", Vendor.LUNAR, "k_edge", (1.2, 1.05), _photons(0.7e6), 0.85, 1.13, 0.991,
        {
            View.SPINE_PA: Window(0.04, 2.00, 0.70, 0.022, 0.07, 0.9),
            View.HIP_LEFT: Window(0.04, 2.10, 0.68, 0.014, 0.05, 0.9),
            View.SPINE_LATERAL: Window(0.02, 2.60, 0.70, 0.028, 0.13, 1.1),
        },
        0.04, True,
    ),
    "hologic": ScannerProfile(
        "hologic", Vendor.HOLOGIC, "switched", (1.0, 1.0), _photons(1.2e7), 0.75, 1.0, 1.006,
        _HOLOGIC_WINDOW, 0.03, False,
    ),
}  # fmt: skip


def generic_scanner(seed: int) -> ScannerProfile:
    """Draw a made-up scanner for public pretraining.

    The range is moderate on purpose: it lies between the clinical profiles and
    does not cover them, so that hospitals differ from pretraining.
    """
    rng = numpy_generator(seed, "generic scanner")
    gamma = rng.uniform(0.85, 1.05)
    pedestal = rng.uniform(0.08, 0.20)
    soft = rng.uniform(0.018, 0.036)
    smooth = rng.uniform(0.5, 1.0)
    white = rng.uniform(0.94, 1.06)
    window = {
        view: Window(
            0.0 - 0.1 * rng.random(), white * high, gamma, soft * share, pedestal * share, smooth
        )
        for view, high, share in (
            (View.SPINE_PA, 2.05, 1.0),
            (View.HIP_LEFT, 2.15, 0.85),
            (View.SPINE_LATERAL, 2.8, 1.3),
        )
    }
    side = float(rng.uniform(0.97, 1.1))
    switched = rng.random() < 0.4
    dose = math.exp(rng.uniform(math.log(1.0e6), math.log(2.2e6))) * (6.0 if switched else 1.0)
    return ScannerProfile(
        name=f"generic-{seed}",
        vendor=Vendor.GENERIC,
        physics="switched" if switched else "k_edge",
        spacing_mm=(side, side),
        photons=_photons(float(dose)),
        blur_mm=float(rng.uniform(0.5, 0.8)),
        density_scale=1.06,
        calibration=float(math.exp(rng.normal(0, 0.006))),
        window=window,
        auto_window=0.03,
        stepped_border=bool(rng.random() < 0.5),
    )
