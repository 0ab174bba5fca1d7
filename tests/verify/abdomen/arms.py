"""The ways of training that are compared, task by task, from the same public start."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Final

import torch
from torch import nn

from shared.phantom.workers import in_order
from shared.protocol.codec import Arrays
from shared.tasks import make_task
from shared.tasks.base import Task
from shared.training.accounting import Mechanism, epsilon, noise_multiplier_for
from shared.training.arrays import get_arrays, set_arrays
from shared.training.batches import RoundKey
from shared.training.compute import Compute
from shared.training.local_round import train_plain
from shared.training.pretraining import train_on_public
from shared.training.weights import Weights, load_weights, save_weights
from tests.learning.arms import DELTA, FEDAVG
from tests.learning.federating import federate
from tests.verify.abdomen.cast import (
    EPSILON,
    HOSPITALS,
    METHOD,
    PRIVATE_ROUNDS,
    PUBLIC,
    ROUNDS,
    SEEDS,
    TASKS,
    Cast,
    kept_in,
    settings_of,
    training_digest,
)
from tests.verify.abdomen.ready import ReadyPatients, made_patient
from tests.verify.stored import digest_of
from tests.verify.topic import Tell

START: Final = "start"
ALONE: Final = "alone"
ARMS: Final = (
    START, *(f"{ALONE}-{one.name}" for one in HOSPITALS), "pooled", "federated", "private",
)  # fmt: skip
COMPUTE: Final = Compute("cpu", 1, 16)
WORKERS: Final = 2


def networks_of(seed: int, arm: str, tell: Tell) -> dict[str, nn.Module]:
    """The three networks of an arm, trained if they are not kept; in evaluation mode."""
    return {task: _network(task, trained(task, seed, arm, tell)) for task in TASKS}


def trained(task: str, seed: int, arm: str, tell: Tell) -> Arrays:
    """Weights of one task, seed and way of training."""
    told = digest_of(_public_told(seed)) if arm == START else training_digest(seed)
    path = kept_in("weights") / f"{task}.{arm}.seed-{seed}.{told}.safetensors"
    if path.exists():
        return load_weights(path).arrays
    started = time.process_time()
    arrays = _start(task, seed, tell) if arm == START else _trained(task, seed, arm, tell)
    seconds = time.process_time() - started
    save_weights(path, Weights(settings_of(task), arrays, f"{arm}, seed {seed}, {seconds:.0f} s"))
    return arrays


def private_epsilons() -> dict[str, float]:
    """What each task may spend, so that the three together spend `EPSILON`: noise is the same."""
    settings = {task: settings_of(task).private for task in TASKS}
    steps = {task: PRIVATE_ROUNDS[task] * one.steps_per_round for task, one in settings.items()}
    [rate] = {one.sample_rate for one in settings.values()}
    noise = noise_multiplier_for(EPSILON, DELTA, rate, sum(steps.values()))
    return {task: epsilon([Mechanism(rate, noise, many)], DELTA) for task, many in steps.items()}


def ready(party: Cast, tell: Tell) -> list[Path]:
    """Files of a party's patients, made if they are not there."""
    folder = kept_in("patients") / f"{party.name}-{digest_of(_told(party))}"
    paths = [folder / f"{number:05d}.safetensors" for number in range(party.patients)]
    missing = [number for number, path in enumerate(paths) if not path.exists()]
    if missing:
        make = partial(_make, party=party, folder=folder, version=_version(party, tell))
        for done, _ in enumerate(in_order(make, missing, WORKERS), start=1):
            tell(f"patients of {party.name}", done / len(missing))
    return paths


def _told(party: Cast) -> list[str]:
    told = [party.order.told]
    return told if party is PUBLIC else [*told, str(METHOD), *_public_told(SEEDS[0])]


def _public_told(seed: int) -> list[str]:
    settings = [settings_of(task) for task in TASKS]
    kept = [one.model_dump_json(include={"task", "network", "pretrain"}) for one in settings]
    return [PUBLIC.told, str(seed), *kept]


def _version(party: Cast, tell: Tell) -> dict[str, Arrays] | None:
    """The public weights of the first seed: the one version that hospitals agree on."""
    if party is PUBLIC:
        return None
    return {task: trained(task, SEEDS[0], START, tell) for task in TASKS[:2]}


def _make(number: int, party: Cast, folder: Path, version: Mapping[str, Arrays] | None) -> None:
    torch.set_num_threads(1)
    networks = (
        None
        if version is None
        else {task: _network(task, arrays) for task, arrays in version.items()}
    )
    made_patient(number, party.order, folder / f"{number:05d}.safetensors", networks)


def _network(task: str, arrays: Arrays) -> nn.Module:
    network = make_task(settings_of(task)).network()
    set_arrays(network, arrays, strict=True)
    return network.eval()


def _start(name: str, seed: int, tell: Tell) -> Arrays:
    task, settings = make_task(settings_of(name)), settings_of(name).pretrain
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        network = task.network()
    train_on_public(
        task, network, ReadyPatients(task, ready(PUBLIC, tell)), settings,
        RoundKey(seed, f"abdomen-{START}", 1, "none"), COMPUTE,
        lambda done, steps, _: tell(f"{name}, {START}", done / steps),
    )  # fmt: skip
    return get_arrays(network)


def _trained(name: str, seed: int, arm: str, tell: Tell) -> Arrays:
    task, settings, rounds = make_task(settings_of(name)), settings_of(name), ROUNDS[name]
    start = trained(name, seed, START, tell)
    hospitals = {one.name: ready(one, tell) for one in HOSPITALS}
    kind, _, which = arm.partition("-")
    if kind in (ALONE, "pooled"):
        steps = rounds * settings.plain.steps_per_round
        chosen = [which] if which else list(hospitals)
        paths = [path for one in chosen for path in hospitals[one]]
        return _centrally(task, start, paths, steps * len(chosen), seed, arm, tell)
    private = kind == "private"
    rounds = PRIVATE_ROUNDS[name] if private else rounds
    return federate(
        task, settings, start,
        {one: ReadyPatients(task, paths) for one, paths in hospitals.items()},
        rounds=rounds, seed=seed, compute=COMPUTE, strategy=FEDAVG,
        epsilon=private_epsilons()[name] if private else None, delta=DELTA,
        report=lambda number, _: tell(f"{name}, {arm}", number / rounds),
    )  # fmt: skip


def _centrally(
    task: Task, start: Arrays, paths: Sequence[Path], steps: int, seed: int, arm: str, tell: Tell
) -> Arrays:
    """Train on patients of one place, in one long round, so that the rate falls once."""
    network = task.network()
    set_arrays(network, start)
    settings = settings_of(task.name).plain.model_copy(
        update={"steps_per_round": steps, "schedule": "cosine"}
    )
    train_plain(
        task, network, ReadyPatients(task, paths), settings,
        RoundKey(seed, f"abdomen-{arm}", 1, "none"), COMPUTE,
        progress=lambda done, all_of_it, _: tell(f"{task.name}, {arm}", done / all_of_it),
    )  # fmt: skip
    return get_arrays(network)
