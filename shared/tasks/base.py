"""What a task is: the only thing the rest of the platform knows about learning.

A task turns one patient into a `Sample`, says which network learns from it, what
is lost on it and which sums its metrics are made of. The unit of sampling, of
clipping and of the privacy guarantee is the **patient**.

One patient may give several network inputs, called *units* here: three views of
a segmentation, thirteen vertebrae of a fracture reading. A sample therefore has
K units, with a weight of 0 for a unit that is missing. The training loop folds
(N, K, ...) to (N·K, ...) for the network and sums per-unit gradients back to one
gradient per patient before clipping.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from shared.records import StudyRecord, View
from shared.settings.task import TaskSettings

#: One patient (leading axis K) or a batch of patients (leading axes N, K).
#: Always holds "image" (K, C, H, W) float32, "covariates" (K, F) float32 and
#: "weight" (K,) float32; targets are the task's own.
Sample = dict[str, Tensor]

#: Sums that add up over patients and over sites; always holds "patients" and
#: "loss_sum".
Statistics = dict[str, float]


class Task(ABC):
    """One trainable job. Subclasses hold no state besides their settings."""

    name: ClassVar[str]
    #: Units per patient, K.
    units: ClassVar[int]
    #: Views without which a study is of no use to the task.
    needs: ClassVar[tuple[View, ...]]
    #: The metric of a report and whether more is better.
    headline: ClassVar[tuple[str, bool]]

    def __init__(self, settings: TaskSettings) -> None:
        self.settings = settings

    @abstractmethod
    def uses(self, study: StudyRecord) -> bool:
        """Say whether a study has the views and labels that training needs."""

    @abstractmethod
    def sample(self, study: StudyRecord) -> Sample:
        """Make the deterministic tensors of one study, targets where labels exist."""

    @abstractmethod
    def augment(self, sample: Sample, generator: np.random.Generator) -> Sample:
        """Vary a sample the way scanners and positioning would."""

    @abstractmethod
    def network(self) -> nn.Module:
        """Make the network, ``forward(image (B, C, H, W), covariates (B, F))``.

        It has no layer that mixes samples and nothing that works in place.
        """

    @abstractmethod
    def head_parameters(self) -> tuple[str, ...]:
        """Name prefixes of the parameters that count as the head."""

    def settle(self, network: nn.Module, public: Iterable[Sample]) -> None:  # noqa: B027
        """Fix parts of a pretrained network by samples of public patients; by default none.

        What the network gives does not change by it, only how fast it learns from here.
        """

    @abstractmethod
    def loss(self, output: Tensor, batch: Sample) -> Tensor:
        """Loss per unit, shape (N·K,), already weighted (0 for a missing unit).

        `batch` is folded: every tensor has the leading axis N·K.
        """

    @abstractmethod
    def statistics(self, output: Tensor, batch: Sample) -> Statistics:
        """Sums over a folded batch from which `metrics` computes."""

    @abstractmethod
    def metrics(self, statistics: Mapping[str, float]) -> dict[str, float]:
        """Metrics of any number of added-up statistics; a metric without data is absent."""


def add_statistics(left: Mapping[str, float], right: Mapping[str, float]) -> Statistics:
    """Add two sets of sums; a key that one lacks counts as zero."""
    return {key: left.get(key, 0.0) + right.get(key, 0.0) for key in sorted({*left, *right})}


def collate(samples: list[Sample]) -> Sample:
    """Stack samples of patients along a new leading axis, (K, ...) -> (N, K, ...)."""
    return {key: torch.stack([sample[key] for sample in samples]) for key in samples[0]}


def fold(batch: Sample) -> Sample:
    """Fold patients and units, (N, K, ...) -> (N·K, ...)."""
    return {key: value.flatten(0, 1) for key, value in batch.items()}
