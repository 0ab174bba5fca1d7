"""How close federated training comes to pooled, and what privacy costs.

Real radiographs are used where ``OSTEOFED_REAL_DATA`` names their folder. What is rendered and
trained on the way is kept in ``runs/learning``. A small version is held by
`tests/system/test_learning.py`.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Final

from shared.settings.files import load_settings
from shared.settings.task import TaskSettings
from shared.tasks import TASKS
from shared.training.compute import Compute
from tests.learning.arms import Bench, arms_of, measured_digest_of
from tests.learning.cohorts import Cohort, Later, Size, digital, radiographs
from tests.learning.digital import FEDERATION, MORE_HOSPITALS, SOUTHPORT, UNSEEN
from tests.learning.pages import tables_of
from tests.learning.scores import Scored
from tests.learning.stored import Run, load_run, path_of, save_run, stored_runs
from tests.verify.stored import ROOT, Shelf, Stored
from tests.verify.topic import Line, Planned, Runs, Tell, Topic, at_least

CONFIGS: Final = ROOT / "configs" / "tasks"
KEPT: Final = ROOT / "docs" / "benchmarks" / "runs"
CACHE: Final = ROOT / "runs" / "learning" / "patients"
WORKERS, THREADS = 2, 1
RADIOGRAPHS: Final = "xray-vertebrae"
DIGITAL_START: Final = "radiographs-digital-start"
PUBLIC_SEED: Final = 1
#: Short rounds and many for density and fractures: what hospitals learn apart is averaged
#: before it drifts. For segmentation more steps: there they are scarcer than patients.
ROUNDS: Final = {"dxa-bmd": 30, "dxa-segmentation": 45, "vfa-fracture": 30}
PRIVATE_ROUNDS: Final = {"dxa-bmd": 30}
#: With more patients there is less noise a round, and the head can be trained further.
MANY_PATIENTS: Final = 500
PRIVATE_ROUNDS_OF_MANY: Final = {"dxa-bmd": 60}
#: Where nearly every patient is read rightly, 150 at two hospitals say next to nothing.
MORE_TESTS: Final = {"vfa-fracture": (600, (*UNSEEN, SOUTHPORT))}

#: Ways of training by how they begin: the headline alone, the usual ones, all.
HEADLINE: Final = ("pretrained", "federated", "private-8")
USUAL: Final = (*HEADLINE, "alone", "pooled")
ALL: Final = ("",)
#: What federated training must keep of pooled, and private training of federated.
LIMITS: Final = (("federated", "pooled", 0.95), ("private-8", "federated", 0.85))
FULL: Final = 150
_AT_WORK: Final[dict[tuple[str, int, Path], Bench]] = {}


@dataclass(frozen=True)
class Wanted:
    """A cohort of the page, and which ways of training are run with which seeds."""

    task: str
    arms: Mapping[int, tuple[str, ...]]
    size: Size | None = None

    def cohort(self) -> Cohort | None:
        """Its patients, of whom none is rendered yet; None where real images are not here."""
        settings = load_settings(CONFIGS / f"{self.task}.yaml", TaskSettings)
        if self.size is not None:
            return _digital(settings, self.size)
        real = os.environ.get("OSTEOFED_REAL_DATA")
        if not real:
            return None
        cohort = radiographs(Path(real) / "xray_spine", settings)
        if self.arms[1] == HEADLINE:
            # The same hospitals; none of the real public radiographs is used.
            cohort = replace(cohort, name=DIGITAL_START, public=_public(settings))
        return cohort


def wanted() -> Iterator[Wanted]:
    """All cohorts of the page."""
    yield Wanted(RADIOGRAPHS, {1: USUAL})
    yield Wanted(RADIOGRAPHS, {1: HEADLINE})
    for task, whole in (("dxa-segmentation", 4), ("dxa-bmd", 1), ("vfa-fracture", 1)):
        seeds = dict.fromkeys((1, 2, 3), USUAL) | {whole: ALL}
        yield Wanted(task, seeds, Size(FULL))
        for patients in (50, MANY_PATIENTS):
            yield Wanted(task, {whole: HEADLINE}, Size(patients))
    yield Wanted("dxa-bmd", {1: HEADLINE}, Size(FULL, uneven=True))
    yield Wanted("dxa-bmd", {1: HEADLINE}, Size(50, (*FEDERATION, *MORE_HOSPITALS)))


def plan() -> Iterator[Planned]:
    """A run a cohort, seed and way of training."""
    for one in wanted():
        cohort = one.cohort()
        if cohort is None:
            continue
        for seed, begins in one.arms.items():
            for arm in arms_of(cohort):
                if arm.startswith(begins):
                    key = path_of(Path(), cohort.name, arm, seed).with_suffix("").as_posix()
                    make = partial(_run, cohort, seed, arm)
                    yield Planned(key, measured_digest_of(cohort, arm), make)


def _run(cohort: Cohort, seed: int, arm: str, tell: Tell) -> Run:
    bench = bench_at_work(cohort, seed, CACHE / "trained")
    bench.tell = tell
    return bench.run(arm)


def bench_at_work(cohort: Cohort, seed: int, kept: Path) -> Bench:
    """The bench of the cohort and seed at work; only one, for it holds its patients in memory.

    `kept` is the folder of what was trained.
    """
    key = (cohort.name, seed, kept)
    if key not in _AT_WORK:
        _AT_WORK.clear()
        _AT_WORK[key] = Bench(cohort, seed, Compute("cpu", THREADS, 16), kept=kept)
    return _AT_WORK[key]


def _public(settings: TaskSettings) -> Later:
    """Digital patients of made-up scanners, in the views that a task needs."""
    make = TASKS[settings.task].digital_patients
    number, kept = settings.pretrain.patients, CACHE / "public"
    return Later(partial(make, number, PUBLIC_SEED, workers=WORKERS, cache=kept))


def _digital(settings: TaskSettings, size: Size) -> Cohort:
    tests, unseen = MORE_TESTS.get(settings.task, (size.tests, size.unseen))
    many = size.patients >= MANY_PATIENTS
    private_rounds = PRIVATE_ROUNDS_OF_MANY if many else PRIVATE_ROUNDS
    size = replace(
        size,
        tests=tests,
        unseen=unseen,
        rounds=ROUNDS.get(settings.task, size.rounds),
        private_rounds=private_rounds.get(settings.task, size.private_rounds),
    )
    return digital(settings, size, _public(settings), CACHE, WORKERS)


def judge(runs: Runs) -> list[Line]:
    """Federated training keeps what pooled reaches, private training most of that."""
    cohorts: dict[str, list[Run]] = {}
    for one in runs.values():
        cohorts.setdefault(str(one.facts["cohort"]), []).append(one.figures)
    lines = []
    for name, some in cohorts.items():
        scored = {arm: Scored([run for run in some if run.facts["arm"] == arm])
                  for arm in dict.fromkeys(str(run.facts["arm"]) for run in some)}  # fmt: skip
        for mine, other, least in LIMITS:
            if mine in scored and other in scored:
                share = scored[mine].over(scored[other]).value
                lines.append(at_least(share, least, f"{name}: {mine} of {other}"))
    return lines


def _read(path: Path) -> Stored:
    run = load_run(path)
    return Stored(run, run.facts)


def _write(path: Path, stored: Stored) -> None:
    run: Run = stored.figures
    # Its own seconds are those of training, also where weights were kept.
    save_run(path, replace(run, facts={**stored.facts, **run.facts}))


def _tables(_: Runs) -> str:
    """Of everything that is stored, cohorts of real images too where those are not here."""
    return tables_of(stored_runs(KEPT))


TOPIC: Final = Topic(
    "learning", "How close federated training comes to pooled, and what privacy costs.",
    plan, judge, _tables, ROOT / "docs" / "benchmarks.md", Shelf(KEPT, ".npz", _read, _write),
)  # fmt: skip
