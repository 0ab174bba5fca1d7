"""Tensors in half precision: 16 bits a number, and one power of two for each tensor.

The power of two brings a tensor's largest number to between 2^14 and 2^15, so nothing
overflows, and small numbers are not lost because another tensor holds large ones. Reading
back is exact, and rounding what was rounded changes no bit: whatever names a tensor by its
bytes may name it by the decoded ones. See docs/decisions/0012-what-travels.md.

==========================  ============================================================
number                      what becomes of it
==========================  ============================================================
within 2^-28 of the largest right to 2^-11 of itself (to nearest, ties to even)
smaller                     right to 2^-39 of the largest; the smallest become 0
0, -0                       as they are, also a tensor of nothing else
NaN, infinity               as they are; whoever sends or reads must refuse them
past (1 - 2^-12)·2^128      infinity
==========================  ============================================================
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import numpy as np
from numpy.typing import NDArray

#: The largest number of a tensor is stored as at least half of 2 to the power of this.
TOP: Final = 15
#: Powers of two of float32 tensors: their largest numbers lie below 2^-148 to 2^128.
LEAST_EXPONENT: Final = -148 - TOP
MOST_EXPONENT: Final = 128 - TOP
#: Rounding makes no tensor, and no list of them, longer than this many times its norm:
#: 2^-11 for each number, and as much again for those too small for that, which would need
#: 2^56 of them.
LENGTHENED: Final = 1.0 + 2.0**-10
#: From here on a number rounds up to the next power of two.
_ROUNDS_UP: Final = 1.0 - 2.0**-12


def to_half(array: NDArray[np.float32]) -> tuple[NDArray[np.float16], int]:
    """Round a tensor to half precision.

    Parameters
    ----------
    array : ndarray of float32
        Any shape.

    Returns
    -------
    tuple of ndarray of float16 and int
        Of the same shape, and the power of two that it must be multiplied with.
    """
    exponent = _exponent(array)
    with np.errstate(over="ignore"):  # what is larger still is infinite already
        return np.asarray(_times(np.asarray(array, np.float32), -exponent), np.float16), exponent


def from_half(halves: NDArray[np.float16], exponent: int) -> NDArray[np.float32]:
    """Read what `to_half` gave; exact."""
    return _times(halves.astype(np.float32), exponent)


def halved(arrays: Mapping[str, NDArray[np.float32]]) -> dict[str, NDArray[np.float32]]:
    """Round tensors to what travels, read back as float32."""
    return {name: from_half(*to_half(array)) for name, array in arrays.items()}


def _times(array: NDArray[np.float32], exponent: int) -> NDArray[np.float32]:
    """Multiply with a power of two."""
    with np.errstate(over="ignore", under="ignore"):
        if -126 <= exponent <= 127:  # a float32 of its own: several times faster
            return np.asarray(array * np.float32(2.0**exponent))
        return np.asarray(np.ldexp(array, exponent), np.float32)


def _exponent(array: NDArray[np.float32]) -> int:
    """Choose the power of two by the largest finite number *as rounded*.

    Chosen by the number itself, one that rounds up to a power of two would get another
    exponent the second time.
    """
    if not array.size:
        return 0
    largest = max(float(array.max()), -float(array.min()))
    if not np.isfinite(largest):
        largest = float(np.abs(array[np.isfinite(array)]).max(initial=0.0))
    if largest == 0.0:
        return 0
    share, exponent = np.frexp(largest)  # largest = share·2^exponent, share in [0.5, 1)
    return int(exponent) + int(share >= _ROUNDS_UP) - TOP
