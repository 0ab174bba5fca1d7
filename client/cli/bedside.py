"""``osteofed site worklist``: parse, call one function, print."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from shared.command_line import JsonOption, console, print_facts
from shared.phrases import counted

if TYPE_CHECKING:
    from client.bedside.work.work_list import WorkList

SiteFolder = Annotated[Path, typer.Argument(help="The site folder.")]


def add_commands(app: typer.Typer) -> None:
    """Add the command to the group ``osteofed site``."""
    app.command("worklist")(worklist)


def worklist(
    folder: SiteFolder,
    go_on: Annotated[
        int | None, typer.Option("--go-on", help="Let the study of a number go on, or send again.")
    ] = None,
    give_up: Annotated[
        int | None,
        typer.Option(
            "--give-up", help="Leave the held study of a number unanswered and remove it here."
        ),
    ] = None,
    looks: Annotated[bool, typer.Option("--looks", help="Show who looked at the list.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Show the studies of the bedside node with their patients; who looks is written down."""
    from client.bedside.serving import work_list_of
    from client.bedside.work import looking
    from client.bedside.work.rooms import BedsideRooms

    with work_list_of(folder) as work_list:
        if go_on is not None:
            looking.go_on(work_list, go_on)
        if give_up is not None:
            looking.give_up(work_list, BedsideRooms(folder), give_up)
        facts = _facts(work_list, looks=looks)
    print_facts(facts, as_json, lambda: _show(facts))


def _facts(work_list: WorkList, *, looks: bool) -> dict[str, Any]:
    from client.bedside.work import looking

    return {"looks": looking.looks(work_list)} if looks else looking.show(work_list)


def _show(facts: dict[str, Any]) -> None:
    from rich.markup import escape
    from rich.table import Table

    columns = {
        "looks": ("when", "who", "what"),
        "studies": ("number", "patient_id", "patient_name", "accession", "state", "since",
                    "reason"),
    }  # fmt: skip
    what = "looks" if "looks" in facts else "studies"
    table = Table()
    for column in columns[what]:
        table.add_column(column.replace("_", " "))
    for row in facts[what]:
        table.add_row(*(escape(str(row[column])) for column in columns[what]))
    console().print(table)
    if "counts" in facts:
        said = ", ".join(f"{n} {state}" for state, n in sorted(facts["counts"].items()))
        total = counted(sum(facts["counts"].values()), "study", "studies")
        console().print(f"{total}: {said}" if said else total)
