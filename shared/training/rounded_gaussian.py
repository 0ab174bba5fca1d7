"""An ideal Gaussian rounded to whole numbers, exactly: what noise on a grid needs.

A sum of whole numbers plus an ideal Gaussian that is rounded down is the ideal Gaussian
mechanism, rounded down afterwards: rounding is post-processing and costs no privacy. So nothing
is lost as long as the Gaussian that was rounded is an ideal one. Here it is one but for less
than 2**-180 a number, if the words of the stream are random: every real number that is drawn is
known by its first digits only, and where these do not decide, more are drawn.

The method is Karney's (2016, "Sampling exactly from the normal distribution", ACM TOMS 42:3),
with the test of its last step done by an exponential with a proven margin instead of by
comparisons of uniform numbers.
"""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal, localcontext
from typing import Final

import numpy as np
from numpy.typing import NDArray

from shared.training.noise import KeyStream

WORD: Final = 64
#: The whole part of a number's size is below this; beyond lies less than 2**-180 of a Gaussian.
LARGEST: Final = 17
#: Binary digits in which the shares of whole parts are known.
DIGITS: Final = 191
#: Binary digits of them that the first word decides on; its last one is the sign.
FIRST: Final = WORD - 1
#: How far the exponential in float64 may lie off. Its argument is at most 17.5 and is made by
#: four roundings (2**-53 each, relatively), of a number known to 2**-63; the value is at most
#: 1 and its own error a few units of 2**-53: together under 2**-45.
MARGIN: Final = 2.0**-40
#: Share of the attempts that give a number, (√(2π)/2) / ((√(2π)+1)/2), rounded down.
ACCEPTED: Final = 0.71
#: More binary digits of the result would not be among those drawn, or not fit in 64 bits.
MOST_BITS: Final = 52


def _shares() -> tuple[int, ...]:
    """Shares of the whole parts 0 to j among all, exp(-j²/2), summed, in units of 2**-DIGITS."""
    with localcontext() as context:
        context.prec = 100
        parts = [(-Decimal(whole * whole) / 2).exp() for whole in range(LARGEST)]
        total = sum(parts)
        sums = [sum(parts[: whole + 1], Decimal(0)) / total for whole in range(LARGEST - 1)]
        return tuple(int(share * 2**DIGITS) for share in sums)


SHARES: Final = _shares()
#: The first digits of the shares, behind one that no number has.
HEADS: Final = np.array(
    [2**WORD - 1, *(share >> (DIGITS - FIRST) for share in SHARES)], dtype=np.uint64
)
ONE: Final = np.uint64(1)
#: Attempts at a time: they fit in a processor's cache.
BLOCK: Final = 8192


def rounded_gaussian(
    stream: KeyStream, count: int, bits: int, margin: float = MARGIN
) -> NDArray[np.int64]:
    """Draw floor(2**bits · z) for independent standard normal numbers z.

    Parameters
    ----------
    stream : KeyStream
        Where the random words come from.
    count : int
        How many numbers, at least 0.
    bits : int
        From 0 to 52; the standard deviation of the numbers is 2**bits.
    margin : float
        Attempts whose test in float64 is closer than this are decided exactly. A larger one
        changes the time and nothing else, for tests.

    Returns
    -------
    ndarray of int64
        Shape (count,). The sizes are below 17 · 2**bits.

    Raises
    ------
    ValueError
        If `bits` is outside of 0 to 52.

    Notes
    -----
    A size y = k + x, with k whole and x in [0, 1): k is drawn with a probability in
    proportion to exp(-k²/2), x uniformly, and y is taken with probability
    exp(-x(2k+x)/2), so that its density is in proportion to exp(-y²/2).
    """
    if not 0 <= bits <= MOST_BITS:
        raise ValueError(f"bits: {bits} (must be from 0 to {MOST_BITS})")
    numbers = np.empty(count, dtype=np.int64)
    done = 0
    while done < count:
        attempts = min(BLOCK, int((count - done) / ACCEPTED) + WORD)
        found = _attempt(stream, attempts, bits, margin)[: count - done]
        numbers[done : done + len(found)] = found
        done += len(found)
    return numbers


def _attempt(stream: KeyStream, attempts: int, bits: int, margin: float) -> NDArray[np.int64]:
    """Give the numbers of the attempts that succeed."""
    first, fractions, tests = stream.words(3 * attempts).reshape(3, attempts)
    whole = _whole_parts(stream, first >> ONE)
    fraction, drawn = _between_0_and_1(fractions), _between_0_and_1(tests)
    chance = np.exp(fraction * (2.0 * whole + fraction) * -0.5)
    drawn -= chance
    taken = drawn < 0
    for place in np.flatnonzero(np.abs(drawn, out=drawn) < margin):
        number, test, part = int(fractions[place]), int(tests[place]), int(whole[place])
        taken[place] = is_taken(part, number, test, WORD, lambda: int(stream.words(1)[0]))
    # A shift by all digits is none for a processor: halve first.
    size = (whole << bits) + ((fractions >> ONE) >> np.uint64(WORD - 1 - bits)).view(np.int64)
    # Rounded down: what lies between -n-1 and -n becomes -n-1, which is what flips all bits.
    return (size ^ -(first & ONE).view(np.int64))[taken]


def _between_0_and_1(words: NDArray[np.uint64]) -> NDArray[np.float64]:
    """Read words as binary digits after the point, to 2**-53."""
    # Signed numbers become real ones in a third of the time.
    return np.multiply((words >> ONE).view(np.int64), 2.0 ** (1 - WORD), dtype=np.float64)


def _whole_parts(stream: KeyStream, heads: NDArray[np.uint64]) -> NDArray[np.int64]:
    """Choose whole parts by the first digits of uniform numbers."""
    whole = np.searchsorted(HEADS[1:], heads, side="right")
    # Where a number's first digits are a share's, what follows decides which is larger.
    for place in np.flatnonzero(HEADS[whole] == heads):
        rest = int(stream.words(1)[0]) << WORD | int(stream.words(1)[0])
        number = int(heads[place]) << (DIGITS - FIRST) | rest
        whole[place] = sum(number >= share for share in SHARES)
    return whole.astype(np.int64, copy=False)


def is_taken(whole: int, fraction: int, test: int, digits: int, more: Callable[[], int]) -> bool:
    """Say whether a uniform number u is below exp(-x(2k+x)/2), however close.

    Parameters
    ----------
    whole : int
        k.
    fraction, test : int
        The first binary digits of x and of u, as whole numbers.
    digits : int
        How many digits these are.
    more : callable
        Gives 64 random digits more of one of them.

    Returns
    -------
    bool
        Decided without error: more digits are drawn until the bounds agree.
    """
    while True:
        with localcontext() as context:
            context.prec = digits // 3 + 40
            unit = Decimal(1) / Decimal(2**digits)
            slack = Decimal(10) ** (5 - context.prec)
            low = _chance(whole, (fraction + 1) * unit) - slack
            high = _chance(whole, fraction * unit) + slack
            if (test + 1) * unit <= low:
                return True
            if test * unit >= high:
                return False
        fraction = fraction << WORD | more()
        test = test << WORD | more()
        digits += WORD


def _chance(whole: int, fraction: Decimal) -> Decimal:
    return (-fraction * (2 * whole + fraction) / 2).exp()
