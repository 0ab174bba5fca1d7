"""How long a command takes, and what everything it starts needs of processors and memory.

Processes are found by a mark in their environment, which also those inherit that detach
themselves. Memory is the proportional set size (PSS) of all of them together: a page that
several share counts once. It is looked at every half second, so a shorter peak can be missed.
Processor time is what each process had used when it was last seen: other work on the
machine lengthens the wall time of a command, and hardly that.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import psutil

from shared.runtime.processes import end_marked, living_in, marked, new_token, sessions_of

MARK: Final = "OSTEOFED_BENCH_TOKEN"
LOOK_SECONDS: Final = 0.5
LONGEST_SECONDS: Final = 1800.0


@dataclass(frozen=True)
class Cost:
    """Wall and processor seconds of a command; most bytes its processes held together.

    `processes` are the command line of each process, as it was last seen, and its processor
    seconds, in the order of their starts.
    """

    seconds: float
    processor: float
    peak: float
    processes: tuple[tuple[str, float], ...] = ()


class Watched:
    """Looks at marked processes until it is stopped; see `Cost` for what it finds."""

    def __init__(self, token: str) -> None:
        self.token, self.peak = token, 0.0
        self._sessions: set[int] = set()
        self._used: dict[tuple[int, float], float] = {}
        self._words: dict[tuple[int, float], str] = {}
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)
        self._thread.start()

    @property
    def processor(self) -> float:
        """Processor seconds of all that was seen."""
        return sum(self._used.values())

    @property
    def processes(self) -> tuple[tuple[str, float], ...]:
        """Command line and processor seconds of each process, the first to start first."""
        order = sorted(self._used, key=lambda one: one[1])
        return tuple((self._words.get(one, ""), self._used[one]) for one in order)

    def stop(self) -> None:
        """Look a last time, then no more."""
        self._over.set()
        self._thread.join()

    def _look(self) -> None:
        over = False
        while not over:
            over = self._over.wait(LOOK_SECONDS)
            found = marked(MARK, self.token)
            self._sessions |= sessions_of(found)
            # Some of Ray's helpers write over their environment; their session tells them.
            alive = {one.pid: one for one in [*found, *living_in(self._sessions)]}
            self.peak = max(self.peak, sum(self._pss(one) for one in alive.values()))

    def _pss(self, process: psutil.Process) -> float:
        """Bytes of a process that is still there; its processor time is noted."""
        with contextlib.suppress(psutil.Error, OSError):
            used = process.cpu_times()
            which = process.pid, process.create_time()
            self._used[which] = used.user + used.system
            self._words[which] = " ".join(process.cmdline()) or self._words.get(which, "")
            return float(process.memory_full_info().pss)
        return 0.0


def cost_of(
    command: Sequence[str | Path], folder: Path, log: Path, environment: Mapping[str, str]
) -> Cost:
    """Run a command to its end and end whatever it leaves.

    Raises
    ------
    SystemExit
        If the command fails; the end of its log is in the sentence.
    """
    token = new_token()
    try:
        with log.open("wb") as said:
            started = time.monotonic()
            process = subprocess.Popen(
                [str(part) for part in command], cwd=folder, env={**environment, MARK: token},
                stdin=subprocess.DEVNULL, stdout=said, stderr=subprocess.STDOUT,
                start_new_session=True,
            )  # fmt: skip
            watched = Watched(token)
            code = process.wait(LONGEST_SECONDS)
            seconds = time.monotonic() - started
            watched.stop()
    finally:
        end_marked(MARK, token, 2.0)
    if code != 0:
        tail = log.read_text(encoding="utf-8", errors="replace")[-2000:]
        raise SystemExit(f"{command[0]} ended with code {code}; its log {log} ends:\n{tail}")
    return Cost(seconds, watched.processor, watched.peak, watched.processes)


def one_thread(**more: str) -> dict[str, str]:
    """Environment in which every process computes with one thread and none phones home."""
    return {
        **os.environ,
        "OMP_NUM_THREADS": "1",
        "MKL_NUM_THREADS": "1",
        "OPENBLAS_NUM_THREADS": "1",
        "FLWR_TELEMETRY_ENABLED": "0",
        "FLWR_DISABLE_UPDATE_CHECK": "1",
        "RAY_USAGE_STATS_ENABLED": "0",
        **more,
    }
