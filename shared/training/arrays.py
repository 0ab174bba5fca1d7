"""Weights as plain arrays, and which of them are trained."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from shared.errors import ModelIncompatibleError
from shared.tasks.base import Task

Arrays = dict[str, NDArray[np.float32]]


def get_arrays(model: nn.Module, names: Iterable[str] | None = None) -> Arrays:
    """Copy weights out of a network.

    Parameters
    ----------
    model : Module
        Any network of ours.
    names : iterable of str, optional
        Names of its state dict; all by default.

    Returns
    -------
    dict of str to ndarray of float32
        Copies, on the CPU.

    Raises
    ------
    ModelIncompatibleError
        If the network has no weights of such a name.
    """
    state = model.state_dict()
    chosen = list(state) if names is None else list(names)
    missing = [name for name in chosen if name not in state]
    if missing:
        raise ModelIncompatibleError(f"the network has no weights named {missing[0]!r}")
    return {name: state[name].detach().to("cpu", torch.float32).numpy().copy() for name in chosen}


def set_arrays(
    model: nn.Module, arrays: Mapping[str, NDArray[np.float32]], strict: bool = False
) -> None:
    """Copy weights into a network.

    Parameters
    ----------
    model : Module
        Changed in place, only if everything fits.
    arrays : mapping of str to ndarray
        Weights by name.
    strict : bool
        Whether every weight of the network must be given.

    Raises
    ------
    ModelIncompatibleError
        If a name is unknown or (strict) missing, a shape is another, or a value
        is not finite.
    """
    state = model.state_dict()
    for name, array in arrays.items():
        if name not in state:
            raise ModelIncompatibleError(f"weights {name!r} do not belong to this network")
        if tuple(array.shape) != tuple(state[name].shape):
            raise ModelIncompatibleError(
                f"weights {name!r} have shape {tuple(array.shape)} "
                f"(must be {tuple(state[name].shape)})"
            )
        if not np.isfinite(array).all():
            raise ModelIncompatibleError(f"weights {name!r} hold values that are not finite")
    missing = sorted(set(state) - set(arrays))
    if strict and missing:
        raise ModelIncompatibleError(f"weights {missing[0]!r} of the network are missing")
    with torch.no_grad():
        for name, array in arrays.items():
            state[name].copy_(torch.from_numpy(np.array(array, dtype=np.float32)))


def trainable_names(
    task: Task, model: nn.Module, which: Literal["all", "head", "norms_and_head"]
) -> tuple[str, ...]:
    """Name the weights that are trained, sorted.

    Parameters
    ----------
    task : Task
        Says what counts as the head.
    model : Module
        The task's network.
    which : str
        ``all``; ``head``; ``norms_and_head``: also scales and shifts of every
        normalisation layer.

    Returns
    -------
    tuple of str
        Names of the state dict.
    """
    names = [name for name, _ in model.named_parameters()]
    if which == "all":
        return tuple(sorted(names))
    chosen = {name for name in names if name.startswith(task.head_parameters())}
    if which == "norms_and_head":
        for prefix, module in model.named_modules():
            if isinstance(module, nn.GroupNorm):
                chosen |= {f"{prefix}.{name}" for name, _ in module.named_parameters()}
    return tuple(sorted(chosen))
