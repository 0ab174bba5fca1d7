"""Gradients per patient of ``nn.GroupNorm``.

A channel gives ``scale · normalised + shift`` (Wu and He 2018, arXiv:1803.08494), so the
scale's gradient is the sum, over pixels, of what came back times the normalised image, and
the shift's the sum of what came back. PyTorch's own kernel makes both sums.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd import Function
from torch.autograd.function import once_differentiable

from shared.training.layers.keeping import in_full, keep, patients_of

aten = torch.ops.aten


class GroupNormGradients(Function):
    """``nn.GroupNorm``; `image` and result (N·K, C, ...)."""

    @staticmethod
    def forward(
        ctx: Any, image: Tensor, weight: Tensor, bias: Tensor, layer: nn.GroupNorm, units: int
    ) -> Tensor:
        """Normalise as ever, and keep what the backward pass needs."""
        image = in_full(image).contiguous()
        count, channels = image.shape[:2]
        ctx.size = (count, channels, image[0, 0].numel(), layer.num_groups)
        result, mean, rstd = aten.native_group_norm(image, weight, bias, *ctx.size, layer.eps)
        ctx.save_for_backward(image, weight, mean, rstd)
        ctx.layer, ctx.units = layer, units
        whole: Tensor = result
        return whole

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, upstream: Tensor) -> tuple[Tensor | None, ...]:
        """Give the gradient of what was read, and keep those of the weights by patient."""
        image, weight, mean, rstd = ctx.saved_tensors
        count, channels, pixels, groups = ctx.size
        layer: nn.GroupNorm = ctx.layer
        # The batch taken as one sample of N·K·C channels: the same numbers, and the
        # sums for the weights, which stop at a sample's end, stop at every unit's.
        one = (1, count * channels, pixels)
        down, scales, shifts = aten.native_group_norm_backward(
            upstream.reshape(one), image.view(one), mean.view(1, -1), rstd.view(1, -1),
            weight.repeat(count), *one, count * groups,
            [ctx.needs_input_grad[0], layer.weight.requires_grad, layer.bias.requires_grad],
        )  # fmt: skip
        by_unit = (patients_of(image, ctx.units), ctx.units, channels)
        keep(layer.weight, lambda: scales.view(by_unit).sum(1))
        keep(layer.bias, lambda: shifts.view(by_unit).sum(1))
        return (down.view_as(image) if down is not None else None, *[None] * 4)
