"""What a run costs besides its steps, process by process: ours and plain Flower's.

``python -m tests.benchmarks.processes [--steps N ...]``. The same trainings as
`tests.benchmarks.peers`, each once, with the processor seconds of every process that it
starts, of one name together.
With two numbers of steps the cost of a step and of what is not steps follow from the two.
Processor time hardly depends on what else the machine does; wall time does.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Iterable
from pathlib import Path

from rich import box
from rich.table import Table

from shared.command_line import console
from tests.benchmarks.peers.hospitals import MEMBERS, TASKS, Cast, Ready, prepare
from tests.benchmarks.peers.measuring import Cost
from tests.benchmarks.peers.programs import Training, run_flower, run_ours

RUNS = {"ours": run_ours, "flower": run_flower}
ROUNDS = 3


def name_of(words: str) -> str:
    """Tell a process by the program or module in its command line."""
    parts = words.split() or ["(ended before it was seen)"]
    if "-m" in parts:
        parts = parts[parts.index("-m") + 1 :]
    elif Path(parts[0]).name.startswith("python") and len(parts) > 1:
        parts = [part for part in parts[1:] if not part.startswith("-")] or parts
    return " ".join([Path(parts[0]).name, *(p for p in parts[1:3] if p.isalpha())])


def by_name(processes: Iterable[tuple[str, float]]) -> dict[str, list[float]]:
    """Processor seconds of the processes of each name, in the order of the first of each."""
    found: dict[str, list[float]] = {}
    for words, seconds in processes:
        found.setdefault(name_of(words), []).append(seconds)
    return found


def table_of(title: str, cost: Cost) -> Table:
    """Lay out one run's processes."""
    table = Table(title=title, box=box.SIMPLE_HEAD)
    table.add_column("process")
    table.add_column("processor s", justify="right")
    table.add_column("each")
    for name, seconds in by_name(cost.processes).items():
        # Forks have the name of what they were forked of, and come after it.
        each = ", ".join(f"{one:.1f}" for one in seconds) if len(seconds) > 1 else ""
        table.add_row(name, f"{sum(seconds):.1f}", each)
    table.add_row("all", f"{cost.processor:.1f}", f"{len(cost.processes)} processes")
    return table


def besides_steps(costs: dict[int, Cost]) -> tuple[float, float]:
    """Processor seconds of a step, and of what is not steps, from two numbers of steps."""
    fewer, more = min(costs), max(costs)
    step = (costs[more].processor - costs[fewer].processor) / (
        (more - fewer) * ROUNDS * len(MEMBERS)
    )
    return step, costs[fewer].processor - step * fewer * ROUNDS * len(MEMBERS)


def measure(ready: Ready, name: str, steps: int) -> Cost:
    """Run one program once."""
    with tempfile.TemporaryDirectory(prefix="peers-") as temporary:
        cost, _ = RUNS[name](ready, Training(ROUNDS, steps), Path(temporary), 1)
    return cost


def main() -> None:
    """Measure both programs in turn and print their tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--task", choices=TASKS, default="dxa-bmd")
    parser.add_argument("--steps", type=int, nargs="+", default=[8, 1])
    parser.add_argument("--patients", type=int, default=80)
    parser.add_argument("--out", type=Path, help="keep hospitals here for the next time")
    asked = parser.parse_args()
    costs: dict[str, dict[int, Cost]] = {name: {} for name in RUNS}
    with tempfile.TemporaryDirectory(prefix="peers-") as temporary:
        ready = prepare((asked.out or Path(temporary)).absolute(), Cast(asked.task, asked.patients))
        for steps in asked.steps:
            for name in RUNS:
                cost = costs[name][steps] = measure(ready, name, steps)
                title = f"{name}: {ROUNDS} rounds of {steps} steps, {cost.seconds:.1f} s"
                console().print(table_of(title, cost))
    for name, found in costs.items():
        if len(found) > 1:
            step, rest = besides_steps(found)
            said = f"{name}: a step {step:.2f} s of processor time, what is not steps {rest:.1f} s"
            console().print(said, markup=False)


if __name__ == "__main__":
    main()
