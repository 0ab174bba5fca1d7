"""Random numbers of the guarantee: strong, keyed by everything, of the right shape."""

from __future__ import annotations

import hashlib
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from shared.training.batches import RoundKey, poisson_draw
from shared.training.keyed_optimiser import KeyedDPOptimizer
from shared.training.noise import KeyStream

KEY = RoundKey(b"secret of a test", "run", 1, "digest")


def key_of(number: int) -> bytes:
    return number.to_bytes(32, "big")


@pytest.mark.parametrize("bit", [0, 31, 32, 63, 64, 127, 128, 255])
def test_every_bit_of_a_key_changes_the_noise(bit: int) -> None:
    one = KeyStream(key_of(12345)).normal(64)
    other = KeyStream(key_of(12345 ^ (1 << bit))).normal(64)
    assert not np.any(one == other)


def test_normal_numbers_are_standard_normal_and_independent() -> None:
    drawn = KeyStream(key_of(7)).normal(200_001)
    assert len(drawn) == 200_001
    assert drawn.mean() == pytest.approx(0.0, abs=0.01)
    assert drawn.std() == pytest.approx(1.0, abs=0.01)
    assert (drawn**4).mean() == pytest.approx(3.0, abs=0.1)
    for far in (1.0, 2.0, 3.0):
        share = math.erfc(far / math.sqrt(2))
        assert (np.abs(drawn) > far).mean() == pytest.approx(share, rel=0.15)
    half = len(drawn) // 2  # Box and Muller make pairs: the halves of a call
    assert abs(np.corrcoef(drawn[:half], drawn[half : 2 * half])[0, 1]) < 0.01
    assert abs(np.corrcoef(drawn[:half] ** 2, drawn[half : 2 * half] ** 2)[0, 1]) < 0.01


def test_a_stream_goes_on_and_never_repeats() -> None:
    stream = KeyStream(key_of(7))
    first, second = stream.normal(100), stream.normal(100)
    assert not np.any(first == second)
    again = KeyStream(key_of(7))
    assert np.array_equal(np.concatenate([again.normal(100), again.normal(100)]), [*first, *second])


def test_a_key_of_fewer_bits_is_refused() -> None:
    with pytest.raises(ValueError, match="must be 32"):
        KeyStream(b"short")


@pytest.mark.parametrize(
    "other",
    [
        replace(KEY, secret=b"another"),
        replace(KEY, run="other"),
        replace(KEY, round=2),
        replace(KEY, model_digest="another"),
        replace(KEY, attempt=2),
        replace(KEY, device="cuda"),
    ],
)
def test_every_release_has_noise_and_sampling_of_its_own(other: RoundKey) -> None:
    names = [f"p{number}" for number in range(100)]
    assert not np.any(KEY.stream("noise").normal(50) == other.stream("noise").normal(50))
    assert poisson_draw(names, 0.5, KEY, 0) != poisson_draw(names, 0.5, other, 0)


def test_sampling_and_noise_have_streams_of_their_own() -> None:
    noise, sampling = KEY.stream("noise").uniform(5000), KEY.stream("poisson", 0).uniform(5000)
    assert abs(np.corrcoef(noise, sampling)[0, 1]) < 0.05


def test_a_release_is_the_same_on_every_machine() -> None:
    drawn = KeyStream(key_of(7)).uniform(4)
    found = hashlib.sha256(drawn.astype("<f8").tobytes()).hexdigest()
    assert found == "ff1fce193ae0182dfce758ecf60b16ce9a483af2fa0b44c605929c96b684683a"


def optimiser(noise: float, clip: float) -> tuple[nn.Parameter, KeyedDPOptimizer]:
    weight = nn.Parameter(torch.zeros(3000))
    made = KeyedDPOptimizer(
        torch.optim.SGD([weight], lr=1.0),
        noise_multiplier=noise,
        max_grad_norm=clip,
        expected_batch_size=1,
        stream=KEY.stream("noise"),
    )
    weight.grad_sample = torch.zeros(1, 3000)  # type: ignore[attr-defined]
    return weight, made


def test_noise_has_the_spread_of_multiplier_times_clip_and_comes_once_per_step() -> None:
    weight, made = optimiser(3.0, 0.7)
    for skipped in (True, True, False):  # three pieces of one batch
        made.signal_skip_step(do_skip=skipped)
        made.step()
        made.zero_grad(set_to_none=True)
        weight.grad_sample = torch.zeros(1, 3000)  # type: ignore[attr-defined]
    assert float(weight.detach().std()) == pytest.approx(3.0 * 0.7, rel=0.05)


def test_noise_is_never_added_twice_to_one_sum() -> None:
    _, made = optimiser(1.0, 1.0)
    made.clip_and_accumulate()
    made.add_noise()
    with pytest.raises(ValueError, match="already"):
        made.add_noise()


@pytest.mark.parametrize("count", [1, 2, 1001])
def test_a_device_makes_the_same_numbers_of_the_ciphers_bytes(count: int) -> None:
    """The arithmetic that a GPU is given, here on the CPU; both streams stand alike afterwards."""
    ours, its = KeyStream(key_of(3)), KeyStream(key_of(3))
    expected, found = ours.normal(count), its._transformed(torch.device("cpu"), count)
    assert np.allclose(found.numpy(), expected, rtol=1e-12, atol=1e-12)
    assert np.array_equal(its.uniform(3), ours.uniform(3))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device")
def test_the_noise_of_a_gpu_is_the_noise_of_the_cpu_up_to_rounding() -> None:
    weights = []
    for device in ("cpu", "cuda"):
        weight, made = optimiser(1.0, 1.0)
        weight.data = weight.data.to(device)
        weight.grad_sample = torch.zeros(1, 3000, device=device)  # type: ignore[attr-defined]
        made.step()
        weights.append(weight.detach().cpu())
    assert torch.allclose(weights[0], weights[1], rtol=1e-6, atol=0)
