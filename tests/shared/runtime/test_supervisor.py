"""A program that lost the child it cannot work without is started again."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil

from shared.runtime.supervisor import CHILD_SECONDS, Program
from tests.suite.waiting import wait_for

PARENT = """\
import subprocess, sys, time
subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)", "needed-child"])
time.sleep(600)
"""


def children(program: Program) -> list[int]:
    assert program.pid is not None
    return [
        child.pid
        for child in psutil.Process(program.pid).children()
        if child.status() != psutil.STATUS_ZOMBIE and "needed-child" in child.cmdline()
    ]


def look_until(program: Program, condition: Callable[[], object]) -> None:
    def looked() -> object:
        program.look()
        return condition()

    wait_for(looked, every=0.1)


def test_a_program_without_its_child_is_started_again(tmp_path: Path) -> None:
    command = [sys.executable, "-c", PARENT]
    program = Program("parent", command, dict(os.environ), tmp_path / "log", "needed-child")
    try:
        look_until(program, lambda: program.pid is not None and children(program))
        first = program.pid
        time.sleep(CHILD_SECONDS)
        program.look()  # has seen the child now
        assert program.pid == first
        os.kill(children(program)[0], signal.SIGKILL)
        look_until(program, lambda: program.pid not in (None, first) and children(program))
        assert program.restarts == 1
    finally:
        program.end()


def test_what_stands_in_the_way_of_one_start_is_not_given_to_the_next(tmp_path: Path) -> None:
    """As a port that somebody else has taken meanwhile."""
    ways = iter(["in the way", "free"])

    code = "import sys, time; time.sleep(600) if sys.argv[1] == 'free' else sys.exit(1)"
    program = Program(
        "program", [sys.executable, "-c", code], dict(os.environ), tmp_path / "log",
        renewed=lambda: [next(ways)],
    )  # fmt: skip
    try:
        look_until(program, lambda: program.restarts == 1 and program.pid is not None)
        assert next(ways, None) is None
    finally:
        program.end()
