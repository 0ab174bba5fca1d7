"""Levels of a CT series: marks become rows and come back, and what is not certain is said."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from shared.networks.levels import UNSEEN, LevelNetwork
from shared.records import Covariates, StudyLabels, StudyRecord, Vendor, VolumeRecord
from shared.regions import LUMBAR, SACRUM
from shared.settings.task import TaskSettings
from shared.tasks.ct.landmarks import (
    AROUND,
    CANVAS,
    HALF_BODY,
    LANDMARKS,
    TOP,
    Canvas,
    FoundLandmark,
    found_landmarks,
    slice_of_slab,
)
from shared.tasks.ct.levels import BONE, doubts_in_words, read_levels, shows_ribs
from shared.tasks.ct.localisation import NEAR, CtLocalisation
from shared.tasks.ct.moving import move_canvas, recount
from shared.tasks.ct.slabs import SLAB_MM, to_slabs
from shared.tasks.reading import Reading
from shared.tasks.sample import Sample, collate, fold
from tests.shared.ct_standins import STEP_MM, lumbar_ct

TASK = CtLocalisation(TaskSettings(task="ct-localisation"))
STEP = STEP_MM / SLAB_MM
#: Rows of landmarks that fit together.
ROWS = {TOP: 60.0 - HALF_BODY * STEP} | {
    name: 60.0 + number * STEP for number, name in enumerate(LUMBAR)
}  # fmt: skip
WHOLE = Canvas(CANVAS[0])


def study(volume: VolumeRecord) -> StudyRecord:
    return StudyRecord(
        "p", "s", Vendor.OTHER, {}, StudyLabels(), Covariates(), volumes={"ct": volume}
    )


def made_up(seed: int = 1, **more: float) -> VolumeRecord:
    return lumbar_ct(np.random.default_rng(seed), **more)


def sure(rows: dict[str, float], chance: float = 0.9) -> dict[str, FoundLandmark]:
    return {
        name: FoundLandmark(rows.get(name, 0.0), chance if name in rows else 0.0)
        for name in LANDMARKS
    }


def with_ribs(at: float = 60.0 - HALF_BODY * STEP) -> Tensor:
    picture = torch.zeros(2, *CANVAS)
    picture[0, round(at) - 8 : round(at) - 2, 60:70] = BONE + 0.1
    return picture


def test_marks_are_rows_and_rows_are_slices_again() -> None:
    volume = made_up()
    sample = TASK.sample(study(volume))
    slabs = to_slabs(volume)
    canvas = Canvas(len(slabs.hu))
    rows = dict(zip(LANDMARKS, sample["row"][0].tolist(), strict=True))
    assert sample["known"][0].tolist() == [1, 1, 1, 1, 1, 0]  # nobody marks a sacrum in a table
    assert rows["L1"] < rows["L2"] < rows["L3"] < rows["L4"]
    assert rows["L1"] - rows[TOP] == pytest.approx(HALF_BODY * STEP, abs=0.6)
    for level in LUMBAR:
        place = slice_of_slab(canvas.slab_of(rows[level]), slabs.placed)
        assert abs(place - volume.marked_slices[level]) <= 1


@pytest.mark.parametrize("slabs", [30, 131, CANVAS[0], 300])
def test_a_series_of_any_height_lies_in_the_middle_of_the_canvas(slabs: int) -> None:
    canvas = Canvas(slabs)
    first, last = canvas.scanned
    assert last - first + 1 == min(slabs, CANVAS[0])
    assert canvas.slab_of(canvas.row_of(7.25)) == 7.25
    assert abs((first + last) / 2 - (CANVAS[0] - 1) / 2) <= 0.5


def test_the_picture_shows_each_body_at_its_row() -> None:
    sample = TASK.sample(study(made_up(densities=4.0)))
    front = sample["image"][0, 0]
    for row in sample["row"][0, 1:5].round().long().tolist():
        between = row + round(STEP / 2)
        column = CANVAS[1] // 2 + 5
        assert float(front[row, column]) > float(front[between, column]) + 0.2


def test_a_series_whose_slices_are_too_thick_is_no_picture() -> None:
    thick = replace(made_up(), slice_thickness_mm=8.0)
    sample = TASK.sample(study(thick))
    assert float(sample["weight"][0]) == 0
    assert float(sample["image"].abs().sum()) == 0


def test_landmarks_move_with_the_picture() -> None:
    volume = made_up(densities=4.0)
    sample = TASK.sample(study(volume))
    moved = 0
    for number in range(12):
        other = move_canvas(sample, np.random.default_rng(number))
        column = CANVAS[1] // 2
        for place in range(1, 5):
            row = float(other["row"][0, place])
            if row < 0 or float(other["image"].max()) < 0.5:
                continue
            moved += 1
            near = other["image"][0, 1].sum(1)  # the sagittal picture is bright at bodies
            here = near[max(0, round(row) - 1) : round(row) + 2].mean()
            assert float(here) > 0.5 * float(near.max()), (number, place, column)
    assert moved > 20


def test_a_vertebra_above_the_sacrum_is_taken_out_or_stands_twice() -> None:
    volume = made_up(densities=4.0)
    marks = {**volume.marked_slices, SACRUM: volume.marked_slices["L5"] - 6}
    sample = TASK.sample(study(replace(volume, marked_slices=marks)))
    before = sample["row"][0]
    kinds = set()
    for number in range(60):
        other = recount(sample, np.random.default_rng(number))
        row = other["row"][0]
        assert torch.equal(row[:5], before[:5])  # L1 to L4 are counted from above
        end = round(float(before[5]))
        step = round(float(before[4] - before[3]))
        change = int(other["scanned"][0, 1] - sample["scanned"][0, 1])
        kinds.add(change)
        first = end - step
        assert torch.equal(other["image"][:, :, :first], sample["image"][:, :, :first])
        if change < 0:
            assert torch.equal(other["image"][:, :, first : 200 - step],
                               sample["image"][:, :, end:200])  # fmt: skip
            assert row[5] == end - step
        if change > 0:
            assert torch.equal(other["image"][:, :, end : end + step],
                               other["image"][:, :, first:end])  # fmt: skip
            assert row[5] == end + step
    assert kinds == {-11, 0, 11}
    unmarked = TASK.sample(study(volume))
    assert all(recount(unmarked, np.random.default_rng(n)) is unmarked for n in range(9))


def test_what_is_cut_away_is_known_to_be_nowhere() -> None:
    sample = TASK.sample(study(made_up()))
    cut = [move_canvas(sample, np.random.default_rng(number)) for number in range(60)]
    gone = [one for one in cut if bool(((one["row"] < 0) & (one["known"] > 0)).any())]
    assert 3 < len(gone) < 57
    batch = fold(collate([gone[0]]))
    nowhere = torch.full((1, len(LANDMARKS), CANVAS[0]), -9.0)
    somewhere = torch.full((1, len(LANDMARKS), CANVAS[0]), 0.0)
    asked = {**batch, "known": ((batch["row"] < 0) & (batch["known"] > 0)).float()}
    assert float(TASK.loss(nowhere, asked)) < 0.1 < float(TASK.loss(somewhere, asked))


def peaked(sample: Sample) -> Tensor:
    """Logits that are sure of the true rows, shape (1, 6, 224)."""
    places = torch.arange(CANVAS[0])
    return 12 - 2.0 * (places - sample["row"][..., None]) ** 2


def test_sure_logits_have_no_error_and_shifted_ones_count() -> None:
    sample = TASK.sample(study(made_up()))
    batch = fold(collate([sample]))
    right = TASK.metrics(TASK.statistics(peaked(sample), batch))
    assert right["error_mm"] < 0.1
    assert right["shifted"] == 0.0
    off = {**sample, "row": sample["row"] + STEP}
    wrong = TASK.metrics(TASK.statistics(peaked(off), batch))
    assert wrong["error_mm"] == pytest.approx(STEP_MM, abs=0.2)
    assert wrong["shifted"] == 1.0
    assert float(TASK.loss(peaked(sample), batch)) < float(TASK.loss(peaked(off), batch))


def test_an_unmarked_landmark_has_no_say() -> None:
    sample = TASK.sample(study(made_up()))
    batch = fold(collate([sample]))
    right = peaked(sample)
    odd = right.clone()
    odd[:, LANDMARKS.index(SACRUM)] = 50.0
    assert torch.equal(TASK.loss(right, batch), TASK.loss(odd, batch))


@pytest.mark.parametrize("beyond", [-3, -1, 0, 1, 2, 40])
def test_what_the_second_network_was_hardly_shown_is_no_question(beyond: int) -> None:
    sample = TASK.sample(study(made_up()))
    batch = fold(collate([sample]))
    edge = round(float(sample["row"][0, 3])) - beyond  # of what was shown, towards the feet
    output = peaked(sample)
    output[:, 1:, edge + 1 :] = UNSEEN
    loss = float(TASK.loss(output, batch))
    assert 0 < loss < 3


def test_the_second_network_looks_around_what_the_first_found_or_is_shown() -> None:
    network = LevelNetwork(2, 5, NEAR, "small").eval()
    image = torch.rand(2, 2, *CANVAS)
    with torch.no_grad():
        shown = network(image, torch.tensor([[60.0], [190.0]]))
        found = network(image, torch.full((2, 1), -1.0))
    assert shown.shape == (2, 6, CANVAS[0])
    seen = [torch.nonzero(one[1] > UNSEEN / 2)[:, 0].tolist() for one in shown]
    assert seen[0] == list(range(60 - NEAR[0], 60 - NEAR[0] + NEAR[1]))
    assert seen[1] == list(range(CANVAS[0] - NEAR[1], CANVAS[0]))
    for one in found:
        start = max(0, min(int(one[0].argmax()) - NEAR[0], CANVAS[0] - NEAR[1]))
        assert torch.nonzero(one[3] > UNSEEN / 2)[0, 0] == start
    assert torch.equal(shown[:, 0], found[:, 0])


def test_a_row_is_the_mean_of_those_around_the_likeliest() -> None:
    logits = torch.full((6, CANVAS[0]), -9.0)
    logits[1, 50], logits[1, 51] = 9.0, 9.0
    logits[2] = UNSEEN
    found = found_landmarks(logits)
    assert found["L1"].row == pytest.approx(50.5, abs=1e-3)
    assert found["L1"].chance > 0.99
    assert found["L2"].chance == 0.0
    assert found["L3"].chance < 0.01 * (2 * AROUND + 1)


def test_levels_that_fit_are_believed_and_counted() -> None:
    rows = ROWS | {SACRUM: ROWS[TOP] + 5 * STEP}
    read = read_levels(sure(rows), with_ribs(), WHOLE)
    assert read.doubts == {}
    assert read.note == ""
    assert {name: WHOLE.row_of(slab) for name, slab in read.slabs.items()} == pytest.approx(
        {name: ROWS[name] for name in LUMBAR}
    )


@pytest.mark.parametrize("number", [4, 6])
def test_four_or_six_lumbar_vertebrae_are_said(number: int) -> None:
    rows = ROWS | {SACRUM: ROWS[TOP] + number * STEP}
    read = read_levels(sure(rows), with_ribs(), WHOLE)
    assert set(read.slabs) == set(LUMBAR)
    assert f"{number} lumbar vertebrae (usually 5)" in read.note
    assert "from the ribs" in read.note


@pytest.mark.parametrize("number", [4, 4.5, 6, 7])
def test_without_ribs_only_five_vertebrae_above_the_sacrum_are_named(number: float) -> None:
    """A level too many or too few is what a shift by one looks like."""
    bare = torch.zeros(2, *CANVAS)
    rows = ROWS | {SACRUM: ROWS[TOP] + number * STEP}
    read = read_levels(sure(rows), bare, WHOLE)
    assert read.slabs == {}
    assert "the ribs are not in view" in read.doubts["L2"]


def test_seven_vertebrae_between_ribs_and_sacrum_are_none() -> None:
    rows = ROWS | {SACRUM: ROWS[TOP] + 7 * STEP}
    read = read_levels(sure(rows), with_ribs(), WHOLE)
    assert read.slabs == {}
    assert "7 vertebrae seem to lie" in read.doubts["L1"]


def test_the_stages_are_held_against_each_other_without_l1() -> None:
    rows = {name: row for name, row in ROWS.items() if name != "L1"}
    read = read_levels(sure(rows), with_ribs(), WHOLE)
    assert set(read.slabs) == {"L2", "L3", "L4"}
    shifted = rows | {TOP: rows[TOP] - STEP}
    assert read_levels(sure(shifted), with_ribs(shifted[TOP]), WHOLE).slabs == {}


def test_with_neither_ribs_nor_sacrum_nothing_is_said_of_any_level() -> None:
    bare = torch.zeros(2, *CANVAS)
    read = read_levels(sure(ROWS), bare, WHOLE)
    assert read.slabs == {}
    assert set(read.doubts) == set(LUMBAR)
    assert "neither the twelfth ribs nor the sacrum" in read.doubts["L3"]
    assert read_levels(sure(ROWS), with_ribs(), WHOLE).slabs
    assert read_levels(sure(ROWS | {SACRUM: ROWS[TOP] + 5 * STEP}), bare, WHOLE).slabs


def test_stages_that_disagree_are_not_believed() -> None:
    rows = ROWS | {TOP: ROWS[TOP] - STEP, SACRUM: ROWS[TOP] + 5 * STEP}
    read = read_levels(sure(rows), with_ribs(rows[TOP]), WHOLE)
    assert read.slabs == {}
    assert "the two stages of the search disagree" in read.doubts["L1"]


def test_levels_out_of_step_and_not_found_are_named() -> None:
    rows = ROWS | {"L4": ROWS["L3"] + 3.0}
    read = read_levels(sure(rows), with_ribs(), WHOLE)
    # one was taken twice: which of the names are right nobody knows
    assert read.slabs == {}
    assert doubts_in_words(read.doubts) == [
        ("L1 to L4", "is not certain: L3 and L4 seem 9 mm apart")
    ]
    uneven = {**ROWS, "L4": ROWS["L3"] + 1.4 * STEP}
    assert (
        "more unevenly than in a spine"
        in read_levels(sure(uneven), with_ribs(), WHOLE).doubts["L1"]
    )
    gap = {name: row for name, row in uneven.items() if name != "L2"} | {
        "L4": ROWS["L3"] + 1.5 * STEP
    }
    assert "50 mm apart" in read_levels(sure(gap), with_ribs(), WHOLE).doubts["L1"]
    few = {name: row for name, row in ROWS.items() if name != "L4"}
    assert read_levels(sure(few), with_ribs(), WHOLE).doubts == {"L4": "was not found"}
    unsure = sure(ROWS, chance=0.3)
    assert "was not found" in read_levels(unsure, with_ribs(), WHOLE).doubts["L1"]


def test_ribs_are_bone_beside_the_spine_above_l1_and_inside_the_series() -> None:
    assert shows_ribs(with_ribs(), ROWS[TOP], WHOLE)
    assert not shows_ribs(with_ribs(ROWS[TOP] + 20), ROWS[TOP], WHOLE)
    faint = with_ribs() - 0.2
    assert not shows_ribs(faint, ROWS[TOP], WHOLE)
    low = Canvas(2 * round(CANVAS[0] / 2 - ROWS[TOP]) - 2)  # begins at L1
    assert not shows_ribs(with_ribs(), ROWS[TOP], low)


class Told(torch.nn.Module):
    """Gives what it is told."""

    def __init__(self, output: Tensor) -> None:
        super().__init__()
        self.output = output

    def forward(self, image: Tensor, covariates: Tensor) -> Tensor:
        return self.output


def test_found_levels_are_slices_of_the_series() -> None:
    volume = made_up()
    told = peaked(TASK.sample(study(volume)))
    told[0, LANDMARKS.index(SACRUM)] = -9
    bare = study(replace(volume, regions=None, marked_slices={}))
    found = TASK.find(Reading(Told(told), bare, StudyLabels(), before=None))  # type: ignore[arg-type]
    assert found.not_assessed == ()
    marks = found.marked_slices["ct"]
    assert set(marks) == set(LUMBAR)
    assert all(abs(marks[level] - volume.marked_slices[level]) <= 1 for level in LUMBAR)


def test_what_is_not_found_says_why() -> None:
    volume = made_up()
    nothing = Told(torch.full((1, len(LANDMARKS), CANVAS[0]), -9.0))

    def why(one: StudyRecord) -> str:
        found = TASK.find(Reading(nothing, one, StudyLabels(), before=None))  # type: ignore[arg-type]
        assert found.marked_slices == {}
        return " ".join(f"{gap.what}: {gap.why}" for gap in found.not_assessed)

    assert "the upper end of L1 was not found" in why(study(volume))
    assert "8 mm thick" in why(study(replace(volume, slice_thickness_mm=8.0)))
    assert "has no CT" in why(replace(study(volume), volumes={}))
