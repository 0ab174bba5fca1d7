"""Dual-energy physics: the decomposition finds what was put in."""

import numpy as np
import pytest

from shared.phantom.imaging.physics import (
    FAT,
    HYDROXYAPATITE,
    LEAN,
    Crossed,
    Physics,
    attenuate,
    beams,
    decompose,
    fit_beside,
    mass_attenuation,
    with_noise,
)

STEPS = (0.5, 0.75, 1.0, 1.25, 1.5)


def _wedge(tissue: float, fat: float) -> tuple[Crossed, np.ndarray]:
    """Steps of 20 columns with 10 columns of soft tissue between, 12 lines."""
    bone = np.zeros((12, 200), np.float32)
    for place, step in enumerate(STEPS):
        bone[:, 30 + 30 * place : 50 + 30 * place] = step
    soft = np.full_like(bone, tissue)
    return Crossed(bone, soft * np.float32(1 - fat), soft * np.float32(fat)), bone


@pytest.mark.parametrize("physics", ["k_edge", "switched"])
@pytest.mark.parametrize("centimetres", [10, 15, 20, 25, 30])
@pytest.mark.parametrize("fat", [0.1, 0.25, 0.4])
def test_step_wedge_is_measured_within_one_percent(
    physics: Physics, centimetres: float, fat: float
) -> None:
    crossed, bone = _wedge(centimetres * (1.05 * (1 - fat) + 0.95 * fat), fat)
    low, high = (attenuate(crossed, beam) for beam in beams(physics))
    measured = decompose(physics, low, high, (bone == 0).astype(np.float32))
    error = np.abs(measured[bone > 0] / bone[bone > 0] - 1)
    assert error.max() < 0.01


def test_fat_that_is_not_measured_beside_the_bone_biases_the_result() -> None:
    # the wedge test would pass for any R_s if the tissue did not matter
    crossed, bone = _wedge(20.0, 0.4)
    lean, _ = _wedge(20.0, 0.0)
    low_beam, high_beam = beams("k_edge")
    beside = (bone == 0).astype(np.float32)
    low = np.where(bone > 0, attenuate(crossed, low_beam), attenuate(lean, low_beam))
    high = np.where(bone > 0, attenuate(crossed, high_beam), attenuate(lean, high_beam))
    measured = decompose("k_edge", low.astype(np.float32), high.astype(np.float32), beside)
    assert (measured[bone > 0] / bone[bone > 0]).mean() < 0.9


@pytest.mark.parametrize(
    ("material", "at_38", "at_70"),
    [(HYDROXYAPATITE, 1.1234, 0.3131), (LEAN, 0.2826, 0.1916), (FAT, 0.2481, 0.1875)],
)
def test_attenuation_agrees_with_the_published_table(
    material: dict[str, float], at_38: float, at_70: float
) -> None:
    values = mass_attenuation(material, np.array([38.0, 70.0]))
    np.testing.assert_allclose(values, [at_38, at_70], rtol=2e-3)


def test_spectrum_hardens_behind_tissue() -> None:
    low, _ = beams("switched")
    thin = Crossed(*(np.full((1, 1), v, np.float32) for v in (0.0, 1.0, 0.0)))
    thick = Crossed(*(np.full((1, 1), v, np.float32) for v in (0.0, 30.0, 0.0)))
    assert attenuate(thick, low)[0, 0] < 30 * attenuate(thin, low)[0, 0] * 0.97


def test_noise_falls_with_the_square_root_of_the_photons() -> None:
    depth = np.full((200, 200), 4.0, np.float32)
    few = with_noise(depth, 1e5, np.random.default_rng(0)).std()
    many = with_noise(depth, 1.6e6, np.random.default_rng(0)).std()
    assert few / many == pytest.approx(4.0, rel=0.05)


def test_lines_without_tissue_follow_the_rest_of_the_field() -> None:
    lines, columns = np.mgrid[0:60, 0:80].astype(np.float32)
    truth = 1.4 + 0.001 * columns - 0.0005 * lines
    weight = np.ones_like(truth)
    weight[20:45] = 0
    np.testing.assert_allclose(fit_beside(truth, weight), truth, atol=2e-3)
