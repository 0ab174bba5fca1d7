"""A change of coordinates that makes features easy to learn from, set once from public patients."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor, nn

#: What `Whitening` does unless told otherwise.
FLOOR: Final = 0.3


@dataclass(frozen=True)
class Moved:
    """How old coordinates follow from new ones: ``old = new · matrix + middle``."""

    middle: Tensor
    matrix: Tensor


class Whitening(nn.Module):
    """``forward(x (B, D)) -> (x − middle) · matrix``, shape (B, D); does nothing until `fit`.

    Gradient descent on a linear layer goes at the pace of its inputs' variance, direction
    by direction. Under differential privacy there are few steps and all directions get the
    same noise, so those of little variance are not learnt at all; whitened inputs let all
    be learnt at one pace. Both arrays are buffers: they travel and are stored with the
    weights, and no training changes them.

    Parameters
    ----------
    features : int
        How many come in.
    floor : float
        Directions that vary less than this share of the widest are stretched no further:
        what hardly varies among public patients is mostly noise, and would be stretched
        with it.
    least : float
        Directions narrower than this, in the features' own unit, are stretched no further
        either, also where all are: weights travel rounded, and rounding would be stretched.
    """

    middle: Tensor
    matrix: Tensor

    def __init__(self, features: int, floor: float = FLOOR, least: float = 1e-6) -> None:
        super().__init__()
        self.floor, self.least = floor, least
        self.register_buffer("middle", torch.zeros(features))
        self.register_buffer("matrix", torch.eye(features))

    def forward(self, features: Tensor) -> Tensor:
        """Change the coordinates."""
        return (features - self.middle) @ self.matrix

    @torch.no_grad()
    def fit(self, features: Tensor) -> Moved:
        """Whiten by these features.

        Parameters
        ----------
        features : Tensor, shape (N, D), N > 1
            What comes in, of **public** patients: the result is part of the model.

        Returns
        -------
        Moved
            How what came out before follows from what comes out now, for layers behind.
        """
        exact = features.double()
        values, directions = torch.linalg.eigh(torch.cov(exact.T))
        widths = values.clamp(min=0.0).sqrt()
        widths = widths.clamp(min=max(self.floor * float(widths.max()), self.least))
        before, kept = self.middle.double(), self.matrix.double()
        self.middle.copy_(exact.mean(0))
        self.matrix.copy_(directions @ torch.diag(1 / widths) @ directions.T)
        return Moved(
            ((self.middle.double() - before) @ kept).float(),
            torch.linalg.solve(self.matrix.double(), kept).float(),
        )


@torch.no_grad()
def whiten_input(whitening: Whitening, layer: nn.Linear, features: Tensor) -> None:
    """Whiten what a linear layer is given, and change the layer so that its outputs stay.

    Parameters
    ----------
    whitening : Whitening
        What stands before the layer.
    layer : Linear
        Changed in place.
    features : Tensor, shape (N, D), N > 1
        What comes into `whitening`, of **public** patients.
    """
    moved = whitening.fit(features)
    layer.bias.add_(layer.weight @ moved.middle)
    layer.weight.copy_(layer.weight @ moved.matrix.T)
