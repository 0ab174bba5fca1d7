"""The rounded Gaussian is exact, also where a few digits do not decide."""

from __future__ import annotations

import math
from collections.abc import Callable
from decimal import Decimal, localcontext

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.stats import chi2, norm

from shared.training import rounded_gaussian as module
from shared.training.noise import KeyStream
from shared.training.rounded_gaussian import (
    DIGITS,
    FIRST,
    HEADS,
    LARGEST,
    SHARES,
    is_taken,
    rounded_gaussian,
)


def stream(number: int) -> KeyStream:
    return KeyStream(number.to_bytes(32, "big"))


@pytest.mark.parametrize("bits", [0, 1, 3])
def test_every_cell_has_the_share_of_the_normal_distribution(bits: int) -> None:
    draws, far = 400_000, 4 * 2**bits
    found = rounded_gaussian(stream(11 + bits), draws, bits)
    cells = np.arange(-far, far)
    shares = norm.cdf((cells + 1) / 2**bits) - norm.cdf(cells / 2**bits)
    counts = np.array([(found == cell).sum() for cell in cells])
    distance = float(((counts - draws * shares) ** 2 / (draws * shares)).sum())
    assert distance < chi2.ppf(1 - 1e-4, len(cells))


def test_fine_numbers_are_standard_normal_and_independent() -> None:
    drawn = rounded_gaussian(stream(7), 200_001, 40) / 2.0**40
    assert len(drawn) == 200_001
    assert drawn.mean() == pytest.approx(0.0, abs=0.01)
    assert drawn.std() == pytest.approx(1.0, abs=0.01)
    assert (drawn**4).mean() == pytest.approx(3.0, abs=0.1)
    for far in (1.0, 2.0, 3.0):
        share = math.erfc(far / math.sqrt(2))
        assert (np.abs(drawn) > far).mean() == pytest.approx(share, rel=0.15)
    assert abs(np.corrcoef(drawn[:-1], drawn[1:])[0, 1]) < 0.01


def test_a_decision_in_floating_point_is_the_exact_one() -> None:
    exact = rounded_gaussian(stream(3), 2000, 30, margin=2.0)
    assert np.array_equal(rounded_gaussian(stream(3), 2000, 30), exact)


def test_the_exponential_is_nearer_than_its_margin_by_far() -> None:
    generator = np.random.default_rng(1)
    words = generator.integers(0, 2**64, 400, dtype=np.uint64)
    words[:4] = (0, 1, 2**64 - 1, 2**63)
    for number, word in enumerate(words):
        whole = number % LARGEST
        fraction = float(word * 2.0**-64)
        found = float(np.exp(fraction * (2.0 * whole + fraction) * -0.5))
        with localcontext() as context:
            context.prec = 60
            x = Decimal(int(word)) / 2**64
            true = (-x * (2 * whole + x) / 2).exp()
            assert abs(Decimal(found) - true) < Decimal(2) ** -45


@pytest.mark.parametrize("whole", [0, 1, 3])
def test_few_digits_decide_without_error_all_the_same(whole: int) -> None:
    """With two digits of each number nearly every decision asks for more."""
    generator = np.random.default_rng(whole)
    asked = 0

    def more() -> int:
        nonlocal asked
        asked += 1
        return int(generator.integers(0, 2**64, dtype=np.uint64))

    trials = 3000
    places = generator.integers(0, 4, (trials, 2))
    taken = sum(is_taken(whole, int(x), int(u), 2, more) for x, u in places)
    # The mean of exp(-x(2k+x)/2) over x: what is left of the Gaussian between k and k + 1.
    share = (norm.cdf(whole + 1) - norm.cdf(whole)) / norm.pdf(whole)
    assert taken == pytest.approx(trials * share, abs=4 * math.sqrt(trials * share * (1 - share)))
    assert asked > trials / 10


def test_numbers_on_the_edge_of_a_share_are_decided_by_what_follows() -> None:
    class Told(KeyStream):
        """Gives chosen words."""

        def __init__(self, words: list[int]) -> None:
            self._words = words

        def words(self, count: int) -> NDArray[np.uint64]:
            return np.array([self._words.pop(0) for _ in range(count)], dtype=np.uint64)

    for place, share in enumerate(SHARES[:6]):
        rest = share & (2 ** (DIGITS - FIRST) - 1)
        for nudge, whole in ((-1, place), (0, place + 1), (1, place + 1)):
            words = [(rest + nudge) >> 64, (rest + nudge) & (2**64 - 1)]
            assert module._whole_parts(Told(words), HEADS[place + 1 : place + 2])[0] == whole


def test_shares_are_those_of_the_squares() -> None:
    parts = [math.exp(-whole * whole / 2) for whole in range(LARGEST)]
    sums = np.cumsum(parts)[:-1] / sum(parts)
    assert np.allclose([share / 2**DIGITS for share in SHARES], sums, rtol=1e-14)
    assert math.erfc(LARGEST / math.sqrt(2)) < 2.0**-180


@pytest.mark.parametrize("bits", [-1, 53])
def test_what_does_not_fit_is_refused(bits: int) -> None:
    with pytest.raises(ValueError, match="from 0 to 52"):
        rounded_gaussian(stream(1), 1, bits)


@pytest.mark.parametrize("how", [lambda: rounded_gaussian(stream(1), 0, 30)])
def test_nothing_is_drawn_for_nobody(how: Callable[[], NDArray[np.int64]]) -> None:
    assert len(how()) == 0
