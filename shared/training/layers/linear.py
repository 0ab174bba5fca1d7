"""Gradients per patient of ``nn.Linear``.

For one unit the gradient of the weights is the outer product of what came back and what
was read (Goodfellow 2015, arXiv:1510.01799, section 6); for the units and places of a
patient it is the sum of these, which is one product of two matrices.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd import Function
from torch.autograd.function import once_differentiable
from torch.nn import functional

from shared.training.layers.keeping import as_autocast, keep, patients_of


class LinearGradients(Function):
    """``nn.Linear``; `image` (N·K, ..., I), result (N·K, ..., O)."""

    @staticmethod
    def forward(
        ctx: Any, image: Tensor, weight: Tensor, bias: Tensor | None, layer: nn.Linear, units: int
    ) -> Tensor:
        """Multiply as ever, and keep what the backward pass needs."""
        image, weight, bias = as_autocast(image, weight, bias)
        ctx.save_for_backward(image, weight)
        ctx.layer, ctx.units = layer, units
        return functional.linear(image, weight, bias)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, upstream: Tensor) -> tuple[Tensor | None, ...]:
        """Give the gradient of what was read, and keep those of the weights by patient."""
        image, weight = ctx.saved_tensors
        layer: nn.Linear = ctx.layer
        patients = patients_of(image, ctx.units)
        keep(layer.weight, lambda: linear_gradients(image, upstream, patients))
        back = upstream.reshape(patients, -1, upstream.shape[-1])
        keep(layer.bias, lambda: back.sum(1))
        return (upstream @ weight if ctx.needs_input_grad[0] else None, *[None] * 4)


def linear_gradients(image: Tensor, upstream: Tensor, patients: int) -> Tensor:
    """Give (N, O, I) for what was read, (N·K, ..., I), and what came back, (N·K, ..., O)."""
    read = image.reshape(patients, -1, image.shape[-1])
    back = upstream.reshape(patients, -1, upstream.shape[-1])
    return torch.bmm(back.transpose(1, 2), read)
