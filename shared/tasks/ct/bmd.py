"""Step G: bone density of each lumbar vertebra from CT, on the scale that all scanners share."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import ClassVar, Final

import numpy as np
import torch
from torch import Tensor, nn

from shared.clinical.cross_calibration import is_plausible
from shared.findings.completion import completed
from shared.findings.ct_estimates import CT_SPINE, ct_bmd_measurements
from shared.findings.facts import NotAssessed
from shared.findings.findings import FRACTURE_GRADE, Findings
from shared.findings.region_names import levels_by_reason
from shared.metrics import regression
from shared.metrics.named import mean_loss, sums_of
from shared.metrics.released import ReleasedSums
from shared.metrics.statistics import Statistics
from shared.metrics.told import Told, told_loss, told_regression
from shared.phrases import listed
from shared.records import StudyRecord
from shared.regions import LUMBAR
from shared.settings.contract import CompletenessRule, DataContract
from shared.tasks.augmentation import Variation, vary
from shared.tasks.base import Headline, Task
from shared.tasks.ct.bone_images import (
    UNIT_HU,
    BoneImages,
    level_labels,
    line_to_120,
    read_bones,
)
from shared.tasks.ct.localisation import CtLocalisation
from shared.tasks.ct.mosaic import as_crops, as_mosaics
from shared.tasks.ct.segmentation import CtSegmentation
from shared.tasks.ct.series import chosen_series, why_none
from shared.tasks.inputs import TaskInputs
from shared.tasks.losses import huber
from shared.tasks.reading import Reading
from shared.tasks.sample import Sample

#: Rows and columns of a mosaic; the published pixels are 0.75 mm wide, the small ones 5.25 mm:
#: pixels of 3 and of 1.5 mm were measured no better on digital patients.
SIDE: Final[Mapping[str, int]] = {"small": 56, "published": 392}
#: What a level, and their mean, is called in a metric's name.
METRIC_NAMES: Final[Mapping[str, str]] = {level: level.lower() for level in LUMBAR} | {
    CT_SPINE: "spine"
}
#: Middle and spread of a vertebra's sBMD, g/cm²: the unit in which the network learns.
CENTRE: Final = 1.05
SCALE: Final = 0.2
#: Moved by pixels of the small size. A zoom changes what is measured, so it is small.
VARIATION: Final = Variation(rotation=0.1, shift=2.0, zoom=0.02)
MIRRORED_SHARE: Final = 0.5
#: Spread of a scanner's own scale of HU, and of its offset, HU.
SCALE_SPREAD: Final = 0.02
OFFSET_SPREAD_HU: Final = 5.0
#: Share of variations in which nobody says whether a contrast agent was given.
UNKNOWN_SHARE: Final = 0.2
#: The covariate by `VolumeRecord.contrast`.
CONTRAST: Final[Mapping[bool | None, float]] = {True: 0.5, None: 0.0, False: -0.5}


class CtBmd(Task):
    """Sums over outlined bone; each vertebra is one unit, its sBMD in g/cm².

    The patient's value is the mean of the vertebrae that were assessed.
    """

    name: ClassVar[str] = "ct-bmd"
    units: ClassVar[int] = len(LUMBAR)
    inputs: ClassVar[TaskInputs] = TaskInputs(series=True)
    headline: ClassVar[Headline] = Headline("mae_spine", False, "spine BMD error (MAE), g/cm²")
    released: ClassVar[ReleasedSums] = ReleasedSums(regressions=tuple(METRIC_NAMES.values()))
    assesses: ClassVar[str] = (
        "the model's estimate of the bone density of the lumbar vertebrae from CT"
    )
    after: ClassVar[tuple[str, ...]] = (CtLocalisation.name, CtSegmentation.name)
    metric_names: ClassVar[Mapping[str, str]] = METRIC_NAMES
    contract: ClassVar[DataContract] = DataContract(
        completeness=(CompletenessRule(of="label:paired_bmd", at_least=0.5, weight="should"),)
    )

    @property
    def side(self) -> int:
        """Rows and columns of a mosaic."""
        given = self.settings.network.image_size
        return SIDE[self.settings.network.size] if given is None else 2 * (given[0] // 2)

    def uses(self, study: StudyRecord) -> bool:
        """Use a study with an outlined series of a known voltage and a vertebra's paired BMD."""
        chosen = chosen_series(study)
        if chosen is None or not level_labels(study):
            return False
        volume = chosen[1]
        return volume.regions is not None and line_to_120(volume.kvp) is not None

    def sample(self, study: StudyRecord) -> Sample:
        """Cut out the vertebrae of the chosen series.

        Returns
        -------
        Sample
            "image" (4, 2, S, S) as `bone_images.BoneImages`, zeros where a level cannot be
            assessed, "covariates" (4, 1) whether a contrast agent was given (`CONTRAST`),
            "weight" (4,) 1 where a level is assessed and has a label, "bmd" (4, 1) sBMD in
            g/cm², 0 where unknown, "labelled" (4,) 1 where it is known, "placed" (4,) 1 where a
            level is assessed.
        """
        chosen = chosen_series(study)
        bones = BoneImages() if chosen is None else read_bones(chosen[1], self.side)
        return self._sample(study, bones)

    def _sample(self, study: StudyRecord, bones: BoneImages) -> Sample:
        """Make the tensors of what was cut out."""
        chosen, labels = chosen_series(study), level_labels(study)
        empty = np.zeros((2, self.side, self.side), np.float32)
        contrast = None if chosen is None else chosen[1].contrast
        known = [float(level in bones.levels and level in labels) for level in LUMBAR]
        return {
            "image": torch.as_tensor(np.stack([bones.levels.get(one, empty) for one in LUMBAR])),
            "covariates": torch.full((len(LUMBAR), 1), CONTRAST[contrast]),
            "weight": torch.tensor(known),
            "bmd": torch.tensor([[labels.get(level, 0.0)] for level in LUMBAR]),
            "labelled": torch.tensor([float(level in labels) for level in LUMBAR]),
            "placed": torch.tensor([float(level in bones.levels) for level in LUMBAR]),
        }

    def augment(self, sample: Sample, generator: np.random.Generator) -> Sample:
        """Move and mirror each crop, vary the scanner's scale, forget the contrast agent."""
        variation = VARIATION.enlarged(self.side / SIDE["small"])
        crops, _ = vary(as_crops(sample["image"]), None, variation, generator)
        if generator.random() < MIRRORED_SHARE:
            crops = crops.flip(-1)
        image = as_mosaics(crops, sample["image"].shape)
        slope = 1 + SCALE_SPREAD * generator.normal()
        offset = OFFSET_SPREAD_HU * generator.normal() / UNIT_HU
        bone = slope * image[:, :1] + offset * image[:, 1:]
        covariates = sample["covariates"] * float(generator.random() >= UNKNOWN_SHARE)
        image = torch.cat([bone, image[:, 1:]], dim=1)
        return {**sample, "image": image, "covariates": covariates}

    def network(self) -> nn.Module:
        """Make the network of sums."""
        from shared.networks.bone_sums import BoneSumsNetwork

        return BoneSumsNetwork(1, CENTRE, SCALE, self.settings.network.size)

    def head_parameters(self) -> tuple[str, ...]:
        """Name the last linear layer."""
        return ("head.",)

    @torch.no_grad()
    def settle(self, network: nn.Module, public: Iterable[Sample]) -> None:
        """Whiten what the head is given of vertebrae (`shared.networks.whitening` says why)."""
        from shared.networks.bone_sums import BoneSumsNetwork

        if not isinstance(network, BoneSumsNetwork):
            raise TypeError(f"{self.name} trains a BoneSumsNetwork, not a {type(network).__name__}")
        found = [
            network.measure(sample["image"], sample["covariates"])[sample["placed"] > 0]
            for sample in public
        ]
        network.whiten(torch.cat(found))

    def loss(self, output: Tensor, batch: Sample) -> Tensor:
        """Huber loss in units of `SCALE`, shape (B,)."""
        error = (output.float() - batch["bmd"]).abs()[:, 0] / SCALE
        return batch["weight"] * huber(error)

    def statistics(self, output: Tensor, batch: Sample) -> Statistics:
        """Sum errors and moments by level and of patients' means; one value a patient in each.

        Who is counted follows from labels alone. Which levels are outlined may be what weights
        found that a coordinator chose, and a sum over those would say whom they outlined: one
        that is not assessed counts as `CENTRE`.
        """
        said = torch.where(batch["placed"][:, None] > 0, output, torch.full_like(output, CENTRE))
        predicted, true, labelled = (
            one.double().reshape(-1, self.units).cpu().numpy()
            for one in (said, batch["bmd"], batch["labelled"])
        )
        known = labelled > 0
        pairs = {
            level: (predicted[known[:, place], place], true[known[:, place], place])
            for place, level in enumerate(LUMBAR)
        }
        any_known = known.any(1)
        counts = known[any_known].sum(1)
        pairs[CT_SPINE] = tuple(
            np.where(known, one, 0.0)[any_known].sum(1) / counts for one in (predicted, true)
        )
        sums: Statistics = {
            "patients": float(len(known)),
            "loss_sum": float(self.loss(output, batch).sum()) / self.units,
        }
        for region, pair in pairs.items():
            found = regression.regression_sums(*pair)
            sums |= {f"{METRIC_NAMES[region]}:{key}": value for key, value in found.items()}
        return sums

    def metrics(self, statistics: Mapping[str, float]) -> dict[str, float]:
        """Give errors in g/cm² and agreement, by level and of the patients' means (``spine``).

        ``mae_*``, ``rmse_*``, ``bias_*``, ``r_*``, ``r2_*`` (above 0: better than the mean),
        ``ccc_*``; ``loss``.
        """
        found: dict[str, float] = {}
        for name in METRIC_NAMES.values():
            sums = sums_of(statistics, name)
            if sums.get("n", 0.0) < 1:
                continue
            found |= regression.agreement_metrics(sums, name)
        found |= mean_loss(statistics)
        return {key: value for key, value in found.items() if math.isfinite(value)}

    def tell(self, statistics: Mapping[str, float]) -> list[Told]:
        """Tell the patients' errors first, then each level's."""
        found: list[Told] = []
        for region in (CT_SPINE, *LUMBAR):
            name = METRIC_NAMES[region]
            sums = sums_of(statistics, name)
            if sums.get("n", 0.0) >= 1:
                words = "mean of L1 to L4" if region == CT_SPINE else region
                found += told_regression(name, f"BMD from CT, {words}", "g/cm²", sums)
        return found + told_loss(self.metrics(statistics))

    def find(self, reading: Reading) -> Findings:
        """Estimate every level that can be assessed, and their mean; say why of the others."""
        study = completed(reading.study, reading.before)
        chosen = chosen_series(study)
        if chosen is None:
            return Findings(not_assessed=_gaps(dict.fromkeys(LUMBAR, why_none(study))))
        bones = read_bones(chosen[1], self.side)
        gaps = dict(bones.gaps) | {
            level: f"{level} is fractured by the hospital's reading, and denser for it"
            for level in LUMBAR
            if reading.labels.genant.get(level, 0) >= FRACTURE_GRADE
        }
        output = reading.run(self._sample(study, bones))[:, 0].tolist()
        values = {}
        for level, value in zip(LUMBAR, output, strict=True):
            if level not in bones.levels or level in gaps:
                continue
            if is_plausible(value):
                values[level] = value
            else:
                gaps[level] = "the model's estimate is no density that bone has"
        return Findings(
            measurements=ct_bmd_measurements(self.name, values, chosen[1].contrast),
            not_assessed=_gaps(gaps),
        )


def _gaps(reasons: Mapping[str, str]) -> tuple[NotAssessed, ...]:
    """Say what is not assessed, levels of one reason together."""
    return tuple(
        NotAssessed(what=f"bone density of {listed(levels)} from CT", why=why)
        for why, levels in levels_by_reason(reasons).items()
    )
