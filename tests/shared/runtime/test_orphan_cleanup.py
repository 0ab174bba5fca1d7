"""A process that is killed leaves nothing it started; one that ends by itself is let be."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from shared.runtime.orphan_cleanup import cleaned_up_if_killed
from shared.runtime.processes import marked, new_token
from tests.suite.waiting import HANG_SECONDS, wait_for

MARK = "OSTEOFED_KEEPER_TEST"
#: Starts a marked child that starts another in a session of its own, as Ray does.
PROGRAM = """
import os, subprocess, sys, time
from pathlib import Path
from shared.runtime.orphan_cleanup import cleaned_up_if_killed
variable, token, folder = sys.argv[1:]
sleep = [sys.executable, "-c", "import time; time.sleep(600)"]
nested = f"import subprocess, time; subprocess.Popen({sleep!r}, start_new_session=True); " \
    "time.sleep(600)"
with cleaned_up_if_killed(variable, token, Path(folder)):
    environment = {**os.environ, variable: token}
    subprocess.Popen([sys.executable, "-c", nested], env=environment, start_new_session=True)
    time.sleep(600)
"""


def _until(count: int, token: str) -> None:
    wait_for(lambda: len(marked(MARK, token)) == count)


@pytest.mark.system
def test_after_sigkill_neither_processes_nor_the_folder_are_left(tmp_path: Path) -> None:
    token, folder = new_token(), tmp_path / "run"
    folder.mkdir()
    (folder / "socket").touch()
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, MARK, token, str(folder)], start_new_session=True
    )
    try:
        _until(2, token)
        os.killpg(process.pid, signal.SIGKILL)
        assert process.wait(HANG_SECONDS) == -signal.SIGKILL
        _until(0, token)
        wait_for(lambda: not folder.exists())
        assert tmp_path.exists()
    finally:
        for left in marked(MARK, token):
            left.kill()


@pytest.mark.system
def test_a_block_that_ends_is_let_be_also_with_an_error(tmp_path: Path) -> None:
    token = new_token()
    other = subprocess.Popen(
        [sys.executable, "-c", "import time; time.sleep(600)"], env={**os.environ, MARK: token}
    )
    try:
        with (
            pytest.raises(RuntimeError, match="mine"),
            cleaned_up_if_killed(MARK, token, tmp_path),
        ):
            raise RuntimeError("mine")
        time.sleep(0.2)
        assert other.poll() is None
        assert tmp_path.exists()
    finally:
        other.kill()
        other.wait()
