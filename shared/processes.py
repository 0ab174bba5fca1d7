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
from collections.abc import Iterator

import psutil


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


def end_marked(variable: str, token: str, patience_seconds: float = 5.0) -> int:
    """End every marked process: ask first, then kill; repeat until none is left.

    Parameters
    ----------
    variable, token : str
        The mark.
    patience_seconds : float
        How long a process may take to end by itself.

    Returns
    -------
    int
        How many processes had to be ended.
    """
    ended = 0
    # What is being ended may start others meanwhile, hence more than one look.
    for patience in (patience_seconds, 1.0, 1.0):
        processes = marked(variable, token)
        if not processes:
            break
        ended += len(processes)
        for process in processes:
            with contextlib.suppress(psutil.Error):
                process.terminate()
        _, alive = psutil.wait_procs(processes, timeout=patience)
        for process in alive:
            with contextlib.suppress(psutil.Error):
                process.kill()
        psutil.wait_procs(alive, timeout=2.0)
    return ended


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
