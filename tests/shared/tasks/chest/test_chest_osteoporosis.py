"""Crops, the chance of osteoporosis, its refusals, and the muscle index beside it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from shared.findings.findings import Findings
from shared.records import (
    Covariates,
    PairedLabels,
    StudyLabels,
    StudyRecord,
    Vendor,
    VolumeRecord,
)
from shared.settings.task import NetworkSettings, TaskSettings
from shared.tasks.chest.chance import OPERATING_POINT, UNREAD
from shared.tasks.chest.crops import crop_level, find_body, mean_of_level
from shared.tasks.chest.levels import LEVELS
from shared.tasks.chest.muscle_index import ChestCtSmi, muscle_index
from shared.tasks.chest.osteoporosis import ChestCtOsteoporosis
from shared.tasks.chest.regions import ChestCtRegions
from shared.tasks.chest.study_crops import read_crops
from shared.tasks.ct.slabs import PIXEL_MM, to_slabs
from shared.tasks.reading import Reading
from shared.tasks.sample import collate, fold
from tests.shared.ct_standins import lumbar_ct

TASK = ChestCtOsteoporosis(TaskSettings(task="chest-ct-osteoporosis"))
SMI = ChestCtSmi(TaskSettings(task="chest-ct-smi"))
OLD = Covariates("F", 68.0, 160.0, 60.0)


def chest_ct(seed: int = 1, core: float = 1.0) -> VolumeRecord:
    return lumbar_ct(np.random.default_rng(seed), dict.fromkeys(LEVELS, core), cortex=500.0)


def study(volume: VolumeRecord, *, bmd: float = 0.6, known: Covariates = OLD) -> StudyRecord:
    labels = StudyLabels(bmd={"L1-L4": bmd})
    return StudyRecord(
        "p", "s", Vendor.OTHER, {}, StudyLabels(), known, {"ct": volume},
        PairedLabels(labels, Vendor.HOLOGIC, 2.0),
    )  # fmt: skip


class Says(nn.Module):
    """Gives the same logit for every level."""

    def __init__(self, logit: float) -> None:
        super().__init__()
        self.logit = logit

    def forward(self, image: Tensor, covariates: Tensor) -> Tensor:
        return torch.full((len(image), 1), self.logit)


def find(given: StudyRecord, logit: float = 1.0, genant: dict[str, int] | None = None) -> Findings:
    labels = StudyLabels(genant=genant or {})
    return TASK.find(Reading(Says(logit), given, labels, Findings()))


@pytest.mark.parametrize("core", [0.2, 1.0, 2.0])
def test_a_body_is_found_whatever_its_density(core: float) -> None:
    volume = chest_ct(core=core)
    slabs = to_slabs(volume)
    for level in LEVELS:
        hu = mean_of_level(slabs, slabs.placed.slab_at(volume.marked_slices[level]))
        assert hu is not None
        centre = find_body(hu)
        assert centre is not None
        row, column = (
            (place * slabs.placed.step[axis] + slabs.placed.first[axis] + 0.5) * 3.0
            for axis, place in enumerate(centre, start=1)
        )
        middle = np.nonzero(np.asarray(volume.regions == 20).any((0, 1)))[0].mean() * 3 + 1.5
        assert row == pytest.approx(165, abs=5)
        assert column == pytest.approx(float(middle), abs=3)
        crop = crop_level(hu, 32)
        assert crop is not None
        dense = np.clip((150 * core + 50) / 400, 0, 1)
        assert float(crop.body[14:18, 14:18].mean()) == pytest.approx(float(dense), abs=0.06)


def test_nothing_is_found_in_soft_tissue() -> None:
    assert find_body(np.full((392, 392), 40.0, np.float32)) is None


def test_muscle_is_behind_the_canal_and_fat_and_bone_are_none() -> None:
    volume = chest_ct()
    [whole] = [read_crops(volume, 16).levels["T12"].muscle_cm2]
    hu = np.array(volume.hu)
    hu[:, 67:] = np.where(hu[:, 67:] > -300, -90, hu[:, 67:])  # the last of it is fat
    less = read_crops(replace(volume, hu=hu), 16).levels["T12"].muscle_cm2
    assert 0 < less < whole < 120 * 60 / 100
    assert PIXEL_MM == 0.75


def test_a_label_is_osteoporosis_at_any_diagnostic_site() -> None:
    for bmd, positive in ((0.60, 1.0), (1.0, 0.0)):
        sample = TASK.sample(study(chest_ct(), bmd=bmd))
        assert sample["positive"].tolist() == [positive] * 3
        assert float(sample["weight"].sum()) == pytest.approx(1.0)  # the patient counts once


def test_a_level_out_of_view_leaves_the_rest_to_say_it() -> None:
    volume = chest_ct()
    marks = {name: place for name, place in volume.marked_slices.items() if name != "L1"}
    sample = TASK.sample(study(replace(volume, marked_slices=marks)))
    assert sample["placed"].tolist() == [1.0, 1.0, 0.0]
    assert sample["weight"].tolist() == [0.5, 0.5, 0.0]
    found = find(study(replace(volume, marked_slices=marks)))
    assert found.chances[0].levels == ("T11", "T12")
    assert [gap.why for gap in found.not_assessed] == ["the middle of L1 is not known"]


def test_a_positive_chance_has_its_operating_point() -> None:
    for logit, positive in ((UNREAD + 0.2, True), (UNREAD - 0.2, False)):
        [chance] = find(study(chest_ct()), logit).chances
        assert chance.positive is positive
        assert chance.operating_point == OPERATING_POINT
        assert chance.probability == pytest.approx(1 / (1 + np.exp(-logit)), abs=6e-4)


def thick(volume: VolumeRecord) -> VolumeRecord:
    return replace(volume, slice_thickness_mm=10.0)


def bright_blood(volume: VolumeRecord) -> VolumeRecord:
    hu = np.array(volume.hu)
    hu[:, 38:45, 56:63] = 250  # 21 x 21 mm in front of the bodies
    return replace(volume, hu=hu, contrast=None)


@pytest.mark.parametrize(
    ("changed", "why"),
    [
        (lambda one: replace(one, contrast=True), "a contrast agent was given"),
        (bright_blood, "its blood is bright as if a contrast agent was given"),
        (lambda one: replace(one, kernel="B70f"), "sharp kernel"),
        (thick, "thicker or further apart"),
        (lambda one: replace(one, kvp=None), "tube voltage is not named"),
        (lambda one: replace(one, marked_slices={"L3": 40, "L4": 30}), "none of T11 to L1"),
        (lambda one: replace(one, hu=np.minimum(one.hu, 60)), "no vertebral body was recognised"),
    ],
)  # fmt: skip
def test_what_cannot_be_read_is_not_assessed_with_the_reason(changed: Any, why: str) -> None:
    found = find(study(changed(chest_ct())))
    assert found.chances == ()
    assert why in found.not_assessed[0].why


@pytest.mark.parametrize(
    ("known", "why"),
    [(replace(OLD, age_years=49.9), "validated under 50"),
     (replace(OLD, age_years=None), "age is not known")],
)  # fmt: skip
def test_nobody_under_50_or_of_unknown_age_is_assessed(known: Covariates, why: str) -> None:
    found = find(study(chest_ct(), known=known))
    assert found.chances == ()
    assert why in found.not_assessed[0].why


def test_a_fractured_level_says_nothing() -> None:
    found = find(study(chest_ct()), genant={"T12": 2})
    assert found.chances[0].levels == ("T11", "L1")


def test_metrics_are_those_of_a_patient_not_of_a_level() -> None:
    rows = [TASK.sample(study(chest_ct(), bmd=bmd)) for bmd in (0.6, 0.6, 1.0, 1.0)]
    batch = fold(collate(rows))
    logits = torch.tensor([2.0, -1.0, 0.5, -4.0]).repeat_interleave(3)[:, None]
    logits[1] += 3.0  # of one level, and the mean of the patient with it
    found = TASK.metrics(TASK.statistics(logits, batch))
    assert found["auc_osteoporosis"] == 0.75
    assert found["sensitivity"] == 0.5
    assert found["specificity"] == 0.5
    chance = 1 / (1 + np.exp(-np.array([3.0, -1.0, 0.5, -4.0])))
    assert found["brier"] == pytest.approx(np.mean((chance - [1, 1, 0, 0]) ** 2), abs=1e-6)


def test_age_and_sex_are_given_by_setting() -> None:
    settings = TaskSettings(task="chest-ct-osteoporosis", network=NetworkSettings(age_and_sex=True))
    told = ChestCtOsteoporosis(settings).sample(study(chest_ct()))["covariates"]
    assert told[:, 1:].tolist() == [pytest.approx([0.1, 0.5])] * 3
    assert TASK.sample(study(chest_ct()))["covariates"].shape == (3, 1)


def test_a_muscle_index_needs_a_height() -> None:
    volume = chest_ct()
    tall, short = (
        muscle_index(study(volume, known=replace(OLD, height_cm=cm))) for cm in (180.0, 150.0)
    )
    assert tall is not None
    assert short is not None
    assert short / tall == pytest.approx((180 / 150) ** 2)
    unknown = study(volume, known=replace(OLD, height_cm=None))
    assert muscle_index(unknown) is None
    assert not SMI.uses(unknown)
    assert float(SMI.sample(unknown)["weight"].sum()) == 0.0


def test_levels_of_a_network_reach_the_chance() -> None:
    volume = chest_ct()
    marks = {level: volume.marked_slices[level] for level in LEVELS}
    before = Findings(marked_slices={"ct": marks})
    blind = study(replace(volume, marked_slices={}, regions=None))
    found = TASK.find(Reading(Says(1.0), blind, StudyLabels(), before))
    assert found.chances[0].levels == LEVELS
    assert TASK.after == (ChestCtRegions.name,)
