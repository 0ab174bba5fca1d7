"""``osteofed site decide``: parse, call one function, print."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from shared.command_line import JsonOption, console, print_facts
from shared.phrases import counted
from shared.scan_types import ScanType

if TYPE_CHECKING:
    from client.ingest.deciding.decide import OpenScan


def add_commands(app: typer.Typer) -> None:
    """Add the command to the group ``osteofed site``."""
    app.command("decide")(decide)


def decide(
    folder: Annotated[Path, typer.Argument(help="The site folder.")],
    called: Annotated[
        str, typer.Argument(metavar="ID", help="What the list calls it; none: show the list.")
    ] = "",
    scan: Annotated[
        ScanType | None, typer.Option("--as", help="What it shows.", show_choices=False)
    ] = None,
    inverted: Annotated[
        bool, typer.Option("--inverted", help="With --as: bone is dark, and to be turned bright.")
    ] = False,
    out: Annotated[bool, typer.Option("--out", help="It stays out.")] = False,
    undo: Annotated[bool, typer.Option("--undo", help="Undo what was decided.")] = False,
    as_json: JsonOption = False,
) -> None:
    """List scans that were set aside for being ambiguous; say what one shows, or leave it out."""
    from client.ingest.deciding import decide as decisions

    _check_usage(called, (scan is not None) + out + undo, inverted=inverted, named=scan is not None)
    if not called:
        found = decisions.open_scans(folder)
        facts = {"scans": [one.as_dict() for one in found]}
        print_facts(facts, as_json, lambda: _show(found))
        return
    if undo:
        one, removed = decisions.undo(folder, called)
        sentence = f"undone; {counted(removed, 'image')} that came of it left the store"
    else:
        one, sentence = decisions.decide(folder, called, scan, inverted=inverted)
    facts_of = {"id": one.called, "about": one.scope, "files": one.files, "sentence": sentence}
    print_facts(
        facts_of, as_json, lambda: console().print(f"{one.called}: {sentence}", markup=False)
    )


def _check_usage(called: str, said: int, *, inverted: bool, named: bool) -> None:
    if said != (1 if called else 0):
        raise typer.BadParameter(
            "give an ID and one of --as, --out and --undo; or the site folder alone for the list"
        )
    if inverted and not named:
        raise typer.BadParameter("--inverted goes with --as")


def _show(found: list[OpenScan]) -> None:
    from rich.markup import escape
    from rich.table import Table

    from client.ingest.deciding.decide import shown
    from shared.dicom.verdicts import REASONS

    if not found:
        console().print("nothing is set aside for a person to decide")
        return
    table = Table("id", "scans", "scanner", "named", "rows x columns", "why", "decided")
    for one in found:
        name = f"'{one.name}'" if one.name else "(no name that is kept)"
        decided = "" if one.decision is None else shown(one.decision)
        table.add_row(
            one.called,
            f"{one.files}, and all of this kind" if one.scope == "kind" else str(one.files),
            escape(f"{one.maker} {one.model}".strip()),
            escape(name),
            ", ".join(f"{rows} x {columns}" for rows, columns in one.sizes),
            REASONS[one.reason][1],
            f"{decided}, inverted" if one.decision and one.decision.inverted else decided,
        )
    console().print(table)
