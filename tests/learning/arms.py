"""The ways of training that are compared: alone, pooled, federated, private.

All begin with the same pretrained weights. Pooled training takes as many gradient steps as
the hospitals of the federated run together, a hospital alone as many as it takes in that run
(`alone-X`: equal passes over its patients) or as many as all of them (`long-X`).
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import torch

from shared.metrics.statistics import Statistics
from shared.protocol.codec import Arrays
from shared.seeds import numpy_generator
from shared.settings.files import StrategySettings
from shared.settings.task import OptimiserSettings, PrivateSettings
from shared.tasks import make_task
from shared.tasks.base import Task
from shared.training.accounting import noise_multiplier_for
from shared.training.arrays import get_arrays, set_arrays
from shared.training.batches import Patients, RoundKey, to_batch
from shared.training.compute import Compute
from shared.training.local_round import train_plain
from shared.training.optimising import threads
from shared.training.pretraining import train_on_public
from shared.training.weights import Weights, load_weights, save_weights
from tests.learning.cohorts import Cohort, Pooled
from tests.learning.federating import federate
from tests.learning.persons import by_persons_alone, newest
from tests.learning.stored import Run, run_of

#: δ ≤ 1/(10·patients) for up to a thousand patients a hospital.
DELTA: Final = 1e-4
#: No network: what sex, age and body mass index say of everyone's patients.
PERSONS: Final = "persons"
#: By what share of itself a weight is nudged. A millionth moves scores by a third of what lies
#: between two kinds of processor, which round otherwise at every step.
NUDGE: Final = 1e-3
EPSILONS: Final = (2.0, 4.0, 8.0)
#: By task: changes whenever the same settings train otherwise, so that older runs are made anew.
METHODS: Final[Mapping[str, int]] = {"dxa-bmd": 5, "vfa-fracture": 3}
FIRST_METHOD: Final = 2
#: By task: changes whenever the patients who test do, so that runs are measured anew.
MEASURES: Final[Mapping[str, int]] = {"vfa-fracture": 2}
#: Told what is being done and how far it is, from 0 to 1.
Tell = Callable[[str, float], None]
FEDAVG: Final = StrategySettings(name="FedAvg")
#: How the server combines plain updates, where not by FedAvg. What noise moves is better
#: not given momentum, so private runs use FedAvg everywhere.
_WITH_MOMENTUM: Final = StrategySettings(name="FedAvgM", options={"server_momentum": 0.5})
PLAIN_STRATEGIES: Final[Mapping[str, StrategySettings]] = {
    "dxa-bmd": _WITH_MOMENTUM,
    "dxa-segmentation": _WITH_MOMENTUM,
    "vfa-fracture": _WITH_MOMENTUM,
}


@dataclass
class Bench:
    """One cohort and seed. `kept` is a folder for trained weights, so that nothing is twice.

    Pretraining of another `nudge` begins with weights that differ by a thousandth: as good a
    start, and what comes of it differs as it would on another kind of processor.
    """

    cohort: Cohort
    seed: int
    compute: Compute
    tell: Tell = lambda _what, _share: None
    kept: Path | None = None
    nudge: int = 0

    def __post_init__(self) -> None:
        """Prepare the patients of every party once."""
        self.task: Task = make_task(self.cohort.settings)
        self.hospitals = {
            name: Patients(self.task, source) for name, source in self.cohort.hospitals.items()
        }
        self.unseen = Patients(self.task, self.cohort.unseen)
        self._pretrained: tuple[Arrays, float] | None = None

    @property
    def arms(self) -> list[str]:
        """Every way of training, in the order of a table."""
        return arms_of(self.cohort)

    @property
    def steps(self) -> int:
        """Gradient steps in all: of every hospital over all rounds of the plain federation."""
        plain = self.cohort.settings.plain
        return self.cohort.rounds * plain.steps_per_round * len(self.hospitals)

    def pretrained(self) -> Arrays:
        """Weights trained on the public patients."""
        return self.trained("pretrained")[0]

    def trained(self, arm: str) -> tuple[Arrays, float]:
        """Weights of one way of training and the seconds it took, kept ones where there are.

        All ways begin with the pretrained weights, which are trained or read once.
        """
        if arm != "pretrained":
            return self._made(arm)
        if self._pretrained is None:
            self._pretrained = self._made(arm)
        return self._pretrained

    def _made(self, arm: str) -> tuple[Arrays, float]:
        path = self._kept(arm)
        if path is not None and path.exists():
            kept = load_weights(path)
            return kept.arrays, float(kept.origin.rpartition(" ")[2])
        started = time.perf_counter()
        arrays = self._train_publicly() if arm == "pretrained" else self.train(arm)
        seconds = time.perf_counter() - started
        if path is not None:
            path.parent.mkdir(parents=True, exist_ok=True)
            told = f"{self.cohort.name}, seed {self.seed}, {arm}, seconds {seconds:.1f}"
            save_weights(path, Weights(self.cohort.settings, arrays, told))
        return arrays, seconds

    def _kept(self, arm: str) -> Path | None:
        if self.kept is None:
            return None
        digest = digest_of(self.cohort, arm)
        start = f"{self.seed}.{self.nudge}" if self.nudge else f"{self.seed}"
        return self.kept / f"{self.cohort.name}-{start}-{arm}-{digest}.safetensors"

    def _train_publicly(self) -> Arrays:
        with torch.random.fork_rng():
            torch.manual_seed(self.seed)
            network = self.task.network()
        if self.nudge:
            _nudge(network, self.nudge)
        settings = self.cohort.settings.pretrain
        public = Patients(self.task, self.cohort.public)
        key = RoundKey(self.seed, "bench-pretrained", 1, "none")
        train_on_public(
            self.task, network, public, settings, key, self.compute,
            lambda done, steps, _: self.tell("pretrained", done / steps),
        )  # fmt: skip
        return get_arrays(network)

    def train(self, arm: str) -> Arrays:
        """Train one way, from the pretrained weights."""
        kind, _, which = arm.partition("-")
        if kind in ("alone", "long", "pooled"):
            patients = self.hospitals[which] if which else self._everyone()
            network = self.task.network()
            set_arrays(network, self.pretrained())
            # One long round, so its rate falls once.
            steps = self.steps // len(self.hospitals) if kind == "alone" else self.steps
            settings = self.cohort.settings.plain.model_copy(
                update={"steps_per_round": steps, "schedule": "cosine"}
            )
            self._train(network, patients, settings, arm)
            return get_arrays(network)
        hospitals = {name: one for name, one in self.hospitals.items() if name != which}
        private = kind == "private"
        rounds = self.cohort.private_rounds if private else self.cohort.rounds
        strategy = _strategy_of(self.task.name, kind)
        return federate(
            self.task, self.cohort.settings, self.pretrained(), hospitals, rounds=rounds,
            seed=self.seed, compute=self.compute, strategy=strategy,
            epsilon=float(which) if private else None, delta=DELTA,
            report=lambda number, _: self.tell(arm, number / rounds),
        )  # fmt: skip

    def run(self, arm: str) -> Run:
        """Train one way and measure it on every patient of the hospitals that take no part."""
        started = time.perf_counter()
        if arm == PERSONS:
            measured = by_persons_alone(
                self.task, self._everyone(), self.unseen, self.cohort.groups
            )
            seconds = time.perf_counter() - started
        else:
            arrays, seconds = self.trained(arm)
            measured = per_patient(self.task, arrays, self.unseen, self.cohort, self.compute)
        facts = {
            "cohort": self.cohort.name,
            "task": self.task.name,
            "arm": arm,
            "seed": self.seed,
            "digest": measured_digest_of(self.cohort, arm),
            "hospitals": {name: len(one) for name, one in self.hospitals.items()},
            "steps": self.steps,
            "seconds": round(seconds, 1),
        }
        return run_of(facts, measured)

    def _everyone(self) -> Patients:
        return Patients(self.task, Pooled([one.source for one in self.hospitals.values()]))

    def _train(
        self, network: torch.nn.Module, patients: Patients, settings: OptimiserSettings, arm: str
    ) -> None:
        key = RoundKey(self.seed, f"bench-{arm}", 1, "none")
        train_plain(
            self.task, network, patients, settings, key, self.compute,
            progress=lambda done, steps, _: self.tell(arm, done / steps),
        )  # fmt: skip


def _nudge(network: torch.nn.Module, number: int) -> None:
    """Change each weight by about a thousandth of itself."""
    generator = numpy_generator(number, "nudge")
    with torch.no_grad():
        for weight in network.parameters():
            drawn = generator.standard_normal(tuple(weight.shape))
            weight.mul_(1 + NUDGE * torch.from_numpy(drawn).to(weight.dtype))


def arms_of(cohort: Cohort) -> list[str]:
    """Every way of training that a cohort has, in the order of a table."""
    alone = [f"{way}-{name}" for way in ("alone", "long") for name in cohort.hospitals]
    without = [f"without-{name}" for name in cohort.hospitals]
    private = [f"private-{epsilon:g}" for epsilon in EPSILONS]
    return ["pretrained", *alone, "pooled", "federated", *private, *without]


def digest_of(cohort: Cohort, arm: str) -> str:
    """Digest what the figures of an arm follow from, besides the seed and the code."""
    settings = cohort.settings.model_dump(mode="json")
    kind, _, which = arm.partition("-")
    if kind == "private":
        settings["private"] = _at_noise(cohort, float(which)).model_dump(
            mode="json", exclude={"full_rate_noise"}
        )
    rounds = {"pretrained": 0, PERSONS: 0, "private": cohort.private_rounds}.get(
        kind, cohort.rounds
    )
    used = {"pretrained": (), PERSONS: (), "private": ("private",)}.get(kind, ("plain",))
    chosen = {part: settings[part] for part in ("task", "network", "pretrain", *used)}
    if (strategy := _strategy_of(settings["task"], kind)) != FEDAVG:
        chosen["strategy"] = strategy.model_dump(mode="json")
    method = METHODS.get(cohort.settings.task, FIRST_METHOD)
    told = json.dumps([method, cohort.name, rounds, chosen], sort_keys=True)
    return hashlib.sha256(told.encode()).hexdigest()[:16]


def _at_noise(cohort: Cohort, epsilon: float) -> PrivateSettings:
    """Private settings with the rate that the smallest hospital trains with, to three digits."""
    private = cohort.settings.private
    steps = cohort.private_rounds * private.steps_per_round
    noise = noise_multiplier_for(epsilon, DELTA, private.sample_rate, steps)
    fewest = min(len(hospital.patients) for hospital in cohort.hospitals.values())
    slowed = private.slowed_by_noise(noise, fewest, cohort.private_rounds)
    return slowed.model_copy(update={"learning_rate": float(f"{slowed.learning_rate:.3g}")})


def measured_digest_of(cohort: Cohort, arm: str) -> str:
    """`digest_of`, and on whom it was measured."""
    measure = MEASURES.get(cohort.settings.task)
    return digest_of(cohort, arm) + ("" if measure is None else f"-{measure}")


def _strategy_of(task: str, kind: str) -> StrategySettings:
    """How the server combines what the hospitals of an arm send."""
    return PLAIN_STRATEGIES.get(task, FEDAVG) if kind in ("federated", "without") else FEDAVG


def per_patient(
    task: Task, arrays: Arrays, patients: Patients, cohort: Cohort, compute: Compute
) -> list[tuple[Statistics, Mapping[str, str]]]:
    """Statistics of each patient alone, and the groups it belongs to."""
    network = task.network()
    set_arrays(network, arrays, strict=True)
    network.to(compute.device).eval()
    found = []
    with threads(compute), torch.no_grad():
        for name in patients.names:
            batch = to_batch([patients.newest(name)], compute.device)
            output = network(batch["image"], batch["covariates"]).float()
            found.append((task.statistics(output, batch), cohort.groups(newest(patients, name))))
    return found
