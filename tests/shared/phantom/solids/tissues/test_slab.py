"""Slabs against closed forms."""

from __future__ import annotations

import math

import numpy as np
import pytest

from shared.phantom.solids.distance import floats
from shared.phantom.solids.lattice import diverging, straight
from shared.phantom.solids.tissue import Tissue, tissue
from shared.phantom.solids.tissues.mass import ray_mass
from shared.phantom.solids.tissues.slab import Slab, between, clipped, grid, within
from shared.phantom.solids.tissues.slab_shapes import ball, balls, band, topped, tube, turned

from .people import evenly

TURN = turned("z", 0.7) @ turned("x", 0.5) @ turned("y", -0.4)


def counted(solid: Slab, step: float = 1.0) -> float:
    """Volume by asking points, mm³."""
    low, high = solid.box
    x, y, z = (evenly(a - 1, b + 2, step) for a, b in zip(low, high, strict=True))
    inside = solid.inside(x[None, :, None], y[None, None, :], z[:, None, None])
    return float(inside.sum()) * step**3


@pytest.mark.parametrize("axes", [None, TURN])
@pytest.mark.parametrize("spacing", [1.0, 2.0, 4.0])
def test_an_ellipsoid_has_its_volume_at_any_spacing(
    axes: np.ndarray | None, spacing: float
) -> None:
    radii = (38.0, 22.0, 57.0)
    solid = ball((3.3, -7.1, 40.2), radii, axes, spacing)
    expected = 4 / 3 * math.pi * math.prod(radii)
    assert solid.volume == pytest.approx(expected, rel=0.01)
    assert counted(solid) == pytest.approx(expected, rel=0.01)


def test_an_ellipsoid_holds_the_points_of_its_equation() -> None:
    radii, centre = np.array([30.0, 18.0, 44.0]), np.array([5.0, 2.0, -9.0])
    solid = ball(centre, radii, TURN, spacing=2.0)
    points = np.random.default_rng(3).uniform(-60, 60, (20000, 3))
    measure = np.sqrt((((points - centre) @ TURN / radii) ** 2).sum(axis=1))
    inside = solid.inside(*(floats(points[:, k]) for k in range(3)))
    clear = np.abs(measure - 1) > 0.03
    np.testing.assert_array_equal(inside[clear], (measure < 1)[clear])


def test_a_turned_tube_has_the_area_of_its_ellipse() -> None:
    solid = tube([0, 100], [0, 20], [0, -30], [20, 20], [9, 9], 0.6)
    assert solid.volume == pytest.approx(math.pi * 20 * 9 * 100, rel=0.05)
    x, y = evenly(-60, 60, 0.5), evenly(-60, 60, 0.5)
    area = solid.inside(x[None, :], y[:, None], floats(50.0)).sum() * 0.25
    assert area == pytest.approx(math.pi * 20 * 9, rel=0.01)


def test_a_band_has_the_volume_of_its_cylinder() -> None:
    solid = band([-50, 50], [0, 0], [0, 0], [12, 12], [8, 8], spacing=1.0)
    assert solid.volume == pytest.approx(math.pi * 12 * 8 * 100, rel=0.03)


def test_a_clipped_ball_is_half_of_it_and_gas_lies_in_front() -> None:
    solid = ball((0, 10, 0), (20, 20, 20))
    front = clipped(solid, back=np.full(solid.middle.shape, 10.0))
    assert front.volume == pytest.approx(solid.volume / 2, rel=0.03)
    gas = topped(solid, 0.25)
    assert gas.box[1][1] <= 10 - 10 + 2.1
    cap = math.pi * 10**2 * (3 * 20 - 10) / 3
    assert gas.volume == pytest.approx(cap, rel=0.05)


def test_what_is_within_keeps_its_margin() -> None:
    hull = ball((0, 0, 0), (50, 40, 60))
    solid = within(ball((30, 0, 0), (40, 40, 40)), hull, 3.0)
    low, high = solid.box
    x, y, z = (evenly(a, b, 1.0) for a, b in zip(low, high, strict=True))
    at = (x[None, :, None], y[None, None, :], z[:, None, None])
    assert not (solid.inside(*at) & ~hull.inside(*at)).any()
    assert solid.inside(floats(20.0), floats(0.0), floats(0.0))


def test_balls_side_by_side_share_a_table() -> None:
    centres = np.array([[0.0, 0.0, 0.0], [60.0, 15.0, 5.0]])
    radii = np.array([[15.0, 12.0, 18.0], [20.0, 14.0, 12.0]])
    axes = np.stack([np.eye(3), TURN])
    on = grid((-30, 100), (-40, 50), (1.0, 1.0))
    both = balls(on, centres, radii, axes)
    alone = [ball(*one, spacing=1.0).volume for one in zip(centres, radii, axes, strict=True)]
    assert both.volume == pytest.approx(sum(alone), rel=0.01)


def test_the_border_of_a_grid_is_outside() -> None:
    on = grid((0, 10), (0, 10), (1, 1))
    solid = between(on, np.zeros((1, 1)), np.ones((1, 1)))
    far = floats([-500.0, 500.0])
    assert not solid.inside(far[:, None], floats(0.5), far[None, :]).any()


@pytest.mark.parametrize("step", [2.0, 3.0, 4.0])
def test_mass_of_a_ball_along_parallel_rays_is_exact_at_any_step(step: float) -> None:
    made = tissue("liver", ball((0.7, 1.3, 0.4), (40, 30, 50)))
    rows, columns = evenly(-60, 60, 4), evenly(-60, 60, 4)
    for lateral in (False, True):
        lattice = straight(rows, columns, evenly(-61, 61, step), lateral=lateral)
        mass = ray_mass([made], lattice)
        grams = float((mass.lean + mass.fat).sum()) * 0.16
        expected = 4 / 3 * math.pi * 40 * 30 * 50 / 1000 * made.substance.density
        assert grams == pytest.approx(expected, rel=0.01)


def test_mass_along_a_ray_from_a_point_is_its_length_in_the_ball() -> None:
    made = tissue("liver", ball((0, 0, 0), (40, 40, 40)))
    lattice = diverging(
        floats([-1.0, 0.0, 60.0]), floats([0.0, 30.0]), evenly(-60, 61, 3), (0, -900, 0), 100
    )
    mass = ray_mass([made], lattice)
    total = mass.lean + mass.fat
    along = math.hypot(30, 1000)
    away = 900 * 30 / along  # of the middle from that ray
    expected = 2 * math.sqrt(40**2 - away**2) / 10 * made.substance.density
    assert total[1, 0] == pytest.approx(8.0 * made.substance.density, rel=0.01)
    assert total[1, 1] == pytest.approx(expected, rel=0.01)


def test_bone_displaces_tissue() -> None:
    made = tissue("liver", ball((0, 0, 0), (40, 40, 40)))
    lattice = straight(evenly(-8, 8, 4), evenly(-8, 8, 4), evenly(-60, 60, 2))
    half = np.full(lattice.shape, 0.5, np.float32)
    free, displaced = ray_mass([made], lattice), ray_mass([made], lattice, half)
    np.testing.assert_allclose(displaced.lean, free.lean / 2, rtol=1e-5)


def test_the_later_tissue_is_there() -> None:
    outer = tissue("subcutaneous_fat", ball((0, 0, 0), (40, 40, 40)))
    inner = tissue("liver", ball((0, 0, 0), (20, 20, 20)))
    lattice = straight(evenly(-4, 4, 4), evenly(-4, 4, 4), evenly(-60, 60, 1))

    def total(*tissues: Tissue) -> float:
        mass = ray_mass(tissues, lattice)
        return float((mass.lean + mass.fat)[1, 1])

    assert total(outer, inner) == pytest.approx(4 * 0.95 + 4 * 1.06, rel=0.01)
    assert total(inner, outer) == pytest.approx(8 * 0.95, rel=0.01)


def test_both_ways_to_look_sheets_up_agree() -> None:
    solid = ball((3, 2, 1), (30, 20, 40), TURN)
    x, z = evenly(-45, 45, 1.7), evenly(-45, 45, 2.3)
    crossed = solid.sheets(x[None, :], z[:, None])
    alone = solid.sheets(*(floats(v) for v in np.meshgrid(x, z)))
    turned_over = solid.sheets(x[:, None], z[None, :])
    for one, two, three in zip(crossed, alone, turned_over, strict=True):
        np.testing.assert_allclose(one, two, atol=0.01)
        np.testing.assert_allclose(one, three.T, atol=0.01)
