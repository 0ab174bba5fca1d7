"""What the small benchmark gave when its figures were last accepted, and whether it still does.

A training this short is chaotic: the last bit of a product, which another kind of processor
rounds otherwise, moves its score by some hundredths. So what is held are the scores of several
trainings of one seed that begin a thousandth apart, and a score is worse if it lies below where
one more of them would lie. Patients are the same each time, so they add nothing to the spread.

``python -m tests.learning.held TASK ...`` accepts what it gives now.
"""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import numpy as np
from scipy import stats

from shared.phantom.source import DigitalPatients
from shared.runtime.files import write_text_atomically
from shared.settings.files import load_settings
from shared.settings.task import TaskSettings
from shared.training.compute import Compute
from tests.learning.arms import Bench
from tests.learning.cohorts import SMALL, digital
from tests.learning.scores import Scored

ARMS: Final = ("pretrained", "federated", "private-8")
HELD: Final = Path("docs/benchmarks/small")
SEED: Final = 1
#: Trainings that are held; number 0 begins as the one that a test makes.
TRAININGS: Final = 8
#: Probability that a training as good as the held ones is called worse, a way of training.
FALSE_ALARM: Final = 0.001
#: By what the pretraining that ships is divided: just long enough that a figure says something.
SHORTER: Final = {"dxa-segmentation": 8, "dxa-bmd": 5, "vfa-fracture": 3}


@dataclass(frozen=True)
class Held:
    """Scores of one way of training that were accepted."""

    scores: tuple[float, ...]

    @property
    def low(self) -> float:
        """Lower bound for one more training (Student's prediction interval, one-sided)."""
        many = len(self.scores)
        spread = float(np.std(self.scores, ddof=1)) * float(np.sqrt(1 + 1 / many))
        return float(np.mean(self.scores) + stats.t.ppf(FALSE_ALARM, many - 1) * spread)

    def __str__(self) -> str:
        """Mean and lower bound."""
        return f"{np.mean(self.scores):.3f}, at least {self.low:.3f}"


def small_bench(task: str, cache: Path, workers: int) -> Bench:
    """The small benchmark of a task: the settings that ship, a much shorter pretraining."""
    shipped = load_settings(Path("configs/tasks") / f"{task}.yaml", TaskSettings)
    shorter = {
        key: getattr(shipped.pretrain, key) // SHORTER[task]
        for key in ("steps_per_round", "warm_up_steps")
    } | {"patients": shipped.pretrain.patients // 2}
    pretrain = shipped.pretrain.model_copy(update=shorter)
    settings = shipped.model_copy(update={"pretrain": pretrain})
    public = DigitalPatients(settings.pretrain.patients, SEED, workers, cache=cache / "public")
    cohort = digital(settings, SMALL, public, cache, workers)
    return Bench(cohort, SEED, Compute("cpu", 1, 16))


def compared(task: str, cache: Path, workers: int = 2) -> dict[str, tuple[float, Held]]:
    """Train the small version anew: each way's score now, and the held ones."""
    bench = small_bench(task, cache, workers)
    held = json.loads(_file_of(task).read_text(encoding="utf-8"))
    return {arm: (_score(bench, arm), Held(tuple(held[arm]))) for arm in ARMS}


def hold(task: str, cache: Path, workers: int = 2) -> None:
    """Accept what the small version gives now."""
    bench = small_bench(task, cache, workers)
    held: dict[str, list[float]] = {arm: [] for arm in ARMS}
    for nudge in range(TRAININGS):
        nudged = replace(bench, nudge=nudge)
        for arm in ARMS:
            held[arm].append(round(_score(nudged, arm), 4))
    write_text_atomically(_file_of(task), json.dumps(held, indent=1) + "\n")


def _score(bench: Bench, arm: str) -> float:
    return Scored([bench.run(arm)]).value


def _file_of(task: str) -> Path:
    return HELD / f"{task}.json"


if __name__ == "__main__":
    for one in sys.argv[1:]:
        hold(one, Path("runs/learning/patients"))
