"""Processes that end when they must: nothing is left behind, whoever started it.

A run marks everything it starts with an environment variable. Children inherit
it, also those that detach themselves (Ray's and Flower's do), so that they can
be found by it and ended, however they were started.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import signal
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

import psutil

#: How long killed processes are looked for, and how often.
KILL_SECONDS: Final = 5.0
LOOK_SECONDS: Final = 0.1


def cores() -> int:
    """Processor cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def own_module(name: str, environment: Mapping[str, str]) -> tuple[list[str], dict[str, str]]:
    """Command and environment that run a module of this very installation.

    ``python -m`` alone would look for it, and for all that it imports, in the folder where
    the command was typed first, in which others may be able to write.
    """
    root = str(Path(__file__).resolve().parents[2])
    return [sys.executable, "-P", "-m", name], {**environment, "PYTHONPATH": root}


def new_token() -> str:
    """Make a token that marks the processes of one run."""
    return secrets.token_hex(8)


def marked(variable: str, token: str) -> list[psutil.Process]:
    """Find live processes, this one excepted, whose environment has ``variable=token``."""
    found = []
    for process in psutil.process_iter():
        if process.pid == os.getpid():
            continue
        # A process of somebody else, or one that just ended, is none of ours.
        with contextlib.suppress(psutil.Error, OSError):
            if process.environ().get(variable) == token and (
                process.status() != psutil.STATUS_ZOMBIE
            ):
                found.append(process)
    return found


def sessions_of(processes: list[psutil.Process]) -> set[int]:
    """Sessions that processes began, our own excepted.

    A session that none of them leads belongs to somebody else, for example to the shell in
    which the command was typed.
    """
    found: set[int] = set()
    for process in processes:
        with contextlib.suppress(OSError):
            if os.getsid(process.pid) == process.pid:
                found.add(process.pid)
    return found - {os.getsid(0)}


def living_in(sessions: set[int]) -> list[psutil.Process]:
    """Live processes of some sessions."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(OSError, psutil.Error):
            alive = process.status() != psutil.STATUS_ZOMBIE
            if alive and os.getsid(process.pid) in sessions:
                found.append(process)
    return found


def end_marked(variable: str, token: str, patience_seconds: float = 5.0) -> int:
    """End every process with a mark and every process of a session that one of them leads.

    Some programs rewrite their own title over the memory that holds their environment
    (nginx, Ray), so that the mark cannot be read any more; they live in the session of a
    process that still shows it.

    Parameters
    ----------
    variable, token : str
        The mark.
    patience_seconds : float
        How long they may take to end by themselves before they are killed.

    Returns
    -------
    int
        How many had to be ended.
    """
    sessions: set[int] = set()
    seen: set[int] = set()
    asked_at = time.monotonic()
    # What is being ended may start others meanwhile, hence more than one look.
    while time.monotonic() < asked_at + patience_seconds + KILL_SECONDS:
        with_mark = marked(variable, token)
        sessions |= sessions_of(with_mark)
        alive = {process.pid: process for process in [*with_mark, *living_in(sessions)]}
        if not alive:
            break
        patient = time.monotonic() < asked_at + patience_seconds
        for pid, process in alive.items():
            with contextlib.suppress(psutil.Error):
                if not patient:
                    process.kill()
                elif pid not in seen:
                    process.terminate()
        seen |= set(alive)
        time.sleep(LOOK_SECONDS)
    return len(seen)


@contextlib.contextmanager
def termination_as_interrupt() -> Iterator[None]:
    """Treat SIGTERM and SIGHUP like Ctrl-C while the block runs, so that it can clean up."""

    def interrupt(number: int, frame: object) -> None:
        raise KeyboardInterrupt

    previous = {s: signal.signal(s, interrupt) for s in (signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
