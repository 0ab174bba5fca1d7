"""The table attack x rule: one lying hospital of five, on digital patients.

``python -m tests.benchmarks.poisoning --out runs/poisoning`` fills it for the small task of the
tests in a quarter of an hour; with ``--task configs/tasks/dxa-bmd.yaml`` for a task on
digital patients, which takes hours: five hospitals of 40 digital patients each on generic
scanners, plain training from the network's own initialisation or from ``--start``, and the
metric of 60 patients whom no hospital had. Every cell is kept in the folder: what was
interrupted goes on, and two processes may share the work with ``--share 1/2`` and
``--share 2/2``.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

from rich.table import Table

from shared.command_line import console, progress
from shared.config import load_settings
from shared.files import write_text_atomically
from shared.phantom.source import DigitalPatients
from shared.task_settings import TaskSettings
from shared.tasks import make_task
from shared.tasks.base import Task
from shared.weights import load_weights
from tests.poisoning import ATTACKS, RULES, SITES, Trial, fresh_start, small_trial
from tests.server.tiny_sites import TINY_TASK


def trial_of(task: Task, settings: TaskSettings, options: argparse.Namespace) -> Trial:
    """Make the hospitals; rendered patients are kept beside the cells."""
    cache = options.out / "patients"
    sources = {
        name: DigitalPatients(options.patients, seed, views=task.needs, cache=cache)
        for seed, name in enumerate(SITES, start=1)
    }
    start = fresh_start(task, 1) if options.start is None else load_weights(options.start).arrays
    return Trial(
        task=task,
        start=start,
        sources=sources,
        unseen=DigitalPatients(options.unseen, 99, views=task.needs, cache=cache),
        settings=settings.plain.model_copy(update={"steps_per_round": options.steps}),
        rounds=options.rounds,
    )


def name_of(rule: str, attack: str) -> str:
    """File name of a cell."""
    return f"{rule}--{attack}.json".replace(" ", "-").replace(",", "")


def main() -> None:
    """Fill the cells that are missing, then print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--task", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--start", type=Path)
    parser.add_argument("--patients", type=int, default=40)
    parser.add_argument("--unseen", type=int, default=60)
    parser.add_argument("--rounds", type=int, default=8)
    parser.add_argument("--steps", type=int, default=8)
    parser.add_argument("--share", default="1/1")
    options = parser.parse_args()
    settings = TINY_TASK if options.task is None else load_settings(options.task, TaskSettings)
    task = make_task(settings)
    folder = options.out / ("small" if options.task is None else settings.task)
    folder.mkdir(parents=True, exist_ok=True)
    mine, of = (int(word) for word in options.share.split("/"))
    cells = [(rule, attack) for attack in ATTACKS for rule in RULES]
    todo = [cell for n, cell in enumerate(cells) if n % of == mine - 1]
    todo = [cell for cell in todo if not (folder / name_of(*cell)).exists()]
    if todo:
        small = options.task is None
        trial = small_trial() if small else trial_of(task, settings, options)
        with progress() as bar:
            for rule, attack in bar.track(todo, description=settings.task):
                began = time.monotonic()
                metrics, rejected = trial.run(RULES[rule], attack)
                facts = {
                    "rule": rule, "attack": attack, "metrics": metrics, "rejected": rejected,
                    "rounds": trial.rounds, "steps": trial.settings.steps_per_round,
                    "patients": len(trial.sources[SITES[0]].patients),
                    "seconds": time.monotonic() - began,
                }  # fmt: skip
                write_text_atomically(folder / name_of(rule, attack), json.dumps(facts, indent=1))
    console().print(table(folder, *task.headline))


def table(folder: Path, metric: str, more_is_better: bool) -> Table:
    """Attack x rule: the metric, and what is kept of the clean mean's."""
    read: dict[tuple[str, str], dict[str, Any]] = {}
    for path in folder.glob("*.json"):
        facts = json.loads(path.read_text(encoding="utf-8"))
        read[facts["rule"], facts["attack"]] = facts["metrics"]
    shown = Table(title=f"{folder.name}: {metric}, and kept of the clean mean's")
    shown.add_column("attack")
    for rule in RULES:
        shown.add_column(rule)
    clean = read.get(("FedAvg", "none"))
    for attack in ATTACKS:
        cells = []
        for rule in RULES:
            found = read.get((rule, attack))
            if found is None or clean is None:
                cells.append("")
                continue
            kept = quality(found, metric, more_is_better) / quality(clean, metric, more_is_better)
            cells.append(f"{found[metric]:.3f} ({kept:.0%})")
        shown.add_row(attack, *cells)
    return shown


def quality(metrics: dict[str, float], metric: str, more_is_better: bool) -> float:
    """The metric, so that 0 is useless: errors as 1 - error / error of the constant."""
    if more_is_better:
        return metrics[metric]
    return 1.0 - metrics[metric] / metrics[f"baseline_{metric}"]


if __name__ == "__main__":
    main()
