"""What a reconstruction kernel does to a slice: blur in the plane, and the colour of the noise."""

from __future__ import annotations

from typing import Final

import numpy as np
from scipy import fft

from shared.phantom.solids.distance import Floats, floats

from .scanner import ReconstructionKernel

#: Width of the texture of tissue, mm.
TEXTURE_MM: Final = 5.0


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

    Parameters
    ----------
    kernel : ReconstructionKernel
        For the colour of the noise.
    shape : (int, int)
        Of slices; a field is twice as large.
    spacing : float
        Of pixels, mm.
    rng : numpy.random.Generator

    Attributes
    ----------
    along_x, along_y : ndarray of float32, shape (2·H, 2·W)
        Noise of rays that run from front to back, and from side to side. Rays from side to
        side leave it as streaks from side to side: its frequencies point along y.
    texture : ndarray of float32, shape (2·H, 2·W)
        Of tissue, some millimetres wide.
    """

    def __init__(
        self,
        kernel: ReconstructionKernel,
        shape: tuple[int, int],
        spacing: float,
        rng: np.random.Generator,
    ) -> None:
        self.shape = shape
        size = (2 * shape[0], 2 * shape[1])
        down, across = frequencies(size, spacing)
        frequency = np.sqrt(down**2 + across**2)
        power = noise_power(frequency, kernel)
        square = frequency**2
        square[0, 0] = 1
        share = across**2 / square
        self.along_x = _coloured(np.sqrt(power * share), size, rng)
        self.along_y = _coloured(np.sqrt(power * (1 - share)), size, rng)
        wide = floats(np.exp(-((frequency * np.float32(TEXTURE_MM)) ** 2)))
        self.texture = _coloured(wide, size, rng)

    def cut(self, field: Floats, rng: np.random.Generator) -> Floats:
        """View of a field at a random place, randomly mirrored."""
        height, width = self.shape
        top, left = int(rng.integers(height + 1)), int(rng.integers(width + 1))
        piece = field[top : top + height, left : left + width]
        down, across = (1 if rng.random() < 0.5 else -1 for _ in range(2))
        return piece[::down, ::across]


def _coloured(amplitude: Floats, size: tuple[int, int], rng: np.random.Generator) -> Floats:
    """White noise filtered by an amplitude spectrum, scaled to mean 0 and SD 1."""
    white = rng.standard_normal(size, dtype=np.float32)
    spectrum = fft.rfft2(white)
    spectrum *= amplitude
    spectrum[0, 0] = 0
    field = floats(fft.irfft2(spectrum, s=size, overwrite_x=True))
    field /= field.std()
    return field
