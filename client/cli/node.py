"""``osteofed site enrol | approve | disapprove | join | status | healthy``: parse, call, print."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from shared.command_line import JsonOption, MetricsPort, console, print_facts, say_ended, watch_live
from shared.phrases import at_delta, counted

if TYPE_CHECKING:
    from rich.console import Group
    from rich.table import Table

SiteFolder = Annotated[Path, typer.Argument(help="The site folder.")]


def add_commands(app: typer.Typer) -> None:
    """Add the commands to the group ``osteofed site``."""
    app.command("enrol")(enrol)
    app.command("approve")(approve)
    app.command("disapprove")(disapprove)
    app.command("join")(join)
    app.command("status")(status)
    app.command("healthy")(healthy)


def enrol(
    folder: SiteFolder,
    invitation: Annotated[Path, typer.Argument(help="The coordinator's invitation.json.")],
    most_patients: Annotated[
        int | None, typer.Option(min=1, help="Most patients that answers may claim.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Make the hospital's keys and pin the coordinator."""
    from client.node.enrol import enrol as make

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
    yes: Annotated[bool, typer.Option("--yes", help="Approve without asking.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Approve the code that may run in this hospital; shows what is new in it."""
    from client.node.code_approval import approve as take
    from client.node.code_approval import differences, read_bundle

    read = read_bundle(bundle)
    changes = differences(folder, read)
    facts: dict[str, Any] = {"digest": read.digest, "files": len(read.files), **changes}
    if not as_json:
        _show(facts)
    if not yes and not agreed("Approve this code?"):
        raise typer.Exit(1)
    take(folder, read)
    print_facts(facts, as_json, lambda: console().print("approved", markup=False))


def agreed(question: str) -> bool:
    """Ask for a yes; where nobody can be asked, say what to do."""
    try:
        return typer.confirm(question)
    except typer.Abort:
        if sys.stdin.isatty():
            raise  # Ctrl-C
        raise typer.BadParameter(
            "nobody is at a terminal to say yes; read what is shown, then give --yes",
            param_hint="--yes",
        ) from None


def disapprove(
    folder: SiteFolder,
    digest: Annotated[str, typer.Argument(help="The bundle's SHA-256, as `approve` showed it.")],
    as_json: JsonOption = False,
) -> None:
    """Withdraw an approval: requests with this code are refused from now on."""
    from client.node.code_approval import approved_digests
    from client.node.code_approval import disapprove as withdraw

    withdraw(folder, digest)
    facts = {"digest": digest, "approved": [one["digest"] for one in approved_digests(folder)]}
    print_facts(facts, as_json, lambda: console().print("disapproved", markup=False))


def join(
    folder: SiteFolder,
    superlink: Annotated[
        str | None, typer.Option(help="HOST:PORT to call; by default the invitation's.")
    ] = None,
    metrics_port: MetricsPort = None,
) -> None:
    """Take part: run the hospital's node until Ctrl-C. It only calls out."""
    from client.node.join import join as run
    from client.node.metrics import site_metrics
    from shared.runtime.prometheus import serving_metrics

    def say() -> None:
        console().print(f"joining from {folder}; Ctrl-C ends it", markup=False)

    with serving_metrics(metrics_port, lambda: site_metrics(folder)):
        run(folder, superlink, say)
    say_ended("no longer joined")


def _show(facts: dict[str, Any]) -> None:
    console().print(f"bundle {facts['digest']}, {counted(facts['files'], 'file')}", markup=False)
    for what in ("added", "removed", "changed"):
        for name in facts[what]:
            console().print(f"  {what}: {name}", markup=False)


def status(
    folder: SiteFolder,
    watch: Annotated[bool, typer.Option("--watch", help="Go on showing, until Ctrl-C.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Tell how the site stands: its node, what it is doing, what is left of its budget."""
    from client.node.status import site_status

    if watch and not as_json:
        watch_live(lambda: _status_shown(site_status(folder)))
        return
    found = site_status(folder)
    print_facts(found, as_json, lambda: _show_status(found))


def healthy(folder: SiteFolder) -> None:
    """Tell by the exit code whether the site's node is connected."""
    from client.node.status import require_connected

    require_connected(folder)


def _show_status(facts: dict[str, Any]) -> None:
    """Print how the site stands, and below it on a line that can be copied what comes next."""
    console().print(_status_shown(facts))
    if facts["next"] is not None:
        console().print(f"the next command is `{facts['next']}`", markup=False, soft_wrap=True)


def _status_shown(facts: dict[str, Any]) -> Group:
    """Say how the site stands; the last requests are a table where there were any."""
    from rich.console import Group
    from rich.text import Text

    from client.node.status import NOT_JOINED

    node = facts["node"]
    if node["state"] == NOT_JOINED:
        head, now = f"{facts['site']} has not joined the federation yet", ""
    else:
        head = f"{facts['site']}: node {node['state']} {node['reason']}".strip()
        now = f"now: {_doing(facts['working_on'])}; "
    store = counted(facts["studies"], "study", "studies")
    lines = counted(facts["chain_lines"], "audit line")
    rest = f"{now}{store} in the store; {_budget(facts)}; {lines}"
    requests = [_requests(facts["last"])] if facts["last"] else []
    return Group(Text(head), *requests, Text(rest))


def _budget(facts: dict[str, Any]) -> str:
    """What is left of the privacy budget, with the delta that it holds at."""
    of = f"{facts['epsilon_budget']:g} {at_delta(facts['delta'])}"
    if facts["epsilon_left"] is None:
        return f"epsilon spent without bound, of a budget of {of}"
    return f"epsilon {facts['epsilon_left']:.3f} of {of} left"


def _requests(last: list[dict[str, Any]]) -> Table:
    """The last requests and what became of each."""
    from rich.markup import escape
    from rich.table import Table

    table = Table()
    for column in ("time (UTC)", "outcome", "run", "round", "task", "reason"):
        table.add_column(column)
    for one in last:
        cells = (one["time"][:19], one["outcome"], one["run"], str(one["round"] or ""),
                 one["task"], str(one["reason"]))  # fmt: skip
        table.add_row(*(escape(cell) for cell in cells))
    return table


def _doing(work: dict[str, Any] | None) -> str:
    """Say what a node is asked for that it has not answered yet."""
    if work is None:
        return "waiting"
    return f"{work['task']}, round {work['round']} of {work['run']}"
