"""A run that came to its end is told of; only what is asked for anew is run anew."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from server.rounds.plan import RunPlan, load_plan, make_plan, save_plan
from server.runtime import run as running
from server.runtime.run import resume_run, run_federation
from server.state.events import finished_words
from server.state.home import IDENTITY
from server.state.result import RunResult, TaskResult, save_result
from shared.audit.keys import make_key
from shared.settings.files import SiteConfig, save_settings
from tests.server.tiny_sites import TINY_TASK

TASK = TINY_TASK.task


@pytest.fixture
def agreement(tmp_path: Path) -> Path:
    """Two sites, one task; nothing of it is ever started here."""
    save_settings(TINY_TASK, tmp_path / "task.yaml")
    for name in ("alpha", "beta", "gamma"):
        (tmp_path / name).mkdir()
        save_settings(SiteConfig(site=name), tmp_path / name / "site.yaml")
        make_key(tmp_path / name / IDENTITY)
    return written(tmp_path, ["alpha", "beta"])


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[RunPlan]:
    """Plans that were run; a run ends at once with version 2."""
    plans: list[RunPlan] = []

    def at_once(plan: RunPlan, watch: Any) -> None:
        plans.append(plan)
        save_result(result_of(plan, 2), plan.folder / "result.json")

    monkeypatch.setattr(running, "_on_runtime", at_once)
    return plans


def written(folder: Path, sites: list[str]) -> Path:
    path = folder / "federation.yaml"
    agreed = {
        "workspace": "work",
        "runtime": {"sites": sites},
        "tasks": [{"settings": "task.yaml"}],
    }
    path.write_text(yaml.safe_dump(agreed))
    return path


def result_of(plan: RunPlan, version: int | None) -> RunResult:
    task = TaskResult(
        task=TASK, mode="private", version=version, champion=False, verdict=None,
        weights=plan.folder / "w", digest="", strategy="FedAvg", noise_multiplier=1.0, rounds=[],
        curve=[], epsilon={}, epsilon_spent={}, bytes_up=0, bytes_down=0, seconds=1.0,
    )  # fmt: skip
    return RunResult(
        run=plan.run, name=plan.name, workspace=plan.workspace, tracking_uri=plan.tracking_uri,
        sites=["alpha"], tasks={TASK: task},
    )  # fmt: skip


def finished(agreement: Path, version: int | None = 1) -> RunPlan:
    """A run of the agreement as one that came to its end leaves it."""
    plan = make_plan(agreement)
    plan.folder.mkdir(parents=True)
    save_plan(plan)
    save_result(result_of(plan, version), plan.folder / "result.json")
    return plan


def test_a_finished_run_is_told_of_and_nothing_is_run(
    agreement: Path, started: list[RunPlan]
) -> None:
    plan = finished(agreement)
    told: list[dict[str, Any]] = []
    for again in (run_federation(agreement, told.append), resume_run(plan.folder, told.append)):
        assert again.tasks[TASK].version == 1
    assert started == []
    assert [event["event"] for event in told] == ["already finished"] * 2
    assert f"run {plan.run} is finished and made {TASK} version 1;" in finished_words(told[0])
    assert "--fresh" in finished_words(told[0])
    assert (plan.workspace / "result.json").is_file()


def test_a_finished_run_that_registered_nothing_says_so(
    agreement: Path, started: list[RunPlan]
) -> None:
    finished(agreement, version=None)
    told: list[dict[str, Any]] = []
    run_federation(agreement, told.append)
    assert f"{TASK} (no version registered)" in finished_words(told[0])


def test_fresh_runs_a_finished_agreement_again(agreement: Path, started: list[RunPlan]) -> None:
    finished(agreement)
    assert run_federation(agreement, fresh=True).tasks[TASK].version == 2
    assert len(started) == 1


def test_an_agreement_of_other_sites_is_not_finished(
    agreement: Path, started: list[RunPlan]
) -> None:
    plan = finished(agreement)
    other = written(agreement.parent, ["alpha", "gamma"])
    assert make_plan(other).run == plan.run
    assert run_federation(other).tasks[TASK].version == 2
    assert load_plan(plan.folder / "plan.json").sites == started[0].sites
