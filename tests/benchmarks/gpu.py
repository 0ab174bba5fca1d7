"""Training on a GPU at the published sizes: time, memory and patients a second of a step.

``python -m tests.benchmarks.gpu`` prints two kinds of tables. The first is `tests.benchmarks.step`
for a GPU: plain, private (all weights, as it is here) and private by Opacus's hooks take
the same batch of the same patients, one kind after the other, timed by the GPU's own
clock; memory is the most that PyTorch held during a step. The others, one a network and
number of threads, train as a hospital does, variation of the images and noise included,
and say how busy the GPU was meanwhile.
"""

from __future__ import annotations

import argparse
import gc
import statistics
import threading
import time
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Self

import torch
import torch._dynamo.compiled_autograd  # Opacus's functions need it loaded
from rich import box
from rich.table import Table

from shared.command_line import console
from shared.settings.files import load_settings
from shared.settings.task import PrivateSettings, TaskSettings
from shared.tasks import make_task
from shared.tasks.base import Task
from shared.tasks.sample import Sample
from shared.training.batches import Patients, RoundKey
from shared.training.compute import Compute
from shared.training.local_round import train_plain, train_private
from tests.benchmarks.commands import ROOT
from tests.benchmarks.step import NETWORKS, SEED, Step, opacus_step, our_step, plain_step

GIBIBYTE = 2**30
WARM_UP = 3

StepMaker = Callable[[Task, list[Sample], str], Step]


class Busy:
    """How busy the GPU is while the context is open, in percent, asked 20 times a second."""

    def __init__(self) -> None:
        self.seen: list[int] = []
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> Self:
        """Begin to ask."""
        self._thread.start()
        return self

    def __exit__(
        self,
        _kind: type[BaseException] | None,
        _error: BaseException | None,
        _where: TracebackType | None,
    ) -> None:
        """Stop."""
        self._done.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._done.wait(0.05):
            self.seen.append(torch.cuda.utilization())

    @property
    def percent(self) -> str:
        """Mean over the context."""
        return f"{statistics.mean(self.seen):.0f}" if self.seen else "-"


def measure(step: Step, runs: int) -> tuple[float, float]:
    """Median milliseconds of a step, and the most GiB held during one."""
    for _ in range(WARM_UP):
        step()
    torch.cuda.synchronize()
    torch.cuda.reset_peak_memory_stats()
    took = []
    for _ in range(runs):
        began, ended = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        began.record()
        step()
        ended.record()
        ended.synchronize()
        took.append(began.elapsed_time(ended))
    return statistics.median(took), torch.cuda.max_memory_allocated() / GIBIBYTE


def steps_table(tasks: dict[str, tuple[Task, Patients]], runs: int) -> Table:
    """Plain, ours and Opacus, one row each."""
    count = len(next(iter(tasks.values()))[1])
    table = Table(
        title=f"one step of {count} patients, all weights, published size, "
        f"{torch.cuda.get_device_name()}; medians of {runs}",
        box=box.SIMPLE_HEAD,
        pad_edge=False,
    )
    for column in ("network", "step", "ms", "ratio", "patients/s", "GiB"):
        table.add_column(column)
    for network, (task, patients) in tasks.items():
        samples = [patients.newest(name) for name in patients.names]
        makers: dict[str, StepMaker] = {
            "plain": plain_step,
            "private": our_step,
            "Opacus": opacus_step,
            "plain, bfloat16": partial(plain_step, mixed=True),
            "private, bfloat16": partial(our_step, mixed=True),
        }
        plain = 0.0
        for name, make in makers.items():
            try:
                milliseconds, held = measure(make(task, samples, "cuda"), runs)
            except (torch.OutOfMemoryError, AttributeError, RuntimeError) as error:
                table.add_row(network, name, type(error).__name__)
                continue
            finally:
                gc.collect()
                torch.cuda.empty_cache()
            plain = plain or milliseconds
            table.add_row(
                network, name, f"{milliseconds:.1f}", f"{milliseconds / plain:.2f}",
                f"{1000 * len(samples) / milliseconds:.0f}", f"{held:.1f}",
            )  # fmt: skip
    return table


def rounds_table(tasks: dict[str, tuple[Task, Patients]], steps: int, threads: int) -> Table:
    """A hospital's round, plain and private, as the platform trains it."""
    table = Table(
        title=f"a hospital's round of {steps} steps, published size, {threads} threads",
        box=box.SIMPLE_HEAD,
        pad_edge=False,
    )  # fmt: skip
    for column in ("network", "way", "s", "patients/s", "busy %", "GiB"):
        table.add_column(column)
    for network, (task, patients) in tasks.items():
        settings = task.settings
        everything = settings.private.model_copy(
            update={"trainable": "all", "steps_per_round": steps, "learning_rate": 1e-4}
        )
        shipped = settings.private.model_copy(update={"steps_per_round": steps})
        exact, mixed = (Compute("cuda", threads, 16, half) for half in (False, True))
        ways = {
            "plain": partial(plain_round, task, patients, steps, exact),
            "plain, bfloat16": partial(plain_round, task, patients, steps, mixed),
            "private, all": partial(private_round, task, patients, everything, exact),
            "private, all, bfloat16": partial(private_round, task, patients, everything, mixed),
            f"private, {shipped.trainable}": partial(private_round, task, patients, shipped, mixed),
        }
        for name, train in ways.items():
            train(1)
            torch.cuda.reset_peak_memory_stats()
            torch.cuda.synchronize()
            began = time.perf_counter()
            with Busy() as busy:
                trained = train(2)
                torch.cuda.synchronize()
            took = time.perf_counter() - began
            table.add_row(
                network, name, f"{took:.2f}", f"{trained / took:.0f}", busy.percent,
                f"{torch.cuda.max_memory_allocated() / GIBIBYTE:.1f}",
            )  # fmt: skip
            gc.collect()
            torch.cuda.empty_cache()
    return table


def plain_round(task: Task, patients: Patients, steps: int, compute: Compute, number: int) -> int:
    """Train plainly and give how many patients were seen."""
    plain = task.settings.plain
    key = RoundKey(SEED, "bench", number, "none", device="cuda")
    train_plain(task, task.network(), patients, plain, key, compute, steps=steps, rounds=9)
    return steps * min(plain.batch_patients, len(patients))


def private_round(
    task: Task, patients: Patients, settings: PrivateSettings, compute: Compute, number: int
) -> int:
    """Train privately, everybody drawn, and give how many patients were seen."""
    key = RoundKey(SEED, "bench", number, "none", device="cuda")
    train_private(task, task.network(), patients, settings, 1.0, key, compute, rounds=9)
    return settings.steps_per_round * len(patients)


def main() -> None:
    """Measure every network at the published size."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=15)
    parser.add_argument("--steps", type=int, default=20, help="of a round")
    parser.add_argument("--patients", type=int, default=16)
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 8])
    parser.add_argument("--cache", type=Path, help="folder in which rendered patients are kept")
    parser.add_argument("--workers", type=int, default=8, help="processes that render patients")
    options = parser.parse_args()
    if not torch.cuda.is_available():
        parser.error("there is no CUDA device")
    warnings.filterwarnings("ignore", message="Full backward hook is firing")
    tasks = {}
    for network, name in NETWORKS.items():
        task = make_task(load_settings(ROOT / f"configs/tasks/{name}.published.yaml", TaskSettings))
        source = task.digital_patients(
            options.patients, SEED, workers=options.workers, cache=options.cache
        )
        patients = Patients(task, source)
        for patient in patients.names:
            patients.newest(patient)
        tasks[network] = (task, patients)
    console().print(steps_table(tasks, options.runs))
    for threads in options.threads:
        for network, one in tasks.items():  # told as they come: a lent GPU may be taken back
            console().print(rounds_table({network: one}, options.steps, threads))


if __name__ == "__main__":
    main()
