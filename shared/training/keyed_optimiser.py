"""Opacus's optimiser with noise from the site's own key (heavy to import: torch)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from torch import Tensor

from shared.training.noise import KeyStream
from shared.training.opacus_parts import OPTIMISER, part

if TYPE_CHECKING:
    from opacus.optimizers import DPOptimizer
else:
    DPOptimizer = part(OPTIMISER).DPOptimizer


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
        sums: list[Tensor] = [weight.summed_grad for weight in self.params]
        if any(getattr(total, "_processed", False) for total in sums):
            raise ValueError("noise was already added to this sum")
        for weight, total, noise in zip(self.params, sums, self._noise(sums), strict=True):
            added = (noise * deviation).to(total.dtype).view_as(total)
            weight.grad = (total + added).view_as(weight)
            total._processed = True  # type: ignore[attr-defined]

    def _noise(self, sums: list[Tensor]) -> Iterable[Tensor]:
        """Draw weight by weight; for a GPU all at once, since every draw is a transfer."""
        device = sums[0].device
        if device.type == "cpu":
            return (self.stream.normal_on(device, total.numel()) for total in sums)
        sizes = [total.numel() for total in sums]
        return self.stream.normal_on(device, sum(sizes)).split(sizes)
