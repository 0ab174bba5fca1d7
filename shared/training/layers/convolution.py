"""Gradients per patient of ``nn.Conv2d`` and ``nn.ConvTranspose2d``.

The gradient of one patient's weights is itself a convolution, of what was read by what
came back; with the patients as groups of channels one call gives all of them (Rochette,
Manoel and Tramel 2019, arXiv:1912.06015), and with the image unfolded it is a product of
matrices (Goodfellow 2015, arXiv:1510.01799, for each place of the kernel).

Which way is taken depends on shapes and device only, never on a clock: the same
batch always gives the same bits on a CPU. Figures: `docs/decisions/0011` and `0015`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final, NamedTuple, Self

import torch
from torch import Tensor, nn
from torch.autograd import Function
from torch.autograd.function import once_differentiable
from torch.nn import functional

from shared.training.layers.keeping import as_autocast, keep, patients_of

#: oneDNN computes convolutions in blocks of so many channels; of groups that do not
#: fill their blocks it makes slow work, so they are filled with zeros.
BLOCK: Final = 8
#: Multiplications per patient above which a call for each patient costs less than
#: zeros do: it has a fixed cost of about a quarter of a millisecond.
LARGE: Final = 10_000_000
#: Channels up to which unfolding is cheaper than filling up a block.
THIN: Final = 2
#: Numbers that unfolding copies at a time: what the processor's cache holds, or what a
#: GPU has room for.
COPIED: Final = {"cpu": 2**19, "cuda": 2**28}
#: On a GPU: numbers that unfolding would copy per patient, above which a call for each
#: patient costs less.
MANY: Final = 10_000_000
#: On a GPU: channels up to which patients as groups are fastest, if in and out are alike.
ALIKE: Final = 128

aten = torch.ops.aten


class Geometry(NamedTuple):
    """How a convolution moves over its image, in the order of ``aten.convolution``."""

    stride: tuple[int, ...]
    padding: tuple[int, ...]
    dilation: tuple[int, ...]
    transposed: bool
    output_padding: tuple[int, ...]
    groups: int

    @classmethod
    def of(cls, layer: nn.Conv2d | nn.ConvTranspose2d) -> Self:
        """Read the geometry of a layer whose padding is given in pixels."""
        if isinstance(layer.padding, str):
            raise NotImplementedError(f"padding {layer.padding!r} (must be in pixels)")
        return cls(
            layer.stride, layer.padding, layer.dilation, layer.transposed, layer.output_padding,
            layer.groups,
        )  # fmt: skip


class ConvolutionGradients(Function):
    """``nn.Conv2d`` and ``nn.ConvTranspose2d``; `image` (N·K, C, H, W), result (N·K, O, h, w)."""

    @staticmethod
    def forward(
        ctx: Any,
        image: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        layer: nn.Conv2d | nn.ConvTranspose2d,
        units: int,
    ) -> Tensor:
        """Convolve as ever, and keep what the backward pass needs."""
        image, weight, bias = as_autocast(image, weight, bias)
        ctx.save_for_backward(image, weight)
        ctx.layer, ctx.units, ctx.geometry = layer, units, Geometry.of(layer)
        result: Tensor = aten.convolution(image, weight, bias, *ctx.geometry)
        return result

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, upstream: Tensor) -> tuple[Tensor | None, ...]:
        """Give the gradient of what was read, and keep those of the weights by patient."""
        image, weight = ctx.saved_tensors
        layer: nn.Conv2d | nn.ConvTranspose2d = ctx.layer
        patients = patients_of(image, ctx.units)
        upstream = upstream.contiguous()
        keep(
            layer.weight,
            lambda: convolution_gradients(image, upstream, weight, ctx.geometry, patients),
        )
        keep(layer.bias, lambda: bias_gradients(upstream, patients))
        down = None
        if ctx.needs_input_grad[0]:
            down = aten.convolution_backward(
                upstream, image, weight, None, *ctx.geometry, [True, False, False]
            )[0]
        return (down, *[None] * 4)


def bias_gradients(upstream: Tensor, patients: int) -> Tensor:
    """Sum what came back, (N·K, O, ...), over units and pixels to (N, O)."""
    return upstream.flatten(2).sum(2).view(patients, -1, upstream.shape[1]).sum(1)


def convolution_gradients(
    image: Tensor, upstream: Tensor, weight: Tensor, geometry: Geometry, patients: int
) -> Tensor:
    """Give the gradients of a convolution's weights.

    Parameters
    ----------
    image : Tensor, shape (N·K, C, H, W)
        What the layer read.
    upstream : Tensor, shape (N·K, O, h, w)
        What came back to it.
    weight : Tensor
        The layer's, for its shape.
    geometry : Geometry
        The layer's.
    patients : int
        N.

    Returns
    -------
    Tensor, shape (N, *weight.shape)
        Summed over the units of each patient.
    """
    # A transposed convolution is a convolution that runs backwards: with the two
    # images exchanged the same sums give its weights' gradients.
    large, small = (upstream, image) if geometry.transposed else (image, upstream)
    geometry = geometry._replace(transposed=False, output_padding=(0, 0))
    way = _way(large, small, weight, geometry, patients)
    with _rounded_as_convolutions(large.device.type):
        return way(large, small, weight, geometry, patients)


Way = Callable[[Tensor, Tensor, Tensor, Geometry, int], Tensor]


def _way(large: Tensor, small: Tensor, weight: Tensor, geometry: Geometry, patients: int) -> Way:
    """Choose by shapes and device."""
    if geometry.groups > 1:
        return by_calls
    if weight.shape[2:] == (1, 1) and not any(geometry.padding):
        return by_pixels
    if large.device.type != "cpu":
        return _way_on_gpu(large, small, weight, patients)
    if large.shape[1] <= THIN:
        return by_unfolding
    products = weight.numel() * small[:, 0].numel() // patients
    filled = large.shape[1] % BLOCK == small.shape[1] % BLOCK == 0
    return by_groups if filled or products < LARGE else by_calls


def _way_on_gpu(large: Tensor, small: Tensor, weight: Tensor, patients: int) -> Way:
    """Choose for kernels of several pixels: cuDNN has fast groups only where they are square."""
    if large.shape[1] == small.shape[1] <= ALIKE:
        return by_groups
    copied = weight[0].numel() * small[:, 0].numel() // patients
    return by_calls if copied > MANY else by_unfolding


@contextmanager
def _rounded_as_convolutions(device: str) -> Iterator[None]:
    """Let a GPU's products of matrices round as its convolutions may, for which they stand.

    cuDNN may use TF32 unless told otherwise, matrices only when told; the sum over the
    batch, which is left out here, would have been a convolution.
    """
    if device != "cuda":
        yield
        return
    before = torch.backends.cuda.matmul.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32
    try:
        yield
    finally:
        torch.backends.cuda.matmul.allow_tf32 = before


def by_pixels(
    large: Tensor, small: Tensor, weight: Tensor, geometry: Geometry, patients: int
) -> Tensor:
    """Multiply pixel by pixel, for a kernel of one pixel."""
    rows, columns = geometry.stride
    read = large[:, :, ::rows, ::columns].flatten(2)  # (N·K, C, h·w)
    back = small.flatten(2)  # (N·K, O, h·w)
    units = len(back) // patients
    if units > 1 and weight.numel() > read[0].numel() + back[0].numel():
        # A product for every unit would be larger than what it is made of.
        return torch.bmm(
            _units_side_by_side(back, units), _units_side_by_side(read, units).transpose(1, 2)
        ).view(patients, *weight.shape)
    by_unit = torch.bmm(back, read.transpose(1, 2))  # (N·K, O, C)
    return by_unit.view(patients, -1, *weight.shape).sum(1)


def by_groups(
    large: Tensor, small: Tensor, weight: Tensor, geometry: Geometry, patients: int
) -> Tensor:
    """Ask once, for a convolution of K images whose groups of channels are the patients."""
    read, back = _side_by_side(large, patients), _side_by_side(small, patients)
    channels, features = read.shape[1] // patients, back.shape[1] // patients
    kernel = weight.shape[2:]
    shape = weight.new_empty(1).expand(back.shape[1], channels, *kernel)  # only its shape is used
    gradients: Tensor = aten.convolution_backward(
        back, read, shape, None, *geometry._replace(groups=patients), [False, True, False]
    )[1]
    by_patient = gradients.view(patients, features, channels, *kernel)
    return by_patient[:, : small.shape[1], : large.shape[1]].contiguous()


def by_calls(
    large: Tensor, small: Tensor, weight: Tensor, geometry: Geometry, patients: int
) -> Tensor:
    """Ask once for each patient."""
    gradients = weight.new_empty((patients, *weight.shape))
    for patient, (read, back) in enumerate(
        zip(large.chunk(patients), small.chunk(patients), strict=True)
    ):
        gradients[patient] = aten.convolution_backward(
            back, read, weight, None, *geometry, [False, True, False]
        )[1]
    return gradients


def by_unfolding(
    large: Tensor, small: Tensor, weight: Tensor, geometry: Geometry, patients: int
) -> Tensor:
    """Copy what each place of the kernel saw, then multiply matrices."""
    units = len(large) // patients
    seen = _places(large, weight, small, geometry, units)  # (N, C, k, k, K, h, w)
    back = _units_side_by_side(small.flatten(2), units)  # (N, O, K·h·w)
    step = max(1, COPIED.get(large.device.type, COPIED["cuda"]) // seen[0].numel())
    found = []
    copied = torch.empty_like(seen[:step], memory_format=torch.contiguous_format)
    for places, part in zip(seen.split(step), back.split(step), strict=True):
        now = copied[: len(places)].copy_(places).view(len(places), weight[0].numel(), -1)
        found.append(part @ now.transpose(1, 2))  # (n, O, C·k·k)
    return torch.cat(found).view(patients, *weight.shape)


def _places(large: Tensor, weight: Tensor, small: Tensor, geometry: Geometry, units: int) -> Tensor:
    """View what each place of the kernel saw, (N, C, k, k, K, h, w): nothing is copied."""
    (top, left), (rows, columns) = geometry.padding, geometry.stride
    padded = functional.pad(large, (left, left, top, top))
    unit, channel, row, column = padded.stride()
    return padded.as_strided(
        (len(large) // units, large.shape[1], *weight.shape[2:], units, *small.shape[2:]),
        (
            units * unit, channel, geometry.dilation[0] * row, geometry.dilation[1] * column,
            unit, rows * row, columns * column,
        ),
    )  # fmt: skip


def _units_side_by_side(images: Tensor, units: int) -> Tensor:
    """Lay a patient's units beside one another, (N·K, C, P) -> (N, C, K·P)."""
    by_unit = images.unflatten(0, (-1, units)).transpose(1, 2)  # (N, C, K, P)
    return by_unit.flatten(2)


def _side_by_side(images: Tensor, patients: int) -> Tensor:
    """Lay patients beside one another, (N·K, C, H, W) -> (K, N·C', H, W), C' a multiple of 8."""
    channels, pixels = images.shape[1], images.shape[2:]
    by_unit = images.view(patients, -1, channels, *pixels).transpose(0, 1)  # (K, N, C, H, W)
    missing = -channels % BLOCK
    if missing:
        by_unit = functional.pad(by_unit, (0, 0, 0, 0, 0, missing))
    return by_unit.reshape(len(by_unit), -1, *pixels)
