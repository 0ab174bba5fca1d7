"""Vertebral fractures on the lateral image: one grade per vertebra from T4 to L4."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any, ClassVar, Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from shared.findings.completion import completed
from shared.findings.facts import NotAssessed
from shared.findings.findings import Findings, vertebra_grade
from shared.findings.region_names import levels
from shared.metrics import agreement, ranking
from shared.metrics.named import mean_loss, sums_of
from shared.metrics.statistics import Statistics
from shared.metrics.told import Told, told_agreement
from shared.records import ImageRecord, StudyRecord, View
from shared.regions import REGION_CODES, VERTEBRAE
from shared.settings.contract import CompletenessRule, CountRule, DataContract
from shared.tasks.augmentation import Variation, vary
from shared.tasks.base import Headline, Task
from shared.tasks.dxa_segmentation import DxaSegmentation
from shared.tasks.inputs import TaskInputs
from shared.tasks.pixels import crop_around, region_centres_mm
from shared.tasks.reading import Reading
from shared.tasks.sample import Sample

#: Genant grades: none, mild, moderate, severe.
GRADES: Final = 4
#: The three questions that are answered: grade at least 1, at least 2, at least 3.
THRESHOLDS: Final[tuple[int, ...]] = (1, 2, 3)
#: What a metric is called, and what it is if the same is said of everybody.
METRIC_WORDS: Final[Mapping[str, tuple[str, float]]] = {
    "auc_grade2": ("AUC, fracture grade ≥ 2, by vertebra", 0.5),
    "auc_grade1": ("AUC, fracture grade ≥ 1, by vertebra", 0.5),
    "auc_patient_grade2": ("AUC, fracture grade ≥ 2, by patient", 0.5),
    "auc_patient_grade1": ("AUC, fracture grade ≥ 1, by patient", 0.5),
    "kappa": ("agreement of grades, by vertebra (kappa)", 0.0),
}
#: Weight of a yes against a no, by question. Fixed, roughly the root of the odds in
#: a population over 50 (prevalences per vertebra about 4, 2 and 0.5 %): a site's own
#: prevalence would be private.
YES_WEIGHT: Final[tuple[float, ...]] = (5.0, 7.0, 12.0)
#: A vertebra's own height and both neighbours; small size.
SPACING_MM: Final = 1.6
CROP: Final[Mapping[str, tuple[int, int]]] = {"small": (40, 36), "published": (160, 144)}
VARIATION: Final = Variation(rotation=0.12, shift=2.5, zoom=0.06, noise=0.1, gamma=0.25, blur=0.6)

#: Row, column and height in mm from the image's first corner, by vertebra.
Positions = Mapping[str, tuple[float, float, float]]


class VfaFracture(Task):
    """ResNet on thirteen crops a patient; three cumulative questions per vertebra."""

    name: ClassVar[str] = "vfa-fracture"
    units: ClassVar[int] = len(VERTEBRAE)
    inputs: ClassVar[TaskInputs] = TaskInputs((View.SPINE_LATERAL,))
    headline: ClassVar[Headline] = Headline("auc_grade2", True, "AUC, fracture grade ≥ 2")
    contract: ClassVar[DataContract] = DataContract(
        counts=(CountRule(of="fracture", at_least=10, weight="should"),),
        completeness=(CompletenessRule(of="label:genant", at_least=0.9, weight="should"),),
    )
    assesses: ClassVar[str] = f"fractures of the vertebrae {levels(VERTEBRAE)}"
    after: ClassVar[tuple[str, ...]] = (DxaSegmentation.name,)
    grade_metrics: ClassVar[Mapping[str, tuple[str, float]]] = {
        name: METRIC_WORDS[name] for name in ("auc_grade2", "kappa")
    }

    @property
    def crop(self) -> tuple[int, int]:
        """Height and width of a crop in pixels."""
        return self.settings.network.image_size or CROP[self.settings.network.size]

    @property
    def spacing_mm(self) -> float:
        """Millimetres per pixel of a crop."""
        return SPACING_MM * CROP["small"][0] / self.crop[0]

    def uses(self, study: StudyRecord) -> bool:
        """Use a study with a lateral image, drawn vertebrae and at least one grade."""
        image = study.images.get(View.SPINE_LATERAL)
        return image is not None and image.regions is not None and bool(study.labels.genant)

    def sample(self, study: StudyRecord) -> Sample:
        """Cut the crops where the vertebrae were drawn (see `sample_at`)."""
        image = study.images.get(View.SPINE_LATERAL)
        positions: Positions = {}
        if image is not None and image.regions is not None:
            codes = {name: REGION_CODES[name] for name in VERTEBRAE}
            positions = region_centres_mm(image.regions, image.spacing_mm, codes)
        return self.sample_at(study, positions)

    def sample_at(self, study: StudyRecord, positions: Positions) -> Sample:
        """Cut crops at given places, for a study whose vertebrae a network found.

        Parameters
        ----------
        study : StudyRecord
            With a lateral image; grades are used where there are any.
        positions : mapping of str to (float, float, float)
            Centre row and column and height in mm from the image's first corner.

        Returns
        -------
        Sample
            "image" (13, 1, h, w), "covariates" (13, 1) the level from 0 (T4) to 1
            (L4), "weight" (13,) 0 where no grade or no place is known, "grade"
            (13,) int64, "placed" (13,) 1 where a crop was cut.
        """
        image = study.images.get(View.SPINE_LATERAL)
        crops, weights, grades, placed = [], [], [], []
        for name in VERTEBRAE:
            there = image is not None and name in positions
            grade = study.labels.genant.get(name)
            crops.append(
                self._cut(image, positions, name)
                if image is not None and there
                else torch.zeros(self.crop)
            )
            weights.append(float(there and grade is not None))
            grades.append(0 if grade is None else int(grade))
            placed.append(float(there))
        return {
            "image": torch.stack(crops)[:, None],
            "covariates": torch.linspace(0.0, 1.0, len(VERTEBRAE))[:, None],
            "weight": torch.tensor(weights),
            "grade": torch.tensor(grades),
            "placed": torch.tensor(placed),
        }

    def _cut(self, image: ImageRecord, positions: Positions, name: str) -> Tensor:
        """Cut one crop along the spine and bring it to mean 0 and variance 1."""
        row, column, _ = positions[name]
        angle = spine_angle(positions, name)
        crop = crop_around(image, (row, column), angle, self.spacing_mm, self.crop)
        spread = crop.std(correction=0).clamp(min=0.02)
        return (crop - crop.mean()) / spread

    def augment(self, sample: Sample, generator: np.random.Generator) -> Sample:
        """Move, shade and blur the crops of a patient alike."""
        variation = VARIATION.enlarged(self.crop[0] / CROP["small"][0])
        image, _ = vary(sample["image"][:, 0], None, variation, generator)
        return {**sample, "image": image[:, None]}

    def network(self) -> nn.Module:
        """Make the ResNet."""
        from shared.networks.resnet import GradingNetwork

        return GradingNetwork(1, 1, len(THRESHOLDS), self.settings.network.size)

    def head_parameters(self) -> tuple[str, ...]:
        """Name the last linear layer."""
        return ("head.",)

    @torch.no_grad()
    def settle(self, network: nn.Module, public: Iterable[Sample]) -> None:
        """Whiten what the head is given of crops (`shared.networks.whitening` says why)."""
        from shared.networks.resnet import GradingNetwork

        if not isinstance(network, GradingNetwork):
            raise TypeError(f"{self.name} trains a GradingNetwork, not a {type(network).__name__}")
        found = [
            network.measure(sample["image"], sample["covariates"])[sample["placed"] > 0]
            for sample in public
        ]
        network.whiten(torch.cat(found))

    def loss(self, output: Tensor, batch: Sample) -> Tensor:
        """Weighted cross-entropy of the three questions, shape (B,)."""
        thresholds = torch.tensor(THRESHOLDS, device=output.device)
        yes = (batch["grade"][:, None] >= thresholds).float()
        weight = torch.tensor(YES_WEIGHT, device=output.device)
        each = functional.binary_cross_entropy_with_logits(
            output.float(), yes, pos_weight=weight, reduction="none"
        )
        return batch["weight"] * each.mean(1)

    def statistics(self, output: Tensor, batch: Sample) -> Statistics:
        """Count scores by bin and class, per vertebra and per patient, and grade pairs."""
        known: NDArray[np.bool_] = (batch["weight"] > 0).cpu().numpy()
        scores: NDArray[np.float64] = output.double().sigmoid().cpu().numpy()
        true: NDArray[np.int64] = batch["grade"].cpu().numpy()
        sums: Statistics = {
            "patients": float(len(known) // self.units),
            "loss_sum": float(self.loss(output, batch).sum()) / self.units,
            "vertebrae": float(known.sum()),
        }
        counted = [
            ("kappa", agreement.agreement_sums(grades_of(output).numpy()[known], true[known]))
        ]
        assessed = _by_patient(known).max(axis=1)
        for column, threshold in enumerate(THRESHOLDS[:2]):
            positive = np.greater_equal(true, threshold)
            counted.append(
                (
                    f"auc_grade{threshold}",
                    ranking.score_sums(scores[known, column], positive[known]),
                )
            )
            worst = _by_patient(np.where(known, scores[:, column], 0.0)).max(axis=1)[assessed]
            any_positive = _by_patient(np.logical_and(positive, known)).max(axis=1)[assessed]
            counted.append(
                (f"auc_patient_grade{threshold}", ranking.score_sums(worst, any_positive))
            )
        for name, found in counted:
            sums |= {f"{name}:{key}": value for key, value in found.items()}
        return sums

    def metrics(self, statistics: Mapping[str, float]) -> dict[str, float]:
        """Give ``auc_grade2``, ``auc_grade1`` (per vertebra), ``auc_patient_*``, ``kappa``."""
        found = {
            name: ranking.auc(sums_of(statistics, name))
            for threshold in THRESHOLDS[:2]
            for name in (f"auc_grade{threshold}", f"auc_patient_grade{threshold}")
        }
        found["kappa"] = agreement.quadratic_kappa(sums_of(statistics, "kappa"), GRADES)
        found |= mean_loss(statistics)
        return {key: value for key, value in found.items() if math.isfinite(value)}

    def tell(self, statistics: Mapping[str, float]) -> list[Told]:
        """Tell AUC and kappa against saying the same of every vertebra."""
        found = []
        for one in super().tell(statistics):
            if one.metric in METRIC_WORDS:
                words, same = METRIC_WORDS[one.metric]
                one = told_agreement(one.metric, words, one.value, same)
            found.append(one)
        return found

    def find(self, reading: Reading) -> Findings:
        """Grade every vertebra that the segmentation found on the lateral view."""
        image = reading.study.images.get(View.SPINE_LATERAL)
        if image is None:
            why = "there is no lateral image that can be assessed"
            return Findings(not_assessed=(NotAssessed(what="vertebral fractures", why=why),))
        study = completed(reading.study, reading.before)
        regions = study.images[View.SPINE_LATERAL].regions
        sample = self.sample(study)
        output = reading.run(sample)
        # The probabilities are without the loss's weights, and the grade follows from them. The
        # decision is the one that the task's metrics count: where it is for a fracture that is
        # less likely than not, the report asks for a look.
        chances, decided = grade_probabilities(output), grades_of(output)
        grades = []
        for index, name in enumerate(VERTEBRAE):
            if sample["placed"][index] > 0 and regions is not None:
                rows, columns = np.nonzero(regions == REGION_CODES[name])
                centre = (float(rows.mean()), float(columns.mean()))
                chance, decision = chances[index].tolist(), int(decided[index])
                grades.append(
                    vertebra_grade(self.name, name, chance, centre, reading.labels, decision)
                )
        seen = {grade.region for grade in grades}
        unseen = [name for name in VERTEBRAE if name not in seen]
        gaps: tuple[NotAssessed, ...] = ()
        if unseen:
            why = "they were not recognised in the lateral image"
            if regions is None:
                why = "no model outlined the vertebrae in the lateral image"
            what = f"fractures of {levels(unseen)}" if seen else "vertebral fractures"
            gaps = (NotAssessed(what=what, why=why),)
        return Findings(grades=tuple(grades), not_assessed=gaps)


def _by_patient(values: NDArray[Any]) -> NDArray[Any]:
    """Unfold (N·K,) to (N, K)."""
    return values.reshape(-1, len(VERTEBRAE))


def spine_angle(positions: Positions, name: str) -> float:
    """Say how the spine leans at a vertebra: radians towards greater columns.

    From the nearest placed level above to the nearest below (two levels away at
    most); 0 without neighbours.
    """
    here = VERTEBRAE.index(name)
    near = [
        positions[VERTEBRAE[level]]
        for level in range(max(0, here - 1), min(len(VERTEBRAE), here + 2))
        if VERTEBRAE[level] in positions
    ]
    if len(near) < 2:
        return 0.0
    return math.atan2(near[-1][1] - near[0][1], near[-1][0] - near[0][0])


def grades_of(output: Tensor) -> Tensor:
    """Turn logits into Genant grades 0..3, shape (B,).

    A question is answered yes where its logit is over 0. As the loss weighs a yes by
    `YES_WEIGHT`, this is the decision for which a missed fracture costs that many
    false alarms. A higher grade needs every lower question answered yes.
    """
    yes = output.detach().float() > 0
    return yes.long().cumprod(dim=1).sum(dim=1).cpu()


def grade_probabilities(output: Tensor) -> Tensor:
    """Turn the logits of three cumulative questions into probabilities of four grades.

    Parameters
    ----------
    output : Tensor, shape (B, 3)
        Logits of grade ≥ 1, ≥ 2, ≥ 3, trained with `YES_WEIGHT`.

    Returns
    -------
    Tensor, shape (B, 4)
        Of none, mild, moderate, severe; each row sums to one. The weights of
        the loss are undone, and a later question is never likelier than an
        earlier one.
    """
    at_least = (output - torch.tensor(YES_WEIGHT).log()).sigmoid()
    at_least = at_least.cummin(dim=1).values  # (B, 3)
    one, zero = torch.ones(len(output), 1), torch.zeros(len(output), 1)
    bounds = torch.cat([one, at_least, zero], dim=1)  # (B, 5)
    return bounds[:, :-1] - bounds[:, 1:]


def fracture_scores(output: Tensor) -> Tensor:
    """Probability-like score in [0, 1] that a vertebra is of grade 2 or more, shape (B,)."""
    return output.detach().float()[:, THRESHOLDS.index(2)].sigmoid().cpu()
