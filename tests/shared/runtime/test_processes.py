"""Processes of a run are found and ended, those that detached themselves included."""

import os
import subprocess
import sys
from pathlib import Path

import psutil

from shared.runtime.processes import end_marked, marked, new_token, own_module
from tests.suite.waiting import HANG_SECONDS, wait_for

MARK = "OSTEOFED_TEST_TOKEN"
SLEEPER = "import time; time.sleep(60)"
DETACHING = (
    "import subprocess, sys; "
    f"subprocess.Popen([sys.executable, '-c', '{SLEEPER}'], start_new_session=True)"
)
DEAF = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print(1, flush=True); time.sleep(60)"  # noqa: E501


def start(code: str, token: str) -> subprocess.Popen[bytes]:
    environment = os.environ | {MARK: token}
    return subprocess.Popen([sys.executable, "-c", code], env=environment, stdout=subprocess.PIPE)


def test_a_detached_grandchild_is_found_and_ended() -> None:
    token = new_token()
    with start(DETACHING, token) as parent:
        parent.wait(HANG_SECONDS)
    wait_for(lambda: marked(MARK, token))
    found = marked(MARK, token)
    assert len(found) == 1
    assert end_marked(MARK, token) == 1
    assert not found[0].is_running() or found[0].status() == psutil.STATUS_ZOMBIE


def test_a_process_that_ignores_the_request_is_killed() -> None:
    token = new_token()
    with start(DEAF, token) as process:
        assert process.stdout is not None
        process.stdout.read(1)
        end_marked(MARK, token, patience_seconds=0.2)
        assert process.wait(HANG_SECONDS) == -9


def test_processes_of_another_run_are_left_alone() -> None:
    with start(SLEEPER, new_token()) as other:
        end_marked(MARK, new_token())
        assert other.poll() is None
        other.kill()


def test_a_session_that_somebody_else_leads_is_left_alone() -> None:
    """A shell starts a run and something of its own; only the run is ended."""
    token = new_token()
    shell = (
        "import os, subprocess, sys, time\n"
        f"sleep = [sys.executable, '-c', '{SLEEPER}']\n"
        "own = subprocess.Popen(sleep)\n"
        f"run = subprocess.Popen(sleep, env=os.environ | {{'{MARK}': '{token}'}})\n"
        "print(own.pid, flush=True)\n"
        "run.wait()\n"
        "own.wait()\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", shell], stdout=subprocess.PIPE, start_new_session=True
    ) as leader:
        assert leader.stdout is not None
        own = psutil.Process(int(leader.stdout.readline()))
        try:
            wait_for(lambda: marked(MARK, token))
            assert end_marked(MARK, token) == 1
            assert leader.poll() is None
            assert own.is_running()
        finally:
            own.kill()


def test_a_module_of_ours_takes_nothing_from_the_folder_it_is_started_in(tmp_path: Path) -> None:
    for name in ("psutil.py", "contextlib.py", "shared.py"):
        (tmp_path / name).write_text("raise SystemExit('a stranger')")
    command, environment = own_module("shared.runtime.orphan_cleanup", os.environ)
    done = subprocess.run(
        [*command, MARK, new_token(), str(tmp_path / "none")],
        input=b"done", cwd=tmp_path, env=environment, capture_output=True, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, b"")
