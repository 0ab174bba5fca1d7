"""``osteofed site listen | echo``, and what ``ingest`` asks a PACS for: parse, call, print."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from shared.command_line import JsonOption, console, print_facts, say_ended, until_ctrl_c
from shared.phrases import counted

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

    from client.ingest.folder import IngestReport
    from client.sources.fetch import Fetched
    from client.sources.query import Wanted
    from shared.settings.pacs import ListenSettings

SiteFolder = Annotated[Path, typer.Argument(help="The site folder.")]
DAY = ("%Y-%m-%d",)
SinceOption = Annotated[
    datetime | None,
    typer.Option("--from", formats=list(DAY), help="First day of the study; asks a PACS."),
]
UntilOption = Annotated[
    datetime | None,
    typer.Option("--to", formats=list(DAY), help="Last day of the study; asks a PACS."),
]
ModalityOption = Annotated[
    list[str] | None,
    typer.Option("--modality", help="CR, DX, OT, CT ...; may be given several times."),
]
DescriptionOption = Annotated[
    str, typer.Option("--description", help="Words of the scan's or study's name, * for any.")
]
AgainOption = Annotated[
    bool, typer.Option("--again", help="Also fetch from the PACS what was fetched before.")
]


def add_commands(app: typer.Typer) -> None:
    """Add the commands to the group ``osteofed site``."""
    app.command("listen")(listen)
    app.command("echo")(echo)


def wanted_studies(
    since: datetime | None, until: datetime | None, modality: list[str] | None, description: str
) -> Wanted:
    """Make the query of what the command line says."""
    from client.sources.query import Wanted

    return Wanted(
        None if since is None else since.date(),
        None if until is None else until.date(),
        tuple(sorted({one.strip().upper() for one in modality or ()})),
        description,
    )


def require_whole(report: IngestReport | Fetched) -> None:
    """End with an error if the PACS did not give every study whole."""
    from client.sources.fetch import Fetched
    from shared.errors import SourceUnavailableError

    if isinstance(report, Fetched) and report.failed:
        raise SourceUnavailableError(
            f"{report.source}: {report.failed} of {counted(report.found, 'study', 'studies')} did "
            "not come whole, for the reasons named above and under --json; the others are taken "
            "in. Run the same command again to ask for those that are left; where C-GET goes on "
            "failing, set pacs.peer.retrieve: move in site.yaml or use pacs:web"
        )


def say_on(bar: Progress, job: TaskID) -> Callable[[str | None], None]:
    """Make what tells a person, on standard error, what is being waited for.

    A terminal has it on its progress bar, as long as it lasts; a file has it as lines.
    """

    def say(sentence: str | None) -> None:
        bar.update(job, description=sentence or "studies")
        if sentence and bar.disable:
            say_ended(sentence)

    return say


def listen(
    folder: SiteFolder,
    once: Annotated[bool, typer.Option("--once", help="End after the first taking in.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Take in what the PACS pushes (C-STORE), until Ctrl-C."""
    from client.sources.listen import listen as run

    def started(settings: ListenSettings) -> None:
        if not as_json:
            console().print(
                f"{settings.title} listens on {settings.host}:{settings.port} for "
                f"{', '.join(settings.senders)}; Ctrl-C ends it",
                markup=False,
            )

    def taken(report: IngestReport) -> None:
        facts = report.as_dict()
        print_facts(facts, as_json, lambda: show_taken(facts))

    # With --once the end is the first taking in: before it, Ctrl-C breaks off.
    with nullcontext() if once else until_ctrl_c("no longer listening"):
        run(folder, taken, started=started, once=once)


def echo(folder: SiteFolder, as_json: JsonOption = False) -> None:
    """Try the connections to the PACS that site.yaml names, and say what is wrong."""
    from client.sources.router import echo as attempt

    found, error = attempt(folder)
    print_facts({"connections": found}, as_json, lambda: _show_connections(found))
    if error is not None:
        raise error


def _show_connections(found: list[dict[str, Any]]) -> None:
    from rich.markup import escape
    from rich.table import Table

    table = Table()
    for column in ("connection", "address", "works", ""):
        table.add_column(column)
    for one in found:
        works = "[green]yes" if one["works"] else "[red]no"
        table.add_row(one["connection"], escape(one["address"]), works, escape(one["sentence"]))
    console().print(table)


def show_taken(facts: dict[str, Any]) -> None:
    """Print what was taken in, and, of a PACS, what was fetched."""
    from rich.table import Table

    from shared.dicom.ct.completeness import COMPLETENESS_WORDS, UNKNOWN

    if "source" in facts:
        asked = facts["source"]
        console().print(
            f"{asked['name']}: "
            f"{counted(asked['studies_found'], 'study matches', 'studies match')}; "
            f"{asked['studies_fetched']} fetched, {asked['studies_fetched_before']} fetched "
            f"before, {asked['studies_failed']} that did not come whole",
            markup=False,
        )

        for one in asked["studies_left"]:
            console().print(
                f"left: study {one['study']}, status {one['status'] or 'none'}: {one['sentence']}",
                markup=False,
            )
        for note in asked["notes"]:
            console().print(f"note: {asked['name']} {note}", markup=False)

    table = Table(title=f"{facts['site']}: files by outcome")
    for column in ("outcome", "files", "reason", "meaning"):
        table.add_column(column, justify="right" if column == "files" else "left")
    colours = {"taken": "green", "quarantined": "yellow", "refused": "red"}
    for line in facts["outcomes"]:
        verdict = line["verdict"]
        table.add_row(
            f"[{colours[verdict]}]{verdict}", str(line["files"]), line["reason"], line["sentence"]
        )
    store = facts["store"]
    console().print(table)
    named = [("not taken", series) for series in facts["series_not_taken"]]
    named += [("kept, not measured", series) for series in facts["series_not_measured"]]
    named += [("incomplete", one) for one in facts["series_kept"] if one["reason"] == "incomplete"]
    for outcome, series in named:
        console().print(
            f"CT series {outcome}: {series['path']} and the rest of its "
            f"{counted(series['files'], 'file')}: {series['reason']}, {series['sentence']}",
            markup=False,
        )
    open_scans = len({file["decide"] for file in facts["files"] if "decide" in file})
    if open_scans:
        console().print(
            f"{counted(open_scans, 'decision')} of a person wanted, what scans show: see "
            "`osteofed site decide`",
            markup=False,
        )
    for series in facts["series_replaced"]:
        console().print(f"CT series {series['path']}: {series['sentence']}", markup=False)
    unknown = sum(one["reason"] == "unknown" for one in facts["series_kept"])
    if unknown:
        console().print(
            f"{counted(unknown, 'CT series', 'CT series')} {COMPLETENESS_WORDS[UNKNOWN]}"
        )
    if facts["visits_without_images_new"]:
        console().print(
            f"{counted(facts['visits_without_images_new'], 'new visit')} without images"
        )
    console().print(
        f"{counted(facts['studies_new'], 'new study', 'new studies')}; the store has "
        f"{counted(store['studies'], 'study', 'studies')} of "
        f"{counted(store['patients'], 'patient')} ({store['train']} train, "
        f"{store['validation']} validation, {store['test']} test)"
    )
