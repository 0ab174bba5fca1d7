"""One number in [0, 1] a task, in which ways of training are compared, and how sure it is."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from shared.config import TaskSettings
from shared.seeds import numpy_generator
from shared.tasks import make_task
from shared.tasks.base import Statistics, Task
from shared.tasks.dxa_bmd import METRIC_NAMES, region_sums
from tests.learning.stored import Run

REPLICATES: Final = 1000
#: Of an interval.
LEVEL: Final = 0.95


@dataclass(frozen=True)
class Figure:
    """A figure with its interval."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        """Three decimals, the interval in brackets."""
        return f"{self.value:.3f} [{self.low:.3f}, {self.high:.3f}]"


def score(task: Task, sums: Statistics) -> float:
    """Dice; 1 − MAE/σ, mean over regions, for density; 2·AUC − 1 for fractures.

    σ is the spread of the true densities of the very patients that are measured. NaN where
    no patient, or every one, has a fracture.
    """
    found = task.metrics(sums)
    if task.name == "dxa-bmd":
        parts = [1 - found[f"mae_{n}"] / _spread(sums, n) for n in METRIC_NAMES.values()]
        return float(np.mean(parts))
    if task.name == "vfa-fracture":
        return 2 * found.get("auc_grade2", math.nan) - 1
    return found["dice"]


def _spread(sums: Statistics, name: str) -> float:
    part = region_sums(sums, name)
    return float(np.sqrt(part["yy"] / part["n"] - (part["y"] / part["n"]) ** 2))


class Scored:
    """Runs of one way of training (a seed each) and what resampled patients make of them.

    The same patients are drawn for every way of training, so that differences and ratios
    have intervals of their own. Seeds are averaged inside a replicate.
    """

    def __init__(self, runs: Sequence[Run]) -> None:
        self.runs = list(runs)
        self.task = make_task(TaskSettings(task=str(runs[0].facts["task"])))
        self.of_seed = [score(self.task, run.sums()) for run in runs]
        self.value = float(np.mean(self.of_seed))
        weights = draws(len(runs[0].values))
        self.replicates = np.array(
            [np.mean([score(self.task, run.sums(one)) for run in runs]) for one in weights]
        )

    @property
    def figure(self) -> Figure:
        """The score."""
        return interval(self.value, self.replicates)

    def over(self, other: Scored) -> Figure:
        """The score as a share of another's."""
        return interval(self.value / other.value, self.replicates / other.replicates)

    def above(self, other: Scored) -> Figure:
        """How much the score is above another's."""
        return interval(self.value - other.value, self.replicates - other.replicates)


def draws(patients: int) -> NDArray[np.float64]:
    """How often each patient is drawn in each replicate, (REPLICATES, patients)."""
    generator = numpy_generator(1, "bootstrap", patients)
    shares = np.full(patients, 1 / patients)
    return generator.multinomial(patients, shares, size=REPLICATES).astype(np.float64)


def interval(value: float, replicates: NDArray[np.float64]) -> Figure:
    """Percentile interval of some replicates."""
    outside = (1 - LEVEL) / 2
    known = replicates[np.isfinite(replicates)]
    low, high = np.quantile(known, [outside, 1 - outside])
    return Figure(value, float(low), float(high))
