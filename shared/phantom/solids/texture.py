"""Trabecular texture: each patient's own field of struts and gaps, in the frame of each bone."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import numpy as np

from .distance import Floats, floats

#: Nodes along each side of a field; it goes on periodically, further than any bone is wide.
_NODES: Final = 128
#: Between nodes, mm.
_SPACING: Final = 0.75
#: Width of struts and gaps, mm: coarser than the struts themselves (0.15 mm), as what a CT of
#: 0.7 mm resolves of them is.
_GRAIN: Final = 1.1

Texture = Callable[[Floats, Floats, Floats], Floats]


def draw_texture(rng: np.random.Generator, spread: float) -> Texture:
    """Draw a patient's texture.

    Parameters
    ----------
    rng : numpy.random.Generator
        Of the patient.
    spread : float
        SD of the factor on the core's density, at samples of about 0.75 mm.

    Returns
    -------
    callable
        Factor on the core at points (N,) of a frame in mm, with mean 1, never below 0.
    """
    from scipy.fft import irfftn, rfftn

    white = rng.standard_normal((_NODES,) * 3, dtype=np.float32)
    steps = np.fft.fftfreq(_NODES, _SPACING) ** 2
    half = np.fft.rfftfreq(_NODES, _SPACING) ** 2
    squared = steps[:, None, None] + steps[None, :, None] + half[None, None, :]
    pass_band = np.exp(-2 * (np.pi * _GRAIN / 2) ** 2 * squared).astype(np.float32)
    # What is wider than a few millimetres is the body's own gradient and not texture.
    pass_band *= (1 - np.exp(-2 * (np.pi * 6.0) ** 2 * squared)).astype(np.float32)
    field = irfftn(rfftn(white) * pass_band, s=white.shape)
    field = floats(np.maximum(1 + field * np.float32(spread / field.std()), 0)).reshape(-1)

    def texture(x: Floats, y: Floats, z: Floats) -> Floats:
        index = np.zeros(x.shape, np.int32)
        for values in (x, y, z):
            node = np.floor(values * np.float32(1 / _SPACING)).astype(np.int32)
            index = index * _NODES + (node & (_NODES - 1))
        return np.asarray(field[index], np.float32)

    return texture


def moved(texture: Texture, by: tuple[float, float, float]) -> Texture:
    """The same texture from another place, for another bone of the patient."""
    a, b, c = (np.float32(v) for v in by)
    return lambda x, y, z: texture(x + a, y + b, z + c)
