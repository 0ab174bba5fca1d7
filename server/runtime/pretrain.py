"""Public pretraining: digital patients of a made-up scanner, which cost no privacy."""

from __future__ import annotations

import multiprocessing
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from shared.errors import ConfigValueError, UnknownTaskError
from shared.phantom.workers import in_order
from shared.settings.files import load_settings
from shared.settings.task import TaskSettings
from shared.training.compute import Compute, choose_device
from shared.training.weights import Weights, digest_arrays, save_weights

#: Told the task, steps done, steps in all and the loss.
Progress = Callable[[str, int, int, float], None]


def pretrain(
    task_files: Sequence[Path],
    out: Path,
    *,
    patients: int | None = None,
    seed: int = 1,
    workers: int = 1,
    cache: Path | None = None,
    device: str = "auto",
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Pretrain tasks on the same digital patients; write ``OUT/<task>.safetensors``.

    Parameters
    ----------
    task_files : sequence of Path
        Task settings; their ``pretrain`` part is used.
    out : Path
        Folder of the weights; each file is written whole or not at all.
    patients : int, optional
        Digital patients; by default the most that a task's settings ask for.
    seed : int
        Public seed of patients and training.
    workers : int
        Processes that render patients, and that train when there are several tasks; with
        a GPU also threads that prepare its batches. The weights do not depend on it.
    cache : Path, optional
        Folder where rendered patients are kept.
    device : str
        ``auto``, ``cpu`` or ``cuda``; on a CPU the same seed gives the same weights.
    progress : callable, optional
        See `Progress`.

    Returns
    -------
    dict
        ``patients``, ``seed`` and per task: weights, digest, patients,
        steps, train_loss.

    Raises
    ------
    ConfigError, UnknownTaskError
        If a settings file is wrong or there is no such device; nothing is written then.
    """
    from shared.tasks import TASKS

    device = choose_device(device)
    compute = Compute(device, threads=1 if device == "cpu" else workers)
    tasks = [load_settings(path, TaskSettings) for path in task_files]
    for path, settings in zip(task_files, tasks, strict=True):
        if settings.task not in TASKS:
            raise UnknownTaskError(
                f"{path}: task {settings.task!r} is not known (known: {', '.join(TASKS)})"
            )
    names = [settings.task for settings in tasks]
    if len(set(names)) < len(names):
        raise ConfigValueError(f"{', '.join(names)}: each task once")
    number = patients or max(settings.pretrain.patients for settings in tasks)
    with tempfile.TemporaryDirectory(prefix="osteofed-pretrain-") as temporary:
        folder = cache or Path(temporary)
        # Rendered once by all workers, then read from the cache by every task's process.
        for name in names:
            TASKS[name].digital_patients(number, seed, workers=workers, cache=folder)
        orders = [_Order(one, number, seed, folder, out, compute) for one in tasks]
        if workers == 1 or len(orders) == 1:
            facts = [_pretrain_one(order, progress) for order in orders]
        else:
            with _told(progress) as tell:
                facts = list(in_order(partial(_pretrain_one, progress=tell), orders, workers))
    return {"patients": number, "seed": seed, "tasks": dict(zip(names, facts, strict=True))}


@dataclass(frozen=True)
class _Order:
    """One task to pretrain, as a worker process takes it."""

    settings: TaskSettings
    patients: int
    seed: int
    cache: Path
    out: Path
    compute: Compute


@dataclass(frozen=True)
class _Tell:
    """Hands progress on to the parent process."""

    queue: Any

    def __call__(self, task: str, done: int, total: int, loss: float) -> None:
        self.queue.put((task, done, total, loss))


@contextmanager
def _told(progress: Progress | None) -> Iterator[Progress | None]:
    """Call `progress` in this process with what workers tell in theirs."""
    if progress is None:
        yield None
        return
    with multiprocessing.get_context("spawn").Manager() as manager:
        queue = manager.Queue()

        def listen() -> None:
            while (told := queue.get()) is not None:
                progress(*told)

        listener = threading.Thread(target=listen, daemon=True)
        listener.start()
        yield _Tell(queue)
        queue.put(None)
        listener.join()


def _pretrain_one(order: _Order, progress: Progress | None) -> dict[str, Any]:
    from shared.tasks import make_task
    from shared.training.arrays import get_arrays
    from shared.training.batches import RoundKey
    from shared.training.initial_weights import start_network
    from shared.training.pretraining import train_on_public

    settings = order.settings
    task = make_task(settings)
    source = task.digital_patients(order.patients, order.seed, cache=order.cache)
    network, start = start_network(settings, None, order.seed)
    key = RoundKey(order.seed, "pretrain", 1, start)

    def step(done: int, total: int, loss: float) -> None:
        if progress is not None:
            progress(settings.task, done, total, loss)

    done = train_on_public(task, network, source, settings.pretrain, key, order.compute, step)
    weights = Weights(settings, get_arrays(network), "pretrained on digital patients")
    path = order.out / f"{settings.task}.safetensors"
    save_weights(path, weights)
    return {
        "weights": str(path),
        "digest": digest_arrays(weights.arrays),
        "patients": done.patients,
        "steps": done.steps,
        "train_loss": done.train_loss,
    }
