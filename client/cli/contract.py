"""``osteofed site check | qc``: parse, call one function, print."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from shared.command_line import JsonOption, console, print_facts
from shared.tasks.shell_completion import complete_task

SiteFolder = Annotated[Path, typer.Argument(help="The site folder.")]

#: How a verdict looks.
COLOURS = {"met": "green", "not met": "red", "cannot tell": "yellow"}


def add_commands(app: typer.Typer) -> None:
    """Add the commands to the group ``osteofed site``."""
    app.command("check")(check)
    app.command("qc")(qc)


def check(
    folder: SiteFolder,
    task: Annotated[
        str, typer.Argument(help="The task by its name.", autocompletion=complete_task)
    ],
    agreement: Annotated[
        Path | None,
        typer.Option(help="The consortium's federation.yaml; without it, what is kept here."),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Check the site's data against the consortium's data contract, and keep the contract here.

    Says also which of the site's own settings would refuse the task. Nothing is sent.
    """
    from client.contract.data_contract import check as check_contract
    from shared.errors import ContractNotMetError, PolicyRefusedError

    checked = check_contract(folder, task, agreement)
    facts = checked.as_dict()
    print_facts(facts, as_json, lambda: _show(facts, folder))
    if checked.failed:
        raise ContractNotMetError(
            f"this site would refuse to train {task}, because its data do not meet: "
            f"{', '.join(checked.failed)}; what is printed above says what to do"
        )
    if checked.own_refusals:
        raise PolicyRefusedError(
            f"this site would refuse to train {task}, because of its own settings; what is "
            "printed above says what to do"
        )


def qc(
    folder: SiteFolder,
    file: Annotated[Path, typer.Argument(help="CSV: date, scanner, bmd (g/cm²).")],
    as_json: JsonOption = False,
) -> None:
    """Take in the daily phantom scans, and say whether a scanner has drifted."""
    from client.contract.phantom_qc import take_in

    facts = take_in(folder, file)
    print_facts(facts, as_json, lambda: _show_scans(facts))


def _show(facts: dict[str, Any], folder: Path) -> None:
    from rich.markup import escape
    from rich.table import Table

    out = console()
    table = Table(title=f"{facts['site']}: data contract of {facts['task']}")
    for column in ("requirement", "required", "found", "verdict", "weight"):
        table.add_column(column, overflow="fold", min_width=17 if column == "requirement" else None)
    for row in facts["rows"]:
        colour = COLOURS[row["verdict"]]
        words = (escape(row[key]) for key in ("requirement", "required", "found"))
        table.add_row(*words, f"[{colour}]{row['verdict']}[/]", row["weight"])
    if facts["rows"]:
        out.print(table)
    else:
        out.print(f"the agreement requires nothing of the data for {facts['task']}")
    for row in facts["rows"]:
        if row["advice"]:
            out.print(f"{row['requirement']}: {row['advice']}", markup=False, soft_wrap=True)
    for sentence in (*facts["own_refusals"], *facts["warnings"]):
        out.print(sentence, markup=False, soft_wrap=True)
    out.print(
        f"this is the contract of {facts['federation']}, digest {facts['contract'][:16]}; it is "
        f"kept in {folder / 'contracts'}, and nothing was sent",
        markup=False,
        soft_wrap=True,
    )


def _show_scans(facts: dict[str, Any]) -> None:
    from rich.markup import escape
    from rich.table import Table

    table = Table(title=f"{facts['site']}: phantom scans")
    for column in ("scanner", "scans", "first", "last", "drift"):
        table.add_column(column)
    for name, one in facts["scanners"].items():
        drift = "too few scans"
        if "drifted" in one:
            drift = f"[red]{one['percent']:+.1f} %[/]" if one["drifted"] else "[green]none[/]"
        if not one["in_site_yaml"]:
            drift += " [yellow](not named in site.yaml: scanners)[/]"
        table.add_row(escape(name), str(one["scans"]), one["first"], one["last"], drift)
    console().print(table)
    console().print(f"{facts['new']} new scans")
