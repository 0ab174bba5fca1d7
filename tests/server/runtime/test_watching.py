"""What a run says reaches whoever watches, whole lines only, errors as themselves."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from server.runtime.bundle import stage_bundle
from server.runtime.simulated import hospital
from server.runtime.simulation import sites_at_once
from server.state.event_tail import error_of
from server.state.events import EventReader, Events
from shared.errors import (
    QuorumError,
    RegistryUnavailableError,
    RunFailedError,
    RuntimeUnavailableError,
)
from shared.runtime.files import write_text_atomically
from shared.runtime.flower import ENVIRONMENT
from shared.runtime.processes import end_marked, living_in, marked, new_token
from tests.suite.waiting import HANG_SECONDS, wait_for


def test_half_a_line_waits_for_its_other_half(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    reader = EventReader(path)
    assert reader.new() == []
    Events(path).say("started", run="r")
    with path.open("a") as file:
        file.write('{"event": "ro')
    assert [event["event"] for event in reader.new()] == ["started"]
    with path.open("a") as file:
        file.write('und"}\n')
    assert [event["event"] for event in reader.new()] == ["round"]


@pytest.mark.parametrize("kind", [RunFailedError, QuorumError, RegistryUnavailableError])
def test_what_ended_the_run_keeps_its_kind_and_exit_code(kind: type[Exception]) -> None:
    error = error_of({"event": "failed", "kind": kind.__name__, "reason": "alpha refused: no"})
    assert type(error) is kind
    assert str(error) == "alpha refused: no"
    assert type(error_of({"kind": "ValueError", "reason": "x"})) is RunFailedError


def test_the_bundle_is_source_and_nothing_else(tmp_path: Path) -> None:
    stage_bundle(tmp_path)
    suffixes = {path.suffix for path in tmp_path.rglob("*") if path.is_file()}
    assert suffixes == {".py", ".toml"}
    assert sorted(p.name for p in tmp_path.iterdir() if p.is_dir()) == [
        "client", "server", "shared"
    ]  # fmt: skip
    size = sum(path.stat().st_size for path in tmp_path.rglob("*.py"))
    assert size < 5e6  # Flower takes 10 MB


#: Starts a grandchild that forgets its environment and ignores requests to end.
STUBBORN = """
import os, signal, subprocess, sys, time
child = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(60)"
subprocess.Popen([sys.executable, "-c", child], env={})
time.sleep(60)
"""


def test_what_hides_its_mark_is_ended_too() -> None:
    token = new_token()
    parent = subprocess.Popen(
        [sys.executable, "-c", STUBBORN],
        env=os.environ | {"OSTEOFED_HIDING_TEST": token},
        start_new_session=True,
    )
    wait_for(lambda: len(living_in({parent.pid})) == 2)
    assert len(marked("OSTEOFED_HIDING_TEST", token)) == 1
    assert end_marked("OSTEOFED_HIDING_TEST", token, 0.5) == 2
    parent.wait(HANG_SECONDS)
    assert living_in({parent.pid}) == []


def test_a_file_is_there_whole_or_not_at_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "result.json"
    write_text_atomically(path, "first")

    def full(_: int) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="disk full"):
        write_text_atomically(path, "second")
    assert path.read_text() == "first"


@pytest.mark.parametrize(
    ("sites", "room", "at_once"),
    [(3, 2, 3), (2, 2, 2), (4, 2, 2), (5, 2, 3), (3, 16, 3), (10, 4, 5), (100, 2, 2), (3, 0, 1)],
)
def test_a_simulation_leaves_no_core_idle_at_the_end(sites: int, room: int, at_once: int) -> None:
    assert sites_at_once(sites, room) == at_once


def test_what_the_sites_of_a_simulation_are_forked_of_has_one_thread_and_no_gpu() -> None:
    program = """
import os, torch
from server.runtime.simulated import load_hospital
load_hospital()
print(len(os.listdir("/proc/self/task")), torch.cuda.is_initialized())
"""
    done = subprocess.run(
        [sys.executable, "-c", program],
        env=os.environ | ENVIRONMENT, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stdout.split() == ["1", "False"]


def test_a_simulation_without_the_hospitals_part_is_refused_in_one_sentence(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("server.runtime.simulated.entry_points", lambda group: ())
    with pytest.raises(RuntimeUnavailableError, match="make setup"):
        hospital()
