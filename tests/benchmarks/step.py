"""What privacy costs a training step: plain, DP-SGD as it is here, DP-SGD by Opacus's hooks.

``python -m tests.benchmarks.step`` prints one row per network. The three kinds of step take
the same batch of the same patients through the same network, all weights trained, in
turn (A B C A B C ...). Ratios are to the plain step, turn by turn; the table gives their
medians and their middle halves. Time is the process's own on a processor, so that other work on
the machine disturbs little. A step is everything from the samples to the changed
weights: forward, loss, backward, and for the private ones the sums over a patient's
units, clipping, noise and the mean.
"""

from __future__ import annotations

import argparse
import statistics
import time
import warnings
from collections.abc import Callable, Iterator, Set
from pathlib import Path

import numpy as np
import torch
from opacus import GradSampleModule
from opacus.optimizers import DPOptimizer
from rich import box
from rich.table import Table
from torch import Tensor, nn

from shared.command_line import console
from shared.phantom.source import DigitalPatients
from shared.records import Covariates, PairedLabels, StudyLabels, StudyRecord, Vendor
from shared.regions import LUMBAR
from shared.settings.files import load_settings
from shared.settings.task import TaskSettings
from shared.tasks import make_task
from shared.tasks.base import Task
from shared.tasks.sample import Sample
from shared.training.batches import Patients, to_batch
from shared.training.compute import Compute
from shared.training.noise import KeyStream
from shared.training.one_patient import gradient_alone
from shared.training.onednn import volumes_by_onednn
from shared.training.optimising import autocast
from shared.training.whole_sum import ClippingGrid, WholeSum, set_gradients
from tests.benchmarks.commands import ROOT
from tests.benchmarks.volumes import GradesVolumes, SegmentsVolumes, VolumeTask
from tests.shared.ct_standins import lumbar_ct

SEED = 1
RATE, CLIP, NOISE = 1e-4, 1.0, 1.0

NETWORKS = {"U-Net": "dxa-segmentation", "DenseNet": "dxa-bmd", "ResNet": "vfa-fracture"}
#: Of the CT tasks, whose patients are stand-ins: a step's cost hangs on shapes alone.
CT_NETWORKS = {
    "U-Nets, CT levels": "ct-localisation",
    "U-Net, CT slabs": "ct-segmentation",
    "sums, CT mosaics": "ct-bmd",
}
#: Different ones of the CT patients; the others are the same again.
CT_STANDINS = 4
VOLUMES: dict[str, type[VolumeTask]] = {"U-Net 3-D": SegmentsVolumes, "ResNet 3-D": GradesVolumes}

Step = Callable[[], None]


def start(task: Task, device: str) -> tuple[nn.Module, list[nn.Parameter]]:
    """Make the same network every time."""
    torch.manual_seed(SEED)
    network = task.network().to(device).train()
    return network, list(network.parameters())


def plain_step(
    task: Task, samples: list[Sample], device: str = "cpu", *, mixed: bool = False
) -> Step:
    """The step of a training without privacy."""
    compute = Compute(device, 1, len(samples), mixed)
    network, weights = start(task, device)
    optimiser = torch.optim.SGD(weights, lr=RATE)

    def step() -> None:
        optimiser.zero_grad()
        with autocast(compute):
            loss = mean_loss(task, network, to_batch(samples, device))
        loss.backward()
        optimiser.step()

    return step


def our_step(
    task: Task, samples: list[Sample], device: str = "cpu", *, mixed: bool = False
) -> Step:
    """The step of `train_private`: every patient alone, summed in whole numbers."""
    compute = Compute(device, 1, 1, mixed)
    network, weights = start(task, device)
    optimiser = torch.optim.SGD(weights, lr=RATE)
    grid, stream = ClippingGrid.of(CLIP, NOISE), KeyStream(bytes(32))
    size = sum(weight.numel() for weight in weights)

    def step() -> None:
        total = WholeSum(grid, size, device)
        with volumes_by_onednn(network):
            for sample in samples:
                alone = to_batch([sample], device)
                total.add(gradient_alone(task, network, alone, weights, compute)[0])
        set_gradients(weights, total.release(stream) / len(samples))
        optimiser.step()
        optimiser.zero_grad()

    return step


def opacus_step(task: Task, samples: list[Sample], device: str = "cpu") -> Step:
    """Opacus as it comes, with a gradient per unit that is then summed per patient."""
    network, weights = start(task, device)
    hooked = GradSampleModule(network, loss_reduction="sum")
    optimiser = DPOptimizer(
        torch.optim.SGD(weights, lr=RATE), noise_multiplier=NOISE, max_grad_norm=CLIP,
        expected_batch_size=len(samples),
    )  # fmt: skip

    def step() -> None:
        total = mean_loss(task, hooked, to_batch(samples, device)) * len(samples)
        total.backward()
        for weight in weights:
            by_unit: Tensor = weight.grad_sample  # type: ignore[attr-defined]
            by_patient = by_unit.unflatten(0, (len(samples), task.units)).sum(1)
            weight.grad_sample = by_patient  # type: ignore[attr-defined]
        optimiser.step()
        optimiser.zero_grad(set_to_none=True)

    return step


def mean_loss(task: Task, network: nn.Module, batch: Sample) -> Tensor:
    """Give the loss per patient."""
    output = network(batch["image"], batch["covariates"]).float()
    patients = len(output) // task.units
    return task.loss(output, batch).sum() / task.units / patients


def times(steps: list[Step], runs: int) -> list[list[float]]:
    """Processor milliseconds of every step, one list per turn; two turns warm up."""
    turns = []
    for _ in range(runs + 2):
        turn = []
        for step in steps:
            before = time.process_time()
            step()
            turn.append(1000 * (time.process_time() - before))
        turns.append(turn)
    return turns[2:]


def ratio(turns: list[list[float]], which: int) -> tuple[str, str]:
    """Median of a step's ratio to the plain one, and its middle half."""
    low, middle, high = statistics.quantiles([turn[which] / turn[0] for turn in turns], n=4)
    return f"{middle:.2f}", f"{low:.2f}-{high:.2f}"


def cases(
    count: int, cache: Path | None, size: str, wanted: Set[str]
) -> Iterator[tuple[str, Task, list[Sample]]]:
    """Give the name, task and patients of every network that is wanted, of images and volumes."""
    named = "" if size == "small" else f".{size}"
    settings = {
        name: load_settings(ROOT / f"configs/tasks/{name}{named}.yaml", TaskSettings)
        for name in (*NETWORKS.values(), *CT_NETWORKS.values())
    }
    if wanted & NETWORKS.keys():
        source = DigitalPatients(count, SEED, cache=cache)
    for network, name in NETWORKS.items():
        if network in wanted:
            patients = Patients(make_task(settings[name]), source)
            yield network, patients.task, [patients.newest(patient) for patient in patients.names]
    for network, name in CT_NETWORKS.items():
        if network in wanted:
            task = make_task(settings[name])
            few = [task.sample(ct_standin(number)) for number in range(min(count, CT_STANDINS))]
            yield network, task, [few[number % len(few)] for number in range(count)]
    for network, kind in VOLUMES.items():
        if network in wanted:
            of_volumes = kind()
            yield network, of_volumes, [of_volumes.drawn(patient) for patient in range(count)]


def ct_standin(number: int) -> StudyRecord:
    """Make a study of a CT of a few lines with outlines, marks and labels."""
    volume = lumbar_ct(np.random.default_rng(number))
    paired = PairedLabels(StudyLabels(bmd=dict.fromkeys(LUMBAR, 1.0)), Vendor.LUNAR, 1.0)
    return StudyRecord(
        f"s{number}", f"s{number}", Vendor.OTHER, {}, StudyLabels(), Covariates(), {"ct": volume},
        paired,
    )  # fmt: skip


def main() -> None:
    """Measure every network at the small size and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=15)
    parser.add_argument("--patients", type=int, default=16)
    parser.add_argument("--cache", type=Path, help="folder in which rendered patients are kept")
    parser.add_argument("--only", nargs="+", help="networks, by the names in the table")
    parser.add_argument("--size", choices=("small", "published"), default="small")
    options = parser.parse_args()
    torch.set_num_threads(1)
    warnings.filterwarnings("ignore", message="Full backward hook is firing")
    table = Table(
        title=f"one step, {options.patients} patients, {options.size} size, all weights, 1 "
        f"thread, seed {SEED}; "
        f"processor ms, medians of {options.runs} turns",
        box=box.SIMPLE_HEAD,
        pad_edge=False,
    )
    for column in ("network", "plain", "private", "ratio", "half", "Opacus", "ratio", "half"):
        table.add_column(column)
    wanted = set(options.only or (*NETWORKS, *CT_NETWORKS, *VOLUMES))
    for network, task, samples in cases(options.patients, options.cache, options.size, wanted):
        kinds = (plain_step, our_step, opacus_step)
        turns = times([kind(task, samples) for kind in kinds], options.runs)
        plain, ours, theirs = (
            f"{statistics.median(column):.0f}" for column in zip(*turns, strict=True)
        )
        table.add_row(network, plain, ours, *ratio(turns, 1), theirs, *ratio(turns, 2))
    console().print(table)


if __name__ == "__main__":
    main()
