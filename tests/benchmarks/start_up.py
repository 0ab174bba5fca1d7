"""How long commands take, whole processes: ``python -m tests.benchmarks.start_up``.

Makes a hospital, a coordinator's home, a registry and a study of its own in a temporary
folder, runs each command five times in turn (A B C A B C …, so that a drift of the machine
meets all), and prints the medians of wall and processor seconds and of peak memory beside
what they may be. Measure on idle cores: the targets are for those.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.table import Table

from shared.command_line import console, progress
from tests.benchmarks.commands import ROOT, Figure, run_alone

RUNS = 5
HELP_SECONDS, STATUS_SECONDS, PREDICT_SECONDS = 0.6, 2.0, 4.0
PREDICT_MB = 500.0


@dataclass(frozen=True)
class Case:
    """A command line, and what it may cost at most."""

    name: str
    words: tuple[str, ...]
    wall_seconds: float
    peak_mb: float | None = None


def cases(folder: Path) -> list[Case]:
    """Everything that is measured."""
    site, home, work = (str(folder / name) for name in ("site", "home", "work"))
    read = ("predict", str(folder / "study"), "--out")
    groups = ((), ("site",), ("server",), ("predict",), ("server", "versions"), ("phantom", "make"))
    helps = [
        Case(" ".join([*typed, "--help"]), (*typed, "--help"), HELP_SECONDS) for typed in groups
    ]
    return [
        *helps,
        Case("site status", ("site", "status", site), STATUS_SECONDS),
        Case("site ledger", ("site", "ledger", site), STATUS_SECONDS),
        Case("site studies", ("site", "studies", site), STATUS_SECONDS),
        Case("server status", ("server", "status", work, "--home", home), STATUS_SECONDS),
        Case("server versions", ("server", "versions", "--workspace", work), STATUS_SECONDS),
        Case("predict, from a registry",
             (*read, str(folder / "read-1"), "--registry", f"{work}/mlflow.sqlite"),
             PREDICT_SECONDS, PREDICT_MB),
        Case("predict, from files",
             (*read, str(folder / "read-2"), "--models", str(folder / "models")),
             PREDICT_SECONDS, PREDICT_MB),
    ]  # fmt: skip


def measure(words: Sequence[str]) -> Figure:
    """Run a command once, in its own process; raise if it fails."""
    return run_alone([sys.executable, "-m", "shared.cli", *words])[1]


def show(found: dict[Case, list[Figure]], runs: int) -> None:
    """Print the medians beside the targets."""
    table = Table(title=f"medians of {runs} runs, whole processes, {os.cpu_count()} cores")
    for column in ("command", "wall s", "at most", "processor s", "peak MB", "at most", ""):
        table.add_column(column, justify="left" if column == "command" else "right")
    for case, costs in found.items():
        wall, processor, peak = middle(costs)
        kept = wall <= case.wall_seconds and peak <= (case.peak_mb or peak)
        table.add_row(
            case.name, f"{wall:.2f}", f"{case.wall_seconds:g}", f"{processor:.2f}", f"{peak:.0f}",
            "" if case.peak_mb is None else f"{case.peak_mb:.0f}",
            "[green]kept[/]" if kept else "[red]not kept[/]",
        )  # fmt: skip
    console().print(table)


def middle(costs: Sequence[Figure]) -> tuple[float, float, float]:
    """Medians of wall seconds, processor seconds and peak megabytes."""
    return (
        statistics.median(cost.wall_seconds for cost in costs),
        statistics.median(cost.processor_seconds for cost in costs),
        statistics.median(cost.peak_mb for cost in costs),
    )


def main() -> None:
    """Measure every command and print the table; ``--json FILE`` keeps the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=RUNS)
    parser.add_argument("--only", default="", help="measure only commands whose name holds this")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as made:
        # In a process of its own: a child's peak memory begins at that of who starts it.
        subprocess.run(
            [sys.executable, "-m", "tests.benchmarks.ground", made], cwd=ROOT, check=True
        )
        chosen = [case for case in cases(Path(made)) if options.only in case.name]
        found: dict[Case, list[Figure]] = {case: [] for case in chosen}
        with progress() as bar:
            for _ in bar.track(range(options.runs), description="runs"):
                for case in chosen:
                    found[case].append(measure(case.words))
    show(found, options.runs)
    if options.json:
        names = ("wall_seconds", "processor_seconds", "peak_mb")
        kept = {
            case.name: dict(zip(names, middle(costs), strict=True)) for case, costs in found.items()
        }
        options.json.write_text(json.dumps(kept, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
