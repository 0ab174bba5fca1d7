"""The one program, ``osteofed``: wires the groups together and turns failures into sentences.

``site`` and ``server`` come from what is installed (entry points), so that
`shared` needs to import neither side.
"""

from __future__ import annotations

import os
import signal
import sys
from importlib.metadata import entry_points, version
from pathlib import Path
from typing import Annotated

import click
import typer
from rich.console import Console

from shared.command_line import command_group
from shared.demo.cli import demo_command
from shared.errors import DiskFullError, NotPermittedError, OsteofedError
from shared.inference.cli import predict_command
from shared.phantom.cli import app as phantom
from shared.runtime.files import is_disk_full

EXIT_CODES = """\
Exit codes: 0 it worked; 1 a fault of OsteoFed's own; 2 wrong use of the command line;
3-4 the machine's disk and permissions; 10-19 configuration, a coordinator's home;
20-29 images and labels; 30-39 a site's store; 40-49 privacy and policy;
50-59 the federation; 60-69 model versions; 70-79 digital patients;
80-89 audit trails and passports; 130 interrupted. (docs/exit-codes.md)
"""

INTERRUPTED = 130

#: Nothing phones home, whatever the libraries' defaults are.
SILENCED = {
    "FLWR_TELEMETRY_ENABLED": "0",
    "FLWR_DISABLE_UPDATE_CHECK": "1",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "DO_NOT_TRACK": "true",
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_DISABLE_IMPORT_WARNING": "1",
}


def build(asked: str = "") -> typer.Typer:
    """Put the program together from the groups that are installed.

    Parameters
    ----------
    asked : str
        First word of the command line. If it is a group's, the others are left out, whose
        commands take a while to put together; any other word may need all to be answered.
    """
    app = command_group(
        "osteofed",
        "Federated bone-health imaging across hospitals. Not a medical device.",
        epilog=EXIT_CODES,
        pretty_exceptions_enable=False,
    )
    app.callback()(program)
    entries = sorted(entry_points(group="osteofed.commands"), key=lambda e: e.name)
    for entry in [e for e in entries if e.name == asked] or entries:
        try:
            loaded = entry.load()
            if isinstance(loaded, typer.Typer):
                app.add_typer(loaded, name=entry.name)
            else:  # a command by itself
                app.command(entry.name)(loaded)
        except ModuleNotFoundError as missing:  # an extra was left out on purpose
            if (missing.name or "").split(".")[0] in {"client", "server", "shared"}:
                raise
    app.add_typer(phantom, name="phantom")
    app.command("predict")(predict_command)
    app.command("demo")(demo_command)
    return app


def say_version(context: typer.Context, asked: bool) -> None:
    """Print the version and end; not while the shell completes a line."""
    if asked and not context.resilient_parsing:
        typer.echo(f"osteofed {version('osteofed')}")
        raise typer.Exit


def program(
    _version: Annotated[
        bool,
        typer.Option(
            "--version", callback=say_version, is_eager=True, help="Show the version and exit."
        ),
    ] = False,
) -> None:
    """Take the options of the program itself."""


def main() -> None:
    """Run the program; every user's mistake ends as one sentence and its exit code."""
    for name, value in SILENCED.items():
        os.environ.setdefault(name, value)
    # A script's background job inherits a SIGINT that is ignored; whoever sends one
    # to this program means it, and a run must then end in order.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    errors = Console(stderr=True, highlight=False, soft_wrap=True)
    try:
        code = build("".join(sys.argv[1:2]))(standalone_mode=False)
        if code == INTERRUPTED:  # typer turns Ctrl-C into this code, without a word
            raise KeyboardInterrupt
        sys.exit(code if isinstance(code, int) else 0)
    except OsteofedError as error:
        errors.print(f"osteofed: {error}", markup=False)
        sys.exit(error.exit_code)
    except (click.exceptions.Abort, KeyboardInterrupt):
        errors.print("osteofed: interrupted; what was finished is kept")
        sys.exit(INTERRUPTED)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except Exception as error:
        known = of_the_machine(error)
        if known is None:  # ours: with all that a report needs
            raise
        errors.print(f"osteofed: {known}", markup=False)
        sys.exit(known.exit_code)


def of_the_machine(error: Exception) -> OsteofedError | None:
    """Say in a sentence what the machine would not give; None is another kind of failure."""
    named = getattr(error, "filename", None)
    where = Path(named if isinstance(named, str | os.PathLike) else ".").absolute()
    if is_disk_full(error, where.parent):
        return DiskFullError(
            f"the disk is full{f' ({where})' if named else ''}; make room and start the command "
            "again: what was finished is kept"
        )
    if isinstance(error, PermissionError):
        return NotPermittedError(
            f"{where if named else 'a file'} may not be read or written by this user; "
            "run as the user who owns it, or give another folder"
        )
    return None


if __name__ == "__main__":
    main()
