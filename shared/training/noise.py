"""Random words that a guarantee rests on: a keyed cipher's stream, the same on every machine.

PyTorch's generator on a CPU keeps 32 bits of its seed, so whoever knows an update
could try every seed. The words here come from AES-256 in counter mode under a
key of 256 bits.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

KEY_BYTES: Final = 32
#: A float64 holds 53 bits: the other 11 of 64 are dropped.
DROPPED_BITS: Final = 11
RESOLUTION: Final = 2.0**-53


class KeyStream:
    """Random words and uniform numbers, one after the other, from one key.

    Parameters
    ----------
    key : bytes
        32 bytes, used for nothing else: the stream begins at counter 0.
    """

    def __init__(self, key: bytes) -> None:
        from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

        if len(key) != KEY_BYTES:
            raise ValueError(f"a key of {len(key)} bytes (must be {KEY_BYTES})")
        self._cipher = Cipher(algorithms.AES(key), modes.CTR(bytes(16))).encryptor()

    def words(self, count: int) -> NDArray[np.uint64]:
        """Draw words of 64 random bits."""
        stream = self._cipher.update(bytes(8 * count))
        return np.frombuffer(stream, dtype="<u8").astype(np.uint64, copy=False)

    def uniform(self, count: int) -> NDArray[np.float64]:
        """Draw numbers in [0, 1), multiples of 2**-53."""
        whole = self.words(count) >> np.uint64(DROPPED_BITS)
        return whole.astype(np.float64) * RESOLUTION
