"""Ending a runtime whose processes hide: by their mark, and by the sessions they live in.

Some of Ray's helpers rewrite their own title over the memory that holds their
environment, so that the mark cannot be read any more. They live in the session
of a process that still shows it.
"""

from __future__ import annotations

import contextlib
import os

import psutil

from shared.processes import marked


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
    ended = 0
    # What is being ended may start others meanwhile, hence more than one look.
    for patience in (patience_seconds, 0.5, 0.5):
        with_mark = marked(variable, token)
        sessions |= sessions_of(with_mark)
        known = {process.pid: process for process in [*with_mark, *living_in(sessions)]}
        if not known:
            break
        ended += len(known)
        for process in known.values():
            with contextlib.suppress(psutil.Error):
                process.terminate()
        _, alive = psutil.wait_procs(list(known.values()), timeout=patience)
        for process in alive:
            with contextlib.suppress(psutil.Error):
                process.kill()
        psutil.wait_procs(alive, timeout=2.0)
    return ended
