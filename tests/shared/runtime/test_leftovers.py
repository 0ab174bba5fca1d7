"""What was started for a folder is found and ended; what is somebody else's never is."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from shared.errors import RuntimeUnavailableError
from shared.runtime.leftovers import STARTED_FOR, end_leftovers, left_behind, require_free
from shared.runtime.supervisor import born_of, is_alive
from tests.suite.waiting import HANG_SECONDS

SLEEP = [sys.executable, "-I", "-S", "-c", "import time; time.sleep(600)"]


class Started:
    """Sleeping processes, by what is special about them."""

    def __init__(self, folder: Path, open_files: ExitStack) -> None:
        self.folder, self.log = folder, folder / "log"
        log, other = (open_files.enter_context(p.open("ab")) for p in (self.log, folder / "x"))
        read = open_files.enter_context(self.log.open("rb"))
        written = open_files.enter_context(self.log.open("r+b"))
        elsewhere = {**os.environ, STARTED_FOR: str(folder / "another")}
        here = {**os.environ, STARTED_FOR: str(folder)}
        start = subprocess.Popen
        quiet = subprocess.DEVNULL
        self.ours = {
            "named": start(SLEEP, env=here, stdout=quiet, start_new_session=True),
            "without environment": start(SLEEP, env={}, stdout=log),
        }
        self.others = {
            "of another folder": start(SLEEP, env=elsewhere, stdout=quiet),
            "writes elsewhere": start(SLEEP, stdout=other),
            "reads the log": start(SLEEP, stdin=read, stdout=quiet),
            "writes over the log": start(SLEEP, stdout=written),
        }

    def found(self) -> set[int]:
        return {one.pid for one in left_behind(self.folder, [self.log])}


@pytest.fixture
def started(tmp_path: Path) -> Iterator[Started]:
    with ExitStack() as files:
        made = Started(tmp_path, files)
        try:
            yield made
        finally:
            for one in [*made.ours.values(), *made.others.values()]:
                one.kill()
                one.wait()


def test_only_what_was_started_for_the_folder_is_ended(started: Started) -> None:
    ours = {one.pid for one in started.ours.values()}
    assert started.found() == ours
    started.log.rename(started.log.with_name("log.1"))  # as logrotate does
    assert started.found() == ours
    started.log.with_name("log.1").unlink()
    assert started.found() == ours
    assert end_leftovers(started.folder, [started.log]) == len(ours)
    assert all(one.wait(HANG_SECONDS) == -9 for one in started.ours.values())
    assert all(one.poll() is None for one in started.others.values())
    assert end_leftovers(started.folder, [started.log]) == 0


@pytest.mark.skipif(os.geteuid() != 0, reason="starts a process of another user, which takes root")
def test_the_environment_of_another_users_process_is_not_believed(tmp_path: Path) -> None:
    named = {**os.environ, STARTED_FOR: str(tmp_path)}
    with subprocess.Popen(["sleep", "600"], env=named, user="nobody") as theirs:
        try:
            assert left_behind(tmp_path, []) == []
            end_leftovers(tmp_path, [])
            assert theirs.poll() is None
        finally:
            theirs.kill()


@pytest.mark.parametrize("host", ["no.such.name.invalid", "x" * 70])
def test_an_address_that_cannot_be_listened_on_is_said_so(host: str) -> None:
    with pytest.raises(RuntimeUnavailableError, match="cannot be listened on"):
        require_free(host, 8000)


def test_a_number_that_is_used_again_is_another_process() -> None:
    born = born_of(os.getpid())
    assert born
    assert is_alive(os.getpid())
    assert is_alive(os.getpid(), born)
    assert not is_alive(os.getpid(), f"{born}0")
