"""``osteofed server pki``, ``up``, ``admit`` and what else needs a home: parse, call, print."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from shared.command_line import JsonOption, MetricsPort, console, print_facts, say_ended, watch_live
from shared.phrases import counted, with_delta

if TYPE_CHECKING:
    from rich.table import Table

HomeFolder = Annotated[Path, typer.Argument(help="The coordinator's home.")]


def add_commands(app: typer.Typer) -> None:
    """Add the commands to the group ``osteofed server``."""
    app.command("pki")(pki)
    app.command("up")(up)
    app.command("admit")(admit)
    app.command("expel")(expel)
    app.command("members")(members)
    app.command("bundle")(bundle)
    app.command("status")(status)
    app.command("healthy")(healthy)
    app.command("registry")(registry)


def pki(
    home: HomeFolder,
    name: Annotated[str, typer.Option(help="DNS name or IP address that hospitals reach.")],
    port: Annotated[int, typer.Option(min=1, max=65535, help="The one published port.")] = 8443,
    as_json: JsonOption = False,
) -> None:
    """Make a coordinator's home: keys, certificates, the invitation for hospitals."""
    from server.deployment.pki import make_home

    facts = make_home(home, name, port=port)
    print_facts(
        facts,
        as_json,
        lambda: console().print(
            f"home made in {home}. Give {facts['invitation']} to the hospitals, and read them "
            f"this key by telephone:\n{facts['coordinator']}",
            markup=False,
        ),
    )


def up(
    home: HomeFolder,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "0.0.0.0",  # noqa: S104
    port: Annotated[
        int | None,
        typer.Option(min=1, max=65535, help="Port to listen on; by default the invitation's."),
    ] = None,
    metrics_port: MetricsPort = None,
    workspace: Annotated[
        Path | None, typer.Option(help="Workspace whose latest run the metrics describe.")
    ] = None,
) -> None:
    """Serve the hospitals until Ctrl-C: Flower's SuperLink, with nginx before it."""
    from server.deployment.superlink import up as serve
    from server.runtime.metrics import server_metrics
    from shared.runtime.prometheus import serving_metrics

    def say() -> None:
        console().print(f"serving {home}; Ctrl-C ends it", markup=False)

    with serving_metrics(metrics_port, lambda: server_metrics(workspace, home)):
        serve(home, host=host, port=port, begins=say)
    say_ended("no longer serving")


def admit(
    home: HomeFolder,
    enrolment: Annotated[Path, typer.Argument(help="The hospital's enrolment.json.")],
    most_patients: Annotated[
        int | None, typer.Option(min=1, help="Most patients that its contract lets it claim.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Admit a hospital."""
    from server.deployment.members import admit as take

    member = take(home, enrolment, most_patients)
    print_facts(
        member.model_dump(),
        as_json,
        lambda: console().print(
            f"{member.site} is admitted, up to {counted(member.most_patients or 0, 'patient')}. "
            f"Compare its key by telephone:\n{member.signing_key}",
            markup=False,
        ),
    )


def expel(
    home: HomeFolder,
    site: Annotated[str, typer.Argument(help="The hospital's name.")],
    as_json: JsonOption = False,
) -> None:
    """Expel a hospital: its node is cut off at once."""
    from server.deployment.members import expel as remove

    member = remove(home, site)
    print_facts(
        member.model_dump(),
        as_json,
        lambda: console().print(f"{member.site} is expelled", markup=False),
    )


def members(home: HomeFolder, as_json: JsonOption = False) -> None:
    """List the hospitals that are admitted."""
    from server.state.home import Home

    found = [member.model_dump() for member in Home(home).members()]

    def show() -> None:
        for one in found:
            console().print(
                f"{one['site']}: key {one['signing_key']}, at most "
                f"{counted(one['most_patients'], 'patient')}, admitted {one['admitted']}",
                markup=False,
            )

    print_facts(found, as_json, show)


def bundle(
    out: Annotated[Path, typer.Argument(help="File to write, .fab.")], as_json: JsonOption = False
) -> None:
    """Build the bundle of code that hospitals approve."""
    from server.runtime.bundle import make_bundle

    facts = make_bundle(out)
    print_facts(
        facts,
        as_json,
        lambda: console().print(f"{out}: digest {facts['digest']}", markup=False),
    )


def status(
    workspace: Annotated[Path, typer.Argument(help="Workspace of the runs.")],
    home: Annotated[
        Path | None, typer.Option(help="The coordinator's home, of a run on nodes.")
    ] = None,
    watch: Annotated[bool, typer.Option("--watch", help="Go on showing, until Ctrl-C.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Tell how the latest run stands: who is in, who is late and why, what is left."""
    from server.runtime.status import server_status

    def facts() -> dict[str, Any]:
        return server_status(workspace, home).model_dump(mode="json")

    if watch and not as_json:
        watch_live(lambda: _status_table(facts()))
        return
    found = facts()
    print_facts(found, as_json, lambda: console().print(_status_table(found)))


def healthy(home: HomeFolder) -> None:
    """Tell by the exit code whether hospitals are answered on the home's public port."""
    from server.deployment.readiness import wait_until_ready

    wait_until_ready(home, 2.0)


def registry(
    password_file: Annotated[Path, typer.Option(help="PostgreSQL's password, alone in a file.")],
    artifacts: Annotated[Path, typer.Option(help="Folder of the versions' files.")],
    database_host: Annotated[str, typer.Option(help="Where PostgreSQL is.")] = "127.0.0.1",
    database_port: Annotated[int, typer.Option(min=1, max=65535, help="PostgreSQL's port.")] = 5432,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=1, max=65535, help="Port to listen on.")] = 5000,
    allowed_host: Annotated[
        list[str] | None, typer.Option(help="Name, with port, that clients call it by.")
    ] = None,
) -> None:
    """Serve MLflow on PostgreSQL, for `registry.tracking_uri`; it has no login of its own."""
    from server.registry.mlflow_server import Database, serve_registry

    database = Database(password_file, database_host, database_port)
    allowed = tuple(allowed_host or ())
    serve_registry(database, artifacts, host=host, port=port, allowed=allowed)


def _status_table(facts: dict[str, Any]) -> Table:
    from rich.markup import escape
    from rich.table import Table

    run = facts["run"] or {"run": "no run", "state": "", "sites": [], "absent": []}
    title = f"{run['run']}: {run['state']} {run.get('reason', '')}".strip()
    if facts["up"] is not None:
        title += "; server up" if facts["up"] else f"; server down: {facts['reason']}"
    table = Table(title=escape(title), caption=escape(_progress(run)))
    for column in ("site", "now", "seconds", "epsilon", "reason"):
        table.add_column(column)
    absent = {one["site"]: one for one in run["absent"]}
    for site in run["sites"]:
        now, seconds, reason = "", "", ""
        if site in run["answered"]:
            now, seconds = "answered", f"{run['answered'][site]:.1f}"
        elif site in absent:
            now, reason = absent[site]["kind"], absent[site]["reason"]
        elif site in run["waiting_for"]:
            now = "asked"
        spent = run["epsilon"].get(site)
        said = "" if spent is None else with_delta(spent, run["delta"].get(site))
        cells = (site, now, seconds, said, reason)
        table.add_row(*(escape(cell) for cell in cells))
    return table


def _progress(run: dict[str, Any]) -> str:
    if not run.get("task"):
        return ""
    left = run["eta_seconds"]
    eta = "" if left is None else f", about {left:.0f} s to go"
    sent = f"{run['bytes_down'] / 1e6:.1f} MB down, {run['bytes_up'] / 1e6:.1f} MB up"
    return (
        f"{run['task']}: {run['rounds_done']} of {counted(run['rounds'], 'round')}, attempt "
        f"{run['attempt']}, {sent}{eta}"
    )
