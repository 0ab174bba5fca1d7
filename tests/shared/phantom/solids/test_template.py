"""A template answers like the formula it was sampled from, however thin the solid is."""

from __future__ import annotations

import numpy as np
import pytest

from shared.phantom.solids.distance import Floats, floats, rounded_box, vector
from shared.phantom.solids.template import SampledOutline, sample_near

HALF = vector(30, 1.6, 20)


def plate(points: Floats) -> Floats:
    """Distance to a plate of 3.2 mm, turned so that it lies along no axis of the grid."""
    c, s = np.float32(np.cos(0.4)), np.float32(np.sin(0.4))
    turned = np.stack(
        [c * points[:, 0] + s * points[:, 1], c * points[:, 1] - s * points[:, 0], points[:, 2]],
        axis=1,
    )
    return rounded_box(turned, vector(0, 0, 0), HALF, 1.2)


def no_traits(points: Floats, distance: Floats) -> Floats:
    return np.ones((len(points), 1), np.float32)


def sampled(spacing: float) -> SampledOutline:
    return sample_near(plate, (-35, -20, -25), (35, 20, 25), no_traits, spacing)


@pytest.mark.parametrize("spacing", [1.0, 1.4])
def test_both_faces_of_a_plate_as_thin_as_two_nodes_are_where_they_are(spacing: float) -> None:
    points = floats(np.random.default_rng(5).uniform((-32, -16, -22), (32, 16, 22), (40000, 3)))
    true = plate(points)
    near = np.abs(true) < 1.0
    error = sampled(spacing).at(*points[near].T)[:, 0] - true[near]
    assert np.abs(error).mean() < 0.05
    assert np.quantile(np.abs(error), 0.99) < 0.5  # at the rim, which is as sharp as a node


def test_away_from_the_solid_nothing_seems_near() -> None:
    points = floats(np.random.default_rng(6).uniform((-34, -19, -24), (34, 19, 24), (40000, 3)))
    true = plate(points)
    away = true > 4
    found = sampled(1.4).at(*points[away].T)[:, 0]
    assert (found > 0.5 * true[away]).all()


def test_a_ball_is_round() -> None:
    def ball(points: Floats) -> Floats:
        return np.sqrt((points**2).sum(axis=1)) - np.float32(15)

    box = ((-20.0,) * 3, (20.0,) * 3)
    points = np.random.default_rng(7).normal(size=(5000, 3)).astype(np.float32)
    points *= 15 / np.linalg.norm(points, axis=1, keepdims=True)
    rows = sample_near(ball, *box, no_traits, 1.2).at(*points.T)
    assert np.abs(rows[:, 0]).max() < 0.05
    assert (rows[:, 1:4] * points / 15).sum(axis=1).min() > 0.99


def test_outside_its_box_a_template_is_never_near() -> None:
    def hollowed(points: Floats) -> Floats:
        ball = np.sqrt((points**2).sum(axis=1)) - np.float32(10)
        hole = np.sqrt(((points - vector(12, 0, 0)) ** 2).sum(axis=1)) - np.float32(8)
        return np.maximum(ball, -hole)

    template = sample_near(hollowed, (-13.0,) * 3, (13.0,) * 3, no_traits, 1.3)
    points = floats(np.random.default_rng(8).uniform(-40, 40, (40000, 3)))
    outside = np.abs(points).max(axis=1) > template.high.max()
    assert (template.at(*points[outside].T)[:, 0] > 0).all()
