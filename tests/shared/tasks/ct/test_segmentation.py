"""Bone on the slabs of L1 to L4: what a sample holds, what is learnt from, what is found."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from shared.findings.completion import blind
from shared.findings.findings import Findings
from shared.records import Covariates, StudyLabels, StudyRecord, Vendor, VolumeRecord
from shared.regions import LUMBAR, code_of
from shared.settings.task import TaskSettings
from shared.tasks.ct.level_slabs import OFFSETS
from shared.tasks.ct.segmentation import CtSegmentation
from shared.tasks.ct.slabs import FRAME
from shared.tasks.ct.spine_frame import inside, is_cut, mask, on_slab
from shared.tasks.reading import Reading
from shared.tasks.sample import Sample, collate, fold
from tests.shared.spine_standins import SERIES, drawn_only_on, spine_ct

TASK = CtSegmentation(TaskSettings.model_validate({"task": "ct-segmentation"}))
#: A picture that costs little.
SMALL = CtSegmentation(
    TaskSettings.model_validate({"task": "ct-segmentation", "network": {"image_size": [32, 32]}})
)


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def study_of(volume: VolumeRecord) -> StudyRecord:
    return StudyRecord("p", "s", Vendor.OTHER, {}, StudyLabels(), Covariates(), {SERIES: volume})


def middles_only(seed: int) -> VolumeRecord:
    volume = spine_ct(np.random.default_rng(seed))
    return replace(volume, regions=drawn_only_on(volume, volume.marked_slices.values()))


class Thresholds(nn.Module):
    """Calls bone what is denser than 150 HU."""

    def forward(self, image: Tensor, covariates: Tensor) -> Tensor:
        logit = 20 * (image[:, 0] - 0.6)
        return torch.stack([torch.zeros_like(logit), logit], dim=1)


def read(volume: VolumeRecord, marks: dict[str, int]) -> Findings:
    bare = replace(blind(study_of(volume)).volumes[SERIES], marked_slices=marks)
    reading = Reading(Thresholds().eval(), study_of(bare), StudyLabels(), Findings())
    return TASK.find(reading)


def test_every_slab_is_shown_and_only_the_drawn_ones_are_annotated() -> None:
    sample = TASK.sample(study_of(middles_only(0)))
    assert sample["weight"].tolist() == [1.0] * 16
    annotated = sample["annotated"].reshape(len(LUMBAR), len(OFFSETS))
    assert annotated[:, OFFSETS.index(0)].tolist() == [1.0] * 4
    # Slices of 4 mm reach into the next slab.
    assert float(annotated[:, [0, 3]].sum()) == 0.0
    bone = sample["bone"].flatten(1).sum(1)
    assert ((bone > 0) == (sample["annotated"] > 0)).all()


def test_bone_lies_where_it_is_bright() -> None:
    sample = TASK.sample(study_of(spine_ct(np.random.default_rng(1))))
    bright = sample["image"][:, 0] > 0.5
    both = (bright & (sample["bone"] > 0)).sum()
    assert float(2 * both / (bright.sum() + sample["bone"].sum())) > 0.95


def test_a_level_without_a_middle_has_no_weight() -> None:
    volume = spine_ct(np.random.default_rng(1))
    marks = {level: place for level, place in volume.marked_slices.items() if level != "L2"}
    assert volume.regions is not None
    regions = np.array(volume.regions)
    regions[regions == code_of("L2", "volume")] = 0
    some = replace(volume, marked_slices=marks, regions=regions)
    sample = TASK.sample(study_of(some))
    assert sample["weight"].reshape(4, 4).sum(1).tolist() == [4.0, 0.0, 4.0, 4.0]


def test_a_series_that_cannot_be_brought_to_slabs_counts_nothing() -> None:
    thick = replace(spine_ct(np.random.default_rng(1)), slice_thickness_mm=8.0)
    assert float(TASK.sample(study_of(thick))["weight"].sum()) == 0.0


def test_a_mask_comes_back_from_the_picture() -> None:
    whole = np.zeros(FRAME, bool)
    whole[240:300, 160:230] = True
    back = on_slab(mask(whole, TASK.frame).float())
    assert (back & whole).sum() * 2 / (back.sum() + whole.sum()) > 0.97


def varied(sample: Sample, seed: int = 3) -> Sample:
    return SMALL.augment(sample, np.random.default_rng(seed))


def test_two_variations_are_moved_alike_and_look_different() -> None:
    sample = SMALL.sample(study_of(spine_ct(np.random.default_rng(2))))
    twice = varied(sample)
    assert torch.equal(twice["bone"][:8], twice["bone"][8:])
    assert not torch.equal(twice["image"][:8], twice["image"][8:])
    assert twice["paired"].tolist() == [1.0] * 16
    assert sample["paired"].tolist() == [0.0] * 16


def test_levels_that_are_there_are_drawn_before_those_that_are_not() -> None:
    sample = SMALL.sample(study_of(spine_ct(np.random.default_rng(2))))
    sample["weight"][4:12] = 0
    assert all(float(varied(sample, seed)["weight"].sum()) == 16 for seed in range(8))


def test_without_variation_unannotated_slabs_cost_nothing() -> None:
    batch = fold(collate([SMALL.sample(study_of(middles_only(0)))]))
    loss = SMALL.loss(torch.randn(16, 2, 32, 32), batch)
    assert ((loss > 0) == (batch["annotated"] > 0)).all()


def test_the_sure_variation_teaches_and_only_the_other_one_learns() -> None:
    batch = fold(collate([varied(SMALL.sample(study_of(middles_only(0))))]))
    batch["annotated"] = torch.zeros(16)
    output = (5 * torch.randn(16, 2, 32, 32)).requires_grad_()
    loss = SMALL.loss(output, batch)
    assert (loss[:8] == 0).all()
    assert (loss[8:] > 0).all()
    loss.sum().backward()
    assert output.grad is not None
    assert float(output.grad[:8].abs().sum()) == 0.0
    assert float(output.grad[8:].abs().sum()) > 0.0
    unsure = torch.zeros(16, 2, 32, 32)
    assert float(SMALL.loss(unsure, batch).sum()) == 0.0


def test_a_patients_loss_does_not_depend_on_who_else_is_there() -> None:
    samples = [varied(SMALL.sample(study_of(middles_only(seed))), seed) for seed in (0, 1)]
    output = 5 * torch.randn(32, 2, 32, 32)
    both = SMALL.loss(output, fold(collate(samples)))
    apart = [
        SMALL.loss(output[16 * place : 16 * place + 16], fold(collate([sample])))
        for place, sample in enumerate(samples)
    ]
    assert torch.allclose(both, torch.cat(apart))


def test_dice_counts_annotated_slabs_of_a_level_together_and_each_patient_once() -> None:
    batch = fold(collate([TASK.sample(study_of(middles_only(seed))) for seed in (0, 1)]))
    right = torch.stack([1.0 - batch["bone"], batch["bone"].float()], dim=1)
    metrics = TASK.metrics(TASK.statistics(right, batch))
    assert {metrics[name] for name in ("dice", "dice_L1", "dice_L4")} == {1.0}
    right[4:8] = right[4:8].flip(1)  # L2 of the first patient is all wrong
    sums = TASK.statistics(right, batch)
    assert sums["dice_n"] == sums["dice_L2_n"] == 2.0
    assert TASK.metrics(sums)["dice_L2"] == pytest.approx(0.5)
    assert TASK.metrics(sums)["dice"] == pytest.approx((0.75 + 1) / 2)


def test_outlines_come_back_to_the_series_by_level() -> None:
    volume = spine_ct(np.random.default_rng(4))
    found = read(volume, dict(volume.marked_slices))
    assert found.not_assessed == ()
    drawn = found.volume_maps[SERIES]
    assert drawn.shape == volume.hu.shape
    assert volume.regions is not None
    for level, middle in volume.marked_slices.items():
        mine, true = drawn[middle] == code_of(level, "volume"), volume.regions[middle] > 0
        assert 2 * (mine & true).sum() / (mine.sum() + true.sum()) > 0.9, level


def test_a_level_whose_middle_is_unknown_is_not_assessed() -> None:
    volume = spine_ct(np.random.default_rng(4))
    marks = {"L1": volume.marked_slices["L1"], "L3": volume.marked_slices["L3"]}
    found = read(volume, marks)
    assert [gap.what for gap in found.not_assessed] == ["outline of L2", "outline of L4"]
    assert not (found.volume_maps[SERIES] == code_of("L2", "volume")).any()
    none = read(volume, {})
    assert (len(none.not_assessed), dict(none.volume_maps)) == (4, {})


def test_an_empty_mask_is_not_assessed() -> None:
    volume = spine_ct(np.random.default_rng(4))
    soft = replace(volume, hu=np.minimum(volume.hu, 60))
    found = read(soft, dict(volume.marked_slices))
    assert {gap.why for gap in found.not_assessed} == {"no bone was recognised where it should be"}
    assert dict(found.volume_maps) == {}


def test_a_vertebra_that_reaches_beyond_the_part_is_cut() -> None:
    bone = np.zeros((4, *FRAME), bool)
    rows, columns = inside()
    bone[:, rows.start + 1 : rows.stop - 1, columns.start + 1 : columns.stop - 1] = True
    assert not is_cut(bone)
    for row, column in ((rows.start, 200), (300, columns.start), (300, columns.stop - 1)):
        beyond = bone.copy()
        beyond[2, row, column] = True
        assert is_cut(beyond)


def test_a_series_too_thick_is_said_in_a_sentence() -> None:
    volume = replace(spine_ct(np.random.default_rng(4)), slice_thickness_mm=8.0)
    found = read(volume, dict(volume.marked_slices))
    assert "8 mm thick" in found.not_assessed[0].why
    assert len(found.not_assessed) == 4
