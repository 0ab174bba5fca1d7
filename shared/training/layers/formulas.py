"""The way of formulas: the whole batch at once, every layer by the formula of its kind.

A backward pass makes, per layer, two things: the gradient of what the layer read, which
goes on to the layer before, and the gradient of its weights, summed over the batch. The
first is needed as it is. The second is needed patient by patient instead, which takes as
many multiplications and only has to be asked for in other words. So while `by_formulas`
is open, the layers that train compute the first as ever, leave out the sum and put one
gradient per patient into ``weight.grad_sample``. The K units of a patient (views, crops)
are added up on the way: no gradient per unit is ever held.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

from torch import Tensor, nn
from torch.autograd import Function

from shared.training.layers.convolution import ConvolutionGradients
from shared.training.layers.group_norm import GroupNormGradients
from shared.training.layers.linear import LinearGradients

#: Exact types only: a subclass may do something else with its weights.
LAYERS: Final[dict[type[nn.Module], type[Function]]] = {
    nn.Linear: LinearGradients,
    nn.Conv2d: ConvolutionGradients,
    nn.ConvTranspose2d: ConvolutionGradients,
    nn.GroupNorm: GroupNormGradients,
}


def have_formulas(model: nn.Module) -> bool:
    """Say whether there is a formula for every layer that trains."""
    return not any(_missing(name, layer) for name, layer in _trained_layers(model))


@contextmanager
def by_formulas(model: nn.Module, units: int) -> Iterator[None]:
    """Let every backward pass leave one gradient per patient in ``weight.grad_sample``.

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
        If there is no formula for a layer that trains.
    """
    layers = list(_trained_layers(model))
    for name, layer in layers:
        cause = _missing(name, layer)
        if cause:
            raise NotImplementedError(cause)
    try:
        for _, layer in layers:
            layer.__dict__["forward"] = _forward(layer, units)
        yield
    finally:
        for _, layer in layers:
            layer.__dict__.pop("forward", None)


def _forward(layer: nn.Module, units: int) -> Callable[[Tensor], Tensor]:
    function = LAYERS[type(layer)]

    def forward(image: Tensor) -> Tensor:
        result: Tensor = function.apply(image, layer.weight, layer.bias, layer, units)
        return result

    return forward


def _trained_layers(model: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    for name, module in model.named_modules():
        if any(weight.requires_grad for weight in module.parameters(recurse=False)):
            yield name, module


def _missing(name: str, layer: nn.Module) -> str:
    """Say why there is no formula for a layer; empty if there is one."""
    known = {own for own, _ in layer.named_parameters(recurse=False)} <= {"weight", "bias"}
    zeros = getattr(layer, "padding_mode", "zeros") == "zeros"
    pixels = not isinstance(getattr(layer, "padding", ()), str)
    if type(layer) not in LAYERS or not (known and zeros and pixels):
        return (
            f"{name}: a {type(layer).__name__} cannot be trained by a formula, its gradients per "
            "patient are not known (freeze it, or use one of "
            f"{', '.join(kind.__name__ for kind in LAYERS)} with zeros as padding, given in pixels)"
        )
    if "forward" in layer.__dict__:
        return (
            f"{name}: this {type(layer).__name__} has a forward of its own, whose gradients per "
            "patient are not known (take it off)"
        )
    return ""
