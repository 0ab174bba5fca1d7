"""The gradient of one patient, computed alone.

What a patient contributes must be the same to the last bit whoever else is drawn, else a
hostile model can make one patient change what others contribute. So nothing of a private step
is computed for two patients at once: forward, loss and backward see one patient's units, in
memory that was made for them.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm, _NormBase

from shared.tasks.base import Task
from shared.tasks.sample import Sample
from shared.training.compute import Compute
from shared.training.optimising import autocast, objective


def refuse_statistics(network: nn.Module) -> None:
    """Refuse layers that keep statistics of samples, which neither clipping nor noise hides.

    Raises
    ------
    NotImplementedError
        If there is one.
    """
    for name, module in network.named_modules():
        if isinstance(module, _BatchNorm):
            raise NotImplementedError(
                f"{name}: a {type(module).__name__} keeps statistics of samples, which neither "
                "clipping nor noise hides (replace it with GroupNorm)"
            )
        if isinstance(module, _NormBase) and module.track_running_stats:
            raise NotImplementedError(
                f"{name}: this {type(module).__name__} keeps statistics of samples, which neither "
                "clipping nor noise hides (set track_running_stats to False)"
            )


def buffers_of(network: nn.Module) -> dict[str, Tensor]:
    """Copy what a network holds besides its weights."""
    return {name: buffer.clone() for name, buffer in network.named_buffers()}


def refuse_memory(network: nn.Module, before: dict[str, Tensor]) -> None:
    """Refuse a network whose pass for one patient changed what others will meet.

    Raises
    ------
    RuntimeError
        If a buffer is not as it was.
    """
    for name, buffer in network.named_buffers():
        if name not in before or not torch.equal(buffer, before[name]):
            raise RuntimeError(
                f"{name}: the network keeps statistics of samples in a buffer, which neither "
                "clipping nor noise hides (use layers that keep none)"
            )


def gradient_alone(
    task: Task,
    network: nn.Module,
    sample: Sample,
    trained: list[nn.Parameter],
    compute: Compute,
    worst_first: float = 0.0,
) -> tuple[Tensor, float]:
    """Give the gradient of one patient's mean loss.

    Parameters
    ----------
    task, network, compute
        See `shared.training.local_round.train_private`.
    sample : Sample
        The K units of one patient, (K, ...), on the device.
    trained : list of Parameter
        Weights that are trained.
    worst_first : float
        See `OptimiserSettings`.

    Returns
    -------
    (Tensor, float)
        float64, shape (D,), the weights one after the other; a weight that takes no part
        has zeros. The loss, 0 where it is not finite.

    Raises
    ------
    RuntimeError
        If there are more or fewer than K units, in or out.
    """
    _refuse_other_units(len(sample["image"]), task.units, "a patient")
    with autocast(compute):
        output = network(sample["image"], sample["covariates"])
    _refuse_other_units(len(output) if output.dim() else 0, task.units, "the network's output")
    loss, value = objective(task, output.float(), sample, worst_first)
    found = torch.autograd.grad(loss, trained, allow_unused=True)
    parts = [
        torch.zeros_like(weight) if gradient is None else gradient
        for weight, gradient in zip(trained, found, strict=True)
    ]
    flat = torch.cat([part.reshape(-1).double() for part in parts])
    return flat, value if abs(value) < float("inf") else 0.0


def _refuse_other_units(found: int, units: int, what: str) -> None:
    if found != units:
        raise RuntimeError(f"{what} has {found} units (must be {units}, the units of a patient)")
