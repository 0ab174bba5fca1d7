"""The clipped sum in whole numbers, so that its bound is exact, and its noise on the same grid.

Floating point adds up to something else in another order, and a norm that is computed in it
is only nearly the norm. Here what a patient contributes is a vector of whole numbers, its norm
is checked in whole numbers, and the sum and the noise are whole numbers: nobody's part is
larger than it may be, by no bit.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction
from typing import Final, Self

import torch
from torch import Tensor, nn

from shared.errors import BudgetInvalidError
from shared.training.noise import KeyStream
from shared.training.rounded_gaussian import rounded_gaussian

#: Binary digits of the clipping norm on the grid: it is from 2**30 to 2**31 steps long, so that
#: squares of a vector's numbers add up to less than 2**63.
CLIP_DIGITS: Final = 30
#: What a gradient is clipped to, of the clipping norm: room for the rounding of what follows.
WITHIN: Final = 1 - 2.0**-20
#: Noise beyond this has no grid; no training survives a millionth of it.
LARGEST_NOISE_MULTIPLIER: Final = 2.0**20
LEAST_NOISE_MULTIPLIER: Final = 2.0**-20


@dataclass(frozen=True)
class ClippingGrid:
    """Where contributions and noise lie.

    Attributes
    ----------
    clip : float
        Clipping norm C.
    noise_multiplier : float
        σ; 0 = no noise.
    noise_bits : int
        The noise's standard deviation is 2**noise_bits steps.
    step : float
        Length of one step, σC / 2**noise_bits, rounded. It only scales what is released.
    longest : int
        Square of the largest norm that a contribution may have, in steps: (2**noise_bits/σ)²,
        rounded down, without any other rounding.
    """

    clip: float
    noise_multiplier: float
    noise_bits: int
    step: float
    longest: int

    @classmethod
    def of(cls, clip: float, noise_multiplier: float) -> Self:
        """Choose the grid for a clipping norm and a noise multiplier.

        Raises
        ------
        BudgetInvalidError
            If the noise multiplier is not 0 and outside of 2**-20 to 2**20.
        """
        if noise_multiplier == 0:
            return cls(clip, 0.0, 0, clip / 2**CLIP_DIGITS, 4**CLIP_DIGITS)
        if not LEAST_NOISE_MULTIPLIER <= noise_multiplier <= LARGEST_NOISE_MULTIPLIER:
            raise BudgetInvalidError(
                f"noise_multiplier: {noise_multiplier:g} (must be 0, or from "
                f"{LEAST_NOISE_MULTIPLIER:g} to {LARGEST_NOISE_MULTIPLIER:g})"
            )
        bits = CLIP_DIGITS + math.ceil(math.log2(noise_multiplier))
        ratio = Fraction(2**bits) / Fraction(noise_multiplier)
        longest = math.floor(ratio * ratio)
        return cls(clip, noise_multiplier, bits, noise_multiplier * clip / 2**bits, longest)

    def contribution(self, gradient: Tensor) -> Tensor:
        """Clip a patient's gradient and put it on the grid.

        Guarantee
        ---------
        The Euclidean norm of what is returned, in steps, is at most
        2**noise_bits / noise_multiplier, exactly; the noise of `WholeSum` has a standard
        deviation of 2**noise_bits steps.

        ============================== ====================================================
        case                           what happens
        ============================== ====================================================
        norm at most C·(1 - 2**-20)    rounded toward zero to whole steps
        longer                         scaled to that norm first
        an inf or NaN, or such a norm  zeros
        norm too long all the same     zeros (no gradient does this; it is the last check)
        norm 0                         zeros; nothing is divided by 0
        ============================== ====================================================

        Parameters
        ----------
        gradient : Tensor
            float64, shape (D,).

        Returns
        -------
        Tensor
            int64, shape (D,).
        """
        norm = math.sqrt(float(torch.dot(gradient, gradient)))
        limit = self.clip * WITHIN
        scale = (1.0 if norm <= limit else limit / norm) / self.step
        # Squares of what is longer would not fit in 64 bits; what is not finite is not less.
        if not norm * scale < 2.0 ** (CLIP_DIGITS + 1):
            return torch.zeros_like(gradient, dtype=torch.int64)
        whole = (gradient * scale).to(torch.int64)  # toward zero
        return whole if int((whole * whole).sum()) <= self.longest else torch.zeros_like(whole)


class WholeSum:
    """The sum of one step's contributions.

    Parameters
    ----------
    grid : ClippingGrid
        Where they lie.
    size : int
        Numbers of a contribution, D.
    device : str
        Where the sum is.
    """

    def __init__(self, grid: ClippingGrid, size: int, device: str = "cpu") -> None:
        self.grid = grid
        self.total = torch.zeros(size, dtype=torch.int64, device=device)
        self._released = False

    def add(self, gradient: Tensor) -> None:
        """Add what one patient contributes; see `ClippingGrid.contribution`."""
        self.total += self.grid.contribution(gradient)

    def release(self, stream: KeyStream) -> Tensor:
        """Give the sum with noise, in units of the gradient.

        Guarantee
        ---------
        The Gaussian mechanism with noise multiplier σ, against adding or removing one patient:
        the whole sum plus an ideal Gaussian of standard deviation 2**noise_bits steps, rounded
        down (`rounded_gaussian`), scaled.

        Parameters
        ----------
        stream : KeyStream
            Where the noise comes from.

        Returns
        -------
        Tensor
            float64, shape (D,).

        Raises
        ------
        RuntimeError
            If it was released before: twice with other noise would be two releases.
        """
        if self._released:
            raise RuntimeError("this sum was released before (make a new one for each step)")
        self._released = True
        total = self.total
        if self.grid.noise_multiplier > 0:
            noise = rounded_gaussian(stream, len(total), self.grid.noise_bits)
            total = total + torch.from_numpy(noise).to(total.device)
        return total.double() * self.grid.step


def set_gradients(trained: list[nn.Parameter], flat: Tensor) -> None:
    """Give every weight its part of a flat vector, shape (D,), as its gradient."""
    parts = flat.split([weight.numel() for weight in trained])
    for weight, part in zip(trained, parts, strict=True):
        weight.grad = part.view_as(weight).to(weight.dtype)
