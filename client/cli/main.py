"""``osteofed site``: the hospital's own commands. Parse, call one function, print."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from client.cli.audit import app as audit
from client.cli.bedside import add_commands as add_bedside_commands
from client.cli.browse import add_commands as add_browse_command
from client.cli.contract import add_commands as add_contract_commands
from client.cli.decide import add_commands as add_decide_command
from client.cli.declare import add_commands as add_declare_command
from client.cli.node import add_commands as add_node_commands
from client.cli.phi import add_commands as add_phi_commands
from client.cli.sources import (
    AgainOption,
    DescriptionOption,
    ModalityOption,
    SinceOption,
    UntilOption,
    require_whole,
    say_on,
    show_taken,
    wanted_studies,
)
from client.cli.sources import add_commands as add_source_commands
from client.cli.training import add_commands
from shared.command_line import JsonOption, command_group, console, print_facts, progress
from shared.phrases import counted
from shared.tasks.shell_completion import complete_task

app = command_group("site", "A hospital's own site.")

SiteFolder = Annotated[Path, typer.Argument(help="The site folder.")]


@app.command()
def init(
    folder: SiteFolder,
    name: Annotated[str, typer.Option("--name", help="Short name: a to z, digits, hyphens.")],
    epsilon_budget: Annotated[
        float | None, typer.Option("--epsilon-budget", help="Privacy budget of all patients.")
    ] = None,
    delta: Annotated[
        float | None, typer.Option("--delta", help="At most 1/(10 x declared patients).")
    ] = None,
    allow_plain: Annotated[
        bool, typer.Option("--allow-plain", help="Allow runs without differential privacy.")
    ] = False,
    task: Annotated[
        list[str] | None,
        typer.Option(
            "--task",
            help="Task to permit; repeat. Default: the DXA tasks.",
            autocompletion=complete_task,
        ),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Make a site: its settings, its secret and an empty store."""
    from client.store.site_store import init_site
    from shared.settings.files import SiteConfig, parse_settings
    from shared.tasks import task_name

    privacy: dict[str, Any] = {"allow_plain_runs": allow_plain}
    if epsilon_budget is not None:
        privacy["epsilon_budget"] = epsilon_budget
    if delta is not None:
        privacy["delta"] = delta
    policy = {} if task is None else {"tasks": [task_name(one) for one in task]}
    given = {"site": name, "privacy": privacy, "policy": policy}
    config = parse_settings(given, SiteConfig, "site init")
    init_site(folder, config)
    facts = {
        "site": config.site,
        "folder": str(folder),
        "settings": str(folder / "site.yaml"),
        "epsilon_budget": config.privacy.epsilon_budget,
        "delta": config.privacy.delta,
        "allow_plain_runs": config.privacy.allow_plain_runs,
    }
    print_facts(
        facts,
        as_json,
        lambda: console().print(
            f"site {config.site} made in {folder}: budget epsilon "
            f"{config.privacy.epsilon_budget:g} at delta {config.privacy.delta:g}. "
            f"Back up all of {folder} now and after every run: without its keys, its ledger and "
            "its audit trail the site cannot go on.",
            markup=False,
        ),
    )


@app.command()
def identity(folder: SiteFolder, as_json: JsonOption = False) -> None:
    """Show the site's public key; a site of an older version is given its keys."""
    from client.identity.chain import show_identity

    facts = show_identity(folder)
    print_facts(
        facts,
        as_json,
        lambda: console().print(
            f"site {facts['site']}: signing key {facts['signing_key']}", markup=False
        ),
    )


@app.command()
def ingest(
    folder: SiteFolder,
    source: Annotated[
        str,
        typer.Argument(
            help="A folder, a .zip, a DICOMweb address, or pacs:web or pacs:peer of site.yaml."
        ),
    ],
    since: SinceOption = None,
    until: UntilOption = None,
    modality: ModalityOption = None,
    description: DescriptionOption = "",
    again: AgainOption = False,
    workers: Annotated[
        int | None,
        typer.Option(min=1, help="Processes that read; by default one for each core."),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Take studies in; every file ends as taken, quarantined or refused, with its reason."""
    from client.ingest.worker_pool import start_early, workers_for

    if workers_for(Path(source), workers) > 1:
        start_early()
    from client.sources.router import take_source
    from shared.errors import InputEmptyError

    wanted = wanted_studies(since, until, modality, description)
    with progress() as bar:
        job = bar.add_task("studies", total=None)
        report = take_source(
            folder,
            source,
            wanted,
            lambda done, found: bar.update(job, completed=done, total=found),
            again=again,
            workers=workers,
            say=say_on(bar, job),
        )
    facts = report.as_dict()
    print_facts(facts, as_json, lambda: show_taken(facts))
    require_whole(report)
    if "source" not in facts and not any(f["verdict"] == "taken" for f in facts["files"]):
        raise InputEmptyError(
            f"{source}: none of its {counted(len(facts['files']), 'file')} could be taken; "
            "the table above says why"
        )


@app.command()
def studies(folder: SiteFolder, as_json: JsonOption = False) -> None:
    """Count what the store holds by split, vendor, view and labels, and what has no BMD.

    The counts, and with --json the months between paired visits, are exact: the command shows
    them here and sends nothing.
    """
    from client.store.statistics import describe_store

    facts = describe_store(folder)
    print_facts(facts, as_json, lambda: _show_studies(facts))


def _show_studies(facts: dict[str, Any]) -> None:
    from rich.table import Table

    table = Table(title=f"{facts['site']}: what the store holds")
    for column in ("", *facts["splits"]):
        table.add_column(column, justify="left" if not column else "right")
    for row in facts["rows"]:
        table.add_row(row["what"], *(str(row[split]) for split in facts["splits"]))
    console().print(table)
    for line in facts["pairing"]["unpaired"]:
        console().print(
            f"{counted(line['studies'], 'study', 'studies')} without any BMD: {line['sentence']}",
            markup=False,
        )


add_commands(app)
add_node_commands(app)
add_source_commands(app)
add_bedside_commands(app)
add_phi_commands(audit)
add_contract_commands(app)
add_declare_command(app)
add_browse_command(app)
add_decide_command(app)
app.add_typer(audit)
