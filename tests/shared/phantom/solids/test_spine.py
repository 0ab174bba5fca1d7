"""A spine is stacked without overlap, has the curves it was given, and a texture of its own."""

from __future__ import annotations

import math

import numpy as np
import pytest

from shared.phantom.solids.bone import mineral_of
from shared.phantom.solids.bones.vertebra import SPINE_LEVELS, BodyMineral, BodyShape, body_size
from shared.phantom.solids.lattice import straight
from shared.phantom.solids.spine import SpineBody, SpineForm, stack_spine, taper_of
from shared.phantom.solids.texture import draw_texture, moved
from shared.seeds import numpy_generator

FIVE = tuple(level for level in SPINE_LEVELS if level != "L6")
CORE = 0.14


def shape_of(level: str) -> BodyShape:
    width, depth, height, _ = body_size(level)
    front = height * taper_of(level)
    return BodyShape(level, width, depth, front, (front + height) / 2, height, height)


def spine(form: SpineForm | None = None, levels: tuple[str, ...] = FIVE) -> dict[str, SpineBody]:
    shapes = {level: shape_of(level) for level in levels}
    minerals = dict.fromkeys(levels, BodyMineral(CORE))
    return stack_spine(shapes, minerals, form or SpineForm())


def angle(upper: SpineBody, lower: SpineBody, axes: tuple[int, int]) -> float:
    """Angle between the long axes of two bodies in a plane, degrees."""
    first, second = axes
    a, b = (
        math.atan2(body.rotation[first, 2], body.rotation[second, 2]) for body in (upper, lower)
    )
    return abs(math.degrees(a - b))


def test_curves_are_those_of_people() -> None:
    bodies = spine(SpineForm(lordosis=1.0, kyphosis=1.0))
    assert 33 <= angle(bodies["T4"], bodies["T12"], (1, 2)) <= 50
    assert 28 <= angle(bodies["L1"], bodies["L5"], (1, 2)) <= 45
    assert bodies["L3"].centre == pytest.approx(np.zeros(3))
    length = bodies["L5"].centre[2] - bodies["C7"].centre[2]
    assert 420 <= length <= 520  # C7 to L5 of a man lying down, mm


@pytest.mark.parametrize("count", [4, 5, 6])
def test_four_to_six_lumbar_vertebrae(count: int) -> None:
    lumbar = tuple(f"L{n}" for n in range(1, count + 1))
    bodies = spine(levels=(*(name for name in FIVE if not name.startswith("L")), *lumbar))
    assert [name for name in bodies if name.startswith("L")] == list(lumbar)


def test_scoliosis_is_in_the_solid_and_not_in_the_picture() -> None:
    bodies = spine(SpineForm(scoliosis_degrees=20.0, apex="L2"))
    sides = [body.centre[0] for body in bodies.values()]
    assert max(sides) - min(sides) > 8.0
    tilt = [angle(bodies[name], bodies["L3"], (0, 2)) for name in ("T11", "L5")]
    assert max(tilt) > 5.0
    turned = math.degrees(math.atan2(*bodies["L2"].rotation[1::-1, 0]))
    assert abs(turned) == pytest.approx(10.0, abs=2.0)


def test_neighbours_do_not_run_into_each_other() -> None:
    """The mineral of all together is that of each alone, but for a little at the facets."""
    bodies = [spine()[name].bone for name in ("T12", "L1", "L2", "L3")]
    rows, columns, ways = (
        np.arange(low, high, 1.0, dtype=np.float32)
        for low, high in ((-150, 60), (-60, 60), (-60, 110))
    )
    lattice = straight(rows, columns, ways)
    each = sum(float(mineral_of([bone], lattice).sum(dtype=np.float64)) for bone in bodies)
    together = float(mineral_of(bodies, lattice).sum(dtype=np.float64))
    assert together == pytest.approx(each, rel=0.02)


def test_texture_is_each_patients_own() -> None:
    points = np.stack(np.meshgrid(*[np.arange(0, 24, 0.75, dtype=np.float32)] * 3), axis=-1)
    x, y, z = points.reshape(-1, 3).T
    one, other = (draw_texture(numpy_generator(seed, "texture"), 0.1) for seed in (1, 2))
    a, b, elsewhere = one(x, y, z), other(x, y, z), moved(one, (31.0, 17.0, 0.0))(x, y, z)
    assert a.mean() == pytest.approx(1.0, abs=0.01)
    assert a.std() == pytest.approx(0.1, rel=0.1)
    assert abs(np.corrcoef(a, b)[0, 1]) < 0.05
    assert abs(np.corrcoef(a, elsewhere)[0, 1]) < 0.05
    again = draw_texture(numpy_generator(1, "texture"), 0.1)(x, y, z)
    assert np.array_equal(a, again)
