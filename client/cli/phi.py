"""``osteofed site audit phi``: parse, call one function, print."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from shared.command_line import JsonOption, console, print_facts, progress
from shared.phrases import counted

if TYPE_CHECKING:
    from client.phi.audit import PhiReport

#: Rows that the table of what was found shows; ``--json`` has all.
MOST_ROWS = 50


def add_commands(audit: typer.Typer) -> None:
    """Add the command to ``osteofed site audit``."""
    audit.command()(phi)


def phi(
    folder: Annotated[Path, typer.Argument(help="The site folder.")],
    also: Annotated[
        list[Path] | None,
        typer.Option("--also", help="Search this file or folder too; may be given again."),
    ] = None,
    pixels: Annotated[
        bool, typer.Option(help="Look at the pixels of stored images for burned-in text.")
    ] = True,
    as_json: JsonOption = False,
) -> None:
    """Search all that the site stored or sent for every identifier that was seen at ingest."""
    from client.phi.audit import audit_phi
    from shared.errors import IdentifierFoundError

    with progress() as bar:
        task = bar.add_task("files searched", total=None)
        report = audit_phi(
            folder,
            also or (),
            lambda done, total: bar.update(task, completed=done, total=total),
            pixels=pixels,
        )
    print_facts(report.as_dict(), as_json, lambda: _show(report))
    if report.found:
        files = len({(one.where, one.file) for one in report.found})
        raise IdentifierFoundError(
            f"{folder}: {files} file(s) hold something that names a patient (nothing should); "
            "stop sending, see the table for file and place, and find out how it came there"
        )


def _show(report: PhiReport) -> None:
    from rich.markup import escape
    from rich.table import Table

    out = console()
    sought = ", ".join(f"{number} {kind}" for kind, number in report.sought.items())
    out.print(f"looked for {sum(report.sought.values())} forms of identifiers: {sought}")
    if report.days_forgotten:
        out.print(f"not looked for: {report.days_forgotten} dates on which the site was at work")
    table = Table("searched", "files", "bytes")
    for where, counts in report.searched.items():
        table.add_row(escape(where), str(counts["files"]), str(counts["bytes"]))
    out.print(table)
    reading = "read by OCR" if report.ocr else "looked at without OCR (tesseract is not installed)"
    images = counted(report.images, "stored image")
    looked = f"{images} and {counted(report.slices, 'slice')} of CT volumes"
    out.print(f"pixels of {looked} were {reading}")
    for name, reason in report.exempt.items():
        out.print(f"not searched, on purpose: {name} ({reason})", markup=False)
    for one in report.not_searched[:MOST_ROWS]:
        where = " ".join(part for part in (one["file"], one["place"]) if part)
        out.print(f"not searched: {where}: {one['reason']}", markup=False)
    if not report.found:
        out.print("found: nothing")
        return
    table = Table("found in", "file", "place", "kind")
    for hit in report.found[:MOST_ROWS]:
        table.add_row(*(escape(cell) for cell in (hit.where, hit.file, hit.place, hit.kind)))
    out.print(table)
    if len(report.found) > MOST_ROWS:
        out.print(f"and {len(report.found) - MOST_ROWS} more: see --json")
