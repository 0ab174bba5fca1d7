"""The chance of osteoporosis in a prediction and its report: only a positive one is stated."""

from __future__ import annotations

import numpy as np
import pytest

from shared.findings.chances import LIMIT, OSTEOPOROSIS, osteoporosis_chance
from shared.findings.facts import NotAssessed
from shared.findings.findings import Findings, join
from shared.inference.assemble import StudyIdentity, Subject, assemble
from shared.inference.report import ReportInput, render_report
from shared.inference.schema import ModelFacts, Prediction
from shared.records import Covariates, StudyLabels, Vendor, VolumeRecord

TASK = "made-up"
VOLUME = VolumeRecord(
    np.zeros((40, 8, 8), np.int16), (3.0, 1.0, 1.0), (0.0, 0.0, 0.0), 120.0, "B31f", 3.0, False
)


def read(probability: float | None, **metrics: float) -> tuple[Prediction, str]:
    subject = Subject(
        StudyIdentity("P1", "Doe^Jane", "1.2.3", "2026-01-31", "A1"), Vendor.OTHER, {},
        StudyLabels(), Covariates("F", 67.0, 160.0, 60.0), {"1": VOLUME}, used="1",
    )  # fmt: skip
    found = Findings(not_assessed=(NotAssessed(what="osteoporosis", why="nothing was found"),))
    if probability is not None:
        chance = osteoporosis_chance(TASK, ["T11", "T12"], probability, 0.3)
        found = Findings(chances=(chance,))
    model = ModelFacts(
        task=TASK, version="3", digest="ab" * 32, origin="by hand", source="-", metrics=metrics,
        grade_metrics={"auc_osteoporosis": ("AUC, osteoporosis by DXA", 0.5)},
    )  # fmt: skip
    prediction, everything = assemble(subject, [found], [model])
    given = ReportInput(
        "Doe^Jane", Vendor.OTHER, subject.covariates, StudyLabels(), {}, {}, subject.volumes,
        everything.volume_maps,
    )  # fmt: skip
    return prediction, render_report(prediction, given)


def test_a_positive_chance_is_stated_with_its_operating_point_and_sent_to_dxa() -> None:
    prediction, page = read(0.62, auc_osteoporosis=0.88)
    first, *_, advice = prediction.narrative.impression
    assert first.startswith(f"Suspected {OSTEOPOROSIS}: probability 62%")
    assert "operating point of 30%" in first
    assert "not a diagnosis; refer to DXA" in first
    assert advice.startswith("Refer to DXA")
    assert LIMIT in prediction.narrative.limits
    assert "under 50 or before menopause" in LIMIT
    assert any("AUC, osteoporosis by DXA: 0.88" in one for one in prediction.narrative.limits)
    assert "Suspected osteoporosis" in page


def test_what_is_below_the_operating_point_says_nothing_and_rules_nothing_out() -> None:
    prediction, page = read(0.12, auc_osteoporosis=0.88)
    text = " ".join(prediction.narrative.impression)
    assert "Suspected" not in text
    assert "normal" not in text
    assert "12%" not in text
    assert "rules nothing out" in text
    assert prediction.chances[0].positive is False
    assert any("12%, below the operating point" in one for one in prediction.narrative.findings)
    assert "Suspected" not in page


def test_at_the_operating_point_it_is_positive() -> None:
    assert osteoporosis_chance(TASK, ["L1"], 0.2996, 0.3).positive  # as it is written down
    assert not osteoporosis_chance(TASK, ["L1"], 0.2994, 0.3).positive


@pytest.mark.parametrize("auc", [0.5, 0.31, float("nan")])
def test_a_version_that_tells_nobody_apart_gives_none(auc: float) -> None:
    prediction, _ = read(0.62, auc_osteoporosis=auc)
    assert prediction.chances == ()
    [gap] = prediction.not_assessed
    assert gap.what == OSTEOPOROSIS
    assert "no better on validation patients than always saying the same" in gap.why


def test_that_nothing_is_recorded_of_a_version_is_said() -> None:
    prediction, _ = read(0.62)
    assert (
        "No error is recorded of the model's probability of osteoporosis"
        in (prediction.narrative.impression[0])
    )


def test_what_was_not_assessed_is_told_and_nothing_else() -> None:
    prediction, _ = read(None)
    assert prediction.chances == ()
    assert LIMIT not in prediction.narrative.limits


def test_a_level_that_two_tasks_find_is_named_once() -> None:
    found = join(
        [
            Findings(marked_slices={"1": {"L1": 20, "L2": 10}}),
            Findings(marked_slices={"1": {"T12": 31, "L1": 21}, "2": {"L1": 3}}),
        ]
    )
    assert found.marked_slices == {"1": {"T12": 31, "L1": 20, "L2": 10}, "2": {"L1": 3}}
