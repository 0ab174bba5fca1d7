"""``osteofed site enrol | approve | join``: parse, call one function, print."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from shared.command_line import JsonOption, console, print_facts

SiteFolder = Annotated[Path, typer.Argument(help="The site folder.")]


def add_commands(app: typer.Typer) -> None:
    """Add the commands to the group ``osteofed site``."""
    app.command("enrol")(enrol)
    app.command("approve")(approve)
    app.command("join")(join)


def enrol(
    folder: SiteFolder,
    invitation: Annotated[Path, typer.Argument(help="The coordinator's invitation.json.")],
    most_patients: Annotated[
        int | None, typer.Option(min=1, help="Most patients that answers may claim.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Make the hospital's keys and pin the coordinator."""
    from client.enrol import enrol as make

    facts = make(folder, invitation, most_patients)
    print_facts(
        facts,
        as_json,
        lambda: console().print(
            f"{facts['site']} is enrolled with {facts['address']}. Compare by telephone the "
            f"coordinator's key\n{facts['coordinator']}\nand your own\n{facts['signing_key']}\n"
            f"Send the coordinator {facts['enrolment']}; nothing in it is secret.",
            markup=False,
        ),
    )


def approve(
    folder: SiteFolder,
    bundle: Annotated[Path, typer.Argument(help="The coordinator's bundle, .fab.")],
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Approve the code that may run in this hospital; shows what is new in it."""
    from client.approve import approve as take
    from client.approve import differences, read_bundle

    read = read_bundle(bundle)
    changes = differences(folder, read)
    facts: dict[str, Any] = {"digest": read.digest, "files": len(read.files), **changes}
    if not as_json:
        _show(facts)
    if not yes and not typer.confirm("Approve this code?"):
        raise typer.Exit(1)
    take(folder, read)
    print_facts(facts, as_json, lambda: console().print("approved", markup=False))


def join(
    folder: SiteFolder,
    superlink: Annotated[
        str | None, typer.Option(help="HOST:PORT instead of the invitation's.")
    ] = None,
) -> None:
    """Take part: run the hospital's node until Ctrl-C. It only calls out."""
    from client.join import join as run

    console().print(f"joining from {folder}; Ctrl-C ends it", markup=False)
    run(folder, superlink)


def _show(facts: dict[str, Any]) -> None:
    console().print(f"bundle {facts['digest']}, {facts['files']} files", markup=False)
    for what in ("added", "removed", "changed"):
        for name in facts[what]:
            console().print(f"  {what}: {name}", markup=False)
