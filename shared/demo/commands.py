"""Running the commands a user would type: shown, timed, and ended together."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed, wait
from dataclasses import dataclass, field
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

import psutil

from shared.demo.display import Display
from shared.errors import OsteofedError
from shared.runtime.processes import end_marked, marked, new_token, own_module

MARK = "OSTEOFED_DEMO_TOKEN"


class DemoStepError(OsteofedError):
    """A command of the demo failed; carries that command's own exit code."""

    def __init__(self, message: str, exit_code: int) -> None:
        super().__init__(message)
        self.exit_code = exit_code


@dataclass
class Commands:
    """Runs ``osteofed …`` commands, each as its own process, and knows what they cost.

    Attributes
    ----------
    folder : Path
        Where the commands' logs (``logs/``) and times (``commands.json``) go.
    display : Display
        Shows what is at work.
    peak_rss_mb : float
        Largest sum of resident memory of all processes of the demo, seen by
        sampling twice a second. Shared pages count once per process: an upper bound.
    """

    folder: Path
    display: Display = field(default_factory=Display)
    token: str = field(default_factory=new_token)
    peak_rss_mb: float = 0.0
    seconds: dict[str, float] = field(default_factory=dict)
    _numbers: Iterator[int] = field(default_factory=count)
    _stop: threading.Event = field(default_factory=threading.Event)
    _over: threading.Event = field(default_factory=threading.Event)
    _watcher: threading.Thread | None = None
    _failed: DemoStepError | None = None

    def __enter__(self) -> Commands:
        self._watcher = threading.Thread(target=self._watch_memory, daemon=True)
        self._watcher.start()
        self.display.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self.display.__exit__()
        times = {command: round(seconds, 1) for command, seconds in self.seconds.items()}
        (self.folder / "commands.json").write_text(json.dumps(times, indent=2) + "\n")
        end_marked(MARK, self.token)

    def run(self, *arguments: str | Path) -> Any:
        """Run ``osteofed`` with arguments and ``--json``; return what it printed, parsed.

        Raises
        ------
        DemoStepError
            If the command fails; its own sentence is in the message.
        """
        words = [str(argument) for argument in arguments]
        typed = shlex.join(words)
        started = time.monotonic()
        name = "-".join(word for word in words[:2] if "/" not in word)
        # Two commands may start at once, and one may be typed twice.
        log = self.folder / "logs" / f"{next(self._numbers):02d}-{name}.log"
        log.parent.mkdir(parents=True, exist_ok=True)
        with self.display.running(f"osteofed {typed}"):
            try:
                output = self._output(words, log)
            except DemoStepError as error:
                self._failed = self._failed or error
                raise
        self.seconds[typed] = time.monotonic() - started
        return json.loads(output) if output.strip() else None

    def _output(self, words: Sequence[str], log: Path) -> bytes:
        """Run one command to its end; return its standard output."""
        if self._over.is_set():
            raise DemoStepError(f"the command `osteofed {shlex.join(words)}` was not begun", 1)
        marked_so = os.environ | {MARK: self.token, "OMP_NUM_THREADS": "1"}
        command, environment = own_module("shared.cli", marked_so)
        with log.open("wb") as errors:
            # Its own session: Ctrl-C reaches the demo alone, which then ends what it started.
            process = subprocess.Popen(
                [*command, *words, "--json"],
                stdout=subprocess.PIPE,
                stderr=errors,
                env=environment,
                start_new_session=True,
            )
            output, _ = process.communicate()
        if process.returncode != 0:
            lines = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
            said = lines[-1] if lines else "it printed nothing"
            raise DemoStepError(
                f"the command `osteofed {shlex.join(words)}` failed ({said}); see {log}",
                process.returncode if process.returncode > 0 else 1,
            )
        return output

    def run_together(self, commands: Sequence[Sequence[str | Path]]) -> list[Any]:
        """Run commands two at a time; return what each printed."""
        return self.side_by_side([partial(self.run, *command) for command in commands])

    def side_by_side(self, works: Sequence[Callable[[], Any]], at_once: int = 2) -> list[Any]:
        """Do things at the same time; the first that fails ends the others.

        Parameters
        ----------
        works : sequence of callable
            Each runs commands.
        at_once : int
            How many at a time.

        Returns
        -------
        list
            What each returned, in their order.
        """
        with ThreadPoolExecutor(max_workers=at_once) as pool:
            futures = [pool.submit(work) for work in works]
            try:
                for future in as_completed(futures):
                    future.result()
            except BaseException as error:
                # One failed or the user interrupted: the others must not hold us up.
                self._over.set()
                for future in futures:
                    future.cancel()
                while wait(futures, 0.1).not_done:  # one may just begin another command
                    end_marked(MARK, self.token)
                # What fails because others were ended is no reason of its own.
                if self._failed is not None and isinstance(error, DemoStepError):
                    raise self._failed from None
                raise
        return [future.result() for future in futures]

    def _watch_memory(self) -> None:
        while not self._stop.wait(0.5):
            total = psutil.Process().memory_info().rss
            for process in marked(MARK, self.token):
                try:
                    total += process.memory_info().rss
                except psutil.Error:
                    continue
            self.peak_rss_mb = max(self.peak_rss_mb, total / 2**20)
