"""What samples hold: exact along the normal and along rays, at any spacing."""

from __future__ import annotations

import numpy as np
import pytest

from shared.phantom.person.generator import NEAR_TO_LIFE
from shared.phantom.person.person import draw_person
from shared.phantom.population import POPULATIONS
from shared.phantom.solids.bone import Bone, filled, mineral_of, sides_along
from shared.phantom.solids.distance import Floats, floats, length, vector
from shared.phantom.solids.lattice import block_centres, blocks_at, straight
from shared.phantom.solids.scaled import scaled
from shared.phantom.solids.skeleton import build_skeleton
from shared.phantom.solids.template import sample_near


@pytest.mark.parametrize("step", [(0.6, 1.5, 1.05), (1.0, 1.0, 1.0), (3.0, 0.5, 2.0)])
def test_the_integral_along_the_normal_is_exact(step: tuple[float, float, float]) -> None:
    rng = np.random.default_rng(1)
    normals = floats(rng.normal(size=(50, 3)))
    normals = normals / length(normals)[:, None]
    wide, narrow = sides_along(normals, step)
    assert np.allclose(wide + narrow, np.abs(normals) @ step, rtol=0.02)
    depths = floats(np.arange(-6, 6, 0.001))
    for first, second in zip(wide, narrow, strict=True):
        ramp = filled(depths, np.full_like(depths, first), np.full_like(depths, second))
        assert ramp.min() > -1e-6
        assert ramp.max() < 1 + 1e-6
        assert float(ramp.sum(dtype=np.float64)) * 0.001 == pytest.approx(6.0, abs=2e-3)
        assert (np.diff(ramp) < 1e-5).all()


@pytest.mark.parametrize("slope", [0.05, 0.2, 0.45])
def test_a_face_seen_from_the_front_shows_no_rings(slope: float) -> None:
    normal = floats([[slope, np.sqrt(1 - slope**2), 0.0]])
    wide, narrow = sides_along(normal, (0.6, 1.5, 1.05))
    ways = floats(np.arange(-24, 24, 1.5))
    seen = []
    for column in floats(np.arange(0, 30, 0.6)) * np.float32(slope):
        distance = column + ways * normal[0, 1]
        sums = filled(distance, np.full_like(ways, wide), np.full_like(ways, narrow))
        seen.append(float(sums.sum()) * 1.5 + float(column / normal[0, 1]))
    assert np.ptp(seen) < 0.01


@pytest.mark.parametrize("spacing", [0.6, 1.0, 2.0, 3.0])
def test_a_ball_with_a_thin_shell_weighs_the_same_at_any_spacing(spacing: float) -> None:
    def ball(points: Floats) -> Floats:
        return floats(length(points) - 15)

    def traits(points: Floats, distance: Floats) -> Floats:
        return np.broadcast_to(vector(0.5, 1.0), (len(points), 2))

    template = sample_near(ball, (-20.0,) * 3, (20.0,) * 3, traits, 1.2)
    bone = Bone("ball", template, vector(1, 2, 3), floats(np.eye(3)), scaled(1.0), 16, 1.0, 0.1)
    for shift in (0.0, 0.31, 0.77):
        side = floats(np.arange(-24 + shift * spacing, 26, spacing))
        found = mineral_of([bone], straight(side, side, side)).sum(dtype=np.float64)
        shell = 4 / 3 * np.pi * (15**3 - 14.5**3) * 1.05
        core = 4 / 3 * np.pi * 14.5**3 * 0.1
        assert found * spacing**3 == pytest.approx(shell + core, rel=0.012)


def test_hardly_a_sample_that_holds_bone_is_left_out() -> None:
    """Amid the walls of a canal, and between thin processes, distances are not what they seem."""
    skeleton = build_skeleton(draw_person(3, 1, POPULATIONS["generic"], NEAR_TO_LIFE))
    for name in ("L4", "T9", "sacrum", "rib_12_left"):
        bone = skeleton.bone(name)
        rows, columns, ways = (
            floats(np.arange(middle - 45, middle + 70, step))
            for middle, step in zip(bone.centre[[2, 0, 1]], (1.2, 2.1, 3.0), strict=True)
        )
        lattice = straight(rows, columns, ways)
        places, *_ = block_centres(lattice)
        whole = np.zeros(lattice.shape, np.float32)
        for part in blocks_at(lattice, places).parts():
            found = bone.matter(*part.points(lattice), lattice.sides).mineral
            whole[part.i, part.j, part.k] = found.reshape(part.shape)
        lost = whole - mineral_of([bone], lattice)
        assert np.abs(lost).sum() < 5e-4 * whole.sum(), name
