"""Ours against its peers: plain Flower with Opacus, and NVFLARE's simulator with Opacus.

``python -m tests.benchmarks.peers [--task TASK] [--nvflare PYTHON]``. All train the small network
of a task (density, or vertebrae on radiographs), all weights, privately, at the same three
digital hospitals, from the same weights, with the same rounds, steps, sampling, clipping,
noise, rate and seeds; the models are measured at a fourth hospital by the same program. The
clock runs from the start of a command to its end; patients, stores, the peers' samples and
the start are made before (``--out`` keeps them for the next time). Programs take turns, run
by run; figures are medians. The score is 1 − MAE/σ, mean over three regions, for density,
and the Dice for vertebrae; MiB are PSS (`tests.benchmarks.peers.measuring`). Seeds are those
of sampling and noise, which differ between programs all the same, as do scores.

NVFLARE wants an environment of its own, with torch, monai, opacus and safetensors in it;
name its Python by ``--nvflare``.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

from shared.command_line import console
from shared.protocol.codec import Arrays
from shared.training.weights import load_weights
from tests.benchmarks.peers.figures import Program, lines_of, table_of
from tests.benchmarks.peers.hospitals import TASKS, Cast, Ready, prepare
from tests.benchmarks.peers.measuring import Cost
from tests.benchmarks.peers.programs import Training, run_flower, run_nvflare, run_ours, written

Run = Callable[[Ready, Training, Path, int], tuple[Cost, Arrays]]


def compare(ready: Ready, training: Training, runs: dict[str, Run], repeat: int) -> list[Program]:
    """Run every program in turn, as often as asked; say each figure as it comes."""
    programs = {name: Program(name, lines_of(written(name, ready.name))) for name in runs}
    for seed in range(1, repeat + 1):
        for name, run in runs.items():
            with tempfile.TemporaryDirectory(prefix="peers-") as temporary:
                cost, arrays = run(ready, training, Path(temporary), seed)
            found = programs[name]
            found.scores.append(ready.score(arrays))
            found.seconds.append(cost.seconds)
            found.processor.append(cost.processor)
            found.peaks.append(cost.peak)
            console().print(
                f"{name}, seed {seed}: {found.scores[-1]:.3f}, {cost.seconds:.1f} s, "
                f"processor {cost.processor:.1f} s, "
                f"{cost.peak / 2**20:,.0f} MiB, load {os.getloadavg()[0]:.1f}",
                markup=False,
            )
    return list(programs.values())


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--task", choices=TASKS, default="dxa-bmd")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=8)
    parser.add_argument("--patients", type=int, default=80)
    parser.add_argument("--repeat", type=int, default=1)
    parser.add_argument("--nvflare", default="", help="Python that has NVFLARE.")
    parser.add_argument("--out", type=Path, help="keep hospitals here for the next time")
    asked = parser.parse_args()
    training = Training(asked.rounds, asked.steps)
    runs: dict[str, Run] = {"ours": run_ours, "flower": run_flower}
    if asked.nvflare:
        # Not resolved: an environment's Python is a link, and its name says which it is.
        runs["nvflare"] = partial(run_nvflare, str(Path(asked.nvflare).absolute()))
    with tempfile.TemporaryDirectory(prefix="peers-") as temporary:
        folder = (asked.out or Path(temporary)).absolute()
        ready = prepare(folder, Cast(asked.task, asked.patients))
        start = ready.score(load_weights(ready.start).arrays)
        ours, *peers = compare(ready, training, runs, asked.repeat)
    title = (
        f"{asked.task}: {asked.rounds} rounds of {asked.steps} steps, {asked.patients} patients "
        f"a hospital, noise {training.noise:.2f}; the start scores {start:.3f}; "
        f"medians of {asked.repeat}"
    )
    console().print(table_of(title, ours, peers))
    spread = {one.name: statistics.pstdev(one.scores) for one in (ours, *peers)}
    said = ", ".join(f"{name} {value:.3f}" for name, value in spread.items())
    console().print(f"spread of the scores over seeds: {said}", markup=False)


if __name__ == "__main__":
    main()
