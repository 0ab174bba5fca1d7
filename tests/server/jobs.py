"""Jobs and answers for tests."""

from __future__ import annotations

from typing import Any

import numpy as np

from shared.config import TaskSettings
from shared.protocol import Account, Job, TrainAnswer
from shared.wire import Arrays
from tests.server.tiny_sites import TINY_TASK

DIGEST = "0" * 64


def job(settings: TaskSettings = TINY_TASK, **changes: Any) -> Job:
    """A valid job of the tiny task, private unless said otherwise."""
    plain = changes.get("mode") == "plain"
    values: dict[str, Any] = {
        "run": "run-1", "round": 1, "rounds": 3, "task": settings.task, "settings": settings,
        "mode": "private", "epsilon": 4.0, "delta": 1e-4,
        "steps": settings.plain.steps_per_round if plain else settings.private.steps_per_round,
        "sample_rate": settings.private.sample_rate,
        "max_grad_norm": settings.private.max_grad_norm,
        "noise_multiplier": 0.0 if plain else 2.0,
    }  # fmt: skip
    return Job(**(values | changes))


def account(site: str = "alpha", **changes: Any) -> Account:
    """A valid account of an answer to `job`."""
    values: dict[str, Any] = {
        "site": site, "run": "run-1", "round": 1, "task": TINY_TASK.task, "mode": "private",
        "request": DIGEST,
    }  # fmt: skip
    return Account(**(values | changes))


def arrays(value: float = 0.0) -> Arrays:
    """A model of three tensors."""
    return {
        "layer.weight": np.full((3, 2), value, np.float32),
        "layer.bias": np.full((3,), value + 1, np.float32),
        "scale": np.full((), value - 1, np.float32),
    }


def answer(value: float, patients: int, site: str = "alpha", **changes: Any) -> TrainAnswer:
    """An answer whose update is `arrays`."""
    return TrainAnswer(arrays(value), patients, {"patients": 12.0}, account(site, **changes))
