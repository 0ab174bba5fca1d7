"""The gate: a new version must be better where both were measured."""

from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from server.rounds.promotion import check_sums, first_version, judge, measure, pool
from shared.errors import AggregationRefusedError
from shared.metrics.released import MOMENTS
from shared.settings.files import Quorum
from shared.settings.task import TaskSettings
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


@pytest.mark.parametrize(
    ("lie", "patients"), [(1.0, 10_000.0), (1e9, 20.0), (1.0, 61.0)]
)  # fmt: skip
def test_one_site_cannot_promote_what_most_find_worse(lie: float, patients: float) -> None:
    old = {"a": sums(0.8), "b": sums(0.8), "liar": sums(0.8, patients=patients)}
    new = {"a": sums(0.7), "b": sums(0.75), "liar": sums(lie, patients=patients)}
    verdict = judge(SEGMENTATION, new, old, against="the champion")
    assert verdict.candidate is not None
    assert verdict.reference is not None
    assert verdict.candidate > verdict.reference  # the mean alone would be fooled
    assert not verdict.promoted
    assert "worse at 2 of them (a, b;" in verdict.reason


def test_what_most_find_no_worse_is_promoted_though_one_finds_it_worse() -> None:
    old = {"a": sums(0.8), "b": sums(0.8), "c": sums(0.8)}
    new = {"a": sums(0.9), "b": sums(0.8), "c": sums(0.75)}
    assert judge(SEGMENTATION, new, old, against="x").promoted


def test_of_two_sites_both_must_find_it_no_worse() -> None:
    new = {"a": sums(0.95), "b": sums(0.75)}
    verdict = judge(SEGMENTATION, new, {"a": sums(0.8), "b": sums(0.8)}, against="x")
    assert not verdict.promoted
    assert "worse at 1 of them (b;" in verdict.reason


def test_a_site_without_the_metric_is_heard_by_its_loss() -> None:
    old = {"a": sums(0.8), "b": sums(None, loss=0.5), "c": sums(None, loss=0.5)}
    new = {"a": sums(0.9), "b": sums(None, loss=0.6), "c": sums(None, loss=0.6)}
    assert not judge(SEGMENTATION, new, old, against="x").promoted
    new = {"a": sums(0.9), "b": sums(None, loss=0.4), "c": sums(None, loss=0.6)}
    assert judge(SEGMENTATION, new, old, against="x").promoted


def test_withheld_sums_measure_nothing() -> None:
    assert measure(SEGMENTATION, {}).model_dump() == {"patients": 0, "loss": None, "metrics": {}}


def test_a_first_version_is_promoted_if_somebody_measured_it() -> None:
    worse = judge(SEGMENTATION, {"a": sums(0.7)}, {"a": sums(0.8)}, against="its start")
    first = first_version(worse)
    assert first.promoted
    assert first.reason == (
        "it is the first version, and became champion because there was none; its dice of 0.7 "
        "is not better than the 0.8 of its start, on 20 validation patients of 1 site"
    )
    unseen = judge(SEGMENTATION, {"a": {}}, {"a": sums(0.8)}, against="its start")
    assert not first_version(unseen).promoted


# --- what a site may send ------------------------------------------------------------

CAP = Quorum().maximum_patients_per_site
WHOLE = {"patients": 12.0, "loss_sum": 3.0}
LUMBAR = {f"lumbar:{moment}": 2.0 for moment in MOMENTS}


@pytest.mark.parametrize(
    "wrong",
    [
        {"patients": 10.0, "x_n": 1.0},
        {**WHOLE, "dice_n": 1.0},
        {**WHOLE, "dice_sum": 1.0},
        {**WHOLE, "dice_sum": 1.0, "dice_n": 13.0},
        {**WHOLE, "dice_sum": 1.0, "dice_n": 0.0},
        {**WHOLE, "dice_sum": 1.0, "dice_n": 1.5},
        {**WHOLE, "dice_sum": 1.1e12, "dice_n": 1.0},
        {**WHOLE, "auc_grade2:p3": 1.0},
        {**WHOLE, "lumbar:dev@0.9": 1.0},
        {**WHOLE, "lumbar:n": 1.0},
        {**WHOLE, **LUMBAR, "lumbar:sq": -1.0},
        {**WHOLE, "loss_sum": math.nan},
        {"patients": 12.0},
        {"loss_sum": 3.0},
        {**WHOLE, "patients": 0.0},
        {**WHOLE, "patients": -5.0},
        {**WHOLE, "patients": 12.5},
        {**WHOLE, "patients": CAP + 1.0},
    ],
)
def test_sums_that_cannot_be_are_refused(wrong: dict[str, float]) -> None:
    for task in (SEGMENTATION, BMD):
        with pytest.raises(AggregationRefusedError):
            check_sums(task, wrong, CAP)


def test_honest_sums_and_withheld_ones_pass() -> None:
    check_sums(SEGMENTATION, {}, CAP)
    check_sums(SEGMENTATION, sums(0.8), CAP)
    check_sums(BMD, {**WHOLE, **LUMBAR, "patients": float(CAP)}, CAP)


VALUES = st.one_of(st.integers(-2, 30).map(float), st.floats())
KNOWN = SEGMENTATION.released.keys | BMD.released.keys
ANY_SUMS = st.dictionaries(st.sampled_from([*sorted(KNOWN), "x_n", "kappa:c00"]), VALUES)


@st.composite
def crafted_sums(draw: st.DrawFn) -> dict[str, float]:
    """Whole sums, as far as a site that wants to break others would make them so."""
    amount = st.floats(-1e12, 1e12)
    size = st.floats(0, 1e12)
    found = {"patients": 20.0, "loss_sum": draw(amount)}
    if draw(st.booleans()):
        found |= {"dice_n": float(draw(st.integers(1, 20))), "dice_sum": draw(amount)}
    if draw(st.booleans()):
        found |= {f"lumbar:{m}": draw(size if m in ("abs", "sq", "xx", "yy") else amount)
                  for m in MOMENTS}  # fmt: skip
        found["lumbar:n"] = float(draw(st.integers(1, 20)))
    return found


@settings(max_examples=300, deadline=None)
@given(sites=st.lists(st.one_of(ANY_SUMS, crafted_sums()), max_size=3))
def test_whatever_passes_can_be_added_and_measured(sites: list[dict[str, float]]) -> None:
    for task in (SEGMENTATION, BMD):
        own = {"dice_sum": 16.0, "dice_n": 20.0} if task is SEGMENTATION else LUMBAR
        passed = {"honest": {**sums(None), **own}}
        for number, site in enumerate(sites):
            try:
                check_sums(task, site, CAP)
            except AggregationRefusedError:
                continue
            passed[f"site {number}"] = site
        measured = measure(task, pool(passed))
        assert measured.patients >= 20
        assert all(math.isfinite(value) for value in measured.metrics.values())
        judge(task, passed, passed, against="x")
