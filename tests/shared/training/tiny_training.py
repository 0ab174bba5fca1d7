"""A task, a network and settings so small that a test counts on what a round does with them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from shared.metrics.statistics import Statistics
from shared.records import StudyRecord
from shared.settings.task import PrivateSettings, TaskSettings
from shared.tasks.base import Headline, Task
from shared.tasks.inputs import TaskInputs
from shared.tasks.sample import Sample
from shared.training.arrays import get_arrays, trainable_names
from shared.training.compute import Compute
from shared.training.local_round import RoundKey, train_private
from tests.shared.standins import Standins

KEY = RoundKey(b"secret of a test", "run", 1, "digest")
CPU = Compute(physical_batch_patients=4)
RATE, CLIP, PATIENTS = 0.5, 0.7, 12


class TinyNetwork(nn.Module):
    """A normalisation and a head, so that every choice of weights differs."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(5)
        self.norm = nn.GroupNorm(1, 2)
        self.body = nn.Conv2d(2, 3, 3)
        self.head = nn.Linear(3, 1)

    def forward(self, image: Tensor, covariates: Tensor) -> Tensor:
        features = self.body(self.norm(image)).tanh().mean((2, 3))
        output: Tensor = self.head(features) + covariates
        return output


class TinyTask(Task):
    """Two units a patient; learns a number from two channels of noise."""

    name: ClassVar[str] = "tiny"
    units: ClassVar[int] = 2
    inputs: ClassVar[TaskInputs] = TaskInputs()
    headline: ClassVar[Headline] = Headline("loss", False, "loss")
    #: Replaces the targets of a patient by this value.
    broken: ClassVar[dict[str, float]] = {}

    def uses(self, study: StudyRecord) -> bool:
        return bool(study.labels.bmd)

    def sample(self, study: StudyRecord) -> Sample:
        number = int(study.patient[1:])
        generator = torch.Generator().manual_seed(number)
        target = torch.rand(2, generator=generator) * 4
        if study.patient in self.broken:
            target = torch.full((2,), self.broken[study.patient])
        return {
            "image": torch.rand((2, 2, 6, 6), generator=generator),
            "covariates": torch.zeros(2, 1),
            "weight": torch.tensor([1.0, float(number % 3 > 0)]),
            "target": target,
        }

    def example(self) -> StudyRecord:
        return replace(super().example(), patient="p1")

    def augment(self, sample: Sample, generator: np.random.Generator) -> Sample:
        shade = torch.as_tensor(generator.normal(0, 0.1, sample["image"].shape)).float()
        return {**sample, "image": sample["image"] + shade}

    def network(self) -> nn.Module:
        return TinyNetwork()

    def head_parameters(self) -> tuple[str, ...]:
        return ("head.",)

    def loss(self, output: Tensor, batch: Sample) -> Tensor:
        return batch["weight"] * (output[:, 0] - batch["target"]).square()

    def statistics(self, output: Tensor, batch: Sample) -> Statistics:
        total = float(self.loss(output, batch).sum()) / self.units
        return {"patients": len(output) / self.units, "loss_sum": total}

    def metrics(self, statistics: Mapping[str, float]) -> dict[str, float]:
        return {"loss": statistics["loss_sum"] / statistics["patients"]}


TASK = TinyTask(TaskSettings(task="tiny"))


def private(**changes: Any) -> PrivateSettings:
    values: dict[str, Any] = {
        "trainable": "all", "learning_rate": RATE, "sample_rate": 1.0,
        "max_grad_norm": CLIP, "steps_per_round": 1, "augment": False,
    }  # fmt: skip
    return PrivateSettings(**(values | changes))


def flat(arrays: Mapping[str, NDArray[np.float32]]) -> NDArray[np.float64]:
    return np.concatenate([arrays[name].ravel() for name in sorted(arrays)]).astype(np.float64)


def private_update(
    settings: PrivateSettings,
    noise: float = 0.0,
    key: RoundKey = KEY,
    compute: Compute = CPU,
    patients: int = PATIENTS,
) -> NDArray[np.float64]:
    """Weights after a private round minus the weights before."""
    network = TASK.network()
    before = flat(get_arrays(network, trainable_names(TASK, network, settings.trainable)))
    done = train_private(TASK, network, Standins(patients), settings, noise, key, compute)
    return flat(done.arrays) - before
