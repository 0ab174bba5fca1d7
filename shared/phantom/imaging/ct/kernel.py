"""What a reconstruction kernel does to a slice: blur in the plane, and the colour of the noise."""

from __future__ import annotations

from typing import Final

import numpy as np
from scipy import fft

from shared.phantom.solids.distance import Floats, floats

from .scanner import ReconstructionKernel

#: Side of the fields from which noise and texture are cut, pixels.
FIELD: Final = 1024


def frequencies(shape: tuple[int, int], spacing: float) -> tuple[Floats, Floats]:
    """Frequencies along rows' and columns' direction for `rfft2`, 1/mm: (H, 1) and (1, W/2+1)."""
    down = np.fft.fftfreq(shape[0], spacing)[:, None]
    across = np.fft.rfftfreq(shape[1], spacing)[None, :]
    return floats(down), floats(across)


def transfer(frequency: Floats, kernel: ReconstructionKernel, blur_mm: float) -> Floats:
    """MTF of a kernel with focus and detector at frequencies in 1/mm.

    Flat at first, falling to one half at the kernel's frequency: exp(−ln 2·(f/f½)^2.6), raised
    in the middle by the boost.
    """
    share = frequency / np.float32(kernel.half)
    falls = np.exp(np.float32(-np.log(2)) * share ** np.float32(2.6))
    rise = 1 + np.float32(kernel.boost * 4) * share * share * np.exp(-2 * share * share)
    limits = np.exp(-2 * (np.pi * np.float32(blur_mm) * frequency) ** 2)
    at_half = float(np.exp(-2 * (np.pi * blur_mm * kernel.half) ** 2))
    # The kernel's own fall is slower by what focus and detector take, so that the half holds.
    slower = falls ** np.float32(max(0.0, 1 + np.log(at_half) / np.log(2)))
    return floats(slower * rise * limits)


def noise_power(frequency: Floats, kernel: ReconstructionKernel) -> Floats:
    """Shape of the noise power spectrum: f·exp(−f²/2f₀²), largest at the kernel's peak f₀.

    A ramp, as filtered back projection has it, cut by the kernel.
    """
    share = frequency / np.float32(kernel.peak)
    return floats(share * np.exp(-share * share / 2))


class NoiseFields:
    """Fields of noise with unit SD, drawn once a series, from which slices cut anew.

    Attributes
    ----------
    along_x, along_y : ndarray of float32, shape (1024, 1024)
        Noise of rays that run from front to back, and from side to side. Rays from side to
        side leave it as streaks from side to side: its frequencies point along y.
    texture : ndarray of float32, shape (1024, 1024)
        Of tissue, about 3 mm wide.
    """

    def __init__(
        self, kernel: ReconstructionKernel, spacing: float, rng: np.random.Generator
    ) -> None:
        down, across = frequencies((FIELD, FIELD), spacing)
        frequency = np.sqrt(down**2 + across**2)
        power = noise_power(frequency, kernel)
        square = frequency**2
        square[0, 0] = 1
        share = across**2 / square
        self.along_x = _coloured(np.sqrt(power * share), rng)
        self.along_y = _coloured(np.sqrt(power * (1 - share)), rng)
        self.texture = _coloured(frequency**0 * np.exp(-((frequency * np.float32(5.0)) ** 2)), rng)

    def cut(self, field: Floats, shape: tuple[int, int], rng: np.random.Generator) -> Floats:
        """View of a field at a random place, randomly mirrored."""
        top, left = (int(rng.integers(FIELD - size + 1)) for size in shape)
        piece = field[top : top + shape[0], left : left + shape[1]]
        down, across = (1 if rng.random() < 0.5 else -1 for _ in range(2))
        return piece[::down, ::across]


def _coloured(amplitude: Floats, rng: np.random.Generator) -> Floats:
    """White noise filtered by an amplitude spectrum, scaled to mean 0 and SD 1."""
    white = rng.standard_normal((FIELD, FIELD), dtype=np.float32)
    spectrum = fft.rfft2(white)
    spectrum *= amplitude
    spectrum[0, 0] = 0
    field = fft.irfft2(spectrum, s=(FIELD, FIELD))
    return floats(field / field.std())
