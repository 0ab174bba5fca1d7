"""What `osteofed server status` and its metrics tell is what happened."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families
from typer.testing import CliRunner

from server.cli.main import app
from server.runtime.metrics import server_metrics
from server.runtime.status import RunStatus, server_status
from server.state.events import Events
from server.state.home import Home
from shared.errors import InputMissingError, RuntimeUnavailableError
from shared.runtime.flower import free_port
from shared.runtime.prometheus import serving_metrics

SITES = ("alpha", "beta", "gamma")


def facts(number: int, **more: Any) -> dict[str, Any]:
    return {
        "round": number, "seconds": 10.0, "epsilon": {"alpha": 0.5 * number},
        "delta": {"alpha": 0.001},
        "bytes_up": 100, "bytes_down": 200, "absent": [], **more,
    }  # fmt: skip


class Run:
    """A run's folder, written event by event."""

    def __init__(self, workspace: Path) -> None:
        self.workspace = workspace
        folder = workspace / "runs" / "tiny-1"
        folder.mkdir(parents=True)
        plan = {
            "run": "tiny-1",
            "quorum": {"minimum_sites": 2},
            "members": [{"site": site} for site in SITES],
        }
        (folder / "plan.json").write_text(json.dumps(plan))
        self.events = Events(folder / "events.jsonl")

    def start(self, pid: int | None = None, *, resumed: int = 0) -> None:
        self.events.say("started", run="tiny-1", pid=pid or os.getpid(), resumed=resumed)
        self.events.say("task", task="bmd", rounds=4, metric="mae")

    def say(self, event: str, site: str, number: int, **more: Any) -> None:
        self.events.say(event, task="bmd", kind="train", round=number, site=site, **more)

    def status(self) -> RunStatus:
        found = server_status(self.workspace).run
        assert found is not None
        return found


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return Run(tmp_path / "work")


def gone() -> int:
    """Number of a process that has ended."""
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def test_before_anything_started_a_run_waits(run: Run) -> None:
    assert (run.status().state, run.status().sites) == ("waiting", list(SITES))


def test_it_tells_for_whom_a_run_waits_until_its_first_task_begins(run: Run) -> None:
    run.events.say("started", run="tiny-1", pid=os.getpid(), resumed=0)
    run.events.say("waiting", there=["beta"], missing=["alpha", "gamma"], minimum=2, until=0.0)
    assert run.status().state == "running"
    assert "for alpha, gamma to connect; connected: beta" in run.status().reason
    run.events.say("task", task="bmd", rounds=4, metric="mae")
    assert run.status().reason == ""


def test_it_tells_who_answered_who_is_asked_and_who_is_absent_and_why(run: Run) -> None:
    run.start()
    for site in SITES:
        run.say("asked", site, 1, attempt=1)
    run.say("answered", "alpha", 1, seconds=2.5, bytes=10)
    run.say("absent", "beta", 1, why="refused", reason="the budget is spent")
    found = run.status()
    assert found.answered == {"alpha": 2.5}
    assert found.waiting_for == ["gamma"]
    assert [(one.site, one.kind, one.reason) for one in found.absent] == [
        ("beta", "refused", "the budget is spent")
    ]
    assert (found.state, found.round, found.attempt) == ("running", 1, 1)


def test_a_site_that_is_asked_again_is_no_longer_absent(run: Run) -> None:
    run.start()
    run.say("asked", "beta", 1, attempt=1)
    run.say("absent", "beta", 1, why="failed", reason="its program broke")
    run.say("asked", "beta", 1, attempt=2)
    found = run.status()
    assert (found.absent, found.waiting_for, found.attempt) == ([], ["beta"], 2)


def test_rounds_give_the_time_to_go_and_what_each_site_spent(run: Run) -> None:
    run.start()
    run.events.say("round", task="bmd", facts=facts(1), point={})
    run.events.say("round", task="bmd", facts=facts(2, seconds=20.0), point={})
    found = run.status()
    assert (found.rounds_done, found.eta_seconds) == (2, 30.0)  # 2 more at a median of 15 s
    assert (found.epsilon, found.delta) == ({"alpha": 1.0}, {"alpha": 0.001})
    typed = ["status", str(run.workspace)]
    shown = CliRunner().invoke(app, typed, env={"COLUMNS": "120"}).stdout
    assert "1.000 at delta 0.001" in shown
    assert "2 of 4 rounds" in shown
    assert (found.bytes_up, found.bytes_down) == (200, 400)


def test_a_run_whose_program_is_gone_is_lost_and_waits_for_nobody(run: Run) -> None:
    run.start(pid=gone())
    run.say("asked", "alpha", 1, attempt=1)
    found = run.status()
    assert (found.state, found.waiting_for) == ("lost", [])
    assert "resumed" in found.reason


@pytest.mark.parametrize("event", ["paused", "failed"])
def test_how_it_ended_and_why(run: Run, event: str) -> None:
    run.start()
    run.events.say(event, kind="RunPausedError", reason="two sites are missing")
    assert (run.status().state, run.status().reason) == (event, "two sites are missing")
    run.start(resumed=1)
    assert (run.status().state, run.status().reason, run.status().resumed) == ("running", "", 1)


def test_a_workspace_without_a_run_is_said_to_be_one(tmp_path: Path) -> None:
    with pytest.raises(InputMissingError, match="holds no run"):
        server_status(tmp_path)


def read(port: int) -> dict[tuple[str, tuple[str, ...]], float]:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5) as reply:
        text = reply.read().decode()
    return {
        (sample.name, tuple(sample.labels.values())): sample.value  # labels in order of their names
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_prometheus_reads_the_same_facts(run: Run, tmp_path: Path) -> None:
    home = Home(tmp_path / "home")
    home.make()
    run.start()
    run.events.say("round", task="bmd", facts=facts(1), point={})
    for site in SITES:
        run.say("asked", site, 2, attempt=1)
    run.say("answered", "alpha", 2, seconds=2.5, bytes=10)
    run.say("absent", "beta", 2, why="late", reason="no answer")
    port = free_port()
    with serving_metrics(port, lambda: server_metrics(run.workspace, home.folder)):
        found = read(port)
        run.events.say("paused", reason="too few")
        later = read(port)
    assert found["osteofed_readable", ()] == 1
    assert found["osteofed_members", ()] == 0
    assert found["osteofed_run_state", ("tiny-1", "running", "bmd")] == 1
    assert found["osteofed_rounds_done", ()] == 1
    assert found["osteofed_run_eta_seconds", ()] == 30
    assert found["osteofed_received_bytes_total", ()] == 100
    assert found["osteofed_site_epsilon", ("alpha",)] == 0.5
    states = {labels for name, labels in found if name == "osteofed_site_state"}
    assert states == {("alpha", "answered"), ("beta", "late"), ("gamma", "asked")}
    assert later["osteofed_run_state", ("tiny-1", "paused", "bmd")] == 1


def test_figures_that_cannot_be_read_are_said_to_be_so(tmp_path: Path) -> None:
    home = Home(tmp_path / "home")
    home.make()
    (home.folder / "members.json").write_text("[")
    port = free_port()
    with serving_metrics(port, lambda: server_metrics(None, home.folder)):
        assert read(port) == {("osteofed_readable", ()): 0}


def test_metrics_end_with_their_command_and_a_taken_port_is_said() -> None:
    port = free_port()
    with (
        serving_metrics(port, lambda: []),
        pytest.raises(RuntimeUnavailableError, match=f"port {port}"),
        serving_metrics(port, lambda: []),
    ):
        pass
    with pytest.raises(urllib.error.URLError):
        read(port)
