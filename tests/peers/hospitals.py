"""What is ready before any clock runs: hospitals, their stores, samples for the peers, a start.

Three hospitals train and a fourth tests. Their digital patients go through DICOM and
`osteofed site ingest`, so ours reads stores as a hospital has them. The peers read what
our task makes of the very same studies, as plain ``.npz``: a user of theirs would have to
write a program for that, which is not counted.
"""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

import numpy as np

from client.store import SPLITS, SiteStore, Split
from shared.config import TaskSettings, load_settings
from shared.demo.hospitals import HOSPITALS
from shared.tasks import make_task
from shared.tasks.base import Statistics, Task, add_statistics
from shared.training.arrays import set_arrays
from shared.training.batches import Patients
from shared.training.compute import Compute
from shared.training.local import evaluate
from shared.wire import Arrays
from tests.bench import ROOT
from tests.learning.scores import score
from tests.peers.measuring import one_thread

TASK: Final = "dxa-bmd"
SETTINGS: Final = ROOT / "configs" / "tasks" / f"{TASK}.yaml"
MEMBERS: Final = tuple(one.name for one in HOSPITALS if one.takes_part)
TESTS: Final = next(one.name for one in HOSPITALS if not one.takes_part)
#: What the peers are given; the names of a sample's tensors.
GIVEN: Final = ("image", "covariates", "bmd", "known")


@dataclass(frozen=True)
class Cast:
    """How many patients each hospital has, and the public start is made of."""

    patients: int
    public_patients: int = 80


@dataclass(frozen=True)
class Ready:
    """A folder in which everything stands ready."""

    folder: Path

    @property
    def sites(self) -> Path:
        """Folder of the site folders."""
        return self.folder / "sites"

    @property
    def samples(self) -> Path:
        """Folder of the peers' samples, ``HOSPITAL.SPLIT.npz``."""
        return self.folder / "samples"

    @property
    def start(self) -> Path:
        """Weights from which all begin."""
        return self.folder / "start" / f"{TASK}.safetensors"

    def task(self) -> Task:
        """Make the task that all learn."""
        return make_task(load_settings(SETTINGS, TaskSettings))

    def score(self, arrays: Arrays) -> float:
        """Score a model on all patients of the hospital that took no part."""
        task = self.task()
        network = task.network()
        set_arrays(network, arrays, strict=True)
        sums: Statistics = {}
        store = SiteStore.open(self.sites / TESTS)
        for split in SPLITS:
            found = evaluate(task, network, store.source(split), Compute())
            sums = add_statistics(sums, found) if sums else found
        store.close()
        return score(task, sums)


def prepare(folder: Path, cast: Cast) -> Ready:
    """Make everything, or find that it was made before for the same cast."""
    ready, told = Ready(folder), folder / "ready.json"
    if told.is_file() and json.loads(told.read_text(encoding="utf-8")) == asdict(cast):
        return ready
    if folder.is_dir() and any(folder.iterdir()):
        raise SystemExit(f"{folder}: holds something else; name a new folder")
    for one in HOSPITALS:
        pacs, site = folder / "pacs" / one.name, ready.sites / one.name
        _osteofed(
            "phantom", "make", "--out", pacs, "--scanner", one.scanner, "--population",
            one.population, "--patients", cast.patients, "--seed", one.seed,
        )  # fmt: skip
        _osteofed("site", "init", site, "--name", one.name)
        _osteofed("site", "ingest", site, pacs)
    _osteofed(
        "server", "pretrain", SETTINGS, "--out", ready.start.parent,
        "--patients", cast.public_patients, "--seed", 1,
    )  # fmt: skip
    ready.samples.mkdir(exist_ok=True)
    for name in MEMBERS:
        for split in ("train", "validation"):
            export(ready.task(), ready.sites / name, split, ready.samples / f"{name}.{split}.npz")
    told.write_text(json.dumps(asdict(cast)), encoding="utf-8")
    return ready


def export(task: Task, site: Path, split: Split, path: Path) -> None:
    """Write the prepared samples of a split as plain arrays, one patient a row."""
    store = SiteStore.open(site)
    patients = Patients(task, store.source(split))
    samples = [patients.newest(name) for name in patients.names]
    store.close()
    arrays = {key: np.concatenate([one[key].numpy() for one in samples]) for key in GIVEN}
    np.savez(path, allow_pickle=False, **arrays)


def _osteofed(*words: object) -> None:
    command = [sys.executable, "-m", "shared.cli", *map(str, words)]
    subprocess.run(
        command, cwd=ROOT, env=one_thread(PYTHONPATH=str(ROOT)), check=True,
        stdout=subprocess.DEVNULL,
    )  # fmt: skip
