"""``osteofed site train | evaluate | ledger``: parse, call one function, print."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from shared.command_line import JsonOption, console, print_facts, progress
from shared.errors import ConfigError
from shared.phrases import at_delta, counted

SiteFolder = Annotated[Path, typer.Argument(help="The site folder.")]
PreparingPlaces = Annotated[
    list[Path] | None,
    typer.Option(
        "--prepare-with",
        help="Weights of another task that find what nobody drew: a file, or a folder of "
        "TASK.safetensors; repeat.",
    ),
]
PreparingRegistry = Annotated[
    str | None,
    typer.Option(
        "--registry",
        help="MLflow tracking URI, or the workspace of a run, whose champions find what nobody "
        "drew.",
    ),
]


def add_commands(app: typer.Typer) -> None:
    """Add the commands to the group ``osteofed site``."""
    app.command("train")(train)
    app.command("evaluate")(evaluate)
    app.command("ledger")(ledger)


def train(
    folders: Annotated[list[Path], typer.Argument(help="Site folder; several are pooled.")],
    settings: Annotated[Path, typer.Option(help="Task settings, configs/tasks/TASK.yaml.")],
    out: Annotated[Path, typer.Option(help="Weights file to write (.safetensors).")],
    start_from: Annotated[Path | None, typer.Option(help="Weights to begin with.")] = None,
    steps: Annotated[
        int | None, typer.Option(min=1, help="Optimiser steps; by default those of a round.")
    ] = None,
    prepare_with: PreparingPlaces = None,
    registry: PreparingRegistry = None,
    as_json: JsonOption = False,
) -> None:
    """Train one task without privacy and without leaving the hospital."""
    from client.round.local_training import train_at_site
    from client.round.named_preparation import named_preparations
    from shared.settings.files import load_settings
    from shared.settings.task import TaskSettings
    from shared.training.weights import digest_arrays, save_weights

    task = load_settings(settings, TaskSettings)
    named = named_preparations([task.task], prepare_with or [], registry)
    wanted = steps or task.plain.steps_per_round
    with progress() as bar:
        line = bar.add_task(f"{task.task}: training", total=wanted)
        weights, facts = train_at_site(
            folders, task, start_from, wanted,
            progress=lambda done, total, _: bar.update(line, completed=done, total=total),
            prepare_with=named,
        )  # fmt: skip
    save_weights(out, weights)
    facts |= {"weights": str(out), "digest": digest_arrays(weights.arrays)}

    def show() -> None:
        console().print(
            f"{facts['task']}: {counted(facts['steps'], 'step')} on "
            f"{counted(facts['patients'], 'patient')} of {', '.join(facts['sites'])}; weights in "
            f"{out}",
            markup=False,
        )

    print_facts(facts, as_json, show)


def evaluate(
    folder: SiteFolder,
    weights: Annotated[list[str], typer.Option(help="Weights file, or LABEL=file; repeat.")],
    split: Annotated[str, typer.Option(help="train, validation, test or all.")] = "test",
    prepare_with: PreparingPlaces = None,
    registry: PreparingRegistry = None,
    as_json: JsonOption = False,
) -> None:
    """Measure models on the hospital's own patients."""
    from client.round.local_training import evaluate_at_site
    from client.round.named_preparation import named_preparations

    if split not in ("train", "validation", "test", "all"):
        raise ConfigError(f"--split: {split!r} (must be train, validation, test or all)")
    facts = evaluate_at_site(
        folder, labelled(weights), split,  # type: ignore[arg-type]
        lambda tasks: named_preparations(tasks, prepare_with or [], registry),
    )  # fmt: skip

    def show() -> None:
        from rich.markup import escape
        from rich.table import Table

        where = facts["site"] if split == "all" else f"{facts['site']} ({split})"
        for label, model in facts["models"].items():
            patients = counted(model["patients"], "patient")
            heading = f"{label}: {model['task']} on {patients} of {where}"
            console().print(heading, markup=False)
            if not model["told"]:
                console().print("nothing could be measured", markup=False)
                continue
            table = Table()
            table.add_column("what")
            table.add_column("value", no_wrap=True)
            table.add_column("how it stands")
            for one in model["told"]:
                value = f"{one['value']:.3f} {one['unit']}".strip()
                table.add_row(*map(escape, (one["words"], value, one["judgement"])))
            console().print(table)

    print_facts(facts, as_json, show)


def ledger(folder: SiteFolder, as_json: JsonOption = False) -> None:
    """Show what training has spent of the hospital's privacy budget."""
    from client.node.ledger_summary import ledger_statement

    facts = ledger_statement(folder)

    def show() -> None:
        _show_ledger(facts)

    print_facts(facts, as_json, show)


def labelled(weights: list[str]) -> dict[str, Path]:
    """Read ``LABEL=file`` or ``file`` (its stem is the label).

    Raises
    ------
    ConfigError
        If two have the same label.
    """
    found: dict[str, Path] = {}
    for text in weights:
        label, equals, path = text.partition("=")
        if not equals:
            label, path = Path(text).stem, text
        if label in found:
            raise ConfigError(f"--weights: two files are called {label!r}; give LABEL=file")
        found[label] = Path(path)
    return found


def _show_ledger(facts: dict[str, Any]) -> None:
    from rich.table import Table

    rule = f"{facts['filter']} filter" + (f" of order {facts['order']}" if facts["order"] else "")
    title = f"{facts['site']}: privacy ledger, epsilon {at_delta(facts['delta'])}, {rule}"
    table = Table(title=title)
    for column in ("run", "task", "rounds", "steps", "noise", "epsilon after", "state"):
        table.add_column(column)
    for line in facts["lines"]:
        known = line["epsilon_after"] is not None
        after = f"{line['epsilon_after']:.3f}" if known else "unbounded"
        table.add_row(
            line["run"], line["task"], str(line["rounds"]), str(line["steps"]),
            f"{line['noise_multiplier']:.3f}", after, line["state"],
        )  # fmt: skip
    console().print(table)
    if facts["unbounded"]:
        console().print(
            f"[yellow]spent: unbounded. {counted(facts['plain_rounds'], 'round')} ran without "
            "privacy and no epsilon covers that[/]; the private rounds alone spent epsilon "
            f"{facts['epsilon_private']:.3f} {at_delta(facts['delta'])}"
        )
        return
    console().print(
        f"spent {facts['epsilon_spent']:.3f} of epsilon {facts['epsilon_budget']:g}, left "
        f"{facts['epsilon_left']:.3f}, {at_delta(facts['delta'])}"
    )
