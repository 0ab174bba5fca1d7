"""What every command shares: where it prints, how it shows progress, how it says JSON."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

#: The option that every command which prints facts has.
JsonOption = Annotated[
    bool, typer.Option("--json", help="Print the facts as JSON on standard output, nothing else.")
]


def console() -> Console:
    """Console for people: standard output."""
    return Console(highlight=False)


def progress() -> Progress:
    """Progress bar on standard error, so that standard output stays pure facts."""
    return Progress(
        TextColumn("[progress.description]{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=Console(stderr=True),
        transient=True,
        disable=not sys.stderr.isatty(),
    )


def print_facts(data: Any, as_json: bool, render: Callable[[], None]) -> None:
    """Print facts as JSON, or call `render` to print them for people.

    Parameters
    ----------
    data : dict or list
        Everything the command found, ready for JSON.
    as_json : bool
        The command's ``--json``.
    render : callable
        Prints a table or sentences by `console`.
    """
    if as_json:
        sys.stdout.write(json.dumps(data, indent=2, sort_keys=False, default=str) + "\n")
    else:
        render()
