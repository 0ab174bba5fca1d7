"""SIGKILL of the command itself: nothing is left, and the same command goes on to its end."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from server.state.result import RunResult
from shared.runtime.processes import living_in, marked
from tests.server.tiny_sites import TINY_TASK
from tests.suite.waiting import HANG_SECONDS, wait_for
from tests.system.test_federation import MARK, federation, wait_for_a_round

pytestmark = [pytest.mark.system, pytest.mark.timeout(900)]


def test_a_killed_run_leaves_no_process_and_the_same_command_goes_on(tmp_path: Path) -> None:
    with federation(tmp_path, rounds=6) as run:
        wait_for_a_round(tmp_path, run)
        run.process.send_signal(signal.SIGKILL)
        run.process.wait(HANG_SECONDS)
        sessions = set(run.sessions)
        wait_for(lambda: not marked(MARK, run.token) and not living_in(sessions))
        assert run.left_behind() == []
    [events] = (tmp_path / "work/runs").glob("*/events.jsonl")
    told = [json.loads(line) for line in events.read_text().splitlines()]
    rounds_before = [e["facts"]["round"] for e in told if e["event"] == "round"]
    assert rounds_before
    assert "finished" not in [e["event"] for e in told]
    command = [sys.executable, "-m", "shared.cli", "server", "run"]
    subprocess.run(
        [*command, str(tmp_path / "federation.yaml"), "--json"],
        check=True, timeout=HANG_SECONDS, stdout=subprocess.DEVNULL,
    )  # fmt: skip
    told = [json.loads(line) for line in events.read_text().splitlines()]
    assert [e["resumed"] for e in told if e["event"] == "started"] == [False, True]
    told_rounds = [e["facts"]["round"] for e in told if e["event"] == "round"]
    assert told_rounds[: len(rounds_before)] == rounds_before  # appended to, not begun anew
    assert len(set(told_rounds)) == len(told_rounds)  # and no finished round was repeated
    result = RunResult.model_validate_json((tmp_path / "work/result.json").read_text())
    assert [one.round for one in result.tasks[TINY_TASK.task].rounds] == [1, 2, 3, 4, 5, 6]
