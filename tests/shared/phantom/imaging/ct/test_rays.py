"""What rays leave in a slice: nothing in water, dark bands between dense bones, streaks."""

import json

import numpy as np
import pytest

from shared.phantom.imaging.ct.attenuation import marrow_hu, mineral_hu, tube_beam
from shared.phantom.imaging.ct.rays import (
    COARSE,
    FINE,
    Heavy,
    Left,
    gather,
    ray_mesh,
    spread,
    trace,
)
from shared.phantom.solids.distance import Floats, floats
from tests.suite.real_images import REAL_IMAGES, needs_real_images

SIZE, FIELD = 512, 35.0


def grid() -> tuple[Floats, Floats]:
    """x and y of pixel centres, mm: (1, W) and (H, 1)."""
    steps = floats((np.arange(SIZE) - (SIZE - 1) / 2) * FIELD * 10 / SIZE)
    return steps[None, :], steps[:, None]


def ellipse(a: float, b: float, x0: float = 0.0, y0: float = 0.0) -> np.ndarray:
    x, y = grid()
    return ((x - x0) / a) ** 2 + ((y - y0) / b) ** 2 < 1


def left(water: Floats, mineral: Floats, kvp: int = 120, heavy: Heavy | None = None) -> Left:
    matter = np.stack([gather(floats(one), COARSE[0]) for one in (water, mineral)])
    return trace(tube_beam(kvp), FIELD, matter, 1.0, heavy)


def test_what_is_projected_comes_back() -> None:
    mesh = ray_mesh(COARSE)
    image = gather(floats(ellipse(120, 80)), mesh.side)
    rays = mesh.project(image[None], FIELD / mesh.side)[0]
    middle = rays[:, mesh.bins // 2]
    assert middle.max() == pytest.approx(24.0, rel=0.02)
    back = mesh.filtered_back(rays, FIELD / mesh.side)
    assert back[32, 32] == pytest.approx(1.0, abs=0.03)
    assert back[28:36, 28:36].std() < 0.02


def test_a_map_is_spread_and_gathered_again() -> None:
    x, y = np.meshgrid(np.arange(64.0), np.arange(64.0))
    plane = floats(x + 2 * y)
    assert gather(spread(plane, 256), 64)[1:-1, 1:-1] == pytest.approx(plane[1:-1, 1:-1], abs=1e-3)
    assert gather(np.ones((200, 200), np.float32), 64) == pytest.approx(1.0, abs=1e-5)


def test_water_of_any_size_is_corrected() -> None:
    for half in (60, 100, 150):
        found = left(floats(ellipse(half, half)), np.zeros((SIZE, SIZE), np.float32))
        assert np.abs(found.error).max() < 0.5


def test_it_is_darker_between_dense_bones_and_inside_them() -> None:
    bones = sum(ellipse(22, 22, side * 85) for side in (-1, 1)) * 0.5
    found = spread(left(floats(ellipse(160, 100)), floats(bones)).error, SIZE)
    between = found[250:262, 240:272].mean()
    above = found[150:162, 240:272].mean()
    inside = found[250:262, 125:137].mean()
    assert between < -8 < above
    assert inside < -15


def test_noise_is_largest_inside_and_runs_along_the_long_side() -> None:
    found = left(floats(ellipse(160, 100)), np.zeros((SIZE, SIZE), np.float32)).variance
    whole = found.sum(axis=0)
    assert found[1, 32, 32] > 2 * found[0, 32, 32]
    assert whole[32, 32] > 1.5 * whole[32, 7]
    disk = left(floats(ellipse(120, 120)), np.zeros((SIZE, SIZE), np.float32)).variance
    assert disk[:, 32, 32].sum() == pytest.approx(1.0, rel=0.15)


def test_metal_leaves_streaks_along_its_long_axis() -> None:
    density = gather(floats(ellipse(3, 24)) * np.float32(4.43), FINE[0])
    heavy = Heavy("titanium", density, 1.0, np.random.default_rng(2))
    water = floats(ellipse(160, 100))
    with_metal = left(water, np.zeros((SIZE, SIZE), np.float32), heavy=heavy)
    assert with_metal.error.shape == (FINE[0], FINE[0])
    found = spread(with_metal.error, SIZE)
    along = found[150:200, 252:260].mean()
    aside = found[250:262, 330:350].mean()
    assert along < -20
    assert abs(aside) < abs(along) / 2


@needs_real_images
def test_hardening_is_that_of_simulated_slices() -> None:
    """Muscle 300 x 200 mm in fat, vertebra 48 x 36 mm with 1.5 mm cortex at 3.5 cm behind."""
    folder = REAL_IMAGES / "ct_kvp_oracle"
    slices = np.load(folder / "sim_slices.npz")
    about = json.loads((folder / "sim_slices.json").read_text())
    body, ring = ellipse(150, 100), ellipse(163, 114)
    bone, core = ellipse(24, 18, 0, 35), ellipse(22.5, 16.5, 0, 35)
    inner = ellipse(15, 10, 0, 35)
    found, plain, expected = {}, {}, {}
    for name, said in about.items():
        assert said["mm_per_px"] * SIZE == pytest.approx(FIELD * 10, rel=1e-3)
        kvp, grams = said["kvp"], said["ha_mg_cc"] / 1000
        mineral = np.where(core, grams, np.where(bone, 1.05, 0.0))
        water = np.where(body, 1.04, np.where(ring, 0.9, 0.0))
        water = np.where(bone, 0.98 * (1 - mineral / 3.16), water)
        shift = spread(left(floats(water), floats(mineral), kvp).error, SIZE)[inner].mean()
        plain[name] = marrow_hu(kvp, 0.5) + grams * mineral_hu(kvp)
        found[name] = plain[name] + shift
        expected[name] = float(np.median(slices[name][inner]))
        assert found[name] == pytest.approx(expected[name], abs=13)
        # Hardening explains at least a third of what is between density and the simulation.
        if grams > 0.1:
            assert abs(found[name] - expected[name]) < 0.67 * abs(plain[name] - expected[name])
    for kvp in (80, 100, 140):
        ratio = found[f"trab120_{kvp}"] / found["trab120_120"]
        assert ratio == pytest.approx(
            expected[f"trab120_{kvp}"] / expected["trab120_120"], rel=0.025
        )
    # Beside a dense vertebra it is darker, behind it brighter.
    sides = slices["trab180_120"][300:312, 340:356], slices["trab180_120"][350:360, 246:266]
    assert np.median(sides[0]) < np.median(sides[1])
    assert shift < 0
