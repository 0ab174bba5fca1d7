"""Trabecular texture: each patient's own field of struts and gaps, in the frame of each bone."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

import numpy as np

from .distance import Floats, floats, smoothstep
from .distance import length as lengths

#: Nodes along each side of a field; it goes on periodically, further than any bone is wide.
_NODES: Final = 128
#: Between nodes, mm.
_SPACING: Final = 0.75
#: Width of struts and gaps over the size that a person has, mm: coarser than the struts themselves
#: (0.15 mm), as what a CT of 0.7 mm resolves of them is.
_GRAIN: Final = 1.1
#: What varies over more than this is no texture, mm.
_GRADIENT: Final = 6.0
#: Over how much of a focal lesion's border its density changes, mm.
_BORDER: Final = 2.0

Texture = Callable[[Floats, Floats, Floats], Floats]


def draw_texture(
    rng: np.random.Generator, spread: float, size: float = 1.0, length: float = 1.0
) -> Texture:
    """Draw a patient's texture.

    Parameters
    ----------
    rng : numpy.random.Generator
        Of the patient.
    spread : float
        SD of the factor on the core's density, at samples of about 0.75 mm.
    size : float
        Of the grain, mm.
    length : float
        How much longer the grain is along z, the bone's long axis, than across.

    Returns
    -------
    callable
        Factor on the core at points (N,) of a frame in mm, with mean 1, never below 0.
    """
    from scipy.fft import irfftn, rfftn

    white = rng.standard_normal((_NODES,) * 3, dtype=np.float32)
    # As much grain as if it were as long as wide: longer along the bone, narrower across it.
    across, along = (_GRAIN * size / 2 * length**power for power in (-1 / 3, 2 / 3))
    pass_band = _blurred(across, across, along)
    # What is wider than a few millimetres is the body's own gradient and not texture.
    pass_band *= 1 - _blurred(_GRADIENT, _GRADIENT, _GRADIENT)
    field = irfftn(rfftn(white) * pass_band, s=white.shape)
    field = floats(np.maximum(1 + field * np.float32(spread / field.std()), 0)).reshape(-1)

    def texture(x: Floats, y: Floats, z: Floats) -> Floats:
        index = np.zeros(x.shape, np.int32)
        for values in (x, y, z):
            node = np.floor(values * np.float32(1 / _SPACING)).astype(np.int32)
            index = index * _NODES + (node & (_NODES - 1))
        return field.take(index, mode="clip")

    return texture


def moved(texture: Texture, by: tuple[float, float, float]) -> Texture:
    """The same texture from another place, for another bone of the patient."""
    a, b, c = (np.float32(v) for v in by)
    return lambda x, y, z: texture(x + a, y + b, z + c)


def _blurred(*widths: float) -> Floats:
    """What Gaussians of these SD along x, y, z, mm, leave of each frequency of `rfftn`."""
    steps, half = np.fft.fftfreq(_NODES, _SPACING), np.fft.rfftfreq(_NODES, _SPACING)
    x, y, z = (
        floats(np.exp(-2 * (np.pi * width * way) ** 2))
        for width, way in zip(widths, (steps, steps, half), strict=True)
    )
    return floats(x[:, None, None] * y[None, :, None] * z)


def with_lesions(
    texture: Texture | None, lesions: Sequence[tuple[Floats, float, float]]
) -> Texture:
    """Texture of a bone with focal lesions.

    Parameters
    ----------
    texture : callable or None
        Of the healthy bone.
    lesions : sequence of (ndarray of shape (3,), float, float)
        Centre in the bone's frame and radius, mm, and factor on the core.
    """

    def factor(x: Floats, y: Floats, z: Floats) -> Floats:
        found = np.ones_like(x) if texture is None else texture(x, y, z)
        for centre, radius, core in lesions:
            away = [v - c for v, c in zip((x, y, z), centre, strict=True)]
            inside = 1 - smoothstep(lengths(floats(np.stack(away, axis=1))) - np.float32(radius),
                                    -_BORDER / 2, _BORDER / 2)  # fmt: skip
            found = found * (1 + np.float32(core - 1) * inside)
        return found

    return factor
