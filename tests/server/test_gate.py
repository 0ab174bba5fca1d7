"""The gate: a new version must be better where both were measured."""

from __future__ import annotations

import pytest

from server.gate import first_version, judge, measure
from shared.config import TaskSettings
from shared.tasks import make_task
from tests.server.tiny_sites import TINY_TASK

SEGMENTATION = make_task(TINY_TASK)
BMD = make_task(TaskSettings(task="dxa-bmd"))


def sums(dice: float | None, loss: float = 1.0, patients: float = 20.0) -> dict[str, float]:
    found = {"patients": patients, "loss_sum": loss * patients}
    if dice is not None:
        found |= {"dice_sum": dice * patients, "dice_n": patients}
    return found


@pytest.mark.parametrize(("new", "promoted"), [(0.81, True), (0.80, False), (0.79, False)])
def test_more_dice_promotes_and_a_tie_does_not(new: float, promoted: bool) -> None:
    verdict = judge(SEGMENTATION, {"a": sums(new)}, {"a": sums(0.80)}, against="the champion")
    assert (verdict.promoted, verdict.metric) == (promoted, "dice")
    assert "the champion" in verdict.reason


def test_less_error_promotes() -> None:
    def errors(mae: float) -> dict[str, float]:
        moments = dict.fromkeys(("sq", "x", "y", "xx", "yy", "xy", "dev@1"), 20.0)
        keys = {"n": 20.0, "abs": 20 * mae} | moments
        return sums(None) | {f"lumbar:{k}": v for k, v in keys.items()}

    assert judge(BMD, {"a": errors(0.05)}, {"a": errors(0.06)}, against="x").promoted
    assert not judge(BMD, {"a": errors(0.07)}, {"a": errors(0.06)}, against="x").promoted


def test_the_loss_decides_where_the_headline_was_withheld() -> None:
    verdict = judge(SEGMENTATION, {"a": sums(None, 0.5)}, {"a": sums(0.9, 0.6)}, against="x")
    assert (verdict.promoted, verdict.metric) == (True, "loss")


def test_sites_that_measured_only_one_of_them_do_not_count() -> None:
    new = {"a": sums(0.7), "b": sums(1.0)}
    verdict = judge(SEGMENTATION, new, {"a": sums(0.8), "c": sums(0.1)}, against="x")
    assert not verdict.promoted
    assert verdict.candidate == pytest.approx(0.7)


def test_nobody_is_promoted_unseen() -> None:
    verdict = judge(SEGMENTATION, {"a": {}}, {"a": sums(0.1)}, against="the champion")
    assert not verdict.promoted
    assert "no hospital released" in verdict.reason


def test_sites_count_by_their_patients() -> None:
    new = {"a": sums(0.9, patients=10), "b": sums(0.5, patients=90)}
    verdict = judge(SEGMENTATION, new, {"a": sums(0.6), "b": sums(0.6)}, against="x")
    assert verdict.candidate == pytest.approx(0.54)


def test_withheld_sums_measure_nothing() -> None:
    assert measure(SEGMENTATION, {}).model_dump() == {"patients": 0, "loss": None, "metrics": {}}


def test_a_first_version_is_promoted_if_somebody_measured_it() -> None:
    worse = judge(SEGMENTATION, {"a": sums(0.7)}, {"a": sums(0.8)}, against="its start")
    first = first_version(worse)
    assert first.promoted
    assert "first version" in first.reason
    assert "not better than 0.8 of its start" in first.reason
    unseen = judge(SEGMENTATION, {"a": {}}, {"a": sums(0.8)}, against="its start")
    assert not first_version(unseen).promoted
