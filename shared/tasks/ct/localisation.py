"""Step C: where L1 to L4 lie in a CT series, found in two stages on its projections."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import ClassVar, Final

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from shared.findings.facts import NotAssessed
from shared.findings.findings import Findings
from shared.metrics.named import mean_loss, means_of
from shared.metrics.released import ReleasedSums
from shared.metrics.statistics import Statistics
from shared.networks.levels import UNSEEN, with_nowhere
from shared.records import StudyRecord, VolumeRecord
from shared.regions import LUMBAR
from shared.settings.contract import CompletenessRule, DataContract
from shared.tasks.base import Headline, Task
from shared.tasks.ct.landmarks import (
    CANVAS,
    LANDMARKS,
    TOP,
    Canvas,
    draw_canvas,
    found_landmarks,
    marked_rows,
    slice_of_slab,
)
from shared.tasks.ct.levels import ReadLevels, doubts_in_words, read_levels
from shared.tasks.ct.moving import move_canvas, recount
from shared.tasks.ct.series import chosen_series, why_none
from shared.tasks.ct.slabs import SLAB_MM, Slabs, SlabsError, to_slabs
from shared.tasks.inputs import TaskInputs
from shared.tasks.reading import Reading
from shared.tasks.sample import Sample

#: The second network sees so many rows: 45 mm above L1's upper end, 240 mm in all.
NEAR: Final = (15, 80)
#: In training it looks around the true place, off by so many rows (SD).
OFF_ROWS: Final = 2.0
#: Rows around the true one that count as nearly right (SD).
BLUR_ROWS: Final = 1.0
#: A landmark is asked for if so much of the rows around it was shown.
MOSTLY_SHOWN: Final = 0.7
#: A row that nobody is asked for.
NO_ROW: Final = -1.0
#: A level is shifted if it is off by more than this: more than half the way to its neighbour, mm.
SHIFTED_MM: Final = 16.0


class CtLocalisation(Task):
    """Two U-Nets on frontal and sagittal maximum intensity; rows of six landmarks."""

    name: ClassVar[str] = "ct-localisation"
    units: ClassVar[int] = 1
    inputs: ClassVar[TaskInputs] = TaskInputs(series=True)
    headline: ClassVar[Headline] = Headline(
        "error_mm", False, "error of the middles of L1 to L4 (mean), mm"
    )
    beside: ClassVar[tuple[Headline, ...]] = (
        Headline("shifted", False, "share of patients with a level off by over 16 mm"),
    )
    contract: ClassVar[DataContract] = DataContract(
        completeness=(CompletenessRule(of="slice:L1", at_least=0.5, weight="should"),)
    )
    #: Not ``shifted``: it counts patients over a threshold.
    released: ClassVar[ReleasedSums] = ReleasedSums(means=("error_mm",))
    assesses: ClassVar[str] = "which vertebra is which in a CT series"
    outlines: ClassVar[bool] = False
    #: What it looks for, the upper end of L1 first; the vertebrae among it whose error counts; and
    #: the rows that its second network sees.
    landmarks: ClassVar[tuple[str, ...]] = LANDMARKS
    middles: ClassVar[tuple[str, ...]] = LUMBAR
    near: ClassVar[tuple[int, int]] = NEAR

    def chosen(self, study: StudyRecord) -> tuple[str, VolumeRecord] | None:
        """Choose the series that is read; None if there is none."""
        return chosen_series(study)

    def why_none(self, study: StudyRecord) -> str:
        """Say why no series is read, as part of a sentence."""
        return why_none(study)

    def rows(self, volume: VolumeRecord, slabs: Slabs) -> dict[str, float]:
        """Rows of the landmarks that somebody marked or drew."""
        return marked_rows(volume, slabs)

    def read(self, output: Tensor, drawn: Tensor, canvas: Canvas) -> ReadLevels:
        """Say which levels are certain; `output` (N, 224) are row logits of one patient."""
        return read_levels(found_landmarks(output), drawn, canvas)

    def uses(self, study: StudyRecord) -> bool:
        """Use a study with a series in which the middles of L1 and L2 are marked, or one drawn."""
        chosen = self.chosen(study)
        if chosen is None:
            return False
        marked = {"L1", "L2"} <= set(chosen[1].marked_slices)
        return marked or chosen[1].regions is not None

    def sample(self, study: StudyRecord) -> Sample:
        """Draw the projections of the series.

        Returns
        -------
        Sample
            "image" (1, 2, 224, 96) in [0, 1]; "covariates" (1, 1), the row around which the
            second network looks, −1 = where the first found L1; "weight" (1,); "row" (1, N), of
            each of the N landmarks, −1 where it lies outside of the picture, and "known" (1, N), 1
            where that is known; "scanned" (1, 2), first and last row with a slab.
        """
        chosen = self.chosen(study)
        drawn, slabs = torch.zeros(2, *CANVAS), None
        if chosen is not None:
            try:
                slabs = to_slabs(chosen[1])
                drawn = draw_canvas(slabs)
            except SlabsError:
                slabs = None
        return self._sample(drawn, None if chosen is None else chosen[1], slabs)

    def augment(self, sample: Sample, generator: np.random.Generator) -> Sample:
        """Recount, move, stretch, cut and shade the projections; the second network is shown L1."""
        return show_l1(move_canvas(recount(sample, generator), generator), generator)

    def network(self) -> nn.Module:
        """Make the two U-Nets."""
        from shared.networks.levels import LevelNetwork

        return LevelNetwork(2, len(self.landmarks) - 1, self.near, self.settings.network.size)

    def head_parameters(self) -> tuple[str, ...]:
        """Name the last normalisation and convolution of both."""
        return ("first.head.", "second.head.")

    def loss(self, output: Tensor, batch: Sample) -> Tensor:
        """Cross-entropy of each landmark's row, mean over those that are known; shape (B,)."""
        row, known = batch["row"], batch["known"]
        places = torch.arange(CANVAS[0] + 1, device=output.device)  # the last is "nowhere"
        near = torch.exp(-0.5 * ((places - row[..., None]) / BLUR_ROWS) ** 2)
        near[..., -1] = 0
        # What the second network was not shown is no question to it, not at the edge either.
        shown = near[..., :-1] * (output > UNSEEN / 2)
        asked = known * ((row < 0) | (shown.sum(-1) > MOSTLY_SHOWN * near.sum(-1))).float()
        near = functional.pad(shown, (0, 1))
        near = near / near.sum(-1, keepdim=True).clamp(min=1e-6)
        nowhere = functional.one_hot(torch.full_like(row, CANVAS[0]).long(), CANVAS[0] + 1)
        target = torch.where((row < 0)[..., None], nowhere.to(near.dtype), near)
        surprise = -(target * with_nowhere(output.float()).log_softmax(-1)).sum(-1)  # (B, 6)
        return batch["weight"] * (surprise * asked).sum(1) / asked.sum(1).clamp(min=1)

    def statistics(self, output: Tensor, batch: Sample) -> Statistics:
        """Sum each patient's mean error, and those in whom a level is shifted."""
        errors = [
            self.errors(one, batch["row"][place], batch["known"][place])
            for place, one in enumerate(output)
            if batch["weight"][place] > 0
        ]
        told = [one for one in errors if one]
        return {
            "patients": float(len(output)),
            "loss_sum": float(self.loss(output, batch).sum()),
            "error_mm_sum": float(sum(np.mean(one) for one in told)),
            "error_mm_n": float(len(told)),
            "shifted_sum": float(sum(max(one) > SHIFTED_MM for one in told)),
            "shifted_n": float(len(told)),
        }

    def metrics(self, statistics: Mapping[str, float]) -> dict[str, float]:
        """Give ``error_mm`` and ``shifted``, means over patients, and ``loss``."""
        found = means_of(statistics) | mean_loss(statistics)
        return {key: value for key, value in found.items() if math.isfinite(value)}

    def find(self, reading: Reading) -> Findings:
        """Find the slices through the middles of L1 to L4, of those that are certain."""
        chosen = self.chosen(reading.study)
        what = "which vertebra is which"
        if chosen is None:
            return Findings(
                not_assessed=(NotAssessed(what=what, why=self.why_none(reading.study)),)
            )
        uid, volume = chosen
        try:
            slabs = to_slabs(volume)
        except SlabsError as error:
            return Findings(not_assessed=(NotAssessed(what=what, why=f"the series: {error}"),))
        drawn = draw_canvas(slabs)
        output = reading.run(self._sample(drawn, None, slabs))[0]
        read = self.read(output, drawn, Canvas(len(slabs.hu)))
        marks = {level: slice_of_slab(place, slabs.placed) for level, place in read.slabs.items()}
        gaps = [
            NotAssessed(what=f"the level of {levels}", why=f"it {why}")
            for levels, why in doubts_in_words(read.doubts)
        ]
        if read.note:
            gaps.append(NotAssessed(what="the number of lumbar vertebrae", why=read.note))
        return Findings(not_assessed=tuple(gaps), marked_slices={uid: marks} if marks else {})

    def _sample(self, drawn: Tensor, volume: VolumeRecord | None, slabs: Slabs | None) -> Sample:
        """Make the sample of a picture, with its marks if there is a series (see `sample`)."""
        rows = {} if volume is None or slabs is None else self.rows(volume, slabs)
        scanned = (0, 0) if slabs is None else Canvas(len(slabs.hu)).scanned
        known = [float(name in rows) for name in self.landmarks]
        return {
            "image": drawn[None],
            "covariates": torch.full((1, 1), NO_ROW),
            "weight": torch.tensor([float(TOP in rows)]),
            "row": torch.tensor([[rows.get(name, NO_ROW) for name in self.landmarks]]),
            "known": torch.tensor([known]),
            "scanned": torch.tensor([[float(place) for place in scanned]]),
        }

    def errors(self, output: Tensor, row: Tensor, known: Tensor) -> list[float]:
        """Errors of the middles that are known and in the picture, mm.

        Parameters
        ----------
        output : Tensor, shape (N, 224)
        row, known : Tensor, shape (N,)
        """
        found = found_landmarks(output, self.landmarks)
        return [
            abs(found[name].row - float(row[place])) * SLAB_MM
            for place, name in enumerate(self.landmarks)
            if name in self.middles and known[place] > 0 and row[place] >= 0
        ]


def show_l1(sample: Sample, generator: np.random.Generator) -> Sample:
    """Let the second network look nearly where L1 truly is, if it is in the picture."""
    top = float(sample["row"][0, 0])
    if top < 0:
        return sample
    shown = top + OFF_ROWS * float(np.clip(generator.normal(), -2, 2))
    return {**sample, "covariates": torch.full((1, 1), max(shown, 0.0))}
