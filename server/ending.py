"""Ending a runtime whose processes hide: by their mark, and by the sessions they live in.

Some of Ray's helpers rewrite their own title over the memory that holds their
environment, so that the mark cannot be read any more. They live in the session
of a process that still shows it.
"""

from __future__ import annotations

import contextlib
import os
import time
from typing import Final

import psutil

from shared.processes import marked

#: How long killed processes are looked for, and how often.
KILL_SECONDS: Final = 5.0
LOOK_SECONDS: Final = 0.1


def sessions_of(processes: list[psutil.Process]) -> set[int]:
    """Sessions that processes live in, our own excepted."""
    found: set[int] = set()
    for process in processes:
        with contextlib.suppress(OSError):
            found.add(os.getsid(process.pid))
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


def end_runtime(variable: str, token: str, patience_seconds: float) -> int:
    """End every process with a mark and every process that shares a session with one.

    Parameters
    ----------
    variable, token : str
        The mark (`shared.processes`).
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
