"""Train 40 digital patients for eight full-batch steps, private or plain, in one process.

``python -m tests.benchmarks.training configs/tasks/TASK.yaml private|plain``
"""

import sys
from pathlib import Path

from shared.phantom.source import DigitalPatients
from shared.settings.files import load_settings
from shared.settings.task import TaskSettings
from shared.tasks import make_task
from shared.training.compute import Compute
from shared.training.local_round import RoundKey, train_plain, train_private

PATIENTS, STEPS = 40, 8


def main(path: Path, mode: str) -> None:
    """Train with the same weights, batch and steps in both modes."""
    settings = load_settings(path, TaskSettings)
    task = make_task(settings)
    network = task.network()
    source = DigitalPatients(PATIENTS, 1)
    compute = Compute(device="cpu", threads=1, physical_batch_patients=10, mixed_precision=False)
    key = RoundKey(1, "bench", 1, "none")
    private = settings.private.model_copy(update={"steps_per_round": STEPS, "sample_rate": 1.0})
    if mode == "private":
        train_private(task, network, source, private, 1.0, key, compute)
        return
    names = {n: getattr(private, n) for n in type(settings.plain).model_fields}
    plain = type(settings.plain)(**{**names, "batch_patients": PATIENTS})
    train_plain(task, network, source, plain, key, compute, steps=STEPS)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
