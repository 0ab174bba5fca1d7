"""A probe before private training: nothing of one patient may reach the loss of another.

Clipping bounds what a patient adds to the sum only if the loss of each patient follows from
that patient alone. What trains by formulas runs the whole batch at once, so anything between
its layers, or in the task's loss, could mix patients; no layer shows it.
"""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Iterable, Sequence
from copy import deepcopy
from pathlib import Path
from typing import Final, Protocol

import torch
from torch import Tensor, nn

from shared.runtime.libraries import versions_of
from shared.tasks.base import Task
from shared.tasks.sample import Sample
from shared.training.batches import to_batch
from shared.training.compute import Compute
from shared.training.layers.formulas import have_formulas
from shared.training.optimising import autocast
from shared.training.per_patient_gradients import per_patient_gradients

PATIENTS: Final = 3
FIRST, LAST = 0, PATIENTS - 1
#: How far somebody who resembles another is from them. Attention that looks for what is alike
#: sees nothing of strangers.
UNLIKENESS: Final = 0.01
#: How much of its value an unchanged patient's output or loss may differ by rounding.
TOLERANCE: Final = 1e-5
#: Of the generator that draws inputs and weights; nothing else is drawn from it.
SEED: Final = 20_261_129
#: Spread of biases, and of normalisations' weights around one.
SPREAD: Final = 0.1

#: What lies beside our own packages is code like them: a bundle that a hospital approved.
BUNDLE: Final = Path(__file__).parents[2]
#: Libraries that stand for their files by their versions.
LIBRARIES: Final = ("torch", "monai", "opacus", "numpy")


class KnownNetworks(Protocol):
    """Digests of what a probe found to mix nothing."""

    def __contains__(self, digest: str, /) -> bool:
        """Whether it was found good."""

    def add(self, digest: str, /) -> None:
        """Keep that it was found good."""


#: Networks that this process found to mix nothing.
_FOUND_GOOD: Final[set[tuple[str, ...]]] = set()


def refuse_what_mixes(
    task: Task, model: nn.Module, compute: Compute, known: KnownNetworks | None = None
) -> None:
    """Refuse a network or a loss in which one patient changes what comes out for another.

    Three patients of random values run as in a step: in the same mode, precision and device,
    layers that draw at random drawing the same each time. One of them gets other values, a
    stranger's or nearly those of another; outputs and losses of the others must stay. A copy
    runs, with weights and buffers drawn for the purpose, for a head or a whitening of zeros
    would hide everything; so the answer is the same whatever came, and is asked for once: of
    each code, settings, layers, device and versions of libraries. PyTorch's generators are as
    they were.

    ============================================ ==============================================
    case                                         what happens
    ============================================ ==============================================
    layer without a formula trains               nothing: the network runs one patient at a time
    mean, attention or order along the batch     refused
    loss divided by what the batch weighs, or    refused
    by its count of a class
    output or loss that is no finite number      refused, for nothing can be seen of it
    buffer or other state that a pass changes    refused
    mixing in the gradient alone (values that    not found
    cancel), or only for certain weights
    ============================================ ==============================================

    Parameters
    ----------
    task : Task
        Gives an example and the loss.
    model : Module
        Its network in training mode, what is not trained frozen; left alone.
    compute : Compute
        Device and precision of the steps.
    known : KnownNetworks, optional
        Answers that outlive the process; this process keeps its own besides.

    Raises
    ------
    NotImplementedError
        If patients are mixed, or a layer is of those that `per_patient_gradients` refuses.
    """
    if not have_formulas(model):
        return
    told = _told(task, model, compute)
    if told in _FOUND_GOOD:  # the code of a process stays what it is
        return
    if known is None:
        _look(task, model, compute)
    elif (digest := _digest(task, model, compute)) not in known:
        _look(task, model, compute)
        known.add(digest)
    _FOUND_GOOD.add(told)


def _look(task: Task, model: nn.Module, compute: Compute) -> None:
    """Probe a copy of a network."""
    network, generator = deepcopy(model), torch.Generator().manual_seed(SEED)
    _draw_state(network, generator)
    devices = [] if compute.device == "cpu" else [torch.device(compute.device)]
    with torch.random.fork_rng(devices=devices), per_patient_gradients(network, task.units):
        _probe(task, network, generator, compute)


def _probe(task: Task, network: nn.Module, generator: torch.Generator, compute: Compute) -> None:
    example = {name: value.clone() for name, value in task.sample(task.example()).items()}
    patients = [_patient(example, generator) for _ in range(PATIENTS)]
    buffers = {name: buffer.clone() for name, buffer in network.named_buffers()}
    expected = _run(task, network, patients, compute)
    if not all(bool(values.isfinite().all()) for values in expected):
        raise NotImplementedError(
            f"{task.settings.task}: of random images and labels the network or its loss makes "
            "something that is no finite number, so that it cannot be seen whether patients are "
            "mixed (keep outputs and losses finite)"
        )
    # What flows from the first to the last, and back.
    replaced = {
        FIRST: _alike(patients[LAST], generator),
        LAST: _another(example, generator),
    }
    for place, another in replaced.items():
        others = [number for number in range(PATIENTS) if number != place]
        changed = [*patients[:place], another, *patients[place + 1 :]]
        found = _run(task, network, changed, compute)
        for what, one, other in zip(("output", "loss"), found, expected, strict=True):
            if not _are_same(one[others], other[others]):
                raise NotImplementedError(
                    f"{task.settings.task}: the {what} of a patient changes with who else is in "
                    "the batch, so that clipping bounds nothing (compute nothing along the first "
                    "axis of a batch, neither in the network nor in the loss)"
                )
    for name, buffer in network.named_buffers():
        if name not in buffers or not torch.equal(buffer, buffers[name]):
            raise NotImplementedError(
                f"{name}: the network keeps statistics of samples in a buffer, which neither "
                "clipping nor noise hides (use layers that keep none)"
            )


def _run(
    task: Task, network: nn.Module, patients: Sequence[Sample], compute: Compute
) -> tuple[Tensor, Tensor]:
    """Give outputs (N, K·...) and mean losses (N, 1) of patients."""
    torch.manual_seed(SEED)
    batch = to_batch(list(patients), compute.device)
    with autocast(compute):
        output = network(batch["image"], batch["covariates"])
    output = output.float()
    losses = task.loss(output, batch)
    return (
        output.detach().reshape(PATIENTS, -1),
        losses.detach().reshape(PATIENTS, -1).mean(1, keepdim=True),
    )


def _are_same(found: Tensor, expected: Tensor) -> bool:
    """Say whether values are the same up to rounding, small ones beside the usual size."""
    usual = float(expected.abs().nan_to_num().median())
    near = TOLERANCE * min(usual, 1.0)
    return torch.allclose(found, expected, rtol=TOLERANCE, atol=near, equal_nan=True)


def _patient(example: Sample, generator: torch.Generator) -> Sample:
    """Make a patient of random values: every unit counts, and covariates are the example's."""
    drawn = {name: _drawn(value, generator) for name, value in example.items()}
    image = example["image"]
    return drawn | {
        "image": torch.randn(image.shape, generator=generator, dtype=image.dtype),
        "covariates": example["covariates"],
        "weight": torch.ones_like(example["weight"]),
    }


def _alike(patient: Sample, generator: torch.Generator) -> Sample:
    """Make a patient who resembles another, but no unit of theirs counts."""
    image = patient["image"]
    apart = UNLIKENESS * torch.randn(image.shape, generator=generator, dtype=image.dtype)
    return patient | {"image": image + apart, "weight": torch.zeros_like(patient["weight"])}


def _another(example: Sample, generator: torch.Generator) -> Sample:
    """Make a patient who differs from all others in everything: no unit of theirs counts."""
    return _patient(example, generator) | {
        "covariates": _drawn(example["covariates"], generator),
        "weight": torch.zeros_like(example["weight"]),
    }


def _drawn(value: Tensor, generator: torch.Generator) -> Tensor:
    """Draw numbers between 0 and 1; of classes the first two, which every task has."""
    if value.is_floating_point():
        return torch.rand(value.shape, generator=generator, dtype=value.dtype)
    return torch.randint(0, 2, value.shape, generator=generator).to(value.dtype)


@torch.no_grad()
def _draw_state(network: nn.Module, generator: torch.Generator) -> None:
    """Draw weights and buffers at which signals pass every layer: none is zero."""
    for name, weight in network.named_parameters():
        weight.copy_(_value(weight, generator, around=float(name.endswith("weight"))))
    for buffer in network.buffers():
        if buffer.is_floating_point():  # of one axis: a spread perhaps, which is above zero
            buffer.copy_(_value(buffer, generator, around=1.0))


def _value(like: Tensor, generator: torch.Generator, around: float) -> Tensor:
    drawn = torch.randn(like.shape, generator=generator)
    if like.dim() > 1:
        return drawn / like[0].numel() ** 0.5
    return SPREAD * drawn + around


def _told(task: Task, model: nn.Module, compute: Compute) -> tuple[str, ...]:
    """Name what the answer follows from besides the text of the code."""
    return (
        *versions_of(*LIBRARIES), compute.device, str(compute.mixed_precision),
        type(task).__qualname__, task.settings.model_dump_json(),
        *(f"{name} {weight.requires_grad}" for name, weight in model.named_parameters()),
        *(f"{name} {type(module).__qualname__}" for name, module in model.named_modules()),
    )  # fmt: skip


def _digest(task: Task, model: nn.Module, compute: Compute) -> str:
    """Name everything that the answer follows from."""
    digest = hashlib.sha256("\n".join(_told(task, model, compute)).encode())
    for path in sorted(_sources([type(task), *(type(module) for module in model.modules())])):
        digest.update(hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()


def _sources(kinds: Iterable[type]) -> set[Path]:
    """Every file of a bundle's packages, and of the packages of classes from elsewhere."""
    inits = [path.parent for path in BUNDLE.glob("*/__init__.py")]
    found = {file for package in inits for file in package.rglob("*.py")}
    names = {base.__module__.split(".")[0] for kind in kinds for base in kind.__mro__}
    for name in names - {*LIBRARIES, "builtins"}:
        file = getattr(sys.modules.get(name), "__file__", None)
        if file is None or not file.endswith(".py"):
            continue
        own = Path(file)
        found |= set(own.parent.rglob("*.py")) if own.name == "__init__.py" else {own}
    return found
