"""The hospital's rules, and what of its metrics may leave."""

from __future__ import annotations

from datetime import datetime

import pytest
import torch

from client.privacy import policy
from shared.errors import CohortTooSmallError, PolicyRefusedError
from shared.metrics.released import MOMENTS, ReleasedSums
from shared.settings.files import SiteConfig, SitePolicy, SitePrivacy
from shared.settings.task import TaskSettings
from shared.tasks import PERMITTED_AT_FIRST
from tests.server.jobs import job


def site(**changes: object) -> SiteConfig:
    """Settings as `osteofed site init` writes them, with some of them changed."""
    config = SiteConfig.model_validate({"site": "alpha", **changes})
    if config.policy.tasks is not None:
        return config
    policy = config.policy.model_copy(update={"tasks": PERMITTED_AT_FIRST})
    return config.model_copy(update={"policy": policy})


def test_a_permitted_job_passes() -> None:
    policy.permit_job(job(), site(), patients=100)


def test_a_task_that_is_not_on_the_list_is_refused() -> None:
    config = site(policy=SitePolicy(tasks=("dxa-bmd",)))
    with pytest.raises(PolicyRefusedError, match="does not take part in task"):
        policy.permit_job(job(), config, patients=100)


def test_a_site_that_names_no_task_permits_none() -> None:
    with pytest.raises(PolicyRefusedError, match=r"policy\.tasks: none"):
        policy.permit_job(job(), SiteConfig(site="alpha"), patients=100)


def test_training_without_privacy_needs_permission() -> None:
    with pytest.raises(PolicyRefusedError, match="allow_plain_runs"):
        policy.permit_job(job(mode="plain"), site(), patients=100)
    policy.permit_job(
        job(mode="plain"), site(privacy=SitePrivacy(allow_plain_runs=True)), patients=100
    )


def test_too_many_steps_are_refused() -> None:
    config = site(policy=SitePolicy(maximum_steps_per_round=1))
    with pytest.raises(PolicyRefusedError, match="maximum_steps_per_round: 1"):
        policy.permit_job(job(), config, patients=100)


def test_too_few_patients_are_refused() -> None:
    with pytest.raises(CohortTooSmallError, match="19 patients"):
        policy.permit_job(job(), site(), patients=19)


@pytest.mark.parametrize(("patients", "permitted"), [(1000, True), (1001, False)])
def test_delta_is_at_most_a_tenth_of_one_over_patients(patients: int, permitted: bool) -> None:
    config = site(privacy=SitePrivacy(delta=1e-4))
    if permitted:
        policy.permit_job(job(), config, patients)
    else:
        with pytest.raises(PolicyRefusedError, match="delta"):
            policy.permit_job(job(), config, patients)


def regression(name: str, n: float) -> dict[str, float]:
    return {f"{name}:{moment}": 1.0 for moment in MOMENTS} | {f"{name}:n": n}


WHOLE = {"patients": 30.0, "loss_sum": 9.0}
LARGE = {"dice_sum": 20.0, "dice_n": 30.0, **regression("lumbar", 12.0)}
SMALL = {"dice_T4_sum": 2.0, "dice_T4_n": 3.0, **regression("total_hip", 9.0)}
#: What a task that has all of these names for release.
NAMED = ReleasedSums(
    means=("dice", "dice_T4", "dice_lateral"),
    regressions=("lumbar", "femoral_neck", "total_hip"),
)
#: What lets a single patient be told, or is not counted in patients.
NEVER = {
    "lumbar:dev@0.9": 4.0, "lumbar:dev@0.95": 4.5,
    "auc_grade2:p3": 40.0, "auc_grade2:n5": 300.0, "auc_patient_grade1:p90": 30.0,
    "kappa:c00": 300.0, "kappa:c12": 30.0, "vertebrae": 390.0,
    "level_shift_sum": 12.0, "level_shift_n": 390.0,
    "somebody_sum": 1.0, "somebody_n": 30.0, "somebody:n": 30.0, "somebody:abs": 1.0,
}  # fmt: skip


def test_only_sums_of_the_list_over_enough_patients_leave() -> None:
    kept, why = policy.releasable({**NEVER, **WHOLE, **SMALL, **LARGE}, NAMED, site())
    assert kept == {**WHOLE, **LARGE}
    assert why == "small_cells_withheld"


def test_what_another_task_may_release_stays() -> None:
    kept, why = policy.releasable({**WHOLE, **LARGE}, ReleasedSums(means=("dice",)), site())
    assert kept == {**WHOLE, "dice_sum": 20.0, "dice_n": 30.0}
    assert why == ""


def test_what_is_never_released_stays_however_many_it_counts() -> None:
    config = site(policy=SitePolicy(smallest_cell=1))
    assert policy.releasable({**NEVER, **WHOLE}, NAMED, config) == (WHOLE, "")


def test_a_count_that_is_not_of_patients_withholds_its_cell() -> None:
    vertebrae = {"dice_lateral_sum": 9.0, "dice_lateral_n": 31.0}
    assert policy.releasable({**WHOLE, **vertebrae}, NAMED, site()) == (
        WHOLE,
        "small_cells_withheld",
    )


def test_an_outlier_cannot_be_told_from_what_leaves_of_densities() -> None:
    """Two hospitals that differ in one patient only differ in sums over ten and more."""
    from shared.tasks import make_task

    task = make_task(TaskSettings(task="dxa-bmd"))
    batch = {"known": torch.ones(12, 3), "weight": torch.ones(12), "bmd": torch.ones(12, 3)}
    batch["bmd"][0] = 0.31  # alone between two constants
    sums = task.statistics(torch.ones(12, 3), batch)
    assert "lumbar:dev@0.6" in sums
    kept, _ = policy.releasable(sums, NAMED, site())
    assert {key.partition(":")[2] for key in kept} == {"", *MOMENTS}
    assert {value for key, value in kept.items() if key.endswith(":n")} == {12.0}


@pytest.mark.parametrize("name", ["dxa-bmd", "dxa-segmentation", "vfa-fracture"])
def test_metrics_follow_from_what_leaves(name: str) -> None:
    from shared.tasks import make_task

    kept, _ = policy.releasable({**NEVER, **WHOLE, **SMALL, **LARGE}, NAMED, site())
    found = make_task(TaskSettings(task=name)).metrics(kept)
    assert found["loss"] == pytest.approx(0.3)
    assert not {key for key in found if key.startswith(("baseline", "auc", "kappa", "level"))}


def test_too_few_validation_patients_release_nothing() -> None:
    few = {**WHOLE, **LARGE, "patients": 9.0}
    assert policy.releasable(few, NAMED, site()) == ({}, "too_few_patients")


def test_a_hospital_may_release_no_metrics_at_all() -> None:
    config = site(policy=SitePolicy(release_metrics=False))
    assert policy.releasable({**WHOLE, **LARGE}, NAMED, config) == ({}, "release_metrics_off")


def test_nothing_of_the_list_is_withheld_without_reason() -> None:
    config = site(policy=SitePolicy(smallest_cell=1))
    everything = {**WHOLE, **SMALL, **LARGE}
    assert policy.releasable(everything, NAMED, config) == (everything, "")


def test_models_are_measured_as_often_as_the_hospital_allows() -> None:
    policy.permit_evaluation(19, 400, site())
    with pytest.raises(PolicyRefusedError, match=r"maximum_evaluations_per_run: 20"):
        policy.permit_evaluation(20, 1, site())
    strict = site(policy=SitePolicy(maximum_evaluations_per_run=1))
    with pytest.raises(PolicyRefusedError):
        policy.permit_evaluation(1, 1, strict)


def test_new_names_of_runs_do_not_evade_the_limit_on_evaluations() -> None:
    with pytest.raises(PolicyRefusedError, match="400 models were measured for this task in 30"):
        policy.permit_evaluation(0, 401, site())


@pytest.mark.parametrize(
    ("hours", "at", "allowed"),
    [
        ("18:00-06:00", "17:59", False), ("18:00-06:00", "18:00", True),
        ("18:00-06:00", "05:59", True), ("18:00-06:00", "06:00", False),
        ("08:00-12:00", "07:59", False), ("08:00-12:00", "08:00", True),
        ("08:00-12:00", "12:00", False),
    ],
)  # fmt: skip
def test_work_is_done_only_in_the_hospitals_hours(hours: str, at: str, allowed: bool) -> None:
    config = site(policy=SitePolicy(hours=hours))
    now = datetime.fromisoformat(f"2026-11-24 {at}")
    if allowed:
        policy.permit_hours(config, now)
        return
    with pytest.raises(PolicyRefusedError, match=hours):
        policy.permit_hours(config, now)
