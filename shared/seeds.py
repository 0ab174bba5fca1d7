"""One way to make random numbers: every generator is derived from a key and a purpose.

A generator made here depends only on its arguments, so a run can be repeated to
the same bits, and two purposes never share a stream.
"""

from __future__ import annotations

import hashlib
import hmac

import numpy as np


def key_bytes(key: bytes | int) -> bytes:
    """Give a site's secret, or a public seed as its digits, as the key of an HMAC."""
    return key if isinstance(key, bytes) else str(key).encode()


def derive_seed(key: bytes | int, *purpose: str | int) -> int:
    """Derive a 63-bit seed by HMAC-SHA256 from a key and what it is for.

    Parameters
    ----------
    key : bytes or int
        A site's secret, or the public seed of an experiment.
    *purpose : str or int
        Words that name the stream, for example ``("noise", run, round)``.

    Returns
    -------
    int
        Seed in [0, 2**63).
    """
    message = "\x1f".join(str(part) for part in purpose).encode()
    digest = hmac.new(key_bytes(key), message, hashlib.sha256).digest()
    return int.from_bytes(digest[:8], "big") >> 1


def numpy_generator(key: bytes | int, *purpose: str | int) -> np.random.Generator:
    """Make a NumPy generator for one purpose (see `derive_seed`)."""
    return np.random.default_rng(derive_seed(key, *purpose))
