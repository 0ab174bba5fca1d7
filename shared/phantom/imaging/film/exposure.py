"""What a film measures: the tube's beam behind the patient, scatter, blur and photons."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

import numpy as np

from shared.phantom.imaging.ct.attenuation import beam_of
from shared.phantom.imaging.physics import Beam, Crossed, attenuate, with_noise
from shared.phantom.solids.distance import Floats, floats

from .beam_table import FILM_BEAMS
from .geometry import FilmGeometry

#: Tube voltages of the table, kV.
FILM_KILOVOLTS: Final = tuple(FILM_BEAMS)
#: [U] Scatter over primary behind a grid at 22 cm of patient, and thickness by which it grows by
#: a factor e, cm; how far scattered photons spread (SD), mm.
SCATTER: Final = (0.35, 16.0)
SCATTER_MM: Final = 40.0
#: [U] Photons that reach a mm² of the film, the same for everybody by automatic exposure.
PHOTONS: Final = 6e4
#: [U] Side of the focal spot and blur of the film itself (SD), mm.
FOCAL_SPOT: Final = 1.2
FILM_BLUR: Final = 0.15
#: [U] Share by which the beam is weaker at the anode's end of a film of 430 mm.
HEEL: Final = 0.25


@dataclass(frozen=True)
class FilmSettings:
    """How a film is exposed: tube voltage in kV, and a factor each on scatter and photons."""

    kvp: int = 80
    scatter: float = 1.0
    photons: float = 1.0


@lru_cache(maxsize=8)
def film_beam(kvp: int) -> Beam:
    """Beam of a tube voltage; soft tissue without fat attenuates as water.

    Raises
    ------
    PhantomError
        If the table has no such voltage.
    """
    beam = beam_of(FILM_BEAMS, kvp)
    mineral, lean, fat = (beam.attenuation[name] for name in ("hydroxyapatite", "water", "adipose"))
    return Beam(beam.weight, mineral, lean, fat)


def expose_film(
    crossed: Crossed,
    geometry: FilmGeometry,
    settings: FilmSettings,
    rng: np.random.Generator | None,
) -> Floats:
    """What the film measures, −ln(I/I₀), (H, W).

    Parameters
    ----------
    crossed : Crossed
        What each ray crosses.
    geometry : FilmGeometry
        For magnification and the anode's direction.
    settings : FilmSettings
        Voltage, scatter, photons.
    rng : numpy.random.Generator or None
        None leaves out scatter, blur and photon noise: primary rays alone.
    """
    from scipy.ndimage import gaussian_filter

    primary = attenuate(crossed, film_beam(settings.kvp))
    if rng is None:
        return primary
    spacing = geometry.frame.spacing[0]
    # a spot of some width casts a shadow's edge as wide as the bone is far from the film
    unsharp = FOCAL_SPOT / 4 * (geometry.magnified(0.0) - 1)
    arrived = np.exp(-gaussian_filter(primary, math.hypot(unsharp, FILM_BLUR) / spacing))
    thick = float(np.percentile(crossed.lean + crossed.fat, 80))
    share, growth = SCATTER
    ratio = settings.scatter * share * math.exp((thick - 22) / growth)
    heel = 1 - HEEL * np.linspace(-0.5, 0.5, len(arrived))[:, None] * len(arrived) * spacing / 430
    arrived = arrived * heel
    arrived = arrived + ratio * gaussian_filter(arrived, SCATTER_MM / spacing)
    wanted = PHOTONS * settings.photons * spacing**2
    photons = wanted / float(np.median(arrived))
    return with_noise(floats(-np.log(arrived)), photons, rng)
