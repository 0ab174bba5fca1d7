"""Bones that differ from their template by nothing but a size."""

from __future__ import annotations

import numpy as np

from .bone import Unbend
from .distance import Floats, floats


def scaled(size: float) -> Unbend:
    """From a patient's frame to a template's, `size` times as small."""
    shrink, grown = np.float32(1 / size), floats(size)

    def unbend(
        x: Floats, y: Floats, z: Floats
    ) -> tuple[Floats, Floats, Floats, Floats, Floats, Floats]:
        return x * shrink, y * shrink, z * shrink, grown, grown, grown

    return unbend


def scaled_half(size: float) -> Unbend:
    """The same for a bone that is its own mirror image, of which the left half is sampled."""
    shrink, grown = np.float32(1 / size), floats(size)

    def unbend(
        x: Floats, y: Floats, z: Floats
    ) -> tuple[Floats, Floats, Floats, Floats, Floats, Floats]:
        left = np.abs(x) * shrink
        return left, y * shrink, z * shrink, np.copysign(grown, x), grown, grown

    return unbend
