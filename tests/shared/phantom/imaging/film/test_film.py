"""Films: rays from a point, the tube's spectrum, and bones where the geometry says."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import pytest

from shared.errors import PhantomError
from shared.phantom.imaging.crossing import cross_bones
from shared.phantom.imaging.dxa.fields import field_of, rays_of, seen_from
from shared.phantom.imaging.film.exposure import (
    FILM_KILOVOLTS,
    FilmSettings,
    expose_film,
    film_beam,
)
from shared.phantom.imaging.film.film import FilmShot, draw_geometry, draw_settings, take_film
from shared.phantom.imaging.film.geometry import FilmGeometry, FilmView, rays_of_film, set_up
from shared.phantom.imaging.physics import Crossed
from shared.phantom.solids.bones.vertebra import SPINE_LEVELS
from shared.phantom.solids.distance import floats
from shared.records import View
from tests.shared.phantom.imaging.bodies import anatomy

VIEWS: tuple[FilmView, ...] = ("ap", "lateral")


def geometry(view: FilmView, distance: float = 1080.0) -> FilmGeometry:
    box = anatomy(0).tissues[0].box
    return set_up(view, box, (-60.0, 60.0, -60.0, 70.0), 1.5, distance, 70.0)


@lru_cache(maxsize=2)
def shot(view: FilmView) -> FilmShot:
    return take_film(anatomy(0), geometry(view), FilmSettings(), None)


@pytest.mark.parametrize("view", VIEWS)
def test_what_is_further_from_the_film_is_larger_on_it(view: FilmView) -> None:
    place = geometry(view)
    assert place.magnified(place.film) == pytest.approx(1)
    assert place.magnified(0.0) == pytest.approx(1080 / (1080 - place.film))
    assert 1.1 < place.magnified(0.0) < 1.45
    ends = floats([[0, 0, -20], [0, 0, 20]])
    seen = place.on_film(ends)
    assert (seen[1, 0] - seen[0, 0]) * 1.5 == pytest.approx(40 * place.magnified(0.0), rel=1e-4)


@pytest.mark.parametrize("view", VIEWS)
def test_line_integrals_on_film_are_those_of_dxa(view: FilmView) -> None:
    """A bone's mass to 2 %, and its mean over the middle of the body."""
    bone = anatomy(0).skeleton.bone("L3")
    bodies = seen_from(anatomy(0).skeleton.spine, 0.0)
    box = anatomy(0).tissues[0].box
    dxa = View.SPINE_PA if view == "ap" else View.SPINE_LATERAL
    frame = field_of(anatomy(0).skeleton, bodies, dxa, (0.6, 1.05))
    flat = cross_bones([bone], rays_of(frame, box)).mineral
    far = geometry(view, 60_000.0)
    parallel = cross_bones([bone], rays_of_film(far, box)).mineral
    assert parallel.sum() * 1.5**2 == pytest.approx(flat.sum() * 0.6 * 1.05, rel=0.02)
    near = geometry(view)
    seen = cross_bones([bone], rays_of_film(near, box)).mineral
    grown = near.magnified(float(bone.centre[0 if near.lateral else 1]))

    def around(image: np.ndarray, place: np.ndarray, mm: tuple[float, float]) -> float:
        """Mean over 16 by 24 mm of the patient."""
        i, j = np.ogrid[: image.shape[0], : image.shape[1]]
        inside = (abs(i - place[0]) < 8 / mm[0]) & (abs(j - place[1]) < 12 / mm[1])
        return float(image[inside].mean())

    on_film = near.on_film(bone.centre[None])[0]
    on_dxa = np.stack(frame.pixel(bone.centre[None]))[:, 0]
    found = around(seen, on_film, (1.5 / grown, 1.5 / grown))
    # what lies behind the body is a little aside in a cone of rays
    assert found == pytest.approx(around(flat, on_dxa, frame.spacing), rel=0.04)


@pytest.mark.parametrize("view", VIEWS)
def test_bodies_are_bright_where_their_corners_are(view: FilmView) -> None:
    taken = shot(view)
    number = SPINE_LEVELS.index("L3") + 1
    inside = taken.levels == number
    corners = taken.corners["L3"]
    rows, columns = np.nonzero(inside)
    assert corners[:, 0].min() - 12 < rows.min() < rows.max() < corners[:, 0].max() + 12
    assert abs(corners[:, 1].mean() - columns.mean()) < 4
    assert taken.crossed.bone[inside].mean() > 2 * taken.crossed.bone[taken.levels == 0].mean()


def test_attenuation_is_that_of_the_beam() -> None:
    """Closed form: water alone, and the mean over the spectrum's bins."""
    beam = film_beam(80)
    depth = np.full((8, 8), 20.0, np.float32)
    none = np.zeros_like(depth)
    found = expose_film(Crossed(none, depth, none), geometry("ap"), FilmSettings(80), None)
    assert found == pytest.approx(-np.log((beam.weight * np.exp(-20 * beam.lean)).sum()), rel=1e-5)
    harder = film_beam(90)
    assert harder.lean.mean() < beam.lean.mean() < film_beam(70).lean.mean()
    with pytest.raises(PhantomError, match="tube voltage 60 kV"):
        film_beam(60)


def test_scatter_takes_contrast_and_photons_make_noise() -> None:
    taken = shot("ap")
    place = taken.geometry
    quiet = expose_film(taken.crossed, place, FilmSettings(80, 0.0, 1e4), np.random.default_rng(1))
    hazy = expose_film(taken.crossed, place, FilmSettings(80, 2.0, 1e4), np.random.default_rng(1))
    noisy = expose_film(taken.crossed, place, FilmSettings(80, 0.0, 0.05), np.random.default_rng(1))
    bone = taken.levels == SPINE_LEVELS.index("L3") + 1
    beside = np.roll(bone, 45, axis=1) & (taken.levels == 0)
    contrasts = [one[bone].mean() - one[beside].mean() for one in (quiet, hazy)]
    assert contrasts[1] < 0.8 * contrasts[0]
    assert (noisy - quiet).std() > 3 * 1 / np.sqrt(6e4 * 1.5**2 * 1e4)


def test_films_are_set_up_as_in_a_department() -> None:
    rng = np.random.default_rng(2)
    for view in VIEWS:
        for _ in range(20):
            place, settings = draw_geometry(anatomy(0), view, rng), draw_settings(view, rng)
            assert 1000 <= place.distance <= 1150
            assert 70 <= settings.kvp <= 90
            assert settings.kvp in FILM_KILOVOLTS
            assert place.film > anatomy(0).tissues[0].box[1][0 if place.lateral else 1]
