"""The model that the network is held against: logistic on muscle over height squared."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar, Final

import numpy as np
import torch
from torch import Tensor, nn

from shared.metrics.released import ReleasedSums
from shared.metrics.statistics import Statistics
from shared.metrics.told import Told
from shared.records import PatientSource, StudyRecord
from shared.settings.contract import CompletenessRule, DataContract
from shared.tasks.base import Headline, Task
from shared.tasks.chest.chance import (
    AUC,
    METRIC_WORDS,
    chance_loss,
    chance_metrics,
    chance_statistics,
)
from shared.tasks.chest.levels import LEVELS
from shared.tasks.chest.osteoporosis import told_chances
from shared.tasks.chest.regions import ChestCtRegions, chest_patients
from shared.tasks.chest.series import chosen_unenhanced
from shared.tasks.chest.study_crops import paired_osteoporosis, read_crops, told_age_and_sex
from shared.tasks.inputs import TaskInputs
from shared.tasks.sample import Sample

#: Middle and spread of muscle behind the canal over height squared, cm²/m²: the unit in which the
#: model learns. Of digital patients; a real hospital's may lie elsewhere [U].
CENTRE: Final = 9.5
SCALE: Final = 2.0
#: Crops are not needed; the area does not depend on their size.
SIDE: Final = 8
#: Variation of an index by posture and edge, cm²/m² in units of `SCALE`.
SPREAD: Final = 0.05


class ChestCtSmi(Task):
    """One number a patient, with age and sex by setting; the chance of osteoporosis by DXA."""

    name: ClassVar[str] = "chest-ct-smi"
    units: ClassVar[int] = 1
    inputs: ClassVar[TaskInputs] = TaskInputs(series=True)
    headline: ClassVar[Headline] = Headline(AUC, True, METRIC_WORDS[AUC][0])
    released: ClassVar[ReleasedSums] = ReleasedSums()
    assesses: ClassVar[str] = "the chance of osteoporosis from the muscle of the chest CT"
    after: ClassVar[tuple[str, ...]] = (ChestCtRegions.name,)
    #: It is compared with, and stands in no report.
    reports: ClassVar[bool] = False
    contract: ClassVar[DataContract] = DataContract(
        completeness=(CompletenessRule(of="label:paired_bmd", at_least=0.5, weight="should"),)
    )

    @property
    def covariates(self) -> int:
        """Age and sex by setting; otherwise one number that is 0."""
        return 2 if self.settings.network.age_and_sex else 1

    def uses(self, study: StudyRecord) -> bool:
        """Use a study with an unenhanced series, a marked level, a paired DXA and a height."""
        chosen = chosen_unenhanced(study)
        if chosen is None or paired_osteoporosis(study) is None or not study.covariates.height_cm:
            return False
        return any(level in chosen[1].marked_slices for level in LEVELS)

    def sample(self, study: StudyRecord) -> Sample:
        """Measure the muscle index.

        Returns
        -------
        Sample
            "image" (1, 1, 1, 1) the index by `CENTRE` and `SCALE`, 0 where it is not computed;
            "covariates" (1, F); "weight", "placed", "positive" and "known" (1,) as of
            `ChestCtOsteoporosis`.
        """
        index, label = muscle_index(study), paired_osteoporosis(study)
        shown = 0.0 if index is None else (index - CENTRE) / SCALE
        told = torch.zeros(1, 1)
        if self.settings.network.age_and_sex:
            told = torch.tensor([told_age_and_sex(study.covariates)])
        placed, known = float(index is not None), float(label is not None)
        return {
            "image": torch.full((1, 1, 1, 1), shown),
            "covariates": told.float(),
            "weight": torch.tensor([placed * known]),
            "placed": torch.tensor([placed]),
            "positive": torch.tensor([float(label is True)]),
            "known": torch.tensor([known]),
        }

    def augment(self, sample: Sample, generator: np.random.Generator) -> Sample:
        """Vary the index a little."""
        moved = sample["image"] + SPREAD * float(generator.normal())
        return {**sample, "image": moved.float()}

    def network(self) -> nn.Module:
        """Make the logistic model."""
        return MuscleIndexModel(self.covariates)

    def head_parameters(self) -> tuple[str, ...]:
        """Name the weight of the index; age and sex have a layer of their own."""
        return ("index.",)

    def loss(self, output: Tensor, batch: Sample) -> Tensor:
        """Cross-entropy, shape (B,)."""
        return chance_loss(output, batch)

    def statistics(self, output: Tensor, batch: Sample) -> Statistics:
        """Count scores by bin and class, and what the operating point makes of them."""
        return chance_statistics(output, batch, self.units, self.loss(output, batch))

    def metrics(self, statistics: Mapping[str, float]) -> dict[str, float]:
        """Give ``auc_osteoporosis``, ``sensitivity``, ``specificity``, ``brier`` and ``loss``."""
        return chance_metrics(statistics)

    def tell(self, statistics: Mapping[str, float]) -> list[Told]:
        """Tell the AUC against saying the same of everybody."""
        return told_chances(self.metrics(statistics), super().tell(statistics))

    @classmethod
    def digital_patients(
        cls, number: int, seed: int, *, workers: int = 1, cache: Path | None = None
    ) -> PatientSource:
        """Make digital patients with a chest CT; parameters as of `Task.digital_patients`."""
        return chest_patients(number, seed, workers, cache)


class MuscleIndexModel(nn.Module):
    """Logistic regression; ``forward(image (B, 1, 1, 1), covariates (B, F)) -> logits (B, 1)``."""

    def __init__(self, covariates: int) -> None:
        super().__init__()
        self.index = nn.Linear(1, 1)
        self.person = nn.Linear(covariates, 1, bias=False)
        for weight in self.parameters():
            nn.init.zeros_(weight)

    def forward(self, image: Tensor, covariates: Tensor) -> Tensor:
        """Add what the index and the person say."""
        found: Tensor = self.index(image.flatten(1)) + self.person(covariates)
        return found


def muscle_index(study: StudyRecord) -> float | None:
    """Muscle behind the canal over height squared, cm²/m²: the mean of the levels that are read.

    Returns
    -------
    float or None
        None where the height is not known or no level could be read: it is not computed.
    """
    chosen, height = chosen_unenhanced(study), study.covariates.height_cm
    if chosen is None or not height:
        return None
    areas = [one.muscle_cm2 for one in read_crops(chosen[1], SIDE).levels.values()]
    return float(np.mean(areas)) / (height / 100) ** 2 if areas else None
