"""What joining brings where public patients are plainer than a hospital's.

Pretraining sees plain patients, hospitals have near-to-life ones. For the three DXA tasks: the
start, each hospital alone, federated, private, pooled, and a person's facts alone.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Final

from shared.metrics.named import sums_of
from shared.phantom.person.calibration import calibration
from shared.phantom.person.generator import NEAR_TO_LIFE, PLAIN
from shared.phantom.solid_source import SolidPatients
from shared.settings.files import load_settings
from shared.settings.task import TaskSettings
from shared.tasks.dxa_bmd import METRIC_NAMES
from tests.learning.arms import PERSONS, arms_of, measured_digest_of
from tests.learning.cohorts import Cohort, Later, Size, digital
from tests.learning.digital import LIFE_CHOICES, LIFE_FEDERATION, LIFE_SOUTHPORT, LIFE_UNSEEN
from tests.learning.pages import tables_of
from tests.learning.persons import KNOWN
from tests.learning.scores import Scored
from tests.learning.stored import Run, load_run, path_of, save_run, stored_runs
from tests.verify.learning import CACHE, CONFIGS, PRIVATE_ROUNDS, ROUNDS, WORKERS, bench_at_work
from tests.verify.stored import RESULTS, ROOT, Shelf, Stored, digest_of
from tests.verify.topic import Line, Planned, Runs, Tell, Topic, above_zero, at_least

TASKS: Final = ("dxa-bmd", "vfa-fracture", "dxa-segmentation")
SEEDS: Final = (1, 2, 3)
HOSPITAL: Final = 150
PUBLIC_SEED: Final = 1
#: Patients who test, and their hospitals.
TESTS: Final = {"vfa-fracture": (600, (*LIFE_UNSEEN, LIFE_SOUTHPORT))}
USUAL: Final = (300, LIFE_UNSEEN)
#: What federated training must keep of pooled.
KEPT_OF_POOLED: Final = 0.97
PRIVATE: Final = "private-8"
BEGINS: Final = ("pretrained", "alone", "federated", PRIVATE, "pooled")
KEPT: Final = RESULTS / "generators"


def cohort_of(name: str) -> Cohort:
    """Near-to-life hospitals of a task, with plain patients as public ones."""
    settings = load_settings(CONFIGS / f"{name}.yaml", TaskSettings)
    tests, unseen = TESTS.get(name, USUAL)
    size = Size(
        HOSPITAL, LIFE_FEDERATION, tests=tests, unseen=unseen, choosers=LIFE_CHOICES,
        rounds=ROUNDS.get(name, 15), private_rounds=PRIVATE_ROUNDS.get(name, 5),
    )  # fmt: skip
    public = Later(
        partial(
            SolidPatients, settings.pretrain.patients, PUBLIC_SEED, workers=WORKERS,
            cache=CACHE / "public", generator=PLAIN.name,
        )
    )  # fmt: skip
    cohort = digital(settings, size, public, CACHE, WORKERS)
    return replace(cohort, name=f"{name}-life-{HOSPITAL}")


def made_of() -> list[str]:
    """Digests of what the patients are made by."""
    return [PLAIN.digest, NEAR_TO_LIFE.digest, calibration().digest]


def plan() -> Iterator[Planned]:
    """A run a task, seed and way of training."""
    for name in TASKS:
        cohort = cohort_of(name)
        for seed in SEEDS:
            arms = [arm for arm in arms_of(cohort) if arm.startswith(BEGINS)]
            if seed == SEEDS[0] and name in KNOWN:
                arms.insert(0, PERSONS)
            for arm in arms:
                key = path_of(Path(), cohort.name, arm, seed).with_suffix("").as_posix()
                digest = digest_of([*made_of(), measured_digest_of(cohort, arm)])
                yield Planned(key, digest, partial(_run, cohort, seed, arm))


def _run(cohort: Cohort, seed: int, arm: str, tell: Tell) -> Run:
    bench = bench_at_work(cohort, seed, CACHE / "trained" / digest_of(made_of()))
    bench.tell = tell
    return bench.run(arm)


def judge(runs: Runs) -> list[Line]:
    """Federated is as good as pooled and better than any alone, private better than the start."""
    cohorts: dict[str, dict[str, list[Run]]] = {}
    for one in runs.values():
        run: Run = one.figures
        arms = cohorts.setdefault(str(run.facts["cohort"]), {})
        arms.setdefault(str(run.facts["arm"]), []).append(run)
    return [line for name, arms in cohorts.items() for line in _lines(name, arms)]


def _lines(name: str, arms: dict[str, list[Run]]) -> list[Line]:
    scored = {arm: Scored(some) for arm, some in arms.items()}
    lines = []
    if {"federated", "pooled"} <= set(scored):
        for what, share in _shares(arms):
            lines.append(at_least(share, KEPT_OF_POOLED, f"{name}: {what}, federated of pooled"))
    alone = [one for arm, one in scored.items() if arm.startswith("alone")]
    if "federated" in scored and alone:
        best = max(alone, key=lambda one: one.value)
        gain = scored["federated"].above(best)
        found = Line(f"{name}: federated above the best alone", str(gain), "> 0", gain.value > 0)
        lines.append(found)
    if {PRIVATE, "pretrained"} <= set(scored):
        gain = scored[PRIVATE].above(scored["pretrained"])
        lines.append(above_zero(gain, f"{name}: private above the start"))
    return lines


def _shares(arms: dict[str, list[Run]]) -> Iterator[tuple[str, float]]:
    """What federated keeps of pooled: a score's share, or pooled's error over federated's."""
    federated, pooled = arms["federated"], arms["pooled"]
    if str(federated[0].facts["task"]) != "dxa-bmd":
        yield "score", Scored(federated).over(Scored(pooled)).value
        return
    for region in METRIC_NAMES.values():
        if sums_of(federated[0].sums(), region):
            metric = f"mae_{region}"
            yield metric, Scored(pooled, metric).over(Scored(federated, metric)).value


def _read(path: Path) -> Stored:
    run = load_run(path)
    return Stored(run, run.facts)


def _write(path: Path, stored: Stored) -> None:
    run: Run = stored.figures
    # Its own seconds are those of training; the digest says of which generators it is.
    kept = {**run.facts, **stored.facts, "seconds": run.facts["seconds"]}
    save_run(path, replace(run, facts=kept))


def _tables(_: Runs) -> str:
    return tables_of(stored_runs(KEPT))


TOPIC: Final = Topic(
    "generators", "What joining brings where public patients are plainer than a hospital's.",
    plan, judge, _tables, ROOT / "docs" / "digital-patients.md",
    Shelf(KEPT, ".npz", _read, _write),
)  # fmt: skip
