"""Federated rounds in one process: the platform's own training and aggregation, no network.

What Flower carries changes no number of it (`tests/system/test_federation.py`).
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Literal

from server.rounds.aggregation.aggregator import Aggregator
from server.rounds.aggregation.update_store import Spool
from shared.protocol.codec import Arrays
from shared.protocol.half_precision import halved
from shared.settings.files import StrategySettings
from shared.settings.task import TaskSettings
from shared.tasks.base import Task
from shared.training.accounting import noise_multiplier_for
from shared.training.arrays import set_arrays, trainable_names
from shared.training.batches import Patients
from shared.training.compute import Compute
from shared.training.local_round import RoundKey, train_plain, train_private
from shared.training.weights import digest_arrays

Mode = Literal["plain", "private"]
#: Told the round that is done and the model it gave.
Report = Callable[[int, Arrays], None]


def federate(
    task: Task,
    settings: TaskSettings,
    start: Arrays,
    hospitals: Mapping[str, Patients],
    *,
    rounds: int,
    seed: int,
    compute: Compute,
    strategy: StrategySettings,
    epsilon: float | None = None,
    delta: float = 1e-4,
    report: Report | None = None,
) -> Arrays:
    """Train over some rounds; with an epsilon privately, else plainly.

    Models and changes are rounded as they are when they travel.
    """
    network = task.network()
    private, plain = settings.private, settings.plain
    way = plain if epsilon is None else private
    noise = 0.0
    if epsilon is not None:
        steps = rounds * private.steps_per_round
        noise = noise_multiplier_for(epsilon, delta, private.sample_rate, steps)
    names = trainable_names(task, network, way.trainable)
    aggregator = Aggregator(strategy, names, 10_000)
    model = dict(start)
    for number in range(1, rounds + 1):
        with tempfile.TemporaryDirectory() as folder:
            spool, updates = Spool(Path(folder)), {}
            sent = halved(model)
            for site, patients in hospitals.items():
                set_arrays(network, sent)
                key = RoundKey(seed, f"bench-{site}", number, digest_arrays(sent))
                if epsilon is None:
                    done = train_plain(task, network, patients, plain, key, compute, rounds=rounds)
                else:
                    done = train_private(
                        task, network, patients, private, noise, key, compute, rounds=rounds
                    )
                change = halved({name: done.arrays[name] - sent[name] for name in names})
                updates[site] = spool.keep(site, change, done.patients)
            model, _ = aggregator.combine(number, model, updates)
        if report is not None:
            report(number, model)
    return halved(model)
