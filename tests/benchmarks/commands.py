"""``make bench``: whole-process figures, medians over runs, ratios within the session.

Each case is a command run as its own process; the operating system's own account
of the finished process gives wall and processor seconds and peak memory. A case
that names an alternative is run in turn with it (A B A B …), so that a drift of
the machine meets both, and the ratio is taken pair by pair.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.table import Table

from shared.command_line import console

ROOT = Path(__file__).resolve().parents[2]
INGEST = "taking studies in"
TASKS = ("dxa-segmentation", "dxa-bmd", "vfa-fracture")


@dataclass(frozen=True)
class Case:
    """A command, and the one that it is measured against."""

    name: str
    command: list[str]
    against: str | None = None
    alternative: list[str] | None = None


@dataclass(frozen=True)
class Figure:
    """What one finished process cost."""

    wall_seconds: float
    processor_seconds: float
    peak_mb: float


def measure(command: list[str]) -> Figure:
    """Run a command once with one thread; raise if it fails."""
    return run_alone(command, os.environ | {"OMP_NUM_THREADS": "1"})[1]


def run_alone(
    command: Sequence[str], environment: Mapping[str, str] | None = None
) -> tuple[str, Figure]:
    """Run a command once in a process of its own; give what it printed, and its cost.

    Raises
    ------
    SystemExit
        If it fails, with what it said.
    """
    with tempfile.TemporaryFile() as printed, tempfile.TemporaryFile() as said:
        started = time.monotonic()
        process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=printed, stderr=said)
        _, status, usage = os.wait4(process.pid, 0)
        wall = time.monotonic() - started
        process.returncode = os.waitstatus_to_exitcode(status)
        told = []
        for file in (printed, said):
            file.seek(0)
            told.append(file.read().decode(errors="replace"))
    if process.returncode:
        raise SystemExit(f"{' '.join(command)} failed: {told[1].strip()}")
    cost = Figure(wall, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024)
    return told[0], cost


def cases(folder: Path) -> list[Case]:
    """Everything that is measured."""
    python = sys.executable
    osteofed = [python, "-m", "shared.cli"]

    def fresh(name: str, *words: str) -> list[str]:
        # Each run writes into a new folder: the program refuses to overwrite one.
        script = f'out=$(mktemp -d -p {folder})/x; exec "$@" --out $out'
        return ["sh", "-c", script, name, *osteofed, *words]

    render = [python, "-m", "tests.benchmarks.render"]
    make = ["phantom", "make", "--scanner", "lunar", "--patients", "20", "--seed", "1"]
    found = [
        Case("imports of the command line", [*osteofed, "--help"], "python -c pass",
             [python, "-c", "pass"]),
        Case("render 20 patients, 3 views, no DICOM", [*render, "20"],
             "imports alone", [*render, "0"]),
        Case("phantom make, 20 patients, 1 process", fresh("make1", *make, "--workers", "1"),
             "2 processes", fresh("make2", *make, "--workers", "2")),
    ]  # fmt: skip
    for task in TASKS:
        step = [python, "-m", "tests.benchmarks.training", f"configs/tasks/{task}.yaml"]
        found.append(
            Case(f"{task}: private training steps", [*step, "private"], "plain steps",
                 [*step, "plain"])
        )  # fmt: skip
    return found


def median(figures: list[Figure], name: str) -> float:
    """Median of one field."""
    return statistics.median(getattr(figure, name) for figure in figures)


def main() -> None:
    """Measure every case and print the table; ``--json FILE`` keeps the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--only", default="", help="measure only cases whose name holds this")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    table = Table(title=f"medians of {options.runs} runs, whole processes, {os.cpu_count()} cores")
    for column in ("case", "wall s", "processor s", "peak MB", "against", "ratio of processor s"):
        table.add_column(column)
    kept: dict[str, dict[str, Any]] = {}
    with tempfile.TemporaryDirectory() as folder:
        for case in cases(Path(folder)):
            if options.only not in case.name:
                continue
            mine: list[Figure] = []
            ratios: list[float] = []
            for _ in range(options.runs):
                mine.append(measure(case.command))
                if case.alternative is not None:
                    other = measure(case.alternative)
                    ratios.append(mine[-1].processor_seconds / other.processor_seconds)
            ratio = statistics.median(ratios) if ratios else None
            row = {n: median(mine, n) for n in ("wall_seconds", "processor_seconds", "peak_mb")}
            kept[case.name] = {**row, "against": case.against, "ratio": ratio}
            table.add_row(
                case.name, f"{row['wall_seconds']:.2f}", f"{row['processor_seconds']:.2f}",
                f"{row['peak_mb']:.0f}", case.against or "",
                "" if ratio is None else f"{ratio:.2f}",
            )  # fmt: skip
    console().print(table)
    if options.only in INGEST:
        from tests.benchmarks import ingest  # it measures with this module

        kept[INGEST] = ingest.show(options.runs)
    if options.json:
        options.json.write_text(json.dumps(kept, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
