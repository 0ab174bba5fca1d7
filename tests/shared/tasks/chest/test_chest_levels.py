"""Levels of a chest CT: marks become rows, what fits is believed, what is cut away is nowhere."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from shared.records import Covariates, StudyLabels, StudyRecord, Vendor, VolumeRecord
from shared.settings.task import TaskSettings
from shared.tasks.chest.levels import LANDMARKS, LEVELS, read_chest_levels
from shared.tasks.chest.regions import ENDS_ABOVE, ChestCtRegions, end_above
from shared.tasks.ct.landmarks import CANVAS, TOP, Canvas, FoundLandmark
from shared.tasks.ct.levels import BONE
from shared.tasks.ct.slabs import SLAB_MM
from tests.shared.ct_standins import HALF_MM, STEP_MM, lumbar_ct

TASK = ChestCtRegions(TaskSettings(task="chest-ct-regions"))
STEP = STEP_MM / SLAB_MM
WHOLE = Canvas(CANVAS[0])
#: Rows that fit together: the upper end of L1 is where T12's lower disc ends.
ROWS = {"T11": 80.0, "T12": 80.0 + STEP, "L1": 80.0 + 2 * STEP, TOP: 80.0 + 1.61 * STEP}


def chest_ct(seed: int = 1) -> VolumeRecord:
    return lumbar_ct(np.random.default_rng(seed), cortex=500.0)


def study(volume: VolumeRecord) -> StudyRecord:
    return StudyRecord(
        "p", "s", Vendor.OTHER, {}, StudyLabels(), Covariates(), volumes={"ct": volume}
    )


def sure(rows: dict[str, float]) -> dict[str, FoundLandmark]:
    return {
        name: FoundLandmark(rows.get(name, 0.0), 0.9 if name in rows else 0.0) for name in LANDMARKS
    }


def with_ribs(top: float = ROWS[TOP]) -> Tensor:
    picture = torch.zeros(2, *CANVAS)
    picture[0, round(top) - 8 : round(top) - 2, 60:70] = BONE + 0.1
    return picture


@pytest.mark.parametrize("without", ["", "L1", "T11"])
def test_the_upper_end_of_l1_follows_from_whichever_levels_are_marked(without: str) -> None:
    volume = chest_ct()
    marks = {name: place for name, place in volume.marked_slices.items() if name != without}
    sample = TASK.sample(study(replace(volume, marked_slices=marks)))
    rows = dict(zip(LANDMARKS, sample["row"][0].tolist(), strict=True))
    true = TASK.sample(study(volume))["row"][0, LANDMARKS.index("L1")]
    assert float(true - rows[TOP]) * SLAB_MM == pytest.approx(HALF_MM[0], abs=3.0)
    assert [rows[name] >= 0 for name in LEVELS] == [name != without for name in LEVELS]


def test_levels_that_fit_are_believed() -> None:
    read = read_chest_levels(sure(ROWS), with_ribs(), WHOLE)
    assert read.doubts == {}
    found = {name: WHOLE.row_of(slab) for name, slab in read.slabs.items()}
    assert found == pytest.approx({name: ROWS[name] for name in LEVELS})
    upper = {name: ROWS[name] for name in ("T11", "T12", TOP)}
    read = read_chest_levels(sure(upper), with_ribs(), WHOLE)
    assert set(read.slabs) == {"T11", "T12"}
    assert read.doubts == {"L1": "was not found"}


@pytest.mark.parametrize(
    ("rows", "ribs", "why"),
    [
        ({}, True, "upper end of L1 was not found"),
        (ROWS, False, "twelfth ribs were not found"),
        ({TOP: ROWS[TOP], "T12": ROWS["T12"]}, True, "too few are in view"),
        (ROWS | {"T11": ROWS["T11"] - 8}, True, "T11 and T12 seem 57 mm apart"),
        (ROWS | {"T11": ROWS["T11"] + 4.5}, True, "unevenly apart"),
        ({**{k: v - STEP for k, v in ROWS.items()}, TOP: ROWS[TOP]}, True, "two stages"),
    ],
)  # fmt: skip
def test_levels_that_do_not_fit_are_not_named(rows: dict[str, float], ribs: bool, why: str) -> None:
    picture = with_ribs() if ribs else torch.zeros(2, *CANVAS)
    read = read_chest_levels(sure(rows), picture, WHOLE)
    assert read.slabs == {}
    assert set(read.doubts) == set(LEVELS)
    assert all(why in doubt for doubt in read.doubts.values())


def test_a_picture_that_ends_above_l1_has_it_nowhere() -> None:
    sample = TASK.sample(study(chest_ct()))
    top = float(sample["row"][0, 0])
    ended = [end_above(sample, np.random.default_rng(seed)) for seed in range(60)]
    cut = [one for one in ended if one is not sample]
    assert 2 < len(cut) < 20
    for one in cut:
        last = float(one["scanned"][0, 1])
        assert last <= max(top - ENDS_ABOVE[0], float(sample["scanned"][0, 0]) + 10)
        assert float(one["image"][0, :, round(last) + 1 :].abs().sum()) == 0.0
        assert float(one["row"][0, 0]) == -1.0
        assert torch.equal(one["known"], sample["known"])


def test_an_enhanced_series_is_not_learnt_from() -> None:
    volume = chest_ct()
    assert TASK.uses(study(volume))
    assert not TASK.uses(study(replace(volume, contrast=True)))
