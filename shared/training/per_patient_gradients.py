"""One gradient per patient, by one of two ways.

DP-SGD clips what each patient contributes, so it needs a gradient of every weight for
every patient. Where there is a formula for every layer that trains, the whole batch is
taken at once, for hardly more than the gradient of the batch
(`shared.training.layers.formulas`). Every other network, in three dimensions for instance,
runs for one patient after the other, which needs to know nothing about its layers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd import Function
from torch.autograd.function import once_differentiable
from torch.nn.modules.batchnorm import _BatchNorm, _NormBase

from shared.training.layers.formulas import by_formulas, have_formulas
from shared.training.layers.keeping import add_gradients
from shared.training.layers.onednn import volumes_by_onednn


@contextmanager
def per_patient_gradients(model: nn.Module, units: int) -> Iterator[None]:
    """Let every backward pass leave one gradient per patient in ``weight.grad_sample``.

    Which way a network takes follows from its layers alone: by formulas if there is one for
    every layer that trains, else one patient at a time.

    ========================================= =====================================
    case                                      what happens
    ========================================= =====================================
    weight that is frozen                     no gradient is computed
    input that needs no gradient              none is computed (the first layer)
    layer used twice, weight of two layers    both gradients are added
    weight used outside its layer             by formulas: `take_gradients` refuses
    weight used outside the network           `take_gradients` refuses
    trained layer without a formula           the network runs one patient at a time
    batch normalisation                       refused here
    layer that keeps statistics of samples    refused here or in its first step
    ========================================= =====================================

    Whether anything else in the network mixes patients (a mean over the batch's axis, an
    attention along it) is not looked for here: clipping then bounds nothing. One patient at a
    time nothing in the network can; of the formulas `shared.training.mixing` asks before training.

    Parameters
    ----------
    model : Module
        Works otherwise until the context ends, also by an exception; results and names
        stay the same. Its inputs and its output have the leading axis N·K.
    units : int
        Units per patient, K. The batch holds the units of a patient one after
        the other, (N·K, ...).

    Raises
    ------
    NotImplementedError
        If a layer mixes samples, or keeps statistics of them.
    """
    for name, module in model.named_modules():
        _refuse_mixing(name, module)
    weights = [weight for weight in model.parameters() if weight.requires_grad]
    for weight in weights:
        weight.grad = None  # one that is there after a backward pass is a sign, see below
    way = by_formulas if have_formulas(model) else one_at_a_time
    try:
        with way(model, units):
            yield
    finally:
        for weight in weights:
            weight.__dict__.pop("grad_sample", None)


@contextmanager
def one_at_a_time(model: nn.Module, units: int) -> Iterator[None]:
    """Let a network run, forwards and backwards, for one patient after the other.

    Right for any network: a patient's pass sees that patient alone. As in a plain step the
    activations of all patients are held until the backward pass, and N gradients after it.
    Layers that draw at random (dropout) draw from PyTorch's generator, patient after patient.

    Parameters
    ----------
    model, units
        See `per_patient_gradients`.

    Raises
    ------
    RuntimeError
        During a pass: if the batch is not made of whole patients, the network's output has
        not K rows for a patient, or the network changes a buffer.
    """
    with volumes_by_onednn(model):
        own = model.__dict__.get("forward")
        model.__dict__["forward"] = _forward(model, model.forward, units)
        try:
            yield
        finally:
            model.__dict__.pop("forward")
            if own is not None:
                model.__dict__["forward"] = own


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
                f"a weight of shape {tuple(weight.shape)} has gradients for the "
                f"wrong number of patients: {0 if gradients is None else len(gradients)} (must be "
                f"{patients}: freeze a weight that takes no part in the loss)"
            )
        found.append(gradients)
    return found


class _OneAtATime(Function):
    """A network; its inputs and its output (N·K, ...). No gradient of the inputs is computed."""

    @staticmethod
    def forward(
        ctx: Any,
        network: Callable[..., Tensor],
        units: int,
        inputs: tuple[Tensor, ...],
        *trained: nn.Parameter,
    ) -> Tensor:
        ctx.trained = trained
        with torch.enable_grad():
            ctx.outputs = [
                _checked(network(*patient), units)
                for patient in zip(*(part.split(units) for part in inputs), strict=True)
            ]
        return torch.cat([output.detach() for output in ctx.outputs])

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, upstream: Tensor) -> tuple[None, ...]:
        parts = upstream.split(len(upstream) // len(ctx.outputs))
        # A patient whose pass leaves a weight out has zeros there.
        found = [weight.new_zeros((len(parts), *weight.shape)) for weight in ctx.trained]
        of_patients = zip(*(one.unbind() for one in found), strict=True)
        used = [False] * len(found)
        for output, part, rows in zip(ctx.outputs, parts, of_patients, strict=True):
            gradients = torch.autograd.grad(output, ctx.trained, part, allow_unused=True)
            for place, gradient in enumerate(gradients):
                if gradient is not None:
                    rows[place].copy_(gradient)
                    used[place] = True
        for place, weight in enumerate(ctx.trained):
            if used[place]:
                add_gradients(weight, found[place])
        return (None,) * (3 + len(ctx.trained))


def _forward(model: nn.Module, network: Callable[..., Tensor], units: int) -> Callable[..., Tensor]:
    def forward(*inputs: Tensor) -> Tensor:
        if not torch.is_grad_enabled():
            return network(*inputs)
        _refuse_parts_of_patients(inputs, units)
        trained = [weight for weight in model.parameters() if weight.requires_grad]
        before = {name: buffer.clone() for name, buffer in model.named_buffers()}
        result: Tensor = _OneAtATime.apply(network, units, inputs, *trained)
        _refuse_memory(model, before)
        return result

    return forward


def _checked(output: Tensor, units: int) -> Tensor:
    """Refuse an output that does not say which unit is which."""
    if output.dim() == 0 or len(output) != units:
        raise RuntimeError(
            f"the network gives a shape of {tuple(output.shape)} for {units} units of a patient "
            f"(its first axis must have {units})"
        )
    return output


def _refuse_parts_of_patients(inputs: tuple[Tensor, ...], units: int) -> None:
    sizes = sorted({len(part) for part in inputs})
    if len(sizes) != 1 or sizes[0] % units:
        raise RuntimeError(
            f"the network is given batches of {' and '.join(map(str, sizes)) or 'nothing'} (must "
            f"be one multiple of {units}, the units of a patient)"
        )


def _refuse_memory(model: nn.Module, before: dict[str, Tensor]) -> None:
    """Refuse a network whose pass for one patient depends on the patients before."""
    for name, buffer in model.named_buffers():
        if name not in before or not torch.equal(buffer, before[name]):
            raise RuntimeError(
                f"{name}: the network keeps statistics of samples in a buffer, which neither "
                "clipping nor noise hides (use layers that keep none)"
            )


def _refuse_mixing(name: str, module: nn.Module) -> None:
    if isinstance(module, _BatchNorm):
        raise NotImplementedError(
            f"{name}: a {type(module).__name__} mixes samples, so that clipping bounds nothing "
            "(replace it with GroupNorm)"
        )
    if isinstance(module, _NormBase) and module.track_running_stats:
        raise NotImplementedError(
            f"{name}: this {type(module).__name__} keeps statistics of samples, which neither "
            "clipping nor noise hides (set track_running_stats to False)"
        )
