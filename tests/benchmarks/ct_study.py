"""What reading a CT study takes, stage by stage: ``python -m tests.benchmarks.ct_study``.

Writes a digital patient's series of 120 slices as DICOM and untrained weights of the three CT
tasks (the published size; ``--size small`` the other one) into a temporary folder, and reads the
study in processes of their own as ``osteofed predict`` does, with report and all. How long a
network takes follows from shapes alone; so that every stage has something to do, each task is
told what is true of the study where the one before it would have said what it found.

A stage's seconds are those in which no stage named below it ran inside of it, so they add up to
the whole.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from datetime import date
from functools import wraps
from pathlib import Path
from typing import Any, Final

import numpy as np
from rich import box
from rich.table import Table

from shared.command_line import console
from tests.benchmarks.commands import ROOT, Figure, run_alone

SLICES: Final = 120
#: Distance and thickness of the slices, mm.
APART_MM: Final = 3.0
#: The series begins so far above the middle of this vertebra, mm.
FIRST: Final = "T10"
ABOVE_MM: Final = 30.0
PATIENT: Final = 3
SEED: Final = 1
TASKS: Final = ("ct-localisation", "ct-segmentation", "ct-bmd")
MOST_SECONDS: Final = 15.0
#: What a stage is called, and the function that it is, by module and name.
STAGES: Final[tuple[tuple[str, str, str], ...]] = (
    ("weights read", "shared.inference.predict", "load_champions"),
    ("DICOM read", "shared.dicom.read", "read_study_folder"),
    ("networks made", "shared.inference.predict", "prepare"),
    ("slabs", "shared.tasks.ct.localisation", "to_slabs"),
    ("slabs", "shared.tasks.ct.segmentation", "to_slabs"),
    ("slabs", "shared.tasks.ct.bone_images", "to_slabs"),
    ("projections", "shared.tasks.ct.localisation", "draw_canvas"),
    ("crops", "shared.tasks.ct.bone_images", "cut_level"),
    ("crops", "shared.tasks.ct.bone_images", "mosaic"),
    ("results put together", "shared.inference.predict", "assemble"),
    ("report", "shared.inference.predict", "render_report"),
    ("results written", "shared.inference.predict", "write_results"),
)
#: What is left of a task's reading besides its network.
LEFT: Final = {
    "ct-localisation": "levels",
    "ct-segmentation": "outlines",
    "ct-bmd": "densities",
}


#: Wall and processor seconds.
Seconds = tuple[float, float]


def now() -> Seconds:
    """Read both clocks."""
    return time.perf_counter(), time.process_time()


@dataclass
class Stages:
    """Wall and processor seconds of stages, each without those inside of it."""

    seconds: dict[str, Seconds] = field(default_factory=dict)
    _open: list[Seconds] = field(default_factory=list)

    def add(self, name: str, began: Seconds, within: Seconds = (0.0, 0.0)) -> None:
        """Count what a stage took since it began, without what ran within."""
        took = [end - start for end, start in zip(now(), began, strict=True)]
        known = self.seconds.get(name, (0.0, 0.0))
        self.seconds[name] = (known[0] + took[0] - within[0], known[1] + took[1] - within[1])
        if self._open:
            wall, used = self._open[-1]
            self._open[-1] = (wall + took[0], used + took[1])

    def __call__(self, name: str, work: Callable[..., Any]) -> Callable[..., Any]:
        """Count what a function takes as a stage."""

        @wraps(work)
        def counted(*given: Any, **named: Any) -> Any:
            began = now()
            self._open.append((0.0, 0.0))
            try:
                return work(*given, **named)
            finally:
                self.add(name, began, self._open.pop())

        return counted


def make(folder: Path, size: str) -> None:
    """Write the study, what is true of it, and weights."""
    from shared.phantom.person.generator import PLAIN
    from shared.phantom.solid_ct import codes_of_bones, draw_examination, middles_of
    from shared.phantom.writers.ct import write_series
    from shared.phantom.writers.identity import Identity
    from shared.seeds import numpy_generator
    from shared.settings.files import load_settings
    from shared.settings.task import TaskSettings
    from shared.training.arrays import get_arrays
    from shared.training.initial_weights import start_network
    from shared.training.weights import Weights, save_weights

    drawn = draw_examination(PATIENT, SEED, "generic", PLAIN.name)
    protocol = replace(drawn.stack.protocol, increment_mm=APART_MM, thickness_mm=APART_MM)
    top = float(drawn.anatomy.skeleton.spine[FIRST].centre[2]) - ABOVE_MM
    one = replace(drawn, stack=replace(drawn.stack, protocol=protocol, top=top, count=SLICES))
    taken = list(one.slices(numpy_generator(SEED, "ct study of a benchmark")))
    (folder / "study").mkdir(parents=True, exist_ok=True)
    who = Identity("CT000001", "Try^Out", date(1950, 5, 4), date(2022, 3, 1), "101500", "A1", 71,
                   "ct study of a benchmark")  # fmt: skip
    known = one.anatomy.person.covariates
    write_series(
        taken, one.scene, one.scanner, one.stack, folder / "study",
        who, known,
    )  # fmt: skip
    codes = codes_of_bones(one.scene)
    regions = np.stack([codes[each.bones] for each in taken])[::-1]
    np.save(folder / "regions.npy", regions)
    last = one.stack.count - 1
    marks = {level: last - place for level, place in middles_of(one).items()}
    (folder / "marks.json").write_text(json.dumps(marks), encoding="utf-8")
    named = "" if size == "small" else f".{size}"
    for task in TASKS:
        settings = load_settings(ROOT / f"configs/tasks/{task}{named}.yaml", TaskSettings)
        network, _ = start_network(settings, None, 1)
        weights = Weights(settings, get_arrays(network), "a benchmark's, untrained")
        save_weights(folder / "models" / f"{task}.safetensors", weights)


def read(folder: Path) -> dict[str, Seconds]:
    """Read the study as ``osteofed predict`` does, and give the seconds of every stage.

    It is to be the first thing that a process does: what is imported is a stage too.
    """
    began = now()
    for module in ("shared.inference.predict", "shared.tasks", "shared.dicom.read"):
        importlib.import_module(module)
    from shared.findings.findings import Findings
    from shared.networks import bone_sums, levels, unet  # noqa: F401
    from shared.tasks import task_class
    from shared.tasks.reading import Reading

    stages = Stages()
    for name, module, function in STAGES:
        where = importlib.import_module(module)
        setattr(where, function, stages(name, getattr(where, function)))
    marks = json.loads((folder / "marks.json").read_text(encoding="utf-8"))
    regions = np.load(folder / "regions.npy")

    def told(task: str, find: Callable[..., Findings], run: Callable[..., Any]) -> Any:
        """Read, and say what is true."""

        def both(self: Any, reading: Reading) -> Findings:
            reading_run.run = stages(f"{task}: network", run)
            found = find(self, reading)
            [uid] = reading.study.volumes
            if task == "ct-localisation":
                return replace(found, marked_slices={uid: marks})
            return replace(found, volume_maps={uid: regions}) if task != "ct-bmd" else found

        return both

    reading_run: Any = Reading
    run = Reading.run
    for task in TASKS:
        kind: Any = task_class(task)
        kind.find = stages(LEFT[task], told(task, kind.find, run))
    predict_folder = importlib.import_module("shared.inference.predict").predict_folder
    stages.add("imports", began)
    with tempfile.TemporaryDirectory() as out:
        whole = stages("all else", predict_folder)
        whole(folder / "study", Path(out) / "read", models=folder / "models")
    return stages.seconds


@dataclass(frozen=True)
class Cost(Figure):
    """What one cold process cost, and its stages' seconds."""

    stages: dict[str, Seconds]


def measure(folder: Path) -> Cost:
    """Read the study once in a process of its own; raise if it fails."""
    words = [sys.executable, "-m", "tests.benchmarks.ct_study", "--read", str(folder)]
    said, cost = run_alone(words)
    return Cost(**asdict(cost), stages=json.loads(said))


def show(costs: list[Cost], size: str) -> None:
    """Print the medians of every stage and of the whole."""
    table = Table(
        title=f"a CT study of {SLICES} slices, networks of the {size} size, {os.cpu_count()} "
        f"cores, medians of {len(costs)} processes",
        box=box.SIMPLE_HEAD,
    )
    table.add_column("stage")
    for column in ("wall s", "processor s"):
        table.add_column(column, justify="right")
    for name in costs[0].stages:
        middles = (statistics.median(one.stages[name][place] for one in costs) for place in (0, 1))
        table.add_row(name, *(f"{middle:.2f}" for middle in middles))
    wall, used, peak = (
        statistics.median(getattr(one, name) for one in costs)
        for name in ("wall_seconds", "processor_seconds", "peak_mb")
    )
    kept = "[green]kept[/]" if wall <= MOST_SECONDS else "[red]not kept[/]"
    table.add_row("the whole process", f"{wall:.2f}", f"{used:.2f}")
    table.caption = f"at most {MOST_SECONDS:g} wall s: {kept}; peak {peak:.0f} MB"
    console().print(table)


def main() -> None:
    """Measure and print the table; ``--json FILE`` keeps the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--size", choices=("small", "published"), default="published")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--make", type=Path, help="only write the study and the weights there")
    parser.add_argument("--read", type=Path, help="only read it, and say the stages' seconds")
    options = parser.parse_args()
    if options.make:
        return make(options.make, options.size)
    if options.read:
        sys.stdout.write(json.dumps(read(options.read)))
        return None
    with tempfile.TemporaryDirectory() as made:
        words = ["-m", "tests.benchmarks.ct_study", "--make", made, "--size", options.size]
        # In a process of its own: a child's peak memory begins at that of who starts it.
        subprocess.run([sys.executable, *words], cwd=ROOT, check=True)
        costs = [measure(Path(made)) for _ in range(options.runs)]
    show(costs, options.size)
    if options.json:
        kept = json.dumps([asdict(one) for one in costs], indent=2)
        options.json.write_text(kept + "\n", encoding="utf-8")
    return None


if __name__ == "__main__":
    main()
