"""``osteofed site declare``: parse, call, ask, print."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from client.cli.node import agreed
from shared.command_line import JsonOption, console, print_facts
from shared.errors import ConfigError

if TYPE_CHECKING:
    from client.contract.declaring import Chosen, Preparing, Proposal
    from shared.settings.declared import Place

SiteFolder = Annotated[Path, typer.Argument(help="The site folder.")]


def add_commands(app: typer.Typer) -> None:
    """Add the command to the group ``osteofed site``."""
    app.command("declare")(declare)


def declare(
    folder: SiteFolder,
    number: Annotated[
        list[str] | None,
        typer.Option(
            "--number",
            help="TASK=N, or TASK:validation=N: a rung other than the proposed one; repeat.",
        ),
    ] = None,
    agreement: Annotated[
        Path | None,
        typer.Option(help="The consortium's federation.yaml, where it has input prepared."),
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Declare without asking.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Declare how many patients each task has: the only numbers of them that leave.

    Proposes today's counts, rounded down to a rung of 20, 30, 50, 70, 100, 150, 200, ...; what
    you agree to stands in site.yaml and in the audit chain. The exact counts are shown here only.
    """
    from client.contract.declaring import declare as write
    from client.contract.declaring import propose

    proposals = propose(folder, _preparing(agreement), _chosen(number or []))
    if not as_json:
        _show(proposals)
    changes = [one for one in proposals if one.number not in (None, one.declared)]
    if changes and not yes and not agreed("Declare these numbers?"):
        raise typer.Exit(1)
    said = write(folder, proposals)
    facts: dict[str, Any] = {
        "proposals": [asdict(one) for one in proposals],
        "declared": {task: one.model_dump(exclude_none=True) for task, one in said.items()},
    }
    done = "declared; now check each task with `osteofed site check`" if changes else "as declared"
    print_facts(facts, as_json, lambda: console().print(done, markup=False))


def _show(proposals: Sequence[Proposal]) -> None:
    from rich.table import Table

    table = Table(title="patients that a task can use; the last column may leave the hospital")
    for column in ("task", "patients", "today (stays here)", "declared", "to declare"):
        table.add_column(column, justify="left" if column in ("task", "patients") else "right")
    for one in proposals:
        words = (one.today, one.declared, one.number)
        shown = ("none" if word is None else str(word) for word in words)
        table.add_row(one.task, one.place, *shown)
    console().print(table)


def _preparing(agreement: Path | None) -> Preparing:
    """Tell which tasks prepare the input of which, by an agreement; no weights are read."""
    from client.contract.data_contract import preparing_in

    return {} if agreement is None else preparing_in(agreement)


def _chosen(numbers: Sequence[str]) -> Chosen:
    """Read ``TASK=N`` and ``TASK:PLACE=N``.

    Raises
    ------
    ConfigError
        If it is neither.
    """
    places: dict[str, Place] = {"": "train", "train": "train", "validation": "validation"}
    found: dict[tuple[str, Place], int] = {}
    for text in numbers:
        what, _, number = text.partition("=")
        task, _, place = what.partition(":")
        if place not in places or not number.isdecimal():
            raise ConfigError(
                f"--number: {text!r} (must be TASK=N or TASK:validation=N, N a whole number)"
            )
        found[task, places[place]] = int(number)
    return found
