"""One number in [0, 1] a task, in which ways of training are compared, and how sure it is."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Final

import numpy as np
from numpy.typing import NDArray

from shared.metrics.named import sums_of
from shared.metrics.statistics import Statistics
from shared.seeds import numpy_generator
from shared.settings.task import TaskSettings
from shared.tasks import make_task
from shared.tasks.base import Task
from shared.tasks.dxa_bmd import METRIC_NAMES
from tests.learning.stored import Run

REPLICATES: Final = 1000
#: Of an interval.
LEVEL: Final = 0.95


#: A score and its replicates.
_Mean = tuple[float, NDArray[np.float64]]


@dataclass(frozen=True)
class Figure:
    """A figure with its interval; NaN where there is nothing to compare."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        """Three decimals, the interval in brackets; nothing where there is none."""
        if math.isnan(self.value):
            return ""
        return f"{self.value:.3f} [{self.low:.3f}, {self.high:.3f}]"


def score(task: Task, sums: Statistics, metric: str = "") -> float:
    """Dice; 1 − MAE/σ, mean over regions, for density; 2·AUC − 1 for fractures; or a metric.

    σ is the spread of the true densities of the very patients that are measured. NaN where
    no patient, or every one, has a fracture.
    """
    found = task.metrics(sums)
    if metric:
        return found[metric]
    if task.name == "dxa-bmd":
        parts = [1 - found[f"mae_{n}"] / _spread(sums, n) for n in METRIC_NAMES.values()]
        return float(np.mean(parts))
    if task.name == "vfa-fracture":
        return 2 * found.get("auc_grade2", math.nan) - 1
    return found["dice"]


def _spread(sums: Statistics, name: str) -> float:
    part = sums_of(sums, name)
    return float(np.sqrt(part["yy"] / part["n"] - (part["y"] / part["n"]) ** 2))


class Scored:
    """Runs of one way of training (a seed each) and what resampled patients make of them.

    The same patients are drawn for every way of training, so that differences and ratios
    have intervals of their own; they are of the seeds that both ways were run with. Seeds
    are averaged inside a replicate. `metric` is a task's own, instead of its score.
    """

    def __init__(self, runs: Sequence[Run], metric: str = "") -> None:
        self.runs = list(runs)
        self.task = make_task(TaskSettings(task=str(runs[0].facts["task"])))
        self.of_seed = [score(self.task, run.sums(), metric) for run in runs]
        self.value = float(np.mean(self.of_seed))
        self._metric = metric

    @cached_property
    def _replicates(self) -> NDArray[np.float64]:
        """The score of each seed on each set of drawn patients, (seeds, REPLICATES)."""
        weights = draws(len(self.runs[0].values))
        return np.array(
            [
                [score(self.task, run.sums(one), self._metric) for one in weights]
                for run in self.runs
            ]
        )

    @property
    def seeds(self) -> list[int]:
        """Of the runs, in their order."""
        return [int(run.facts["seed"]) for run in self.runs]

    @property
    def figure(self) -> Figure:
        """The score."""
        return interval(*self._mean(self.seeds))

    def over(self, other: Scored) -> Figure:
        """The score as a share of another's."""
        (mine, many), (theirs, others) = self._beside(other)
        return interval(mine / theirs, many / others)

    def above(self, other: Scored) -> Figure:
        """How much the score is above another's."""
        (mine, many), (theirs, others) = self._beside(other)
        return interval(mine - theirs, many - others)

    def _beside(self, other: Scored) -> tuple[_Mean, _Mean]:
        common = sorted({*self.seeds} & {*other.seeds})
        return self._mean(common), other._mean(common)

    def _mean(self, seeds: Sequence[int]) -> _Mean:
        """Score and replicates, averaged over some seeds; NaN over none."""
        places = [self.seeds.index(seed) for seed in seeds]
        if not places:
            return math.nan, np.full(REPLICATES, math.nan)
        scores = [self.of_seed[place] for place in places]
        return float(np.mean(scores)), self._replicates[places].mean(0)


def draws(patients: int) -> NDArray[np.float64]:
    """How often each patient is drawn in each replicate, (REPLICATES, patients)."""
    generator = numpy_generator(1, "bootstrap", patients)
    shares = np.full(patients, 1 / patients)
    return generator.multinomial(patients, shares, size=REPLICATES).astype(np.float64)


def interval(value: float, replicates: NDArray[np.float64]) -> Figure:
    """Percentile interval of some replicates."""
    outside = (1 - LEVEL) / 2
    known = replicates[np.isfinite(replicates)]
    if not len(known):
        return Figure(value, math.nan, math.nan)
    low, high = np.quantile(known, [outside, 1 - outside])
    return Figure(value, float(low), float(high))
