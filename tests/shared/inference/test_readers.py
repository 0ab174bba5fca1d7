"""From networks' outputs to probabilities and region maps."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.findings.findings import Findings, vertebra_grade
from shared.quality.regions import large_pieces
from shared.records import Covariates, ImageRecord, StudyLabels, StudyRecord, Vendor, View
from shared.regions import NUMBER_OF_CODES, REGION_CODES, VERTEBRAE
from shared.settings.task import TaskSettings
from shared.tasks import TASKS, reporting_tasks
from shared.tasks.base import Task
from shared.tasks.dxa_segmentation import DxaSegmentation
from shared.tasks.pixels import Placement
from shared.tasks.reading import Reading
from shared.tasks.region_maps import largest_parts, name_vertebrae
from shared.tasks.vfa_fracture import YES_WEIGHT, VfaFracture, grade_probabilities, grades_of
from tests.shared.inference_cases import GRADE_METRICS

LOGITS = st.tuples(*[st.floats(-12, 12)] * 3)


def test_every_task_finds_something_or_says_that_it_stands_in_no_report() -> None:
    for name, task in TASKS.items():
        assert task.reports == (task.find is not Task.find), name


def test_a_task_reads_a_study_after_those_whose_findings_it_needs() -> None:
    names = list(reporting_tasks())
    assert names == [
        "dxa-segmentation",
        "dxa-bmd",
        "xray-vertebrae",
        "ct-localisation",
        "chest-ct-regions",
        "vfa-fracture",
        "xray-bmd",
        "ct-segmentation",
        "chest-ct-osteoporosis",
        "ct-bmd",
    ]
    for name, task in reporting_tasks().items():
        assert all(names.index(before) < names.index(name) for before in task.after)


def test_grades_depend_on_metrics_that_the_task_computes() -> None:
    assert VfaFracture.grade_metrics == GRADE_METRICS
    assert VfaFracture.headline.metric in GRADE_METRICS


@settings(deadline=None)  # the first call of torch is slow
@given(LOGITS)
def test_grades_have_probabilities_that_sum_to_one(logits: tuple[float, float, float]) -> None:
    chances = grade_probabilities(torch.tensor([logits]))
    assert chances.shape == (1, 4)
    assert bool((chances >= 0).all())
    assert abs(float(chances.sum()) - 1) < 1e-5


@settings(deadline=None)  # the first call of torch is slow
@given(LOGITS)
def test_the_loss_weights_are_taken_out_of_the_probabilities(
    logits: tuple[float, float, float],
) -> None:
    chances = grade_probabilities(torch.tensor([logits]))[0]
    weighted = float(torch.tensor(logits[0]).sigmoid())
    odds = weighted / (1 - weighted) / YES_WEIGHT[0] if weighted < 1 else float("inf")
    assert float(1 - chances[0]) == pytest.approx(odds / (1 + odds), abs=1e-4)


def test_a_decision_for_a_fracture_that_is_less_likely_than_not_is_no_grade() -> None:
    logits = torch.tensor([[2.0, 0.5, -3.0]])
    decided = int(grades_of(logits)[0])
    chances = grade_probabilities(logits)[0].tolist()
    assert decided == 2
    found = vertebra_grade("t", "L1", chances, None, StudyLabels(), decided)
    assert found.suspicion < 0.5
    assert found.grade < 2
    assert found.word not in ("moderate", "severe")
    assert found.decision == 2  # the report asks for a look


def test_islands_are_dropped() -> None:
    regions = np.zeros((20, 20), dtype=np.uint8)
    regions[2:10, 2:10] = 1
    regions[15:17, 15:17] = 1
    regions[12:14, 2:6] = 2
    cleaned = largest_parts(regions)
    assert (cleaned == 1).sum() == 64
    assert (cleaned == 2).sum() == 8


class Drawn(torch.nn.Module):
    """Gives the logits of one region map, whatever it is shown."""

    def __init__(self, regions: np.ndarray) -> None:
        super().__init__()
        self.regions = torch.from_numpy(regions.astype(np.int64))

    def forward(self, image: torch.Tensor, covariates: torch.Tensor) -> torch.Tensor:
        logits = torch.full((len(image), NUMBER_OF_CODES, *self.regions.shape), -9.0)
        return logits.scatter_(1, self.regions.expand(len(image), 1, -1, -1), 9.0)


@pytest.mark.parametrize("in_pieces", [False, True])
def test_an_outline_of_which_a_large_piece_was_dropped_is_flagged(in_pieces: bool) -> None:
    task = DxaSegmentation(TaskSettings(task="dxa-segmentation"))
    height, width = task.frame
    regions = np.zeros(task.frame, dtype=np.uint8)
    middle, centre = height // 2, width // 2
    regions[middle - 12 : middle + 12, centre - 8 : centre + 8] = REGION_CODES["L2"]
    if in_pieces:
        regions[middle - 2 : middle + 4, centre - 8 : centre + 8] = 0
    rows, columns = (round(side * mm) for side, mm in
                     zip(task.frame, task.spacing_mm(View.SPINE_PA), strict=True))  # fmt: skip
    picture = ImageRecord(np.full((rows, columns), 0.5, np.float32), (1.0, 1.0), "calibrated")
    study = StudyRecord("", "", Vendor.LUNAR, {View.SPINE_PA: picture}, StudyLabels(), Covariates())
    found = task.find(Reading(Drawn(regions), study, StudyLabels(), Findings()))
    flagged = [(flag.source, flag.code, flag.subject) for flag in found.quality]
    assert flagged == [("image", "fragmented", "L2")] * in_pieces
    kept = found.region_maps[View.SPINE_PA] == REGION_CODES["L2"]
    assert kept.any()
    assert large_pieces(kept) == 1


def column() -> tuple[np.ndarray, torch.Tensor]:
    """Thirteen bodies at 4 mm a pixel; half of T9 is mistaken for T8."""
    regions = np.zeros((112, 40), dtype=np.uint8)
    row = 4.0
    for name in VERTEBRAE:
        regions[round(row) : round(row) + 5, 15:24] = REGION_CODES[name]
        row += 6.2 if name < "T9" else 7.5
    mistaken = regions.copy()
    rows, columns = np.nonzero(regions == REGION_CODES["T9"])
    mistaken[rows[columns < 19], columns[columns < 19]] = REGION_CODES["T8"]
    chances = torch.zeros(NUMBER_OF_CODES, *regions.shape)
    chances.scatter_(0, torch.from_numpy(mistaken.astype(np.int64))[None], 1.0)
    return mistaken, chances


def test_a_body_with_two_names_gets_the_one_that_the_order_of_the_spine_gives() -> None:
    mistaken, chances = column()
    shape = (mistaken.shape[0], mistaken.shape[1])
    placement = Placement(shape, shape, shape, (0, 0), (4.0, 4.0))
    picture = ImageRecord(np.zeros(shape, dtype=np.float32), (4.0, 4.0), "calibrated")
    named = name_vertebrae(mistaken, chances, placement, picture)
    bodies = {name: named == REGION_CODES[name] for name in VERTEBRAE}
    assert all(body.any() for body in bodies.values())
    centres = [float(np.nonzero(body)[0].mean()) for body in bodies.values()]
    assert centres == sorted(centres)
    assert len(np.unique(named[mistaken == REGION_CODES["T9"]])) == 1
    whole = named[np.nonzero(bodies["T9"])[0].min() : np.nonzero(bodies["T9"])[0].max() + 1]
    assert (whole == REGION_CODES["T9"]).sum() == 45


def test_a_map_without_a_body_stays_empty() -> None:
    shape = (112, 40)
    placement = Placement(shape, shape, shape, (0, 0), (4.0, 4.0))
    picture = ImageRecord(np.zeros(shape, dtype=np.float32), (4.0, 4.0), "calibrated")
    chances = torch.zeros(NUMBER_OF_CODES, *shape)
    chances[0] = 1.0
    named = name_vertebrae(np.zeros(shape, dtype=np.uint8), chances, placement, picture)
    assert not named.any()
