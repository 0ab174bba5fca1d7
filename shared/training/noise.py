"""Random numbers that a guarantee rests on: a keyed cipher's stream, the same on every device.

PyTorch's generator on a CPU keeps 32 bits of its seed, so whoever knows an update
could try every seed. The numbers here come from AES-256 in counter mode under a
key of 256 bits; only its arithmetic into real numbers is NumPy's, or on a GPU PyTorch's.
"""

from __future__ import annotations

import math
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

KEY_BYTES: Final = 32
#: A float64 holds 53 bits: the other 11 of 64 are dropped.
DROPPED_BITS: Final = 11
RESOLUTION: Final = 2.0**-53
#: What is enciphered at a time for a device: fits a processor's cache.
ZEROS: Final = bytes(2**18)


class KeyStream:
    """Uniform and normal numbers, one after the other, from one key.

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

    def uniform(self, count: int) -> NDArray[np.float64]:
        """Draw numbers in [0, 1), multiples of 2**-53."""
        stream = self._cipher.update(bytes(8 * count))
        whole = np.frombuffer(stream, dtype="<u8") >> np.uint64(DROPPED_BITS)
        return whole.astype(np.float64) * RESOLUTION

    def normal(self, count: int) -> NDArray[np.float64]:
        """Draw standard normal numbers (Box and Muller 1958); the largest is 8.6."""
        pairs = (count + 1) // 2
        drawn = self.uniform(2 * pairs)
        radius = np.sqrt(-2.0 * np.log1p(-drawn[:pairs]))  # 1 - u is never 0
        angle = 2.0 * np.pi * drawn[pairs:]
        numbers = np.empty(2 * pairs)
        np.multiply(radius, np.cos(angle), out=numbers[:pairs])
        np.multiply(radius, np.sin(angle), out=numbers[pairs:])
        return numbers[:count]

    def normal_on(self, device: torch.device, count: int) -> Tensor:
        """Draw standard normal numbers as a tensor of float64 on a device, shape (count,).

        The cipher runs on the CPU, a twentieth of the time; the arithmetic of `normal` is
        done on the device. Where that is a GPU, last bits may differ from the CPU's.
        """
        if device.type == "cpu":
            return torch.from_numpy(self.normal(count))
        return self._transformed(device, count)

    def _transformed(self, device: torch.device, count: int) -> Tensor:
        pairs = (count + 1) // 2
        stream = torch.empty(2 * pairs, dtype=torch.int64, pin_memory=device.type == "cuda")
        room = stream.numpy().data.cast("B")
        for begin in range(0, len(room), len(ZEROS)):
            part = room[begin : begin + len(ZEROS)]
            self._cipher.update_into(ZEROS[: len(part)], part)
        whole = stream.to(device, non_blocking=True) >> DROPPED_BITS
        drawn = (whole & (2**53 - 1)).double() * RESOLUTION  # the shift kept the sign
        radius = (-2.0 * torch.log1p(-drawn[:pairs])).sqrt()
        angle = 2.0 * math.pi * drawn[pairs:]
        return torch.cat([radius * angle.cos(), radius * angle.sin()])[:count]
