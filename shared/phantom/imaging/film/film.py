"""Films of a solid anatomy: frontal and lateral, with where each vertebra is."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from shared.phantom.imaging.crossing import areal_metal, cross_bones, crossed_by, soft_tissue
from shared.phantom.imaging.physics import Crossed
from shared.phantom.solids.anatomy import Anatomy
from shared.phantom.solids.bones.vertebra import SPINE_LEVELS
from shared.phantom.solids.distance import Floats, floats
from shared.phantom.solids.implants import shares_of
from shared.phantom.solids.spine import SpineBody
from shared.regions import LUMBAR

from .exposure import FILM_KILOVOLTS, FilmSettings, expose_film
from .geometry import FilmGeometry, FilmView, rays_of_film, set_up

#: Share of films that show the lumbar spine alone; the others begin in the chest.
LUMBAR_ONLY: Final = 0.3
#: Range of the distance from source to film and of the gap under the patient, mm.
DISTANCE: Final = (1000.0, 1150.0)
GAP: Final = (55.0, 90.0)
#: Widest field at the depth of the spine, and how far it reaches behind bodies from the side, mm.
WIDEST: Final[dict[FilmView, float]] = {"ap": 360.0, "lateral": 230.0}
BEHIND: Final = 75.0
#: Range of how much of the slow changes is taken away: from the side the body is far thicker than
#: the chest.
FLATTENED: Final[dict[FilmView, tuple[float, float]]] = {"ap": (0.1, 0.9), "lateral": (0.8, 0.97)}


@dataclass(frozen=True)
class FilmShot:
    """One film before it is made readable.

    Attributes
    ----------
    attenuation : ndarray of float32, shape (H, W)
        −ln(I/I₀) as measured; row 0 is cranial, column 0 the patient's right or front.
    levels : ndarray of uint8, shape (H, W)
        Number of the vertebra in `SPINE_LEVELS`, from 1, whose body each pixel shows with half
        of its discs; 0 = none.
    corners : dict of str to ndarray of float32, shape (4, 2)
        Corners of each body as seen, rows and columns in pixels: upper first and last column,
        lower last and first.
    crossed : Crossed
        What the rays crossed.
    geometry : FilmGeometry
        The set-up.
    """

    attenuation: Floats
    levels: NDArray[np.uint8]
    corners: Mapping[str, Floats]
    crossed: Crossed
    geometry: FilmGeometry


def cross_film(anatomy: Anatomy, geometry: FilmGeometry) -> Crossed:
    """What the rays of a film cross."""
    rays = rays_of_film(geometry, anatomy.tissues[0].box)
    metal = shares_of(anatomy.skeleton.implants, rays.bones)
    bones = cross_bones(anatomy.skeleton.bones, rays, metal)
    fat = anatomy.person.composition.marrow_fat
    soft = soft_tissue(anatomy.tissues, bones.inside, rays, fat)
    return crossed_by(bones.mineral, areal_metal(metal, rays), soft)


def take_film(
    anatomy: Anatomy,
    geometry: FilmGeometry,
    settings: FilmSettings,
    rng: np.random.Generator | None,
) -> FilmShot:
    """Take a film.

    Parameters
    ----------
    anatomy : Anatomy
        The patient.
    geometry : FilmGeometry
        Source, film, field.
    settings : FilmSettings
        Exposure.
    rng : numpy.random.Generator or None
        None leaves out scatter, blur and photon noise.
    """
    crossed = cross_film(anatomy, geometry)
    levels = np.zeros(geometry.frame.shape, np.uint8)
    corners = {}
    for level, body in anatomy.skeleton.spine.items():
        corners[level] = body_corners(body, geometry, 0.0)
        inside = _inside(body_corners(body, geometry, body.disc_below / 2), levels.shape)
        levels[inside] = SPINE_LEVELS.index(level) + 1
    attenuation = expose_film(crossed, geometry, settings, rng)
    return FilmShot(attenuation, levels, corners, crossed, geometry)


def body_corners(body: SpineBody, geometry: FilmGeometry, disc: float) -> Floats:
    """Corners of a body on the film, `disc` mm beyond its end plates, (4, 2) in pixels."""
    shape = body.shape
    if geometry.lateral:
        upper, lower = shape.end_plates(floats([-1, 1]))
        half = shape.depth / 2
        own = [
            (0.0, -half, upper[0] - disc), (0.0, half, upper[1] - disc),
            (0.0, half, lower[1] + disc), (0.0, -half, lower[0] + disc),
        ]  # fmt: skip
    else:
        half, high = shape.width / 2, shape.middle / 2 + disc
        own = [(-half, 0.0, -high), (half, 0.0, -high), (half, 0.0, high), (-half, 0.0, high)]
    world = body.centre + floats(own) @ body.rotation.T
    return geometry.on_film(floats(world))


def _inside(corners: Floats, shape: tuple[int, ...]) -> NDArray[np.bool_]:
    """Pixels within four corners that go round clockwise, (H, W)."""
    rows, columns = np.arange(shape[0])[:, None], np.arange(shape[1])[None, :]
    inside = np.ones(shape, bool)
    for (r0, c0), (r1, c1) in zip(corners, np.roll(corners, -1, axis=0), strict=True):
        inside &= (c1 - c0) * (rows - r0) - (r1 - r0) * (columns - c0) >= 0
    return inside


def draw_geometry(
    anatomy: Anatomy, view: FilmView, rng: np.random.Generator, pixel: float | None = None
) -> FilmGeometry:
    """Draw a set-up: how much of the spine is shown, where the middle is, how far the source."""
    spine = anatomy.skeleton.spine
    first = "T11" if rng.random() < LUMBAR_ONLY else "T4"
    last = spine[list(spine)[-1]]
    top = float(spine[first].centre[2]) - float(rng.uniform(15, 70))
    bottom = float(last.centre[2]) + float(rng.uniform(20, 130))
    height, side = bottom - top, float(rng.uniform(1.2, 1.8))
    across = 1 if view == "lateral" else 0
    middles = [float(spine[level].centre[across]) for level in LUMBAR]
    if view == "lateral":
        middles = [float(one.centre[1]) for one in spine.values() if top < one.centre[2] < bottom]
    widest = WIDEST[view]
    width = float(np.clip(height * rng.uniform(0.4, 0.75), 150, widest))
    middle = float(np.mean(middles)) + float(rng.normal(0, 12))
    # from the side nothing is shown of the air behind the back
    behind = min(width / 2, BEHIND) if view == "lateral" else width / 2
    field = (top, bottom, middle + behind - width, middle + behind)
    distance, gap = float(rng.uniform(*DISTANCE)), float(rng.uniform(*GAP))
    return set_up(view, anatomy.tissues[0].box, field, pixel or side, distance, gap)


def draw_settings(view: FilmView, rng: np.random.Generator) -> FilmSettings:
    """Draw an exposure; side views are taken at higher voltages."""
    choices = FILM_KILOVOLTS[2:] if view == "lateral" else FILM_KILOVOLTS
    return FilmSettings(
        kvp=int(rng.choice(choices)),
        scatter=float(rng.uniform(0.3, 1.6)),
        photons=math.exp(float(rng.uniform(-1.0, 1.0))),
    )
