"""Taking the picture: field, motion, blur, photon noise, masking and the vendor's display."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from shared.phantom.anatomy.solid import Floats, floats
from shared.phantom.rendered import RenderedImage
from shared.records import View

from .outlines import Codes
from .physics import Crossed, attenuate, beams, decompose, with_noise
from .projection import Frame
from .scanner import ScannerProfile, Window

Mask = NDArray[np.bool_]

#: Tissue thinner than this is air to the baseline, g/cm².
_TISSUE_EDGE = 3.0
#: Mineral below which a ray counts as beside the bone, g/cm².
_BONE_EDGE = 0.02


@dataclass(frozen=True)
class Exposure:
    """What one acquisition measures.

    `density` is areal mineral (g/cm²) on the anatomy's scale, `tissue` the soft
    tissue that is left (g/cm²), both (H, W).
    """

    density: Floats
    tissue: Floats


def expose(
    crossed: Crossed, scanner: ScannerProfile, view: View, rng: np.random.Generator | None
) -> Exposure:
    """Measure one projection.

    Parameters
    ----------
    crossed : Crossed
        Mineral, lean and fat by ray.
    scanner : ScannerProfile
        Beams, dose and blur.
    view : View
        For the dose.
    rng : numpy.random.Generator or None
        None leaves out the photon noise.
    """
    from scipy.ndimage import gaussian_filter, minimum_filter

    sigma = [scanner.blur_mm / side for side in scanner.spacing_mm]
    sharp = Crossed(gaussian_filter(crossed.bone, sigma), crossed.lean, crossed.fat)
    low_beam, high_beam = beams(scanner.physics)
    low, high = attenuate(sharp, low_beam), attenuate(sharp, high_beam)
    if rng is not None:
        photons = scanner.photons[view] * scanner.spacing_mm[0] * scanner.spacing_mm[1]
        low, high = with_noise(low, photons, rng), with_noise(high, photons, rng)
    tissue = crossed.lean + crossed.fat
    # near the skin a ray crosses little but fat, unlike the rays through the bone
    thick = max(_TISSUE_EDGE, 0.6 * float(np.percentile(tissue, 90)))
    free = (sharp.bone < _BONE_EDGE) & (minimum_filter(tissue, 5) > thick)
    density = decompose(scanner.physics, low, high, free.astype(np.float32))
    lean, bone = (
        float(_mean(high_beam.lean, high_beam.weight)),
        float(_mean(high_beam.bone, high_beam.weight)),
    )
    left = (high - bone * density) / np.float32(lean)
    return Exposure(floats(np.where(tissue > 0.5, density, 0)), floats(left))


def _mean(values: Floats, weight: Floats) -> float:
    return float((values * weight).sum())


def show(
    exposure: Exposure, scanner: ScannerProfile, window: Window, rng: np.random.Generator | None
) -> Floats:
    """The vendor's picture in [0, 1], shape (H, W)."""
    from scipy.ndimage import gaussian_filter

    sigma = [window.smooth_mm / side for side in scanner.spacing_mm]
    density = gaussian_filter(exposure.density, sigma)
    tissue = gaussian_filter(exposure.tissue, sigma)
    inside = tissue > _TISSUE_EDGE
    middle = float(np.median(tissue[inside])) if inside.any() else 0.0
    value = density * np.float32(scanner.density_scale * scanner.calibration)
    value += np.float32(window.soft) * np.clip(tissue - np.float32(middle), -12, 12)
    value += np.float32(window.pedestal)
    high = window.high
    if rng is not None:
        high *= float(np.exp(rng.normal(0, scanner.auto_window)))
    shown = np.clip((value - window.low) / (high - window.low), 0, 1)
    return np.asarray(shown ** np.float32(window.gamma), dtype=np.float32)


def scan(
    crossed: Crossed,
    regions: Codes,
    frame: Frame,
    scanner: ScannerProfile,
    rng: np.random.Generator,
    *,
    moving: bool,
) -> tuple[RenderedImage, Exposure]:
    """Take one view as the scanner shows it, and what it measured before any masking.

    Parameters
    ----------
    crossed : Crossed
        Mineral, lean and fat by ray.
    regions : ndarray of uint8, shape (H, W)
        True region map; what was not scanned is taken out of it.
    frame : Frame
        Pixel grid and view.
    scanner : ScannerProfile
        Beams, dose, window, borders.
    rng : numpy.random.Generator
        For motion, photons, the vendor's masking and window.
    moving : bool
        Whether the patient moves.
    """
    view = frame.view
    if moving:
        crossed = move(crossed, frame, rng)
    exposure = expose(crossed, scanner, view, rng)
    display = show(exposure, scanner, scanner.window[view], rng)
    density = exposure.density * np.float32(scanner.density_scale * scanner.calibration)
    if scanner.stepped_border and view is View.SPINE_PA:
        unscanned = stepped_margins(frame, rng)
        display[unscanned] = np.nan
        density[unscanned] = np.nan
        regions[unscanned] = 0
    if scanner.stepped_border and view is View.HIP_LEFT:
        hidden = ~stepped_hip(crossed.bone, frame)
        display[hidden] = 0.0
        density[hidden] = 0.0
    return RenderedImage(density, display, regions, scanner.spacing_mm), exposure


def stepped_margins(frame: Frame, rng: np.random.Generator) -> Mask:
    """Unscanned margins of a spine: steps at both edges where the arm did not reach."""
    height = frame.shape[0]
    unscanned = np.zeros(frame.shape, bool)
    for side in (slice(None), slice(None, None, -1)):
        edge = unscanned[:, side]
        row, reach = 0, rng.uniform(0, 14)
        while row < height:
            rows = int(rng.uniform(18, 55) / frame.spacing[0])
            edge[row : row + rows, : int(max(reach, 0) / frame.spacing[1])] = True
            row += rows
            reach = float(np.clip(reach + rng.choice([-6, -4, 4, 6]), 0, 22))
    return unscanned


def stepped_hip(bone: Floats, frame: Frame) -> Mask:
    """What a vendor leaves of a hip: in blocks of lines, the bone and a margin; True = kept."""
    height = frame.shape[0]
    kept = np.zeros(frame.shape, bool)
    block = max(1, int(11 / frame.spacing[0]))
    margin = int(11 / frame.spacing[1])
    for row in range(0, height, block):
        columns = np.flatnonzero((bone[row : row + block] > 0.12).any(axis=0))
        if len(columns):
            kept[row : row + block, max(columns[0] - margin, 0) : columns[-1] + margin] = True
    return kept


def move(crossed: Crossed, frame: Frame, rng: np.random.Generator) -> Crossed:
    """Motion during the scan: some lines are shifted sideways, smoothly in time."""
    height, width = frame.shape
    t = np.arange(height)
    centre, length = rng.uniform(0.2, 0.8) * height, rng.uniform(0.04, 0.15) * height
    pulse = np.exp(-(((t - centre) / length) ** 2)) * rng.choice([-1, 1]) * rng.uniform(4, 9)
    sway = rng.uniform(0.3, 1.0) * np.sin(2 * np.pi * t / rng.uniform(9, 25))
    shift = (pulse + sway * np.abs(pulse) / 4) / frame.spacing[1]
    source = np.clip(np.arange(width)[None, :] - shift[:, None], 0, width - 1)
    low = np.minimum(source.astype(int), width - 2)
    share = (source - low).astype(np.float32)
    lines = np.arange(height)[:, None]

    def shifted(image: Floats) -> Floats:
        return image[lines, low] * (1 - share) + image[lines, low + 1] * share

    return Crossed(shifted(crossed.bone), shifted(crossed.lean), shifted(crossed.fat))
