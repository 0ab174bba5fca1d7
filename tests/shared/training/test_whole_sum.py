"""The clipped sum: its bound holds in whole numbers, for any gradient."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.errors import BudgetInvalidError
from shared.training.noise import KeyStream
from shared.training.whole_sum import ClippingGrid, WholeSum

NOISES = (1e-3, 0.37, 1.0, 3.0, 2.0**10, 1e6)


def squares(whole: torch.Tensor) -> int:
    return sum(number * number for number in whole.tolist())


@settings(deadline=None, max_examples=150)
@given(
    st.sampled_from(NOISES),
    st.floats(1e-6, 1e6),
    st.lists(st.floats(width=32, allow_nan=True, allow_infinity=True), min_size=1, max_size=40),
)
def test_no_gradient_contributes_more_than_the_clip(
    noise: float, clip: float, numbers: list[float]
) -> None:
    grid = ClippingGrid.of(clip, noise)
    whole = grid.contribution(torch.tensor(numbers, dtype=torch.float64))
    # Held against the noise's spread in rational numbers: nothing is rounded here.
    allowed = (Fraction(2**grid.noise_bits) / Fraction(noise)) ** 2
    assert squares(whole) <= allowed
    if not np.isfinite(numbers).all():
        assert not whole.any()


@pytest.mark.parametrize("noise", [0.0, *NOISES])
def test_a_contribution_is_the_clipped_gradient(noise: float) -> None:
    generator = np.random.default_rng(2)
    grid = ClippingGrid.of(0.7, noise)
    for length in (0.1, 0.6999, 0.7, 50.0, 1e30):
        gradient = generator.normal(size=3000)
        gradient *= length / np.linalg.norm(gradient)
        found = grid.contribution(torch.from_numpy(gradient)).numpy() * grid.step
        expected = gradient * min(1.0, 0.7 / length)
        assert np.abs(found - expected).max() <= grid.step * 1.001 + 2e-6 * np.abs(expected).max()


def test_a_vector_that_is_as_long_as_allowed_is_let_through_and_a_longer_one_is_not() -> None:
    grid = ClippingGrid.of(1.0, 1.0)
    just = torch.tensor([1.0], dtype=torch.float64)
    assert grid.contribution(just)[0] == math.floor(2**30 * (1 - 2.0**-20))
    short = ClippingGrid(1.0, 1.0, 30, grid.step, longest=squares(grid.contribution(just)) - 1)
    assert not short.contribution(just).any()


def test_the_noise_is_as_wide_as_the_longest_contribution_times_the_multiplier() -> None:
    for noise in NOISES:
        grid = ClippingGrid.of(3.0, noise)
        longest = math.isqrt(grid.longest)
        assert 2**30 <= longest + 1 <= 2**31
        assert 2**grid.noise_bits >= noise * longest
        assert grid.step * 2**grid.noise_bits == pytest.approx(noise * 3.0)


def test_a_sum_is_the_same_in_any_order() -> None:
    generator = np.random.default_rng(4)
    gradients = torch.from_numpy(
        generator.normal(size=(30, 500)) * 10.0 ** np.arange(-15, 15)[:, None]
    )
    sums = []
    for order in (range(30), reversed(range(30)), generator.permutation(30)):
        total = WholeSum(ClippingGrid.of(0.5, 1.3), 500)
        for place in order:
            total.add(gradients[place])
        sums.append(total.release(KeyStream(bytes(32))))
    assert torch.equal(sums[0], sums[1])
    assert torch.equal(sums[0], sums[2])


def test_a_patient_more_moves_what_is_released_by_that_patients_part_alone() -> None:
    grid = ClippingGrid.of(0.5, 2.0)
    generator = np.random.default_rng(5)
    gradients = torch.from_numpy(generator.normal(size=(4, 50)))
    found = []
    for patients in (3, 4):
        total = WholeSum(grid, 50)
        for gradient in gradients[:patients]:
            total.add(gradient)
        found.append(total.release(KeyStream(bytes(32))))
    moved = ((found[1] - found[0]) / grid.step).round().to(torch.int64)
    assert torch.equal(moved, grid.contribution(gradients[3]))


def test_noise_has_the_promised_spread() -> None:
    released = WholeSum(ClippingGrid.of(0.7, 3.0), 100_000).release(KeyStream(bytes(31) + b"\1"))
    assert float(released.std()) == pytest.approx(3.0 * 0.7, rel=0.01)
    assert float(released.mean()) == pytest.approx(0.0, abs=0.03)


def test_a_sum_is_released_once() -> None:
    total = WholeSum(ClippingGrid.of(1.0, 1.0), 3)
    total.release(KeyStream(bytes(32)))
    with pytest.raises(RuntimeError, match="released before"):
        total.release(KeyStream(bytes(32)))


@pytest.mark.parametrize("noise", [1e308, 2.0**21, 1e-9, math.inf])
def test_noise_without_a_grid_is_refused_in_a_sentence(noise: float) -> None:
    with pytest.raises(BudgetInvalidError, match=r"noise_multiplier: .* \(must be 0, or from"):
        ClippingGrid.of(1.0, noise)
