"""What is special in finding vertebrae on radiographs."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from shared.findings.findings import Findings
from shared.records import (
    Covariates,
    ImageRecord,
    StudyLabels,
    StudyRecord,
    Vendor,
    VertebraBox,
    View,
)
from shared.regions import LUMBAR, REGION_CODES, UNNAMED_VERTEBRA
from shared.seeds import numpy_generator
from shared.settings.task import TaskSettings
from shared.tasks.reading import Reading
from shared.tasks.sample import collate, fold
from shared.tasks.xray.proportions import L5_HEIGHT, LEVEL_HEIGHT
from shared.tasks.xray.vertebrae import XrayVertebrae

TASK = XrayVertebrae(TaskSettings(task="xray-vertebrae"))


def radiograph(shape: tuple[int, int] = (416, 229), code: int = UNNAMED_VERTEBRA) -> StudyRecord:
    generator = np.random.default_rng(1)
    pixels = generator.normal(0.4, 0.05, shape).astype(np.float32)
    regions = np.zeros(shape, np.uint8)
    rows, columns = shape[0] // 4, shape[1] // 4
    regions[rows : 2 * rows, columns : 2 * columns] = code
    pixels[regions > 0] += 0.3
    image = ImageRecord(np.clip(pixels, 0, 1), (1.0, 1.0), "none", regions)
    return StudyRecord("p", "s", Vendor.OTHER, {View.LUMBAR_AP: image}, StudyLabels(), Covariates())


@pytest.mark.parametrize("shape", [(416, 229), (300, 400), (90, 31)])
def test_the_whole_radiograph_fills_the_frame_whatever_its_shape(shape: tuple[int, int]) -> None:
    sample = TASK.sample(radiograph(shape))
    assert sample["image"].shape == (1, 1, *TASK.frame)
    assert float(sample["vertebra"].float().mean()) == pytest.approx(1 / 16, rel=0.15)
    rows = torch.nonzero(sample["vertebra"][0])[:, 0].float() / TASK.frame[0]
    assert float(rows.mean()) == pytest.approx(0.375, abs=0.02)


def test_a_tone_curve_makes_no_difference() -> None:
    study = radiograph()
    image = study.images[View.LUMBAR_AP]
    darker = replace(image, pixels=np.asarray(image.pixels, np.float32) ** 2.2)
    one = TASK.sample(study)["image"]
    other = TASK.sample(replace(study, images={View.LUMBAR_AP: darker}))["image"]
    assert float((one - other).abs().mean()) < 0.1
    assert float(one.mean()) == pytest.approx(0, abs=1e-3)


def test_named_and_unnamed_vertebrae_count_alike_and_hips_do_not() -> None:
    unnamed = TASK.sample(radiograph())["vertebra"]
    named = TASK.sample(radiograph(code=REGION_CODES["L3"]))["vertebra"]
    hip = TASK.sample(radiograph(code=REGION_CODES["femoral_neck"]))["vertebra"]
    assert torch.equal(unnamed, named)
    assert int(hip.sum()) == 0


def test_boxes_of_a_table_count_like_the_mask_that_they_make_and_a_mask_before_them() -> None:
    study = radiograph()
    image = study.images[View.LUMBAR_AP]
    boxes = (VertebraBox("L3", 57, 104, 114, 208),)
    boxed = replace(study, images={View.LUMBAR_AP: replace(image, regions=None, boxes=boxes)})
    assert TASK.uses(boxed)
    assert torch.equal(TASK.sample(boxed)["vertebra"], TASK.sample(study)["vertebra"])
    both = replace(image, boxes=(VertebraBox("", 0, 0, 20, 20),))
    masked = TASK.sample(replace(study, images={View.LUMBAR_AP: both}))
    assert torch.equal(masked["vertebra"], TASK.sample(study)["vertebra"])


def test_a_study_without_marks_is_not_used_and_has_weight_zero() -> None:
    study = radiograph()
    bare = replace(study.images[View.LUMBAR_AP], regions=None)
    unmarked = replace(study, images={View.LUMBAR_AP: bare})
    assert TASK.uses(study)
    assert not TASK.uses(unmarked)
    assert float(TASK.sample(unmarked)["weight"]) == 0.0
    batch = fold(collate([TASK.sample(unmarked)]))
    assert float(TASK.loss(torch.randn(1, 2, *TASK.frame), batch)) == 0.0
    assert "dice" not in TASK.metrics(TASK.statistics(torch.zeros(1, 2, *TASK.frame), batch))


def test_perfect_and_empty_maps_have_a_dice_of_one_and_zero() -> None:
    batch = fold(collate([TASK.sample(radiograph())]))
    true = batch["vertebra"].float()
    perfect = torch.stack([-9 * true + 4, 9 * true - 4], dim=1)
    assert TASK.metrics(TASK.statistics(perfect, batch))["dice"] == 1.0
    nothing = torch.stack([torch.ones_like(true), -torch.ones_like(true)], dim=1)
    assert TASK.metrics(TASK.statistics(nothing, batch))["dice"] == 0.0
    assert float(TASK.loss(perfect, batch)) < float(TASK.loss(nothing, batch))


def test_marks_move_with_the_picture() -> None:
    sample = TASK.sample(radiograph())
    for number in range(6):
        moved = TASK.augment(sample, numpy_generator(1, "augment", number))
        inside = moved["image"][0, 0][moved["vertebra"][0] > 0]
        outside = moved["image"][0, 0][moved["vertebra"][0] == 0]
        assert float(inside.mean()) > float(outside.mean()) + 0.5


def test_the_network_gives_two_classes_for_every_pixel() -> None:
    batch = fold(collate([TASK.sample(radiograph())]))
    output = TASK.network()(batch["image"], batch["covariates"])
    assert output.shape == (1, 2, *TASK.frame)


class Drawing(nn.Module):
    """Finds a column in the frame, of so many rows and columns of its 160 by 80."""

    def __init__(self, rows: tuple[int, int], columns: tuple[int, int]) -> None:
        super().__init__()
        self.found = torch.full((2, *TASK.frame), -4.0)
        self.found[0] = 0
        self.found[1, slice(*rows), slice(*columns)] = 4.0

    def forward(self, image: Tensor, covariates: Tensor) -> Tensor:
        return self.found.expand(len(image), -1, -1, -1)


def found(rows: tuple[int, int], columns: tuple[int, int] = (30, 50)) -> Findings:
    study = radiograph((400, 200))
    bare = replace(study.images[View.LUMBAR_AP], regions=None)
    study = replace(study, images={View.LUMBAR_AP: bare})
    return TASK.find(Reading(Drawing(rows, columns), study, StudyLabels(), Findings()))


def test_l1_to_l4_are_named_on_the_film_from_the_lowest_vertebra() -> None:
    findings = found((20, 140))  # rows 50 to 350 of the film, 50 columns wide
    regions = findings.region_maps[View.LUMBAR_AP]
    assert regions.shape == (400, 200)
    level, bottom = LEVEL_HEIGHT * 50, 350 - L5_HEIGHT * 50
    for number, name in enumerate(LUMBAR):
        rows = np.flatnonzero((regions == REGION_CODES[name]).any(1))
        assert rows[0] == pytest.approx(bottom - (4 - number) * level, abs=5)
    assert {one.region for one in findings.regions} == set(LUMBAR)
    assert findings.not_assessed == ()


@pytest.mark.parametrize(
    ("rows", "columns", "why"),
    [
        ((60, 95), (30, 50), "fewer than three of the vertebrae"),
        ((0, 0), (0, 0), "no vertebrae are recognised"),
        ((40, 160), (30, 50), "the lower end of the lumbar spine is not in it"),
    ],
)
def test_levels_that_cannot_be_counted_are_not_drawn(
    rows: tuple[int, int], columns: tuple[int, int], why: str
) -> None:
    findings = found(rows, columns)
    assert not findings.region_maps
    [gap] = findings.not_assessed
    assert why in gap.why
