"""``osteofed server``: the coordinator's commands. Parse, call one function, print."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer
from rich.markup import escape

from server.cli.audit import app as audit
from server.cli.home import add_commands
from server.cli.passport import app as passport
from server.state.events import finished_words, waiting_words
from shared.command_line import JsonOption, command_group, console, print_facts, progress
from shared.errors import ConfigError
from shared.phrases import counted, with_delta
from shared.tasks.shell_completion import complete_task, complete_version

if TYPE_CHECKING:
    from rich.progress import Progress
    from rich.table import Table

app = command_group("server", "The coordinator of a consortium.")
add_commands(app)
app.add_typer(audit)
app.add_typer(passport)

#: Columns that a table of versions takes at most; ``--json`` has everything.
WIDEST: Final = 100

Workspace = Annotated[
    Path | None, typer.Option(help="Workspace of a run; its mlflow.sqlite is the registry.")
]
Uri = Annotated[str | None, typer.Option(help="MLflow tracking URI, instead of a workspace.")]


@app.command()
def run(
    federation: Annotated[Path, typer.Argument(help="The agreement, federation.yaml.")],
    home: Annotated[
        Path | None, typer.Option(help="The coordinator's home: run on its members' nodes.")
    ] = None,
    fresh: Annotated[
        bool, typer.Option("--fresh", help="Run it from the beginning, also if it is finished.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Run an agreement: on this machine, or with --home on the hospitals' nodes.

    A run of the same agreement that did not come to its end goes on where it stood. One that
    is finished is shown, and nothing is trained or registered.
    """
    from server.runtime.run import run_federation

    with progress() as bar:
        result = run_federation(federation, _Shown(bar, quiet=as_json), home=home, fresh=fresh)
    facts = result.model_dump(mode="json")
    print_facts(facts, as_json, lambda: _show_result(facts))


@app.command()
def resume(
    run: Annotated[Path, typer.Argument(help="Folder of the run, WORKSPACE/runs/RUN.")],
    as_json: JsonOption = False,
) -> None:
    """Go on with a run that was paused or lost, after its last finished round."""
    from server.runtime.run import resume_run

    with progress() as bar:
        result = resume_run(run, _Shown(bar, quiet=as_json))
    facts = result.model_dump(mode="json")
    print_facts(facts, as_json, lambda: _show_result(facts))


@app.command()
def versions(
    workspace: Workspace = None,
    uri: Uri = None,
    task: Annotated[
        str | None, typer.Option(help="Only this task.", autocompletion=complete_task)
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """List the registered versions, and say which are champions."""
    from dataclasses import asdict

    from server.registry.mlflow_registry import list_versions

    found = [asdict(one) for one in list_versions(registry_uri(workspace, uri), task)]
    print_facts(found, as_json, lambda: _show_versions(found))


@app.command()
def export(
    version: Annotated[
        str,
        typer.Argument(help="TASK@ALIAS or TASK@NUMBER.", autocompletion=complete_version),
    ],
    out: Annotated[Path, typer.Option(help="Folder to write.")],
    workspace: Workspace = None,
    uri: Uri = None,
    as_json: JsonOption = False,
) -> None:
    """Copy a version out of the registry, for sites without MLflow."""
    from server.registry.aliases import CHAMPION
    from server.registry.mlflow_registry import open_existing

    task, _, alias = version.partition("@")
    registry = open_existing(registry_uri(workspace, uri))
    facts = registry.versions.export(task, alias or CHAMPION, out)
    print_facts(
        facts,
        as_json,
        lambda: console().print(
            f"{task} version {facts['version']}: {counted(len(facts['files']), 'file')} in {out}\n"
            + "\n".join(f"  {name}" for name in facts["files"]),
            markup=False,
            soft_wrap=True,
        ),
    )


@app.command()
def pretrain(
    tasks: Annotated[list[Path], typer.Argument(help="Task settings, configs/tasks/TASK.yaml.")],
    out: Annotated[Path, typer.Option(help="Folder of the weights.")],
    patients: Annotated[int | None, typer.Option(min=1, help="Digital patients.")] = None,
    seed: Annotated[int, typer.Option(help="Public seed.")] = 1,
    workers: Annotated[int, typer.Option(min=1, help="Processes that render and train.")] = 1,
    cache: Annotated[Path | None, typer.Option(help="Keep rendered patients here.")] = None,
    device: Annotated[str, typer.Option(help="cpu, cuda or auto.")] = "auto",
    as_json: JsonOption = False,
) -> None:
    """Train on digital patients of a made-up scanner: public weights to start from."""
    from server.runtime.pretrain import pretrain as train_publicly

    with progress() as bar:
        lines: dict[str, Any] = {}

        def show(task: str, done: int, total: int, loss: float) -> None:
            if task not in lines:
                lines[task] = bar.add_task(task, total=total)
            bar.update(lines[task], completed=done, description=escape(f"{task}: loss {loss:.3f}"))

        facts = train_publicly(
            tasks, out, patients=patients, seed=seed, workers=workers, cache=cache,
            device=device, progress=show,
        )  # fmt: skip
    print_facts(facts, as_json, lambda: _show_pretrained(facts))


def registry_uri(workspace: Path | None, uri: str | None) -> str:
    """Find the registry that a command means.

    Raises
    ------
    ConfigError
        If neither is given, or both.
    """
    from shared.inference.registry_file import registry_of

    if workspace is not None and uri is None:
        return registry_of(workspace.resolve())
    if uri is not None and workspace is None:
        return uri
    raise ConfigError("give either --workspace DIR or --uri URI")


class _Shown:
    """Shows the events of a run as progress bars; `quiet` leaves out the lines beside them."""

    def __init__(self, bar: Progress, *, quiet: bool = False) -> None:
        self.bar = bar
        self.quiet = quiet
        self.missing: list[str] = []
        self.line: Any = bar.add_task("starting Flower", total=None)
        self.metric = "loss"

    def __call__(self, event: dict[str, Any]) -> None:
        kind = event["event"]
        if kind == "lost":
            self.bar.update(self.line, description=escape("the runtime was lost; going on"))
        elif kind == "already finished":
            self._say(finished_words(event))
        elif kind == "waiting":
            self.missing = list(event["missing"])
            self.bar.update(self.line, description="waiting for sites to connect")
            self._say(waiting_words(event))
        elif kind == "task":
            if self.missing:
                self._say(f"going on without {', '.join(self.missing)}; asked if they come")
                self.missing = []
            self.bar.remove_task(self.line)
            self.line = self.bar.add_task(escape(event["task"]), total=event["rounds"])
            self.metric = event["metric"]
        elif kind == "round":
            pooled = event["point"]["pooled"]
            value = pooled["metrics"].get(self.metric)
            shown = "" if value is None else f": {self.metric} {value:.3f}"
            # What a site calls itself is text from outside: no markup of its own.
            absent = ", ".join(one["site"] for one in event["facts"]["absent"])
            missing = f" (without {absent})" if absent else ""
            said = escape(f"{event['task']}{shown}{missing}")
            self.bar.update(self.line, advance=1, description=said)

    def _say(self, words: str) -> None:
        if not self.quiet:
            self.bar.console.print(words, markup=False, highlight=False, soft_wrap=True)


def _show_result(facts: dict[str, Any]) -> None:
    from rich.table import Table

    table = Table(title=escape(f"run {facts['run']}: {facts['seconds']:.0f} s"))
    for column in ("task", "version", "rounds", "validation", "epsilon by site", "champion"):
        table.add_column(column)
    for name, task in facts["tasks"].items():
        deltas = {site: d for one in task["rounds"] for site, d in one.get("delta", {}).items()}
        spent = "; ".join(
            f"{site} {with_delta(value, deltas.get(site), 2)}"
            for site, value in task["epsilon"].items()
        )
        verdict = task["verdict"] or {}
        last = task["curve"][-1]["pooled"]
        metric = verdict.get("metric")
        value = last["metrics"].get(metric, last["loss"]) if metric else last["loss"]
        shown = "withheld" if value is None else f"{metric or 'loss'} {value:.4g}"
        _add_plain(
            table, name, str(task["version"] or "-"), str(len(task["rounds"])), shown,
            spent or "plain, unbounded", "yes" if task["champion"] else "no",
        )  # fmt: skip
    console().print(table)
    for name, task in facts["tasks"].items():
        if task["verdict"]:
            console().print(f"{name}: {task['verdict']['reason']}", markup=False)
        for one in (absent for facts in task["rounds"] for absent in facts["absent"]):
            said = f"{name}: {one['site']} {one['kind']}: {one['reason']}"
            console().print(said, style="yellow", markup=False)
        for site, rounds in task["plain_rounds"].items():
            if rounds:
                said = f"{name}: {site} trained {counted(rounds, 'round')} without privacy"
                console().print(f"{said}: no epsilon covers it", style="yellow", markup=False)
    console().print(
        f"result: {facts['workspace']}/result.json; registry: {facts['tracking_uri']}",
        markup=False,
    )


def _show_versions(found: list[dict[str, Any]]) -> None:
    from datetime import UTC, datetime

    from rich.table import Table

    if not found:
        console().print("no version is registered yet")
        return
    width = min(console().width, WIDEST)
    table = Table(title="registered versions")
    for column in ("task", "version", "aliases", "made (UTC)", "run"):
        table.add_column(column, overflow="fold")
    for one in found:
        made = datetime.fromtimestamp(one["created"], UTC).strftime("%Y-%m-%d %H:%M")
        _add_plain(
            table, one["task"], str(one["version"]), ", ".join(one["aliases"]), made, one["run"]
        )
    console().print(table, width=width)
    for one in found:
        if one["verdict"]:
            said = f"{one['task']} {one['version']}: {one['verdict']}"
            console().print(said, markup=False, width=width)


def _add_plain(table: Table, *cells: str) -> None:
    """Add a row of words that came from sites or a registry: none of them is markup."""
    table.add_row(*(escape(cell) for cell in cells))


def _show_pretrained(facts: dict[str, Any]) -> None:
    for name, one in facts["tasks"].items():
        console().print(
            f"{name}: {counted(one['steps'], 'step')} on "
            f"{counted(one['patients'], 'digital patient')}, loss {one['train_loss']:.4g}; weights "
            f"in {one['weights']}",
            markup=False,
        )
