"""Where T11, T12 and L1 lie in a chest CT, found in two stages on its projections."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar, Final

import numpy as np
import torch
from torch import Tensor

from shared.records import PatientSource, StudyRecord, VolumeRecord
from shared.settings.contract import CompletenessRule, DataContract
from shared.tasks.base import Headline
from shared.tasks.chest.levels import LANDMARKS, LEVELS, marked_rows, read_chest_levels
from shared.tasks.chest.series import chosen_unenhanced, why_no_unenhanced
from shared.tasks.ct.landmarks import CANVAS, Canvas, found_landmarks
from shared.tasks.ct.levels import ReadLevels
from shared.tasks.ct.localisation import CtLocalisation, show_l1
from shared.tasks.ct.moving import move_canvas
from shared.tasks.ct.slabs import Slabs
from shared.tasks.sample import Sample

#: The second network sees so many rows: 90 mm above L1's upper end, 144 mm in all; the U-Net
#: halves them twice.
NEAR: Final = (30, 48)
#: What is cut at the feet ends at least so many rows below L1's upper end.
KEPT_BELOW: Final = 2
#: Share in which the series ends above L1, as one of the upper chest does, and how far, rows.
WITHOUT_L1: Final = 0.12
ENDS_ABOVE: Final = (8.0, 60.0)


class ChestCtRegions(CtLocalisation):
    """As `CtLocalisation`, on chest CT; rows of L1's upper end and of three middles."""

    name: ClassVar[str] = "chest-ct-regions"
    headline: ClassVar[Headline] = Headline(
        "error_mm", False, "error of the middles of T11 to L1 (mean), mm"
    )
    #: An abdominal CT is no chest CT.
    always_asked: ClassVar[bool] = False
    contract: ClassVar[DataContract] = DataContract(
        completeness=(CompletenessRule(of="slice:T12", at_least=0.5, weight="should"),)
    )
    assesses: ClassVar[str] = "which of the lowest thoracic vertebrae is which in a chest CT"
    landmarks: ClassVar[tuple[str, ...]] = LANDMARKS
    middles: ClassVar[tuple[str, ...]] = LEVELS
    near: ClassVar[tuple[int, int]] = NEAR

    def chosen(self, study: StudyRecord) -> tuple[str, VolumeRecord] | None:
        """Choose the unenhanced series that is read; None if there is none."""
        return chosen_unenhanced(study)

    def why_none(self, study: StudyRecord) -> str:
        """Say why no series is read, as part of a sentence."""
        return why_no_unenhanced(study)

    def rows(self, volume: VolumeRecord, slabs: Slabs) -> dict[str, float]:
        """Rows of the landmarks that somebody marked."""
        return marked_rows(volume, slabs)

    def read(self, output: Tensor, drawn: Tensor, canvas: Canvas) -> ReadLevels:
        """Say which levels are certain; `output` (4, 224) are row logits of one patient."""
        return read_chest_levels(found_landmarks(output, LANDMARKS), drawn, canvas)

    def uses(self, study: StudyRecord) -> bool:
        """Use a study with an unenhanced series in which T12 and a neighbour are marked."""
        chosen = self.chosen(study)
        marked = set() if chosen is None else set(chosen[1].marked_slices)
        return "T12" in marked and bool(marked & {"T11", "L1"})

    def augment(self, sample: Sample, generator: np.random.Generator) -> Sample:
        """Move, stretch, cut and shade the projections; the second network is shown L1."""
        moved = move_canvas(sample, generator, KEPT_BELOW)
        return show_l1(end_above(moved, generator), generator)

    @classmethod
    def digital_patients(
        cls, number: int, seed: int, *, workers: int = 1, cache: Path | None = None
    ) -> PatientSource:
        """Make digital patients with a chest CT; parameters as of `Task.digital_patients`."""
        return chest_patients(number, seed, workers, cache)


def chest_patients(number: int, seed: int, workers: int, cache: Path | None) -> PatientSource:
    """Make digital patients of a generic scanner who had a chest CT and a DXA."""
    from shared.phantom.solid_ct_source import CtOrder, CtPatients

    return CtPatients(number, CtOrder(seed, part="chest"), workers, cache)


def end_above(sample: Sample, generator: np.random.Generator) -> Sample:
    """Let some pictures end above L1, with the landmarks that are then not in it."""
    drawn, share = generator.random(2)
    top = float(sample["row"][0, 0])
    if top < 0 or drawn >= WITHOUT_L1:
        return sample
    low, high = ENDS_ABOVE
    first = float(sample["scanned"][0, 0])
    last = max(top - low - (high - low) * share, first + 10)
    places = torch.arange(CANVAS[0])[:, None]
    row = torch.where(sample["row"] <= last, sample["row"], torch.full_like(sample["row"], -1.0))
    return {
        **sample,
        "image": sample["image"] * (places <= last),
        "row": row,
        "scanned": torch.tensor([[first, last]]),
    }
