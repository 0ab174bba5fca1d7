"""What every command shares: where it prints, how it shows progress, how it says JSON."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from shared.phrases import counted

if TYPE_CHECKING:
    from shared.audit.chain import ChainLine

#: Characters of a chain's facts that one row of a table shows.
LONGEST_FACTS: Final = 160
#: The option that every command which prints facts has.
JsonOption = Annotated[
    bool, typer.Option("--json", help="Print the facts as JSON on standard output, nothing else.")
]

#: The option of both sides' long-running commands.
MetricsPort = Annotated[
    int | None,
    typer.Option(
        "--metrics-port", min=1, max=65535, help="Port of 127.0.0.1 that serves Prometheus metrics."
    ),
]

#: How help is asked for, everywhere.
CONTEXT: Final = {"help_option_names": ["--help", "-h"]}


def command_group(name: str, says: str, **more: Any) -> typer.Typer:
    """Make a group of commands; alone it shows its help.

    A mistyped command is answered by click, which names similar ones itself; typer would
    name them a second time in the same sentence.

    Parameters
    ----------
    name : str
        What is typed.
    says : str
        The group's help, one sentence.
    **more
        Further options of `typer.Typer`.
    """
    return typer.Typer(
        name=name,
        help=says,
        no_args_is_help=True,
        suggest_commands=False,
        context_settings=CONTEXT,
        **more,
    )


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


def print_verified(lines: Sequence[ChainLine], as_json: bool, **more: Any) -> None:
    """Print that an audit chain is good, and where it ends."""
    from shared.protocol.chain_cross_check import last_head

    head = last_head(lines).digest
    print_facts(
        {"lines": len(lines), "head": head, **more},
        as_json,
        lambda: console().print(
            f"{counted(len(lines), 'line')}, all good; head {head}", markup=False
        ),
    )


def show_chain(lines: Sequence[ChainLine]) -> None:
    """Print lines of an audit chain as a table."""
    from rich.markup import escape
    from rich.table import Table

    table = Table()
    for column in ("line", "time (UTC)", "who", "what", "facts"):
        table.add_column(column)
    for line in lines:
        facts = json.dumps(line.facts, sort_keys=True)
        shown = facts if len(facts) <= LONGEST_FACTS else facts[: LONGEST_FACTS - 1] + "…"
        cells = (str(line.line), line.time[:19], line.actor, line.event, shown)
        table.add_row(*(escape(cell) for cell in cells))
    console().print(table)


@contextmanager
def until_ctrl_c(ended: str) -> Iterator[None]:
    """Run what is to run until a person ends it: Ctrl-C is its end, and no interruption.

    Parameters
    ----------
    ended : str
        What is said then, on standard error; the command's exit code is 0.
    """
    try:
        yield
    except KeyboardInterrupt:
        say_ended(ended)


def say_ended(ended: str) -> None:
    """Say on standard error that what a person ended has ended."""
    Console(stderr=True, highlight=False).print(ended, markup=False)


def watch_live(render: Callable[[], Any], seconds: float = 1.0) -> None:
    """Show something again and again until Ctrl-C."""
    import time

    from rich.live import Live

    with (
        until_ctrl_c("no longer watching"),
        Live(render(), console=console(), refresh_per_second=4) as live,
    ):
        while True:
            time.sleep(seconds)
            live.update(render())
