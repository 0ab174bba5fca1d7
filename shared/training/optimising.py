"""What both ways of training share: threads, frozen weights, optimiser, rate, proximal pull."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from typing import Any, Final

import torch
from torch import Tensor, nn

from shared.settings.task import OptimiserSettings
from shared.tasks.base import Task
from shared.tasks.sample import Sample
from shared.training.arrays import trainable_names
from shared.training.batches import RoundKey
from shared.training.compute import Compute

#: What torch's optimisers have wrapped for its compiler.
WRAPPED: Final = ("add_param_group", "load_state_dict", "state_dict", "zero_grad", "step")


@contextmanager
def threads(compute: Compute) -> Iterator[None]:
    """Use as many CPU threads as asked for, for a while."""
    before = torch.get_num_threads()
    torch.set_num_threads(compute.threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@contextmanager
def training(
    task: Task, model: nn.Module, settings: OptimiserSettings, compute: Compute
) -> Iterator[list[nn.Parameter]]:
    """Freeze what is not trained, give what is; leave the network as usual afterwards."""
    model.to(compute.device).train()
    weights = dict(model.named_parameters())
    chosen = trainable_names(task, model, settings.trainable)
    try:
        with threads(compute):
            for name, weight in weights.items():
                weight.requires_grad_(name in chosen)
            yield [weights[name] for name in chosen]
    finally:
        for weight in weights.values():
            weight.requires_grad_(True)
            weight.grad = None


@contextmanager
def random_layers(key: RoundKey, compute: Compute) -> Iterator[None]:
    """Let layers that draw at random (dropout) draw the same whenever a round is repeated.

    They draw from PyTorch's own generator, which is as it was afterwards.
    """
    devices = [] if compute.device == "cpu" else [torch.device(compute.device)]
    with torch.random.fork_rng(devices=devices):
        torch.manual_seed(int(key.stream("layers").uniform(1)[0] * 2**53))
        yield


def seed_layers(key: RoundKey, step: int, patient: str) -> None:
    """Let layers that draw at random draw for one patient what does not hang on any other."""
    torch.manual_seed(key.seed("layers", step, patient))


def optimiser_of(settings: OptimiserSettings, trained: list[nn.Parameter]) -> torch.optim.Optimizer:
    """Make the optimiser that settings name."""
    if settings.optimiser == "adam":
        return _never_compiled(torch.optim.Adam)(trained, lr=settings.learning_rate)
    make = _never_compiled(torch.optim.SGD)
    return make(trained, lr=settings.learning_rate, momentum=settings.momentum)


@cache
def _never_compiled(kind: type[torch.optim.Optimizer]) -> Callable[..., torch.optim.Optimizer]:
    """Give one of torch's optimisers as it is written, without what is only there to compile it.

    The first call of a wrapped method imports torch's compiler: 800 modules, which takes nearly
    as long as torch itself. Nothing here is compiled. The steps are the same, bit by bit.
    """
    plain = {name: inspect.unwrap(getattr(kind, name)) for name in WRAPPED}
    # The wrapper of a step also keeps gradients from being recorded.
    plain["step"] = torch.no_grad()(plain["step"])
    return type(kind.__name__, (kind,), plain)


def autocast(compute: Compute) -> Any:
    """Use bfloat16 where the compute settings say so."""
    return torch.autocast(compute.device, dtype=torch.bfloat16, enabled=compute.mixed_precision)


def objective(
    task: Task, output: Tensor, batch: Sample, worst_first: float
) -> tuple[Tensor, float]:
    """Give what is to be made small, summed over patients, and the sum of their mean losses.

    Parameters
    ----------
    task : Task
        Gives a loss per unit.
    output, batch : Tensor, Sample
        Of folded units, patient after patient.
    worst_first : float
        See `OptimiserSettings`.

    Returns
    -------
    (Tensor, float)
        A scalar that can be differentiated, and a number for the record.
    """
    units = task.loss(output, batch)
    if worst_first == 0:
        total = units.sum() / task.units
        return total, float(total.detach())
    losses = units.reshape(-1, task.units).mean(1)
    raised = losses.clamp(min=0.0).pow(1 + worst_first) / (1 + worst_first)
    return raised.sum(), float(losses.detach().sum())


def pull_towards(trained: list[nn.Parameter], start: list[Tensor], proximal_mu: float) -> None:
    """Add FedProx's gradient, mu·(w − w received)."""
    if proximal_mu > 0:
        for weight, before in zip(trained, start, strict=True):
            if weight.grad is not None:
                weight.grad.add_(weight.detach() - before, alpha=proximal_mu)


@dataclass(frozen=True)
class Moment:
    """Where a run stands: `step` of `steps` (from 0), in `round` (from 1) of `rounds`."""

    step: int
    steps: int
    round: int = 1
    rounds: int = 1


def set_rate(optimiser: torch.optim.Optimizer, settings: OptimiserSettings, moment: Moment) -> None:
    """Set the learning rate of a step (`OptimiserSettings` says how it runs)."""
    rate = settings.learning_rate * min(1.0, (moment.step + 1) / (settings.warm_up_steps + 1))
    if settings.schedule == "cosine":
        done = (moment.round - 1) * moment.steps + moment.step
        rate *= 0.5 * (1 + math.cos(math.pi * done / (moment.rounds * moment.steps)))
    for group in optimiser.param_groups:
        group["lr"] = rate
