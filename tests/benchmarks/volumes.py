"""Two tasks on volumes of noise, for measuring: what a step costs hangs on shapes alone."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from shared.metrics.statistics import Statistics
from shared.records import StudyRecord
from shared.settings.task import TaskSettings
from shared.tasks.base import Headline, Task
from shared.tasks.inputs import TaskInputs
from shared.tasks.sample import Sample


class VolumeTask(Task):
    """One volume a patient: PyTorch is slowest where a patient has one unit."""

    units: ClassVar[int] = 1
    inputs: ClassVar[TaskInputs] = TaskInputs(series=True)
    headline: ClassVar[Headline] = Headline("loss", False, "loss")
    #: Slices, rows, columns.
    size: ClassVar[tuple[int, int, int]]
    #: Classes of a segmentation, thresholds of a grading.
    outputs: ClassVar[int]

    def __init__(self) -> None:
        super().__init__(TaskSettings(task=self.name))

    def uses(self, study: StudyRecord) -> bool:
        """Every study serves: none is read."""
        return True

    def sample(self, study: StudyRecord) -> Sample:
        """Draw noise by a patient's name."""
        return self.drawn(int(study.patient[1:]))

    def drawn(self, patient: int) -> Sample:
        """Draw noise by a patient's number."""
        generator = torch.Generator().manual_seed(patient)
        return {
            "image": torch.rand((1, 1, *self.size), generator=generator),
            "covariates": torch.ones(1, 1),
            "weight": torch.ones(1),
            "target": self.target(generator),
        }

    def target(self, generator: torch.Generator) -> Tensor:
        """Draw what is to be learnt, (1, ...)."""
        raise NotImplementedError

    def augment(self, sample: Sample, generator: np.random.Generator) -> Sample:
        """Leave it: a step begins with the batch."""
        return sample

    def head_parameters(self) -> tuple[str, ...]:
        """Name the head of both networks."""
        return ("head.",)

    def statistics(self, output: Tensor, batch: Sample) -> Statistics:
        """Sum the loss."""
        return {"patients": len(output), "loss_sum": float(self.loss(output, batch).sum())}

    def metrics(self, statistics: Mapping[str, float]) -> dict[str, float]:
        """Give the mean loss."""
        return {"loss": statistics["loss_sum"] / statistics["patients"]}


class SegmentsVolumes(VolumeTask):
    """Six classes in 16 slices of 64×64."""

    name: ClassVar[str] = "segments-volumes"
    size = (16, 64, 64)
    outputs = 6

    def target(self, generator: torch.Generator) -> Tensor:
        """Draw a class for every voxel."""
        return torch.randint(self.outputs, (1, *self.size), generator=generator)

    def network(self) -> nn.Module:
        """Make the small U-Net."""
        from shared.networks.unet import SegmentationNetwork

        return SegmentationNetwork(1, [[True] * self.outputs], "small", 3)

    def loss(self, output: Tensor, batch: Sample) -> Tensor:
        """Cross-entropy, mean over voxels."""
        of_voxels = functional.cross_entropy(output, batch["target"], reduction="none")
        return batch["weight"] * of_voxels.flatten(1).mean(1)


class GradesVolumes(VolumeTask):
    """Three thresholds of a crop of 16×32×32."""

    name: ClassVar[str] = "grades-volumes"
    size = (16, 32, 32)
    outputs = 3

    def target(self, generator: torch.Generator) -> Tensor:
        """Draw which thresholds are passed."""
        return torch.randint(2, (1, self.outputs), generator=generator).float()

    def network(self) -> nn.Module:
        """Make the small ResNet."""
        from shared.networks.resnet import GradingNetwork

        return GradingNetwork(1, 1, self.outputs, "small", 3)

    def loss(self, output: Tensor, batch: Sample) -> Tensor:
        """Cross-entropy, mean over thresholds."""
        of_thresholds = functional.binary_cross_entropy_with_logits(
            output, batch["target"], reduction="none"
        )
        return batch["weight"] * of_thresholds.mean(1)
