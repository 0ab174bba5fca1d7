"""The chance of osteoporosis by DXA, from vertebral bodies and muscle of an unenhanced chest CT."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import ClassVar, Final

import numpy as np
import torch
from torch import Tensor, nn

from shared.findings.chances import MINIMUM_AGE, osteoporosis_chance
from shared.findings.completion import completed
from shared.findings.facts import NotAssessed
from shared.findings.findings import FRACTURE_GRADE, Findings
from shared.findings.region_names import levels as level_words
from shared.findings.region_names import levels_by_reason
from shared.metrics.released import ReleasedSums
from shared.metrics.statistics import Statistics
from shared.metrics.told import Told, told_agreement, told_loss
from shared.records import PatientSource, StudyRecord
from shared.settings.contract import CompletenessRule, DataContract
from shared.tasks.augmentation import Variation, vary
from shared.tasks.base import Headline, Task
from shared.tasks.chest.chance import (
    AUC,
    METRIC_WORDS,
    OPERATING_POINT,
    chance_loss,
    chance_metrics,
    chance_statistics,
    patient_logits,
)
from shared.tasks.chest.levels import LEVELS
from shared.tasks.chest.regions import ChestCtRegions, chest_patients
from shared.tasks.chest.series import chosen_unenhanced, why_no_unenhanced
from shared.tasks.chest.study_crops import (
    StudyCrops,
    paired_osteoporosis,
    read_crops,
    told_age_and_sex,
)
from shared.tasks.densities import as_density_network
from shared.tasks.inputs import TaskInputs
from shared.tasks.reading import Reading
from shared.tasks.sample import Sample

#: Rows and columns of a crop.
SIDE: Final[Mapping[str, int]] = {"small": 32, "published": 96}
WHAT: Final = "osteoporosis from the chest CT"
#: Spread of a scanner's own scale of grey levels and of its offset; grey levels are what is seen.
SCALE_SPREAD: Final = 0.02
OFFSET_SPREAD: Final = 0.01
VARIATION: Final = Variation(rotation=0.1, shift=1.0, zoom=0.04, noise=0.01)
MIRRORED_SHARE: Final = 0.5
#: A level's place as a number, in the order of `LEVELS`.
PLACES: Final = (-0.5, 0.0, 0.5)


class ChestCtOsteoporosis(Task):
    """DenseNet on two crops of each of three levels; a patient's logit is the mean of the levels'.

    The levels are units: each that can be assessed says something by itself, so that a series
    which ends above L1 is read by T11 and T12.
    """

    name: ClassVar[str] = "chest-ct-osteoporosis"
    units: ClassVar[int] = len(LEVELS)
    inputs: ClassVar[TaskInputs] = TaskInputs(series=True)
    headline: ClassVar[Headline] = Headline(AUC, True, METRIC_WORDS[AUC][0])
    beside: ClassVar[tuple[Headline, ...]] = (
        Headline("sensitivity", True, METRIC_WORDS["sensitivity"][0]),
        Headline("specificity", True, METRIC_WORDS["specificity"][0]),
    )
    #: Nothing: an AUC is of counts over thresholds, and those wait for a release of their own.
    released: ClassVar[ReleasedSums] = ReleasedSums()
    assesses: ClassVar[str] = "the chance of osteoporosis from the chest CT"
    after: ClassVar[tuple[str, ...]] = (ChestCtRegions.name,)
    grade_metrics: ClassVar[Mapping[str, tuple[str, float]]] = {AUC: (METRIC_WORDS[AUC][0], 0.5)}
    #: An abdominal CT is no chest CT.
    always_asked: ClassVar[bool] = False
    contract: ClassVar[DataContract] = DataContract(
        completeness=(CompletenessRule(of="label:paired_bmd", at_least=0.5, weight="should"),)
    )

    @property
    def side(self) -> int:
        """Rows and columns of a crop."""
        given = self.settings.network.image_size
        return SIDE[self.settings.network.size] if given is None else given[0]

    @property
    def covariates(self) -> int:
        """Numbers beside the image: the level's place; age and sex by setting."""
        return 3 if self.settings.network.age_and_sex else 1

    def uses(self, study: StudyRecord) -> bool:
        """Use a study with an unenhanced series, a marked level and a paired DXA."""
        chosen = chosen_unenhanced(study)
        if chosen is None or paired_osteoporosis(study) is None:
            return False
        return any(level in chosen[1].marked_slices for level in LEVELS)

    def sample(self, study: StudyRecord) -> Sample:
        """Cut the levels out of the chosen series.

        Returns
        -------
        Sample
            "image" (3, 2, S, S) body and muscle of T11, T12 and L1 (`crops.LevelCrop`), zeros
            where a level cannot be assessed; "covariates" (3, F) the level's place, with age and
            sex by setting; "weight" (3,) 1 over the number of levels that count, of those; "placed"
            (3,) 1 where a level is assessed; "positive" (3,) 1 where the paired DXA shows
            osteoporosis, and "known" (3,) 1 where there is one.
        """
        chosen = chosen_unenhanced(study)
        crops = StudyCrops() if chosen is None else read_crops(chosen[1], self.side)
        return self._sample(study, crops)

    def _sample(self, study: StudyRecord, crops: StudyCrops) -> Sample:
        """Make the tensors of what was cut out."""
        label = paired_osteoporosis(study)
        empty = np.zeros((2, self.side, self.side), np.float32)
        found = [crops.levels.get(level) for level in LEVELS]
        images = [empty if one is None else np.stack([one.body, one.muscle]) for one in found]
        placed = torch.tensor([float(one is not None) for one in found])
        told = torch.tensor([[place, *told_age_and_sex(study.covariates)] for place in PLACES])
        ones = torch.ones(self.units)
        return {
            "image": torch.as_tensor(np.stack(images)),
            "covariates": told[:, : self.covariates].float(),
            "weight": placed * float(label is not None) / placed.sum().clamp(min=1),
            "placed": placed,
            "positive": ones * float(label is True),
            "known": ones * float(label is not None),
        }

    def augment(self, sample: Sample, generator: np.random.Generator) -> Sample:
        """Move and mirror the crops, vary the scanner's scale; what was left out stays 0."""
        variation = VARIATION.enlarged(self.side / SIDE["small"])
        image = sample["image"]
        moved, _ = vary(image.flatten(0, 1), None, variation, generator)
        moved = moved.reshape(image.shape)
        if generator.random() < MIRRORED_SHARE:
            moved = moved.flip(-1)
        slope = 1 + SCALE_SPREAD * generator.normal()
        offset = OFFSET_SPREAD * generator.normal()
        shaded = (moved * slope + offset * (moved > 0)).clamp(0, 1)
        return {**sample, "image": (shaded * sample["placed"][:, None, None, None]).float()}

    def network(self) -> nn.Module:
        """Make the DenseNet that says where to look, and measures there."""
        from shared.networks.densenet import DensityNetwork

        return DensityNetwork(
            outputs=(1,),
            covariates=self.covariates,
            centres=(0.0,),
            scales=(1.0,),
            size=self.settings.network.size,
            channels=2,
        )

    def head_parameters(self) -> tuple[str, ...]:
        """Name the last linear layer."""
        return ("heads.",)

    @torch.no_grad()
    def settle(self, network: nn.Module, public: Iterable[Sample]) -> None:
        """Whiten what the head is given of levels (`shared.networks.whitening` says why)."""
        density = as_density_network(network, self.name)
        found = [
            [part[sample["placed"] > 0] for part in density.measure(sample["image"])]
            for sample in public
        ]
        measured, context = (torch.cat(parts) for parts in zip(*found, strict=True))
        density.whiten(measured, context)

    def loss(self, output: Tensor, batch: Sample) -> Tensor:
        """Cross-entropy of each level, shape (B,)."""
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

    def find(self, reading: Reading) -> Findings:
        """Say the chance of osteoporosis, or why it is not assessed."""
        study = completed(reading.study, reading.before)
        chosen, age = chosen_unenhanced(study), study.covariates.age_years
        if chosen is None:
            return _nothing(why_no_unenhanced(study))
        if age is None:
            return _nothing("the patient's age is not known, and no such model is validated under "
                            f"{MINIMUM_AGE}")  # fmt: skip
        if age < MINIMUM_AGE:
            return _nothing(f"no such model is validated under {MINIMUM_AGE}")
        crops = read_crops(chosen[1], self.side)
        gaps = dict(crops.gaps) | {
            level: f"{level} is fractured by the hospital's reading, and denser for it"
            for level in LEVELS
            if reading.labels.genant.get(level, 0) >= FRACTURE_GRADE
        }
        kept = {level: crop for level, crop in crops.levels.items() if level not in gaps}
        if not kept:
            return _nothing("; ".join(dict.fromkeys(gaps.values())))
        sample = self._sample(study, StudyCrops(kept, gaps))
        logit = patient_logits(reading.run(sample), sample["placed"], self.units)
        chance = osteoporosis_chance(
            self.name, list(kept), float(logit.sigmoid()[0]), OPERATING_POINT
        )
        return Findings(chances=(chance,), not_assessed=_left_out(gaps))

    @classmethod
    def digital_patients(
        cls, number: int, seed: int, *, workers: int = 1, cache: Path | None = None
    ) -> PatientSource:
        """Make digital patients with a chest CT; parameters as of `Task.digital_patients`."""
        return chest_patients(number, seed, workers, cache)


def told_chances(metrics: Mapping[str, float], told: list[Told]) -> list[Told]:
    """Tell metrics of a chance in words, an AUC against saying the same of everybody."""
    found = []
    for one in told:
        words, same = METRIC_WORDS.get(one.metric, (one.words, None))
        if same is not None:
            found.append(told_agreement(one.metric, words, one.value, same))
        elif one.metric != "loss":
            found.append(Told(one.metric, words, one.value, one.unit, one.judgement))
    return found + told_loss(metrics)


def _nothing(why: str) -> Findings:
    return Findings(not_assessed=(NotAssessed(what=WHAT, why=why),))


def _left_out(gaps: Mapping[str, str]) -> tuple[NotAssessed, ...]:
    """Say which levels say nothing and why, levels of one reason together."""
    return tuple(
        NotAssessed(what=f"{WHAT} at {level_words(names)}", why=why)
        for why, names in levels_by_reason(gaps).items()
    )
