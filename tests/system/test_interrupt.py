"""Ctrl-C: a word, its exit code, no process left, nothing half-written."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from client.store.site_store import init_site
from shared.runtime.processes import marked, new_token
from shared.settings.files import SiteConfig
from tests.suite.waiting import HANG_SECONDS, wait_for

MARK = "OSTEOFED_TEST_TOKEN"


@pytest.mark.system
def test_an_interrupted_command_says_so_and_leaves_nothing(tmp_path: Path) -> None:
    token = new_token()
    process = subprocess.Popen(
        [sys.executable, "-m", "shared.cli", "phantom", "make", "--out", str(tmp_path / "out"),
         "--scanner", "lunar", "--patients", "500", "--seed", "1", "--workers", "2"],
        env=os.environ | {MARK: token}, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    wait_for(lambda: len(marked(MARK, token)) >= 3)  # until its workers are there
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=HANG_SECONDS)
    assert process.returncode == 130
    assert "osteofed: interrupted" in said
    assert "Traceback" not in said
    wait_for(lambda: marked(MARK, token) == [])
    assert list(tmp_path.iterdir()) == []


@pytest.mark.system
def test_pages_that_a_person_ends_have_ended_as_they_should(tmp_path: Path) -> None:
    init_site(tmp_path / "site", SiteConfig(site="riverside"))
    process = subprocess.Popen(
        [sys.executable, "-m", "shared.cli", "site", "browse", str(tmp_path / "site")],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stdout is not None
    while "open once" not in process.stdout.readline():
        assert process.poll() is None
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=HANG_SECONDS)
    assert (process.returncode, said) == (0, "the pages are closed\n")


@pytest.mark.system
def test_an_interrupted_demo_leaves_no_process_and_can_be_run_again(tmp_path: Path) -> None:
    token, out = new_token(), tmp_path / "demo"
    for _ in range(2):  # the second finds what the first left
        process = subprocess.Popen(
            [sys.executable, "-m", "shared.cli", "demo", "--out", str(out)],
            env=os.environ | {MARK: token}, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
            text=True,
        )  # fmt: skip
        wait_for(lambda: len(marked(MARK, token)) >= 4)
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=HANG_SECONDS)
        assert process.returncode == 130, said
        assert "osteofed: interrupted" in said
        assert marked(MARK, token) == []
    assert not (out / "summary.json").exists()
