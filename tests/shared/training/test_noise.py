"""Random numbers of the guarantee: strong, keyed by everything, of the right shape."""

from __future__ import annotations

import hashlib
from dataclasses import replace

import numpy as np
import pytest

from shared.training.batches import RoundKey, poisson_draw
from shared.training.noise import KeyStream

KEY = RoundKey(b"secret of a test", "run", 1, "digest")


def key_of(number: int) -> bytes:
    return number.to_bytes(32, "big")


@pytest.mark.parametrize("bit", [0, 31, 32, 63, 64, 127, 128, 255])
def test_every_bit_of_a_key_changes_the_noise(bit: int) -> None:
    one = KeyStream(key_of(12345)).words(64)
    other = KeyStream(key_of(12345 ^ (1 << bit))).words(64)
    assert not np.any(one == other)


def test_a_stream_goes_on_and_never_repeats() -> None:
    stream = KeyStream(key_of(7))
    first, second = stream.words(100), stream.words(100)
    assert not np.any(first == second)
    again = KeyStream(key_of(7))
    assert np.array_equal(np.concatenate([again.words(100), again.words(100)]), [*first, *second])


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
    assert not np.any(KEY.stream("noise").words(50) == other.stream("noise").words(50))
    assert poisson_draw(names, 0.5, KEY, 0) != poisson_draw(names, 0.5, other, 0)


def test_sampling_and_noise_have_streams_of_their_own() -> None:
    noise, sampling = KEY.stream("noise").uniform(5000), KEY.stream("poisson", 0).uniform(5000)
    assert abs(np.corrcoef(noise, sampling)[0, 1]) < 0.05


def test_a_release_is_the_same_on_every_machine() -> None:
    drawn = KeyStream(key_of(7)).uniform(4)
    found = hashlib.sha256(drawn.astype("<f8").tobytes()).hexdigest()
    assert found == "ff1fce193ae0182dfce758ecf60b16ce9a483af2fa0b44c605929c96b684683a"
