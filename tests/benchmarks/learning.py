"""How close federated training comes to pooled, and what privacy costs, with stored runs.

``python -m tests.benchmarks.learning`` makes every run that is missing and writes the tables;
it can be stopped at any time and goes on where it was. ``--tables`` only writes them.
``--hold`` accepts what the small version gives now (`tests/system/test_learning.py`).
Real radiographs are used where ``OSTEOFED_REAL_DATA`` names their folder.
"""

from __future__ import annotations

import argparse
import logging
import os
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from shared.config import load_settings
from shared.phantom.source import DigitalPatients, views_for
from shared.task_settings import TaskSettings
from shared.tasks import TASKS
from shared.training.compute import Compute
from tests.learning.arms import Bench, measured_digest_of
from tests.learning.cohorts import Cohort, Size, digital, radiographs
from tests.learning.digital import FEDERATION, MORE_HOSPITALS, SOUTHPORT, UNSEEN
from tests.learning.held import hold
from tests.learning.pages import write_page
from tests.learning.stored import load_run, path_of, save_run

CONFIGS = Path("configs/tasks")
DIGITAL_TASKS = ("dxa-segmentation", "dxa-bmd", "vfa-fracture")
PUBLIC_SEED = 1
#: Short rounds and many for density and fractures: what hospitals learn apart is averaged
#: before it drifts. For segmentation more steps: there they are scarcer than patients.
ROUNDS = {"dxa-bmd": 30, "dxa-segmentation": 45, "vfa-fracture": 30}
PRIVATE_ROUNDS = {"dxa-bmd": 30}
#: With more patients there is less noise a round, and the head can be trained further.
MANY_PATIENTS = 500
PRIVATE_ROUNDS_OF_MANY = {"dxa-bmd": 60}
#: Where nearly every patient is read rightly, 150 at two hospitals say next to nothing.
MORE_TESTS = {"vfa-fracture": (600, (*UNSEEN, SOUTHPORT))}


def main() -> None:
    """Make what is missing, then the page."""
    asked = _arguments()
    logging.disable(logging.INFO)  # Flower tells of every aggregation
    if asked.hold:
        for task in DIGITAL_TASKS:
            hold(task, asked.cache, asked.workers)
        return
    if not asked.tables:
        for cohort in _cohorts(asked):
            for seed in asked.seeds:
                _fill(cohort, seed, asked)
    Console().print(f"written: {write_page(asked.runs, asked.page)}")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--tasks", nargs="+", default=["xray-vertebrae", *DIGITAL_TASKS])
    parser.add_argument("--arms", nargs="+", help="only ways of training that begin like this")
    parser.add_argument("--seeds", nargs="+", type=int, default=[1, 2, 3])
    parser.add_argument("--patients", type=int, default=150, help="a digital hospital's")
    parser.add_argument("--hospitals", type=int, choices=(3, 10), default=3)
    parser.add_argument(
        "--uneven", action="store_true", help="three hospitals of 2, 0.8 and 0.2 times as many"
    )
    parser.add_argument("--workers", type=int, default=2, help="processes that render patients")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--cache", type=Path, default=Path("runs/learning/patients"))
    parser.add_argument("--runs", type=Path, default=Path("docs/benchmarks/runs"))
    parser.add_argument("--page", type=Path, default=Path("docs/benchmarks.md"))
    parser.add_argument("--tables", action="store_true", help="only write the page")
    parser.add_argument(
        "--hold", action="store_true", help="accept what the small version gives now"
    )
    asked = parser.parse_args()
    if asked.uneven and asked.hospitals != 3:
        parser.error("--uneven is for three hospitals")
    return asked


def _cohorts(asked: argparse.Namespace) -> Iterator[Cohort]:
    """The cohorts of the tasks asked for, one after another: each takes its memory."""
    real = os.environ.get("OSTEOFED_REAL_DATA")
    for task in asked.tasks:
        settings = load_settings(CONFIGS / f"{task}.yaml", TaskSettings)
        if task not in DIGITAL_TASKS:
            if real:
                cohort = radiographs(Path(real) / "xray_spine", settings)
                yield cohort
                # The same hospitals; none of the real public radiographs is used.
                public = _public(settings, asked)
                yield replace(cohort, name="radiographs-digital-start", public=public)
            else:
                Console().print(f"{task}: left out, OSTEOFED_REAL_DATA is not set")
            continue
        yield _digital(settings, asked)


def _public(
    settings: TaskSettings,
    asked: argparse.Namespace,
    progress: Callable[[int], None] | None = None,
) -> DigitalPatients:
    """Digital patients of made-up scanners, in the views that a task needs."""
    views = views_for(TASKS[settings.task].needs)
    number, kept = settings.pretrain.patients, asked.cache / "public"
    return DigitalPatients(number, PUBLIC_SEED, asked.workers, views, kept, progress)


def _digital(settings: TaskSettings, asked: argparse.Namespace) -> Cohort:
    with _progress() as bar:
        line = bar.add_task(f"{settings.task}: digital patients", total=None)

        def ready(count: int) -> None:
            bar.advance(line, count)

        public = _public(settings, asked, ready)
        hospitals = FEDERATION if asked.hospitals == 3 else (*FEDERATION, *MORE_HOSPITALS)
        size = Size(asked.patients, hospitals, uneven=asked.uneven)
        many = asked.patients >= MANY_PATIENTS
        tests, unseen = MORE_TESTS.get(settings.task, (size.tests, size.unseen))
        private_rounds = PRIVATE_ROUNDS_OF_MANY if many else PRIVATE_ROUNDS
        size = replace(
            size,
            tests=tests,
            unseen=unseen,
            rounds=ROUNDS.get(settings.task, size.rounds),
            private_rounds=private_rounds.get(settings.task, size.private_rounds),
        )
        return digital(settings, size, public, asked.cache, asked.workers, ready)


def _fill(cohort: Cohort, seed: int, asked: argparse.Namespace) -> None:
    """Make the runs of one cohort and seed that are missing or of other settings."""
    with _progress() as bar:
        line = bar.add_task("", total=1.0)
        bench = Bench(
            cohort, seed, Compute("cpu", asked.threads, 16),
            lambda what, share: bar.update(
                line, description=f"{cohort.name}, seed {seed}: {what}", completed=share
            ),
            asked.cache / "trained",
        )  # fmt: skip
        for arm in bench.arms:
            path = path_of(asked.runs, cohort.name, arm, seed)
            if asked.arms and not arm.startswith(tuple(asked.arms)):
                continue
            if path.exists() and load_run(path).facts["digest"] == measured_digest_of(cohort, arm):
                continue
            run = bench.run(arm)
            save_run(path, run)
            found = bench.task.metrics(run.sums())
            name = bench.task.headline[0]
            bar.console.print(
                f"{cohort.name} seed {seed} {arm}: {name} {found[name]:.4f}, "
                f"{run.facts['seconds']:.0f} s"
            )


def _progress() -> Progress:
    return Progress(
        TextColumn("{task.description}"), BarColumn(), TextColumn("{task.percentage:3.0f}%"),
        TimeElapsedColumn(), transient=True,
    )  # fmt: skip


if __name__ == "__main__":
    main()
