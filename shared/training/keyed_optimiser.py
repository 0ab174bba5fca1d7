"""Opacus's optimiser with noise from the site's own key (heavy to import: Opacus)."""

from __future__ import annotations

from typing import Any

import torch
from opacus.optimizers import DPOptimizer
from torch import Tensor

from shared.training.noise import KeyStream


class KeyedDPOptimizer(DPOptimizer):
    """Opacus's optimiser with the noise of a `KeyStream`.

    Parameters
    ----------
    *args, **kwargs
        As for `DPOptimizer`, without `generator` and `secure_mode`.
    stream : KeyStream
        Where the noise of all steps comes from, weight by weight.
    """

    def __init__(self, *args: Any, stream: KeyStream, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.stream = stream

    def add_noise(self) -> None:
        """Add N(0, (noise multiplier · clipping norm)²) to every number of the clipped sum.

        `DPOptimizer.add_noise` marks each sum so that none is used twice; so does this.
        """
        deviation = self.noise_multiplier * self.max_grad_norm
        for weight in self.params:
            total: Tensor = weight.summed_grad
            if getattr(total, "_processed", False):
                raise ValueError("noise was already added to this sum")
            noise = torch.from_numpy(self.stream.normal(total.numel()) * deviation)
            noise = noise.to(dtype=total.dtype).to(total.device).view_as(total)
            weight.grad = (total + noise).view_as(weight)
            total._processed = True  # type: ignore[attr-defined]
