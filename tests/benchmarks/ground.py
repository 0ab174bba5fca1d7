"""What the commands look at that `tests.benchmarks.start_up` measures.

``python -m tests.benchmarks.ground FOLDER`` makes ``site``, ``home``, ``work``, ``models`` and
``study`` in a folder.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

from client.store.site_store import SiteStore
from server.registry.export import program_of
from server.registry.mlflow_registry import Registry
from server.state.events import Events
from server.state.result import Verdict
from shared.settings.files import load_settings
from shared.settings.task import TaskSettings
from shared.tasks import make_task
from shared.training.accounting import Mechanism
from shared.training.arrays import get_arrays
from shared.training.initial_weights import start_network
from shared.training.weights import Weights, digest_arrays, save_weights

ROOT = Path(__file__).resolve().parents[2]
TASKS = ("dxa-segmentation", "dxa-bmd", "vfa-fracture")
#: What each task spends in a round; one at a sample rate below 1, which costs most to sum up.
SPENT = (Mechanism(1.0, 40.0, 4), Mechanism(0.25, 6.0, 8), Mechanism(1.0, 50.0, 6))


def osteofed(*words: str) -> list[str]:
    """The command line of the program."""
    return [sys.executable, "-m", "shared.cli", *words]


def make_ground(folder: Path) -> None:
    """Make what the commands look at: ``site``, ``home``, ``work``, ``models``, ``study``."""
    export = folder / "export"
    make = ["--scanner", "lunar", "--patients", "12", "--seed", "1"]
    for words in (
        ("phantom", "make", "--out", str(export), *make),
        ("site", "init", str(folder / "site"), "--name", "north", "--epsilon-budget", "8"),
        ("site", "ingest", str(folder / "site"), str(export)),
        ("server", "pki", str(folder / "home"), "--name", "localhost"),
    ):
        subprocess.run(osteofed(*words), cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
    study = min((export / "DICOM").glob("*/*"))
    shutil.copytree(study, folder / "study", ignore=shutil.ignore_patterns("*_SEG.dcm"))
    spend(folder / "site")
    write_run(folder / "work" / "runs" / "run-1")
    register(folder / "work", folder / "models")


def spend(site: Path) -> None:
    """Write a run of every task into the site's ledger, some at a sample rate below 1."""
    store = SiteStore.open(site)
    ledger = store.open_ledger()
    for task, mechanism in zip(TASKS, SPENT, strict=True):
        for number in range(1, 7):
            reserved = ledger.reserve("run-1", number, task, "store", "ab" * 32, mechanism)
            ledger.commit(reserved, mechanism)
    ledger.close()
    store.close()


def write_run(folder: Path) -> None:
    """Write the plan and the events of a run that was lost in its second round."""
    folder.mkdir(parents=True)
    members = [{"site": site} for site in ("north", "south", "west")]
    plan = {"run": folder.name, "quorum": {"minimum_sites": 2}, "members": members}
    (folder / "plan.json").write_text(json.dumps(plan), encoding="utf-8")
    events = Events(folder / "events.jsonl")
    events.say("started", run=folder.name, pid=os.getpid(), resumed=0)
    events.say("task", task="dxa-bmd", rounds=4, metric="mae")
    for one in members:
        events.say("asked", task="dxa-bmd", kind="train", round=1, attempt=1, **one)


def register(work: Path, models: Path) -> None:
    """Register a champion of each task as a run would, and keep its weights as files too."""
    registry = Registry(f"sqlite:///{work / 'mlflow.sqlite'}")
    for task in TASKS:
        settings = load_settings(ROOT / "configs" / "tasks" / f"{task}.yaml", TaskSettings)
        network, _ = start_network(settings, None, 1)
        weights = Weights(settings, get_arrays(network), "a benchmark's, untrained")
        path = models / f"{task}.safetensors"
        save_weights(path, weights)
        run = registry.runs.begin("run-1", {"task": task})
        registry.runs.log(run, 1, {"global/loss": 0.5})
        tags = {"run": "run-1", "digest": digest_arrays(weights.arrays)}
        program = program_of(make_task(settings), weights.arrays)
        version = registry.versions.register(run, task, program, [path], tags)
        registry.aliases.promote(task, version, Verdict(promoted=True, reason="the first"))
        registry.runs.end(run, "FINISHED")


if __name__ == "__main__":
    make_ground(Path(sys.argv[1]))
