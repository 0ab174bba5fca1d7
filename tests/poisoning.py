"""Hospitals of which one lies, and the rules that are to bear it.

Everything but the lie is the platform's own: local training (`shared.training.local_round`),
checks and aggregation (`server.rounds.aggregation.aggregator`).
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

import numpy as np
import torch

from server.rounds.aggregation.aggregator import Aggregator
from server.rounds.aggregation.update_store import Spool
from shared.errors import AggregationRefusedError
from shared.protocol.codec import Arrays
from shared.protocol.half_precision import halved
from shared.records import PatientSource, StudyRecord
from shared.seeds import numpy_generator
from shared.settings.files import StrategySettings
from shared.settings.task import OptimiserSettings
from shared.tasks.base import Task
from shared.training.arrays import get_arrays, set_arrays, trainable_names
from shared.training.compute import Compute
from shared.training.local_round import LocalRound, RoundKey, evaluate, train_plain
from shared.training.weights import digest_arrays

LIAR: Final = "epsilon"
SITES: Final = ("alpha", "beta", "delta", LIAR, "gamma")

#: What a liar does to what it trained: (trained, model, randomness) to what it says it did.
Attack = Callable[[Arrays, Arrays, np.random.Generator], Arrays]


def moved(by: float) -> Attack:
    """Send the update's change times a factor; below 0 it goes the wrong way."""

    def attack(update: Arrays, model: Arrays, _: np.random.Generator) -> Arrays:
        return {
            n: np.asarray(model[n] + by * (v - model[n]), np.float32) for n, v in update.items()
        }

    return attack


def noise(times: float) -> Attack:
    """Send noise whose norm is that of the update's change, times a factor."""

    def attack(update: Arrays, model: Arrays, generator: np.random.Generator) -> Arrays:
        made = {name: generator.normal(size=value.shape) for name, value in update.items()}
        norm = np.sqrt(sum(float(((v - model[n]) ** 2).sum()) for n, v in update.items()))
        scale = times * norm / np.sqrt(sum(float((one**2).sum()) for one in made.values()))
        return {n: np.asarray(model[n] + scale * one, np.float32) for n, one in made.items()}

    return attack


#: By the name in the table. Wrong labels are a lie before training (`WrongLabels`).
ATTACKS: Final[Mapping[str, Attack | None]] = {
    "none": None,
    "sign flipped": moved(-1.0),
    "sign flipped, x10": moved(-10.0),
    "scaled x10": moved(10.0),
    "scaled x100": moved(100.0),
    "noise x10": noise(10.0),
    "labels flipped": None,
}
RULES: Final[Mapping[str, StrategySettings]] = {
    "FedAvg": StrategySettings(name="FedAvg"),
    "FedAvg, clipped to the median norm": StrategySettings(name="FedAvg", clip_to_median_norm=1.0),
    "trimmed mean": StrategySettings(name="FedTrimmedAvg", options={"beta": 0.2}),
    "median": StrategySettings(name="FedMedian"),
    "Krum": StrategySettings(name="Krum", options={"num_malicious_nodes": 1}),
    "multi-Krum": StrategySettings(
        name="MultiKrum", options={"num_malicious_nodes": 1, "num_nodes_to_select": 3}
    ),
}


@dataclass(frozen=True)
class WrongLabels:
    """A source whose labels are all wrong: density mirrored, grades turned, regions swapped."""

    source: PatientSource
    middle: float = 1.0

    @property
    def patients(self) -> Sequence[str]:
        return self.source.patients

    def studies(self, patient: str) -> Sequence[StudyRecord]:
        return [self._wrong(study) for study in self.source.studies(patient)]

    def _wrong(self, study: StudyRecord) -> StudyRecord:
        labels = replace(
            study.labels,
            bmd={name: 2 * self.middle - value for name, value in study.labels.bmd.items()},
            genant={name: 3 - grade for name, grade in study.labels.genant.items()},
        )
        images = {}
        for view, image in study.images.items():
            regions = None
            if image.regions is not None:
                codes = [int(code) for code in np.unique(image.regions)]
                turned = dict(zip(codes, codes[1:] + codes[:1], strict=True))
                regions = np.vectorize(turned.get)(image.regions).astype(image.regions.dtype)
            images[view] = replace(image, regions=regions)
        return replace(study, labels=labels, images=images)


@dataclass(frozen=True)
class Trial:
    """A federation of five hospitals, plain training, equal numbers of patients.

    Parameters
    ----------
    kept : dict, optional
        Holds what each hospital trained, by hospital, round, the model's digest and whether
        labels were wrong: all that training follows from in one trial. Rules under which the
        liar does not come through train the same models, and each is trained once.
    """

    task: Task
    start: Arrays
    sources: Mapping[str, PatientSource]
    unseen: PatientSource
    settings: OptimiserSettings
    rounds: int
    seed: int = 1
    compute: Compute = field(default_factory=lambda: Compute(device="cpu", threads=1))
    kept: dict[tuple[str, int, str, bool], LocalRound] | None = None

    def run(self, rule: StrategySettings, attack: str) -> tuple[dict[str, float], list[str]]:
        """Train under an attack; give the metrics on unseen patients, and who was rejected."""
        task = self.task
        network = task.network()
        set_arrays(network, self.start)
        names = trainable_names(task, network, self.settings.trainable)
        aggregator = Aggregator(rule, names, 10_000)
        model, rejected = dict(self.start), []
        for number in range(1, self.rounds + 1):
            sent = halved(model)
            with tempfile.TemporaryDirectory() as folder:
                spool, updates = Spool(Path(folder)), {}
                for site in self.sources:
                    wrong = site == LIAR and attack == "labels flipped"
                    done = self._trained(network, site, number, sent, wrong)
                    update = done.arrays
                    lie = ATTACKS[attack]
                    if site == LIAR and lie is not None:
                        update = lie(update, sent, numpy_generator(self.seed, "lie", number))
                    update = halved({name: update[name] - sent[name] for name in names})
                    try:
                        aggregator.check(site, update, model)
                    except AggregationRefusedError:
                        rejected.append(site)
                        continue
                    updates[site] = spool.keep(site, update, done.patients)
                model, _ = aggregator.combine(number, model, updates)
        set_arrays(network, halved(model))
        return task.metrics(evaluate(task, network, self.unseen, self.compute)), rejected

    def _trained(
        self, network: torch.nn.Module, site: str, number: int, sent: Arrays, wrong: bool
    ) -> LocalRound:
        """Train one hospital's round from a model; what was kept of the same is taken."""
        key = RoundKey(self.seed, site, number, digest_arrays(sent))
        same = (site, number, key.model_digest, wrong)
        if self.kept is not None and same in self.kept:
            return self.kept[same]
        source = WrongLabels(self.sources[site]) if wrong else self.sources[site]
        set_arrays(network, sent)
        done = train_plain(self.task, network, source, self.settings, key, self.compute)
        if self.kept is not None:
            self.kept[same] = done
        return done


def fresh_start(task: Task, seed: int) -> Arrays:
    """The network's own initialisation, drawn from a seed."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return get_arrays(task.network())


def small_trial() -> Trial:
    """A federation that is trained in seconds: small images of stacked blocks, 12 a hospital."""
    from shared.tasks import make_task
    from tests.server.tiny_sites import TINY_TASK
    from tests.shared.standins import Standins

    task = make_task(TINY_TASK)
    return Trial(
        task=task,
        start=fresh_start(task, 1),
        sources={name: Standins(12, seed) for seed, name in enumerate(SITES, start=1)},
        unseen=Standins(12, 99),
        settings=OptimiserSettings(
            learning_rate=0.01, steps_per_round=6, batch_patients=6, augment=False
        ),
        rounds=10,
    )
