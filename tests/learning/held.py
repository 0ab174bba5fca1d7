"""What the small benchmark gave when its figures were last accepted, and whether it still does.

``python -m tests.learning.held TASK ...`` accepts what it gives now.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Final

from shared.phantom.source import DigitalPatients
from shared.settings.files import load_settings
from shared.settings.task import TaskSettings
from shared.training.compute import Compute
from tests.learning.arms import Bench
from tests.learning.cohorts import SMALL, digital
from tests.learning.scores import Figure, Scored
from tests.learning.stored import load_run, path_of, save_run

ARMS: Final = ("pretrained", "federated", "private-8")
HELD: Final = Path("docs/benchmarks/small")
SEED: Final = 1
#: By what the pretraining that ships is divided: just long enough that a figure says something.
SHORTER: Final = {"dxa-segmentation": 8, "dxa-bmd": 5, "vfa-fracture": 3}


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


def compared(task: str, cache: Path, workers: int = 2) -> dict[str, tuple[float, Figure]]:
    """Train the small version anew: each way's score now, and the held one with its interval."""
    bench = small_bench(task, cache, workers)
    found = {}
    for arm in ARMS:
        held = load_run(path_of(HELD, bench.cohort.name, arm, SEED))
        found[arm] = Scored([bench.run(arm)]).value, Scored([held]).figure
    return found


def hold(task: str, cache: Path, workers: int = 2) -> None:
    """Accept what the small version gives now."""
    bench = small_bench(task, cache, workers)
    for arm in ARMS:
        save_run(path_of(HELD, bench.cohort.name, arm, SEED), bench.run(arm))


if __name__ == "__main__":
    for one in sys.argv[1:]:
        hold(one, Path("runs/learning/patients"))
