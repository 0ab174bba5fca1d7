"""A real federation on this machine: it learns, it accounts, it leaves nothing."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from client.node.ledger_summary import ledger_statement
from server.state.result import RunResult
from shared.runtime.processes import living_in, marked, sessions_of
from shared.settings.files import (
    FederationConfig,
    PrivacyTarget,
    SimulationRuntime,
    SitePrivacy,
    TaskRun,
    save_settings,
)
from shared.training.weights import digest_arrays, load_weights
from tests.server.tiny_sites import TINY_TASK, tiny_site
from tests.suite.waiting import HANG_SECONDS, wait_for

pytestmark = [pytest.mark.system, pytest.mark.timeout(900)]

MARK = "OSTEOFED_TEST_TOKEN"
EPSILON = 3.0


class Watched:
    """A command and every session that anything it started has lived in."""

    def __init__(self, command: list[str], folder: Path) -> None:
        self.token = uuid.uuid4().hex
        self.sessions: set[int] = set()
        with (folder / "stdout").open("wb") as out, (folder / "stderr").open("wb") as errors:
            self.process = subprocess.Popen(
                command,
                stdout=out,
                stderr=errors,
                env=os.environ | {MARK: self.token},
                start_new_session=True,
            )
        self.over = threading.Event()
        self.watcher = threading.Thread(target=self._watch, daemon=True)
        self.watcher.start()

    def _watch(self) -> None:
        while not self.over.wait(0.3):
            self.sessions |= sessions_of(marked(MARK, self.token))

    def left_behind(self) -> list[psutil.Process]:
        self.over.set()
        self.watcher.join()
        assert len(self.sessions) > 1, "the runtime was never seen"
        return [*marked(MARK, self.token), *living_in(self.sessions)]


@contextmanager
def federation(folder: Path, rounds: int) -> Iterator[Watched]:
    """Three tiny hospitals, of which the third has hardly any budget."""
    sites = [
        tiny_site(folder / "alpha", "alpha", seed=1),
        tiny_site(folder / "beta", "beta", seed=2),
        tiny_site(
            folder / "gamma", "gamma", seed=3,
            privacy=SitePrivacy(epsilon_budget=0.2, delta=1e-3),
        ),
    ]  # fmt: skip
    save_settings(TINY_TASK, folder / "task.yaml")
    agreement = FederationConfig(
        name="tiny",
        workspace=Path("work"),
        runtime=SimulationRuntime(sites=tuple(sites)),
        privacy=PrivacyTarget(epsilon_per_run=EPSILON, delta=1e-3),
        tasks=(TaskRun(settings=Path("task.yaml"), rounds=rounds),),
    )
    save_settings(agreement, folder / "federation.yaml")
    command = [sys.executable, "-m", "shared.cli", "server", "run"]
    watched = Watched([*command, str(folder / "federation.yaml"), "--json"], folder)
    try:
        yield watched
    finally:
        watched.over.set()
        watched.process.kill()
        watched.process.wait()
        for process in [*marked(MARK, watched.token), *living_in(watched.sessions)]:
            process.kill()


def test_hospitals_train_together_and_nothing_is_left(tmp_path: Path) -> None:
    with federation(tmp_path, rounds=2) as run:
        assert run.process.wait(HANG_SECONDS) == 0, (tmp_path / "stderr").read_text()
        assert run.left_behind() == []
    printed = (tmp_path / "stdout").read_text()
    assert (tmp_path / "stderr").read_text() == ""
    result = RunResult.model_validate_json(printed)
    assert RunResult.model_validate_json((tmp_path / "work/result.json").read_text()) == result
    task = result.tasks[TINY_TASK.task]
    _names_who_refused(task.model_dump())
    _spent_what_was_agreed(task.epsilon, tmp_path)
    assert task.digest == digest_arrays(load_weights(task.weights).arrays)
    assert [point.after_round for point in task.curve] == [0, 1, 2]
    # Whoever refuses to train may still measure: the last model is seen by all three.
    assert [point.pooled.patients for point in task.curve] == [8, 8, 12]
    assert task.version == 1
    logs = "".join(p.read_text(errors="replace") for p in (tmp_path / "work").rglob("*.log"))
    assert "deprecat" not in logs.lower()
    assert "Traceback" not in logs


def _names_who_refused(task: dict[str, object]) -> None:
    rounds = task["rounds"]
    assert isinstance(rounds, list)
    for facts in rounds:
        assert sorted(facts["patients"]) == ["alpha", "beta"]
        [absent] = facts["absent"]
        assert (absent["site"], absent["kind"]) == ("gamma", "refused")
        assert "left 0.200 of epsilon 0.2" in absent["reason"]


def _spent_what_was_agreed(epsilon: dict[str, float], folder: Path) -> None:
    for site in ("alpha", "beta"):
        statement = ledger_statement(folder / site)
        assert epsilon[site] == pytest.approx(statement["epsilon_spent"])
        # The noise is planned by an upper bound, the ledger counts exactly.
        assert 0.85 * EPSILON < epsilon[site] < EPSILON
        assert [line["state"] for line in statement["lines"]] == ["committed"]
    assert ledger_statement(folder / "gamma")["lines"] == []


def test_an_interrupted_run_leaves_no_process_and_whole_files(tmp_path: Path) -> None:
    with federation(tmp_path, rounds=500) as run:
        wait_for_a_round(tmp_path, run)
        run.process.send_signal(signal.SIGINT)
        assert run.process.wait(HANG_SECONDS) == 130, (tmp_path / "stderr").read_text()
        assert run.left_behind() == []
    assert not (tmp_path / "work/result.json").exists()
    [history] = (tmp_path / "work/runs").glob("*/*/history.json")
    done = json.loads(history.read_text())
    weights = load_weights(history.parent / done["weights"])
    assert digest_arrays(weights.arrays) == done["digest"]


def wait_for_a_round(folder: Path, run: Watched) -> None:
    def told_of_one() -> bool:
        events = [p.read_text() for p in (folder / "work/runs").glob("*/events.jsonl")]
        return any('"event": "round"' in text for text in events)

    wait_for(lambda: told_of_one() or run.process.poll() is not None, folder / "stderr")
    assert told_of_one(), (folder / "stderr").read_text()
