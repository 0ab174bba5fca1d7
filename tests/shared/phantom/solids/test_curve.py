"""A curve with an oval section answers like the solids it is made of."""

from __future__ import annotations

import math

import numpy as np

from shared.phantom.solids.curve import OvalCurve, oval_curve
from shared.phantom.solids.distance import Floats, capsule, floats, vector


def ring(radius: float, halves: tuple[float, float], pieces: int = 48) -> OvalCurve:
    """Three quarters of a circle in the plane of x and y."""
    angle = np.linspace(0, 1.5 * math.pi, pieces + 1)
    vertices = radius * np.stack([np.cos(angle), np.sin(angle), 0 * angle], axis=1)
    upright = np.broadcast_to(vector(0, 0, 1), vertices.shape)
    sides = np.broadcast_to(vector(*halves), (len(angle), 2))
    traits = np.broadcast_to(vector(0.7, 1.0), (len(angle), 2))
    return oval_curve(floats(vertices), upright, sides, traits)


def inside_share(curve: OvalCurve, count: int = 400000) -> float:
    """Volume, mm³, by points in a box."""
    points = floats(np.random.default_rng(3).uniform((-75, -75, -12), (75, 75, 12), (count, 3)))
    return float((curve.at(*points.T)[:, 0] < 0).mean()) * 150 * 150 * 24


def test_a_straight_round_curve_is_a_rod() -> None:
    start, end = vector(-20, 3, 5), vector(35, -8, 11)
    way = floats(np.linspace(0, 1, 25))[:, None]
    vertices = start + way * (end - start)
    upright = np.broadcast_to(vector(0, 0, 1), vertices.shape)
    sides, none = np.full((25, 2), 4.0, np.float32), np.zeros((25, 0), np.float32)
    curve = oval_curve(vertices, upright, sides, none)
    points = floats(np.random.default_rng(1).uniform((-40, -30, -20), (55, 30, 35), (20000, 3)))
    true = capsule(points, start, end, 4, 4)
    rows = curve.at(*points.T)
    near = np.abs(true) < 2
    assert np.abs(rows[near, 0] - true[near]).max() < 1e-3
    assert np.array_equal(rows[:, 0] < 0, true < 0)
    assert np.abs((rows[:, 1:4] ** 2).sum(axis=1) - 1).max() < 1e-3
    assert (rows[true > 4, 0] > 0.9 * (true[true > 4] - 0.6)).all()


def test_an_oval_ring_has_its_volume_and_its_axes() -> None:
    curve = ring(60, (6, 3))
    ends = 4 / 3 * math.pi * 6 * 3 * 3  # two halves of an ellipsoid
    true = math.pi * 6 * 3 * 60 * 1.5 * math.pi + ends
    assert abs(inside_share(curve) / true - 1) < 0.02
    top, outer = curve.at(*floats([[60, 0, 6], [63, 1, 0]]).T)[:, :4]
    assert abs(top[0]) < 0.1
    assert abs(outer[0]) < 0.1
    assert top[3] > 0.99
    assert outer[1] > 0.99


def test_the_nearest_piece_is_found_from_anywhere_near() -> None:
    curve = ring(45, (3, 3))
    points = floats(np.random.default_rng(2).uniform((-60, -60, -12), (60, 60, 12), (20000, 3)))
    fine: Floats = ring(45, (3, 3), 960).vertices
    true = np.full(len(points), np.inf)
    for vertex in fine:
        true = np.minimum(true, ((points - vertex) ** 2).sum(axis=1))
    true = np.sqrt(true) - 3
    near = np.abs(true) < 5
    assert np.abs(curve.at(*points[near].T)[:, 0] - true[near]).max() < 0.3
