"""How three makers of film systems make a picture readable, and what their files say of it.

Nobody's product is copied: each stands for one of the ways that are in use (a curve through the
histogram, contrast by scales, an edge filter). What a film measured goes in, what an archive gets
comes out, so levels of grey say little of attenuation afterwards.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np

from shared.phantom.solids.distance import Floats, floats

#: How a file tells the size of its pixels: at the detector alone, with the distances of the
#: source, or corrected for the patient, with the note that says so.
SpacingTold = Literal["detector", "distances", "patient"]
Processing = Callable[[Floats, np.random.Generator], Floats]
#: SD of the slow changes that a histogram curve takes part of away, mm.
SLOW_MM: Final = 25.0


def by_histogram(attenuation: Floats, rng: np.random.Generator) -> Floats:
    """Flatten a little, and lay an S-shaped curve through the histogram."""
    from scipy.ndimage import gaussian_filter

    flat = attenuation - rng.uniform(0.2, 0.5) * gaussian_filter(attenuation, SLOW_MM)
    low, middle, high = np.percentile(flat, [2, rng.uniform(45, 60), 99])
    steep = rng.uniform(3.0, 5.0) / max(float(high - low), 1e-6)
    return floats(1 / (1 + np.exp(-steep * (flat - middle))))


def by_scales(attenuation: Floats, rng: np.random.Generator) -> Floats:
    """Raise weak details and lower strong ones, at each scale for itself."""
    from scipy.ndimage import gaussian_filter

    power, rest, shown = rng.uniform(0.6, 0.8), attenuation, np.zeros_like(attenuation)
    for scale in (1.0, 2.0, 4.0, 8.0, 16.0, 32.0):
        coarse = gaussian_filter(rest, scale)
        detail = rest - coarse
        most = max(float(np.abs(detail).max()), 1e-6)
        shown += np.sign(detail) * most * np.abs(detail / most) ** power
        rest = coarse
    return _windowed(floats(shown + rng.uniform(0.2, 0.5) * rest), rng, (0.5, 99.7))


def by_edges(attenuation: Floats, rng: np.random.Generator) -> Floats:
    """Sharpen edges by a wide and a narrow mask, and set a window."""
    from scipy.ndimage import gaussian_filter

    wide = attenuation - gaussian_filter(attenuation, 12.0)
    narrow = attenuation - gaussian_filter(attenuation, 1.5)
    slow = gaussian_filter(attenuation, 40.0)
    sharp = attenuation + rng.uniform(0.5, 1.2) * wide + rng.uniform(0.3, 1.0) * narrow
    return _windowed(floats(sharp - rng.uniform(0.3, 0.6) * slow), rng, (1.0, 99.5))


def _windowed(shown: Floats, rng: np.random.Generator, ends: tuple[float, float]) -> Floats:
    low, high = np.percentile(shown, ends)
    even = np.clip((shown - low) / max(float(high - low), 1e-6), 0, 1)
    return floats(even ** rng.uniform(0.8, 1.25))


@dataclass(frozen=True)
class FilmMaker:
    """A maker's film system.

    Attributes
    ----------
    manufacturer, model : str
        As in its headers; both are made up.
    processing : callable
        From −ln(I/I₀) (H, W) and a generator to display values in [0, 1], bone bright.
    digital : bool
        Whether it writes DX (a detector) or CR (plates that are read).
    inverted : bool
        MONOCHROME1: stored high where bone is not.
    bits : int
        Stored, 10 to 16.
    spacing : str
        How its files tell the size of a pixel.
    """

    manufacturer: str
    model: str
    processing: Processing
    digital: bool
    inverted: bool
    bits: int
    spacing: SpacingTold


#: By name, in the order in which hospitals get them.
FILM_MAKERS: Final[dict[str, FilmMaker]] = {
    "plates": FilmMaker("Plate Readers Ltd", "PR-4 CR", by_histogram, False, True, 10, "detector"),
    "scales": FilmMaker("Scales Imaging", "Panel 43", by_scales, True, False, 12, "distances"),
    "edges": FilmMaker("Edge Radiography", "ER Flat", by_edges, True, False, 16, "patient"),
}


def maker_of(seed: int) -> FilmMaker:
    """Give the film system of a hospital, by its seed."""
    return list(FILM_MAKERS.values())[seed % len(FILM_MAKERS)]
