"""The hospital's rules, and what of its metrics may leave."""

from __future__ import annotations

import pytest

from client import policy
from shared.config import SiteConfig, SitePolicy, SitePrivacy
from shared.errors import CohortTooSmallError, PolicyRefusedError
from tests.server.jobs import job


def site(**changes: object) -> SiteConfig:
    return SiteConfig.model_validate({"site": "alpha", **changes})


def test_a_permitted_job_passes() -> None:
    policy.permit_job(job(), site(), patients=100)


def test_a_task_that_is_not_on_the_list_is_refused() -> None:
    config = site(policy=SitePolicy(tasks=("dxa-bmd",)))
    with pytest.raises(PolicyRefusedError, match="does not take part in task"):
        policy.permit_job(job(), config, patients=100)


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


SUMS = {
    "patients": 30.0, "loss_sum": 9.0,
    "dice_sum": 20.0, "dice_n": 30.0, "dice_T4_sum": 2.0, "dice_T4_n": 3.0,
    "total_hip:n": 9.0, "total_hip:abs": 1.0, "lumbar:n": 12.0, "lumbar:abs": 2.0,
    "auc_grade2:p3": 4.0, "auc_grade2:p90": 7.0, "auc_grade2:n5": 300.0,
    "auc_grade3:p3": 9.0, "auc_grade3:n5": 300.0,
}  # fmt: skip


def test_cells_under_the_smallest_are_withheld_with_all_their_sums() -> None:
    kept, why = policy.releasable(SUMS, site())
    gone = set(SUMS) - set(kept)
    assert gone == {
        "dice_T4_sum", "dice_T4_n", "total_hip:n", "total_hip:abs", "auc_grade3:p3", "auc_grade3:n5"
    }  # fmt: skip
    assert why == "small_cells_withheld"


def test_too_few_validation_patients_release_nothing() -> None:
    assert policy.releasable({**SUMS, "patients": 9.0}, site()) == ({}, "too_few_patients")


def test_a_hospital_may_release_no_metrics_at_all() -> None:
    config = site(policy=SitePolicy(release_metrics=False))
    assert policy.releasable(SUMS, config) == ({}, "release_metrics_off")


def test_nothing_is_withheld_without_reason() -> None:
    config = site(policy=SitePolicy(smallest_cell=1))
    assert policy.releasable(SUMS, config) == (SUMS, "")
