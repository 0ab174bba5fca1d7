"""What half precision keeps, and what it does not."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from shared.protocol.half_precision import (
    LEAST_EXPONENT,
    LENGTHENED,
    MOST_EXPONENT,
    from_half,
    halved,
    to_half,
)

Floats = NDArray[np.float32]
LARGEST = float(np.finfo(np.float32).max)
FINITE = st.floats(width=32, allow_nan=False, allow_infinity=False)
TENSORS = st.lists(FINITE, max_size=12).map(lambda one: np.array(one, np.float32))


def rounded(array: Floats) -> Floats:
    return halved({"x": array})["x"]


@given(TENSORS)
@settings(max_examples=400, deadline=None)
def test_rounding_twice_is_rounding_once(array: Floats) -> None:
    once = rounded(array)
    if not np.isfinite(once).all():
        return
    halves, exponent = to_half(once)
    assert from_half(halves, exponent).tobytes() == once.tobytes()
    assert exponent == to_half(array)[1]
    assert LEAST_EXPONENT <= exponent <= MOST_EXPONENT


@given(TENSORS)
@settings(max_examples=400, deadline=None)
def test_every_number_is_as_near_as_is_said(array: Floats) -> None:
    found, exact = rounded(array).astype(np.float64), array.astype(np.float64)
    largest = np.abs(exact).max(initial=0.0)
    if largest >= (1 - 2.0**-12) * 2.0**128:
        return
    allowed = np.where(
        np.abs(exact) >= largest * 2.0**-28, np.abs(exact) * 2.0**-11, largest * 2.0**-39
    )
    assert (np.abs(found - exact) <= allowed).all()
    assert np.isfinite(found).all()
    assert np.linalg.norm(found) <= LENGTHENED * np.linalg.norm(exact)


def test_signs_of_zero_and_empty_tensors_stay() -> None:
    for array in (np.array([0.0, -0.0], np.float32), np.zeros((0, 3), np.float32)):
        assert rounded(array).tobytes() == array.tobytes()
        assert rounded(array).shape == array.shape
    assert rounded(np.asarray(2.5, np.float32)).shape == ()


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_stays_so_and_spoils_no_other_number(value: float) -> None:
    found = rounded(np.array([0.25, value, -3.0], np.float32))
    assert (found[0], found[2]) == (0.25, -3.0)
    assert not np.isfinite(found[1])


def test_only_what_has_no_room_in_float32_overflows() -> None:
    assert np.isfinite(rounded(np.array([0.999 * LARGEST], np.float32))).all()
    assert np.isinf(rounded(np.array([LARGEST], np.float32))).all()


def test_small_numbers_are_not_lost_beside_another_tensors_large_ones() -> None:
    tiny = np.array([3e-12, -7e-13], np.float32)
    found = halved({"large": np.array([3e4], np.float32), "tiny": tiny})
    np.testing.assert_allclose(found["tiny"], tiny, rtol=2**-11)


def test_ties_go_to_even() -> None:
    ties = np.array([1 + 2.0**-11, 1 + 3 * 2.0**-11], np.float32)
    assert rounded(ties).tolist() == [1.0, 1 + 2.0**-9]
