"""One gradient per patient, for hardly more than the gradient of the batch.

DP-SGD clips what each patient contributes, so it needs a gradient of every weight
for every patient. A backward pass makes, per layer, two things: the gradient of
what the layer read, which goes on to the layer before, and the gradient of its
weights, summed over the batch. The first is needed as it is. The second is needed
patient by patient instead, which takes as many multiplications and only has to be
asked for in other words. So while `per_patient_gradients` is open, the layers that
train compute the first as ever, leave out the sum and put one gradient per patient
into ``weight.grad_sample``. The K units of a patient (views, crops) are added up on
the way: no gradient per unit is ever held.

What each kind of layer does is in `shared.training.weight_gradients`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, Final

import torch
from torch import Tensor, nn
from torch.autograd import Function
from torch.autograd.function import once_differentiable
from torch.nn import functional
from torch.nn.modules.batchnorm import _BatchNorm

from shared.training.weight_gradients import (
    Geometry,
    bias_gradients,
    convolution_gradients,
    linear_gradients,
)

aten = torch.ops.aten


class _Linear(Function):
    """``nn.Linear``; `image` (N·K, ..., I), result (N·K, ..., O)."""

    @staticmethod
    def forward(
        ctx: Any, image: Tensor, weight: Tensor, bias: Tensor | None, layer: nn.Linear, units: int
    ) -> Tensor:
        image, weight, bias = _as_autocast(image, weight, bias)
        ctx.save_for_backward(image, weight)
        ctx.layer, ctx.units = layer, units
        return functional.linear(image, weight, bias)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, upstream: Tensor) -> tuple[Tensor | None, ...]:
        image, weight = ctx.saved_tensors
        layer: nn.Linear = ctx.layer
        patients = _patients(image, ctx.units)
        _keep(layer.weight, lambda: linear_gradients(image, upstream, patients))
        back = upstream.reshape(patients, -1, upstream.shape[-1])
        _keep(layer.bias, lambda: back.sum(1))
        return (upstream @ weight if ctx.needs_input_grad[0] else None, *[None] * 4)


class _Convolution(Function):
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
        image, weight, bias = _as_autocast(image, weight, bias)
        ctx.save_for_backward(image, weight)
        ctx.layer, ctx.units, ctx.geometry = layer, units, Geometry.of(layer)
        result: Tensor = aten.convolution(image, weight, bias, *ctx.geometry)
        return result

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, upstream: Tensor) -> tuple[Tensor | None, ...]:
        image, weight = ctx.saved_tensors
        layer: nn.Conv2d | nn.ConvTranspose2d = ctx.layer
        patients = _patients(image, ctx.units)
        upstream = upstream.contiguous()
        _keep(
            layer.weight,
            lambda: convolution_gradients(image, upstream, weight, ctx.geometry, patients),
        )
        _keep(layer.bias, lambda: bias_gradients(upstream, patients))
        down = None
        if ctx.needs_input_grad[0]:
            down = aten.convolution_backward(
                upstream, image, weight, None, *ctx.geometry, [True, False, False]
            )[0]
        return (down, *[None] * 4)


class _GroupNorm(Function):
    """``nn.GroupNorm``; `image` and result (N·K, C, ...)."""

    @staticmethod
    def forward(
        ctx: Any, image: Tensor, weight: Tensor, bias: Tensor, layer: nn.GroupNorm, units: int
    ) -> Tensor:
        image = _in_full(image).contiguous()
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
        by_unit = (_patients(image, ctx.units), ctx.units, channels)
        _keep(layer.weight, lambda: scales.view(by_unit).sum(1))
        _keep(layer.bias, lambda: shifts.view(by_unit).sum(1))
        return (down.view_as(image) if down is not None else None, *[None] * 4)


#: Exact types only: a subclass may do something else with its weights.
LAYERS: Final[dict[type[nn.Module], type[Function]]] = {
    nn.Linear: _Linear,
    nn.Conv2d: _Convolution,
    nn.ConvTranspose2d: _Convolution,
    nn.GroupNorm: _GroupNorm,
}


@contextmanager
def per_patient_gradients(model: nn.Module, units: int) -> Iterator[None]:
    """Let every backward pass leave one gradient per patient in ``weight.grad_sample``.

    ========================================= =====================================
    case                                      what happens
    ========================================= =====================================
    weight that is frozen                     no gradient is computed
    input that needs no gradient              none is computed (the first layer)
    layer used twice, weight of two layers    both gradients are added
    weight used outside its layer             `take_gradients` refuses
    layer of another kind that trains         refused here, before any step
    layer that mixes samples                  refused here
    ========================================= =====================================

    Parameters
    ----------
    model : Module
        Its trained layers work otherwise until the context ends, also by an
        exception; results and names stay the same.
    units : int
        Units per patient, K. The batch holds the units of a patient one after
        the other, (N·K, ...).

    Raises
    ------
    NotImplementedError
        If a weight that is trained is not a weight of a layer in `LAYERS`, or
        a layer mixes samples.
    """
    layers = [(name, module) for name, module in model.named_modules() if _trains(module)]
    for name, module in model.named_modules():
        _refuse_mixing(name, module)
    for name, module in layers:
        _refuse_unknown(name, module)
    weights = [weight for weight in model.parameters() if weight.requires_grad]
    for weight in weights:
        weight.grad = None  # one that is there after a backward pass is a sign, see below
    try:
        for _, module in layers:
            module.__dict__["forward"] = _forward(module, units)
        yield
    finally:
        for _, module in layers:
            module.__dict__.pop("forward", None)
        for weight in weights:
            weight.__dict__.pop("grad_sample", None)


def take_gradients(trained: Iterable[nn.Parameter], patients: int) -> list[Tensor]:
    """Check that every weight has its gradients after a backward pass, and give them.

    Parameters
    ----------
    trained : iterable of Parameter
        Weights.
    patients : int
        Patients of the batch, N.

    Returns
    -------
    list of Tensor
        What each weight's ``grad_sample`` holds, shape (N, *weight.shape).

    Raises
    ------
    RuntimeError
        If a weight has none, or was used outside its layer, so that what is
        there is not all of it.
    """
    found = []
    for weight in trained:
        gradients = getattr(weight, "grad_sample", None)
        if weight.grad is not None:
            raise RuntimeError(
                f"a weight of shape {tuple(weight.shape)} is used outside its layer: its "
                "gradients per patient are incomplete (call the layer instead)"
            )
        if gradients is None or len(gradients) != patients:
            raise RuntimeError(
                f"a weight of shape {tuple(weight.shape)} has gradients for "
                f"{0 if gradients is None else len(gradients)} patients (must be {patients}: "
                "freeze a weight that takes no part in the loss)"
            )
        found.append(gradients)
    return found


def _forward(module: nn.Module, units: int) -> Callable[[Tensor], Tensor]:
    function = LAYERS[type(module)]

    def forward(image: Tensor) -> Tensor:
        result: Tensor = function.apply(image, module.weight, module.bias, module, units)
        return result

    return forward


def _as_autocast(image: Tensor, *weights: Tensor | None) -> tuple[Any, ...]:
    """Cast what a layer multiplies as autocast would, where it is on."""
    device = image.device.type
    if not torch.is_autocast_enabled(device):
        return image, *weights
    kind = torch.get_autocast_dtype(device)
    return image.to(kind), *(None if one is None else one.to(kind) for one in weights)


def _in_full(image: Tensor) -> Tensor:
    """Normalise in single precision under autocast, as PyTorch does."""
    return image.float() if torch.is_autocast_enabled(image.device.type) else image


def _keep(weight: Tensor | None, gradients: Callable[[], Tensor]) -> None:
    """Add gradients, (N, *weight.shape), to what the weight has from this backward pass."""
    if weight is not None and weight.requires_grad:
        before = getattr(weight, "grad_sample", None)
        value = gradients().to(weight.dtype)  # under autocast it was computed in half of it
        weight.grad_sample = value if before is None else before + value  # type: ignore[attr-defined]


def _patients(image: Tensor, units: int) -> int:
    patients, rest = divmod(len(image), units)
    if rest:
        raise RuntimeError(
            f"a layer sees a batch of {len(image)} (must be a multiple of {units}, the units of a "
            "patient: a layer must not move the batch's axis)"
        )
    return patients


def _trains(module: nn.Module) -> bool:
    return any(weight.requires_grad for weight in module.parameters(recurse=False))


def _refuse_unknown(name: str, module: nn.Module) -> None:
    known = {own for own, _ in module.named_parameters(recurse=False)} <= {"weight", "bias"}
    zeros = getattr(module, "padding_mode", "zeros") == "zeros"
    pixels = not isinstance(getattr(module, "padding", ()), str)
    if type(module) not in LAYERS or not (known and zeros and pixels):
        raise NotImplementedError(
            f"{name}: a {type(module).__name__} cannot be trained privately, its gradients per "
            "patient are not known (freeze it, or use one of "
            f"{', '.join(kind.__name__ for kind in LAYERS)} with zeros as padding, given in pixels)"
        )
    if "forward" in module.__dict__:
        raise NotImplementedError(
            f"{name}: this {type(module).__name__} has a forward of its own, whose gradients per "
            "patient are not known (take it off)"
        )


def _refuse_mixing(name: str, module: nn.Module) -> None:
    if isinstance(module, _BatchNorm):
        raise NotImplementedError(
            f"{name}: a {type(module).__name__} mixes samples, so that clipping bounds nothing "
            "(replace it with GroupNorm)"
        )
