"""Step E: vertebral bone with the spinous process on the slabs of L1 to L4."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import ClassVar, Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from shared.findings.completion import completed
from shared.findings.facts import NotAssessed
from shared.findings.findings import Findings
from shared.metrics.named import mean_loss, means_of
from shared.metrics.overlap import dice, overlaps
from shared.metrics.released import ReleasedSums
from shared.metrics.statistics import Statistics
from shared.metrics.told import Told
from shared.records import StudyRecord, VolumeRecord
from shared.regions import LUMBAR, VERTEBRA_CODES, code_of
from shared.settings.contract import CompletenessRule, DataContract
from shared.tasks.base import Headline, Task
from shared.tasks.ct.consistency import disagreement, twice_varied
from shared.tasks.ct.level_slabs import (
    OFFSETS,
    LevelSlabs,
    drawn_on_slab,
    drawn_slices,
    middle_slices,
    own_bone,
    slabs_of_levels,
)
from shared.tasks.ct.localisation import CtLocalisation
from shared.tasks.ct.series import chosen_series, why_none
from shared.tasks.ct.slabs import Slabs, SlabsError, regions_of_series, to_slabs
from shared.tasks.ct.spine_frame import is_cut, mask, on_slab, picture
from shared.tasks.inputs import TaskInputs
from shared.tasks.losses import overlap_loss, structure_logit
from shared.tasks.pixels import halvable
from shared.tasks.reading import Reading
from shared.tasks.sample import Sample

#: Pixels of a picture of 192 x 144 mm (`spine_frame`): of 1.5 mm, and of 0.75 mm as published.
FRAME: Final[Mapping[str, tuple[int, int]]] = {"small": (128, 96), "published": (256, 192)}
CLASSES: Final = 2
#: How much agreement of two variations counts beside what is annotated.
CONSISTENCY: Final = 1.0


class CtSegmentation(Task):
    """U-Net in two dimensions, sixteen units a patient: L1 to L4, four slabs each.

    What is bone. All vertebral bone on a slab, the neighbours' parts as well: the spinous
    process of the level above and its lower facets lie on a level's upper slab and look like
    its own. Telling them apart needs the slabs above, which a network of single slabs does not
    see, and an annotator of single slices does not either. A level's own mask is what hangs
    together with its body over the four slabs, and its arch where the pedicles lie above them
    (`level_slabs.own_bone`); a neighbour's facets that touch stay in it.

    What is annotated. A slice of the series on which somebody drew; on all others nobody
    looked, and their slabs are learnt from by `consistency`. Boxes cannot stand in for outlines
    yet, for a volume has none.
    """

    name: ClassVar[str] = "ct-segmentation"
    units: ClassVar[int] = len(LUMBAR) * len(OFFSETS)
    inputs: ClassVar[TaskInputs] = TaskInputs(series=True)
    headline: ClassVar[Headline] = Headline("dice", True, "Dice, vertebrae L1 to L4")
    released: ClassVar[ReleasedSums] = ReleasedSums(
        means=("dice", *(f"dice_{level}" for level in LUMBAR))
    )
    assesses: ClassVar[str] = "the outlines of the vertebrae L1 to L4 on a CT"
    after: ClassVar[tuple[str, ...]] = (CtLocalisation.name,)
    contract: ClassVar[DataContract] = DataContract(
        completeness=(CompletenessRule(of="mask:ct", at_least=0.5, weight="should"),)
    )

    @property
    def frame(self) -> tuple[int, int]:
        """Height and width of the tensors, in pixels."""
        return halvable(self.settings.network.image_size or FRAME[self.settings.network.size])

    def uses(self, study: StudyRecord) -> bool:
        """Use a study whose series has outlines."""
        chosen = chosen_series(study)
        return chosen is not None and chosen[1].regions is not None

    def sample(self, study: StudyRecord) -> Sample:
        """Show the four slabs of each level.

        Returns
        -------
        Sample
            "image" (16, 1, H, W), "covariates" (16, 1) ones, "weight" (16,) 0 for a slab that
            the series does not have, "annotated" (16,) 1 where somebody drew on the slab,
            "bone" (16, H, W) int64, "paired" (16,) zeros.
        """
        chosen = chosen_series(study)
        middles = {} if chosen is None else middle_slices(chosen[1])
        if chosen is None or not middles:
            return self._sample_of(None, [], None)
        try:
            slabs = to_slabs(chosen[1])
        except SlabsError:
            return self._sample_of(None, [], None)
        levels = slabs_of_levels(middles, slabs.placed, len(slabs.hu))
        return self._sample_of(slabs, levels, chosen[1])

    def _sample_of(
        self, slabs: Slabs | None, levels: list[LevelSlabs], volume: VolumeRecord | None
    ) -> Sample:
        sample: Sample = {
            "image": torch.zeros(self.units, 1, *self.frame),
            "covariates": torch.ones(self.units, 1),
            "weight": torch.zeros(self.units),
            "annotated": torch.zeros(self.units),
            "bone": torch.zeros(self.units, *self.frame, dtype=torch.long),
            "paired": torch.zeros(self.units),
        }
        if slabs is None or volume is None:
            return sample
        drawn = drawn_slices(volume.regions)
        for one in levels:
            first = LUMBAR.index(one.level) * len(OFFSETS)
            for unit, slab in enumerate(one.slabs, start=first):
                if slab is None:
                    continue
                sample["image"][unit, 0] = picture(slabs.hu[slab], self.frame)
                sample["weight"][unit] = 1.0
                if volume.regions is None:
                    continue
                codes = drawn_on_slab(volume.regions, drawn, slabs.placed, slab)
                if codes is not None:
                    sample["annotated"][unit] = 1.0
                    sample["bone"][unit] = mask(_is_vertebra(codes), self.frame)
        return sample

    def augment(self, sample: Sample, generator: np.random.Generator) -> Sample:
        """Give two variations of half of the levels, moved alike (`consistency`)."""
        pixels = self.frame[0] / FRAME["small"][0]
        return twice_varied(sample, len(LUMBAR), generator, pixels)

    def network(self) -> nn.Module:
        """Make the U-Net."""
        from shared.networks.unet import SegmentationNetwork

        return SegmentationNetwork(1, [[True] * CLASSES], self.settings.network.size)

    def head_parameters(self) -> tuple[str, ...]:
        """Name the last normalisation and convolution."""
        return ("head.",)

    def loss(self, output: Tensor, batch: Sample) -> Tensor:
        """Soft Dice plus cross-entropy where annotated, plus disagreement; shape (N·16,)."""
        logit = structure_logit(output)
        supervised = batch["weight"] * batch["annotated"] * overlap_loss(logit, batch["bone"])
        return supervised + CONSISTENCY * disagreement(logit, batch, self.units)

    def statistics(self, output: Tensor, batch: Sample) -> Statistics:
        """Sum the Dice of each level, over its annotated slabs together, over patients."""
        known = (batch["weight"] * batch["annotated"])[:, None]
        counts = overlaps(output.argmax(dim=1), batch["bone"], (1,)) * known  # (N·16, 3)
        counts = counts.unflatten(0, (-1, len(LUMBAR), len(OFFSETS))).sum(2)  # (N, 4, 3)
        sums: Statistics = {
            "patients": float(len(output) // self.units),
            "loss_sum": float(self.loss(output, batch).sum()) / self.units,
        }
        for patient in counts.tolist():
            values = {
                level: dice(*one) for level, one in zip(LUMBAR, patient, strict=True) if one[2] > 0
            }
            named = {f"dice_{level}": value for level, value in values.items()}
            if values:
                named["dice"] = float(np.mean(list(values.values())))
            for name, value in named.items():
                sums[f"{name}_sum"] = sums.get(f"{name}_sum", 0.0) + value
                sums[f"{name}_n"] = sums.get(f"{name}_n", 0.0) + 1.0
        return sums

    def metrics(self, statistics: Mapping[str, float]) -> dict[str, float]:
        """Give ``dice`` (mean of the levels) and ``dice_L1`` …, means over patients; ``loss``."""
        return means_of(statistics) | mean_loss(statistics)

    def tell(self, statistics: Mapping[str, float]) -> list[Told]:
        """Tell Dice by level."""
        return [
            replace(one, words=f"Dice, vertebra {one.metric.removeprefix('dice_')}")
            if one.metric.startswith("dice_")
            else one
            for one in super().tell(statistics)
        ]

    def find(self, reading: Reading) -> Findings:
        """Outline the vertebrae whose middle slices are known, on the grid of the series."""
        chosen = chosen_series(completed(reading.study, reading.before))
        if chosen is None:
            return _nothing(LUMBAR, why_none(reading.study))
        name, volume = chosen
        middles = middle_slices(volume)
        if not middles:
            return _nothing(LUMBAR, "its level was not found on the CT")
        try:
            slabs = to_slabs(volume)
        except SlabsError as error:
            return _nothing(LUMBAR, f"the series cannot be read: {error}")
        levels = slabs_of_levels(middles, slabs.placed, len(slabs.hu))
        sample = self._sample_of(slabs, levels, replace(volume, regions=None))
        chances = reading.run(sample).softmax(1)[:, 1]  # (16, H, W)
        whole = np.zeros(slabs.hu.shape, np.uint8)
        empty, cut = [], []
        for one in levels:
            first = LUMBAR.index(one.level) * len(OFFSETS)
            bone = _own_mask(chances[first : first + len(OFFSETS)], one)
            if bone is None:
                empty.append(one.level)
                continue
            if is_cut(bone):
                cut.append(one.level)
                continue
            for place, slab in zip(bone, one.slabs, strict=True):
                if slab is not None:
                    whole[slab][place] = code_of(one.level, "volume")
        absent = [level for level in LUMBAR if level not in middles]
        gaps = (
            *_nothing(absent, "its level was not found on the CT").not_assessed,
            *_nothing(empty, "no bone was recognised where it should be").not_assessed,
            *_nothing(
                cut, "it reaches beyond the part of the series that is looked at"
            ).not_assessed,
        )
        maps = {name: regions_of_series(whole, slabs.placed)} if whole.any() else {}
        return Findings(not_assessed=gaps, volume_maps=maps)


def _is_vertebra(codes: NDArray[np.uint8]) -> NDArray[np.bool_]:
    return np.isin(codes, list(VERTEBRA_CODES["volume"].values()))


def _own_mask(chances: Tensor, level: LevelSlabs) -> NDArray[np.bool_] | None:
    """What of the bone on the slabs is the level's own, (4, 392, 392); None if there is none."""
    bone = np.stack([on_slab(one) for one in chances])
    bone[[slab is None for slab in level.slabs]] = False
    return own_bone(bone)


def _nothing(levels: tuple[str, ...] | list[str], why: str) -> Findings:
    gaps = tuple(NotAssessed(what=f"outline of {level}", why=why) for level in levels)
    return Findings(not_assessed=gaps)
