"""What a run tells MLflow, told by a thread of its own so that no round waits for it."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final

from server.registry.mlflow_registry import Registry
from server.registry.model_program import ModelProgram
from server.rounds.plan import PlannedTask, RunPlan
from server.state.result import CurvePoint, Measured, RoundFacts, Verdict
from shared.runtime.files import write_text_atomically
from shared.training.weights import Weights

#: How long a failed run waits to tell the registry so.
ABANDON_SECONDS: Final = 10.0
#: File of a task's folder that names its run in MLflow, for a resumed run.
TRACKED: Final = "tracked.txt"


class Tracking:
    """The registry of a run, used from one background thread only.

    MLflow takes seconds to import and to make its tables, and a database may be
    slow: rounds only leave their facts here. What went wrong is raised by the next
    call that waits for an answer, at the latest by `close`.
    """

    def __init__(self, plan: RunPlan) -> None:
        self._plan = plan
        self._pool = ThreadPoolExecutor(max_workers=1, thread_name_prefix="mlflow")
        self._registry: Future[Registry] = self._pool.submit(
            Registry, plan.tracking_uri, plan.experiment
        )
        self._told: list[Future[Any]] = []
        self._begun: list[Future[str]] = []

    def begin(self, planned: PlannedTask, noise_multiplier: float) -> Future[str]:
        """Start the tracking of one task, or go on with it; the future holds the run's id."""
        plan = self._plan
        kept = plan.task_folder(planned.name) / TRACKED
        parameters = {
            "run": plan.run,
            "task": planned.name,
            "mode": plan.privacy.mode,
            "rounds": planned.rounds,
            "strategy": planned.strategy.name,
            "noise_multiplier": noise_multiplier,
            "epsilon_per_run": plan.privacy.epsilon_per_run,
            "size": planned.settings.network.size,
        }

        def work(registry: Registry) -> str:
            if kept.is_file():
                return registry.runs.go_on(kept.read_text(encoding="ascii").strip())
            begun = registry.runs.begin(f"{plan.run} {planned.name}", parameters)
            write_text_atomically(kept, begun + "\n")
            return begun

        begun = self._do(work)
        self._begun.append(begun)
        return begun

    def round(self, run: Future[str], facts: RoundFacts, point: CurvePoint) -> None:
        """Leave the facts of one round."""
        values = round_metrics(facts)
        self._do(lambda r: r.runs.log(run.result(), facts.round, values))
        self.point(run, point)

    def point(self, run: Future[str], point: CurvePoint) -> None:
        """Leave how good the model was after a number of rounds."""
        values = point_metrics(point)
        if values:
            self._do(lambda r: r.runs.log(run.result(), point.after_round, values))

    def champion(self, task: str, folder: Path) -> tuple[int, Weights] | None:
        """Fetch the champion; waits."""
        return self._do(lambda r: r.versions.champion(task, folder)).result()

    def register(
        self,
        run: Future[str],
        task: str,
        program: ModelProgram,
        files: list[Path],
        tags: Mapping[str, str],
        verdict: Verdict,
    ) -> int:
        """Register a version, judge it, end the tracking of the task; waits."""

        def work(registry: Registry) -> int:
            version = registry.versions.of_run(run.result(), task, tags)
            if version is None:
                papers = [f for f in files if f.suffix != ".safetensors"]
                registry.runs.add_artifacts(run.result(), papers)
                version = registry.versions.register(run.result(), task, program, files, tags)
            registry.aliases.promote(task, version, verdict)
            return version

        return self._do(work).result()

    def check(self) -> None:
        """Raise what is known to have gone wrong already, without waiting."""
        for told in [self._registry, *self._told]:
            if told.done():
                told.result()

    def end(self, run: Future[str], status: str) -> None:
        """End the tracking of a task."""
        self._begun.remove(run)
        self._do(lambda r: r.runs.end(run.result(), status))

    def close(self) -> None:
        """Wait for everything; raise the first thing that went wrong."""
        self._pool.shutdown(wait=True)
        for told in self._told:
            told.result()

    def abandon(self, *, paused: bool = False) -> None:
        """Mark what was begun as failed, as far as that is still possible.

        The tracking of a paused run stays open: resuming goes on with it.
        """
        for run in () if paused else self._begun:
            with contextlib.suppress(Exception):
                self._do(_failing(run)).result(ABANDON_SECONDS)
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _do(self, work: Callable[[Registry], Any]) -> Future[Any]:
        future = self._pool.submit(lambda: work(self._registry.result()))
        self._told.append(future)
        return future


def _failing(run: Future[str]) -> Callable[[Registry], None]:
    return lambda registry: registry.runs.end(run.result(), "FAILED")


def round_metrics(facts: RoundFacts) -> dict[str, float]:
    """Flatten the facts of a round into metrics."""
    values: dict[str, float] = {
        "round/seconds": facts.seconds,
        "round/bytes_up": facts.bytes_up,
        "round/bytes_down": facts.bytes_down,
        "round/sites": len(facts.patients),
        "round/absent": len(facts.absent),
    }
    values |= {f"absent/{one.site}/{one.kind}": 1.0 for one in facts.absent}
    values |= {f"epsilon/{site}": value for site, value in facts.epsilon.items()}
    values |= {f"site/{site}/seconds": value for site, value in facts.site_seconds.items()}
    return values


def point_metrics(point: CurvePoint) -> dict[str, float]:
    """Flatten a point of the curve into metrics: ``global/…`` and ``site/NAME/…``."""
    values = {f"global/{key}": value for key, value in _of(point.pooled).items()}
    for site, measured in point.sites.items():
        values |= {f"site/{site}/{key}": value for key, value in _of(measured).items()}
    return values


def _of(measured: Measured) -> dict[str, float]:
    loss = {} if measured.loss is None else {"loss": measured.loss}
    return loss | measured.metrics
