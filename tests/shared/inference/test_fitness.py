"""When an estimate is scored: by the recorded error of its version, and by nothing else."""

import json
import math
import re

import pytest

from shared.inference.assemble import assemble
from shared.inference.fitness import error_t, judge, why_not_graded
from shared.inference.schema import ModelFacts
from tests.shared.inference_cases import GRADE_METRICS, hand_made, make_subject, recorded

REGION, NAME = "total_hip", "total_hip"


def version(**metrics: float) -> ModelFacts:
    return ModelFacts(
        task="t", version="1", digest="", origin="", source="",
        metrics={f"{kind}_{NAME}": value for kind, value in metrics.items()},
        metric_names={REGION: NAME},
    )  # fmt: skip


#: sBMD of the total hip, g/cm², that is one T-score: 0.122 on Hologic's scale, times 1.008.
ONE_T = 0.122976


@pytest.mark.parametrize(
    ("metrics", "scored"),
    [
        ({}, True),  # nothing is recorded: the report says so
        ({"mae": ONE_T - 1e-6}, True),
        ({"mae": ONE_T + 1e-6}, False),
        ({"mae": math.nan}, False),
        ({"mae": 0.05, "r2": 0.01}, True),
        ({"mae": 0.05, "r2": 0.0}, False),
        ({"mae": 0.05, "r2": -0.4, "r": 0.3}, False),
        ({"mae": 0.05, "r2": 0.4, "r": 0.7, "ccc": 0.6}, True),
        ({"mae": 0.05, "r": 0.1, "ccc": 0.1}, True),  # an earlier version: R² is not recorded
        ({"mae": 0.05, "r": -0.1, "ccc": -0.1}, False),
        ({"mae": 0.05, "ccc": 0.0}, False),  # always the same value: r is not defined
        ({"mae": 0.05, "baseline_mae": 0.05}, False),
        ({"mae": 0.05, "baseline_mae": 0.06}, True),
    ],
)
def test_a_version_scores_where_its_record_allows_it(
    metrics: dict[str, float], scored: bool
) -> None:
    assert (judge(version(**metrics), REGION) is None) == scored


def test_an_error_is_told_in_t_scores_of_its_region() -> None:
    assert error_t(version(mae=ONE_T), REGION) == pytest.approx(1.0)
    assert error_t(version(mae=ONE_T), "L1-L4") is None  # nothing is recorded of it
    assert error_t(version(), REGION) is None


def test_another_regions_error_says_nothing() -> None:
    bad = version(mae=1.0)
    assert judge(bad, REGION) is not None
    assert judge(bad, "femoral_neck") is None


def test_the_kind_and_the_words_of_a_reason_come_together() -> None:
    far = judge(version(mae=0.15, r2=-1.0), REGION)
    flat = judge(version(mae=0.05, r2=-1.0), REGION)
    unread = judge(version(mae=0.05).model_copy(update={"record_trouble": "it is torn"}), REGION)
    nothing = judge(version(mae=math.nan), REGION)
    assert far is not None
    assert far.kind == "error"
    assert far.words.startswith("off by 0.150 g/cm² (1.22 T-scores) on average on validation pat")
    assert flat is not None
    assert flat.kind == "mean"
    assert unread is not None
    assert (unread.kind, unread.words) == ("record", "unproven, because it is torn")
    assert nothing is not None
    assert nothing.kind == "record"


@pytest.mark.parametrize(
    ("metrics", "graded"),
    [
        ({}, True),  # as of every federated version: tables of grades leave no hospital
        ({"auc_grade2": 0.501, "kappa": 0.01}, True),
        ({"auc_grade2": 0.5}, False),
        ({"auc_grade2": 0.9, "kappa": 0.0}, False),
        ({"auc_grade2": math.nan}, False),
        ({"auc_grade1": 0.3}, True),  # not what the task names
    ],
)
def test_a_version_grades_where_its_record_allows_it(
    metrics: dict[str, float], graded: bool
) -> None:
    found = version().model_copy(update={"metrics": metrics, "grade_metrics": GRADE_METRICS})
    assert (why_not_graded(found) == "") == graded
    assert why_not_graded(found.model_copy(update={"record_trouble": "it is torn"}))
    assert why_not_graded(found.model_copy(update={"grade_metrics": {}})) == ""


def test_a_metric_that_is_no_number_counts_and_is_not_written() -> None:
    metrics = {"auc_grade2": math.nan, "kappa": math.inf, "auc_grade1": 0.7}
    found = version().model_copy(update={"metrics": metrics, "grade_metrics": GRADE_METRICS})
    assert "by vertebra: no number, where that gives 0.50" in why_not_graded(found)
    assert json.loads(found.model_dump_json())["metrics"] == {"auc_grade1": 0.7}


def test_the_text_shows_no_metric_that_is_no_number() -> None:
    subject = make_subject()
    metrics = {"mae_lumbar": math.nan, "mae_total_hip": 0.05, "auc_grade2": math.nan}
    facts = [
        one.model_copy(update={"metrics": metrics, "grade_metrics": GRADE_METRICS})
        for one in recorded()
    ]
    prediction = assemble(subject, hand_made(subject), facts)[0]
    assert "total hip 0.050 g/cm²" in " ".join(prediction.narrative.limits)
    text = prediction.model_dump_json()
    assert not re.search(r"\bnan\b", text)
    assert all(None not in one["metrics"].values() for one in json.loads(text)["models"])
