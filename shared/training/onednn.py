"""Convolutions of single volumes by oneDNN, where PyTorch would choose a slower kernel.

For a batch of one volume that is not large PyTorch takes a kernel of its own instead of oneDNN
(``use_mkldnn`` in ``aten/src/ATen/native/Convolution.cpp``), which needs three to four times
as long. It keeps to oneDNN if the volume has oneDNN's layout. This is no formula: autograd
computes all gradients as ever.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, Final

import torch
from torch import Tensor, nn

#: Numbers of a volume, the last axis not counted, above which PyTorch takes oneDNN itself.
LARGE_VOLUME: Final = 20_480
#: Multiplications below which changing the layout costs more than it saves.
WORTH: Final = 3_000_000


@contextmanager
def volumes_by_onednn(model: nn.Module) -> Iterator[None]:
    """Let a network's convolutions in three dimensions take oneDNN for a single volume too.

    Parameters
    ----------
    model : Module
        Works otherwise until the context ends, also by an exception. In double precision, in
        bfloat16, on a GPU and for several volumes at once nothing changes.
    """
    layers: list[nn.Module] = []
    if torch.backends.mkldnn.is_available():
        layers = [layer for layer in model.modules() if _fits(layer)]
    try:
        for layer in layers:
            layer.__dict__["forward"] = partial(_convolve, layer, layer.forward)
        yield
    finally:
        for layer in layers:
            layer.__dict__.pop("forward", None)


def _fits(layer: nn.Module) -> bool:
    """Say whether a layer is one that PyTorch can compute in oneDNN's layout, and does not."""
    if type(layer) not in {nn.Conv3d, nn.ConvTranspose3d} or "forward" in layer.__dict__:
        return False
    known: Any = layer
    small_rest = all(
        rest < stride for rest, stride in zip(known.output_padding, known.stride, strict=True)
    )
    plain = known.padding_mode == "zeros" and not isinstance(known.padding, str)
    return known.groups == 1 and small_rest and plain


def _convolve(layer: nn.Module, own: Callable[..., Tensor], image: Tensor, *others: Any) -> Tensor:
    weight: Any = layer.weight
    if (
        image.shape[:1] != (1,)
        or image.dim() != 5
        or image.device.type != "cpu"
        or not image.dtype == weight.dtype == torch.float32
        or torch.is_autocast_enabled("cpu")
        or image[..., 0].numel() > LARGE_VOLUME
        or weight.numel() * image[0, 0].numel() < WORTH
    ):
        return own(image, *others)
    return own(image.to_mkldnn(), *others).to_dense()
