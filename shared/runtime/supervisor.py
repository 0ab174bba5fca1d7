"""Programs that are kept running: started again when they end, ended with whoever started them."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import subprocess
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import psutil

from shared.runtime.processes import end_marked, new_token

#: Signal that the kernel sends a process when its parent ends (prctl PR_SET_PDEATHSIG).
PARENT_DEATH_SIGNAL: Final = 1
#: Waits before the first, second, … start after an end; the last is kept.
BACK_OFF_SECONDS: Final = (0.2, 1.0, 2.0, 5.0, 10.0, 30.0)
#: A program that ran this long counts as well again.
WELL_SECONDS: Final = 60.0
MARK: Final = "OSTEOFED_SUPERVISED"
#: How often the child of a program is looked for.
CHILD_SECONDS: Final = 2.0


def end_with_parent() -> None:
    """Have the kernel end this process when its parent ends (Linux; elsewhere nothing)."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(PARENT_DEATH_SIGNAL, signal.SIGKILL)


@dataclass
class NeededChild:
    """A child that a process starts once and cannot work without, known by a word."""

    word: str
    _had: bool = False
    _looked: float = 0.0

    def is_lost(self, pid: int) -> bool:
        """Tell whether the child was there and has ended; looks every two seconds.

        Until it is there, every time: one that ends soon must have been seen.
        """
        now = time.monotonic()
        if self._had and now - self._looked < CHILD_SECONDS:
            return False
        self._looked = now
        alive = has_child(pid, self.word)
        lost = self._had and not alive
        self._had = alive
        return lost


@dataclass
class Program:
    """One program that is kept running.

    Whatever it started is marked, and ended before it is started again: two generations
    never work at once.

    Parameters
    ----------
    name : str
        For logs.
    command : list of str
        Program and arguments.
    environment : mapping
        The whole environment.
    log : Path
        Its outputs, appended.
    child : str
        Word in the command of a child that it starts once and cannot work without; when
        that child ends, the program is started again. Empty: none.
    renewed : callable
        Makes further arguments for every start: those that may stand in its way, so that the
        next one has others (a port that somebody else has taken meanwhile).
    """

    name: str
    command: list[str]
    environment: Mapping[str, str]
    log: Path
    child: str = ""
    renewed: Callable[[], list[str]] = list
    restarts: int = -1
    process: subprocess.Popen[bytes] | None = None
    started: float = 0.0
    _token: str = ""
    _not_before: float = 0.0
    _in_a_row: int = field(default=0)
    _needed: NeededChild | None = None

    @property
    def pid(self) -> int | None:
        """Its process number while it runs."""
        return self.process.pid if self.process is not None else None

    def look(self) -> bool:
        """Start it if it is not running; tell whether it was started now."""
        if self.process is not None:
            if self.process.poll() is None:
                if self._needed is None or not self._needed.is_lost(self.process.pid):
                    return False
                self.process.kill()
                self.process.wait()
            self._ended()
        if time.monotonic() < self._not_before:
            return False
        self._start()
        return True

    def restart(self) -> None:
        """End it and all that it started; the next `look` starts it again."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self._ended()
            self._not_before = 0.0

    def end(self, patience_seconds: float = 3.0) -> None:
        """End it and all that it started."""
        if self.process is not None:
            # Its own session, and so its own group. A program that writes its title over
            # its environment (nginx) shows no mark.
            group = self.process.pid
            _signal_group(group, signal.SIGTERM)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(patience_seconds)
            _signal_group(group, signal.SIGKILL)
            self.process.wait()
            self.process = None
        if self._token:
            end_marked(MARK, self._token, 0.0)

    def _start(self) -> None:
        self._token = new_token()
        self.log.parent.mkdir(parents=True, exist_ok=True)
        with self.log.open("ab") as output:
            self.process = subprocess.Popen(
                [*self.command, *self.renewed()],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env={**self.environment, MARK: self._token},
                start_new_session=True,
                preexec_fn=end_with_parent,
            )
        self.started = time.monotonic()
        self._needed = NeededChild(self.child) if self.child else None
        self.restarts += 1

    def _ended(self) -> None:
        if self.process is not None:
            _signal_group(self.process.pid, signal.SIGKILL)
        end_marked(MARK, self._token, 0.0)
        well = time.monotonic() - self.started >= WELL_SECONDS
        self._in_a_row = 0 if well else self._in_a_row + 1
        wait = BACK_OFF_SECONDS[min(max(self._in_a_row - 1, 0), len(BACK_OFF_SECONDS) - 1)]
        self._not_before = time.monotonic() + wait
        self.process = None


def has_child(pid: int, word: str) -> bool:
    """Tell whether a process has a child that runs with a word in its command."""
    try:
        for child in psutil.Process(pid).children():
            with contextlib.suppress(psutil.Error):
                running = child.status() != psutil.STATUS_ZOMBIE
                if running and any(word in part for part in child.cmdline()):
                    return True
    except psutil.NoSuchProcess:
        pass
    return False


def _signal_group(group: int, number: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(group, number)


def is_alive(pid: int | None, born: str = "") -> bool:
    """Tell whether a process of that number runs, and is the one that was `born_of` then.

    Numbers are used again: after a restart of the machine, or of a container, another
    program may have the one that was written down.
    """
    if not pid:
        return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    told = _told_of(pid)
    if told and told[0] == "Z":
        return False
    now = born_of(pid)
    return not born or not now or now == born


def born_of(pid: int) -> str:
    """Tell when and where a process began, in a form to compare; empty where unknown.

    The machine's start, the space of process numbers, and clock ticks since: setting the
    clock changes none of them.
    """
    told = _told_of(pid)
    return f"{this_machine()} {told[19]}" if told else ""


def this_machine() -> str:
    """Name this start of this machine (of this container); empty where unknown."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        return f"{boot} {Path('/proc/self/ns/pid').readlink()}"
    except OSError:
        return ""


def _told_of(pid: int) -> list[str]:
    """What the kernel tells of a process, from its state on (proc(5), field 3)."""
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return []


def until_stopped(step: Callable[[], None], seconds: float = 0.2) -> None:
    """Repeat a step until SIGINT, SIGTERM or SIGHUP comes."""
    stopped: list[int] = []

    def stop(number: int, frame: object) -> None:
        stopped.append(number)

    previous = {s: signal.signal(s, stop) for s in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    try:
        while not stopped:
            step()
            time.sleep(seconds)
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
