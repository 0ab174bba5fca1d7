"""What the demo shows while it works: which step of how many, which commands, for how long."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.markup import escape
from rich.progress import Progress, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Column


class Display:
    """Shows steps and commands on standard error, which leaves standard output to the facts.

    On a terminal the step and every command at work have a line with a spinner and the time
    since it began; a command that has ended stays above, with its seconds. Elsewhere there
    is a line when a command begins and one when it has ended.

    Parameters
    ----------
    console : Console, optional
        By default standard error.
    """

    def __init__(self, console: Console | None = None) -> None:
        self.console = console or Console(stderr=True, highlight=False)
        self.moves = self.console.is_terminal and not self.console.is_dumb_terminal
        self._lines = Progress(
            SpinnerColumn(),
            TimeElapsedColumn(),
            # Long commands are cut short, never the spinner and the time.
            TextColumn("{task.description}", table_column=Column(ratio=1, no_wrap=True)),
            console=self.console,
            transient=True,
            expand=True,
            disable=not self.moves,
        )

    def __enter__(self) -> Display:
        self._lines.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._lines.stop()

    def step(self, number: int, steps: int, title: str) -> TaskID:
        """Begin a step, counted from 1; several may be at work. Returns its line."""
        words = f"Step {number} of {steps}: {title}"
        self.console.rule(f"[bold]{escape(words)}", align="left")
        return self._lines.add_task(f"[bold]{escape(words)}", total=None)

    def end_step(self, line: TaskID) -> None:
        """End a step: nothing of it moves any more."""
        self._lines.remove_task(line)

    def say(self, words: str) -> None:
        """Say that something was done at once."""
        self._print(f"[bold green]$[/] {escape(words)}")

    @contextmanager
    def running(self, command: str) -> Iterator[None]:
        """Show a command for as long as the block runs; several may run at once."""
        started = time.monotonic()
        if not self.moves:
            self._print(f"[bold green]$[/] {escape(command)}")
        line = self._lines.add_task(f"[bold green]$[/] {escape(command)}", total=None)
        ended = "not finished, "
        try:
            yield
            ended = ""
        finally:
            self._lines.remove_task(line)
            seconds = f"{ended}{time.monotonic() - started:.1f} s"
            if self.moves:
                self._print(f"[bold green]$[/] {escape(command)}   [dim]# {seconds}[/]")
            else:
                self._print(f"  {seconds}: {escape(command)}")

    def _print(self, words: str) -> None:
        self.console.print(words, soft_wrap=True)
