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
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

import numpy as np

from client.store.site_store import SiteStore, init_site
from client.store.split import SPLITS, Split
from shared.demo.settings import Hospital, read_demo_settings
from shared.metrics.statistics import Statistics, add_statistics
from shared.phantom.source import DigitalPatients
from shared.protocol.codec import Arrays
from shared.records import View
from shared.settings.files import SiteCompute, SiteConfig, SitePolicy, load_settings
from shared.settings.task import TaskSettings
from shared.tasks import make_task
from shared.tasks.base import Task
from shared.training.arrays import set_arrays
from shared.training.batches import Patients
from shared.training.compute import Compute
from shared.training.local_round import evaluate
from tests.benchmarks.commands import ROOT
from tests.benchmarks.peers.measuring import one_thread
from tests.learning.scores import score
from tests.server.tiny_sites import fill_store

RADIOGRAPHS: Final = "xray-vertebrae"
TASKS: Final = ("dxa-bmd", RADIOGRAPHS)
CAST: Final = read_demo_settings(ROOT / "configs")
MEMBERS: Final = tuple(one.name for one in CAST.members)
TESTS: Final = CAST.outsider.name
#: What the peers are given by task; the names of a sample's tensors.
GIVEN: Final[Mapping[str, tuple[str, ...]]] = {
    "dxa-bmd": ("image", "covariates", "bmd", "known"),
    RADIOGRAPHS: ("image", "covariates", "vertebra"),
}


@dataclass(frozen=True)
class Cast:
    """What is learnt; how many patients each hospital has, and the public start is made of."""

    task: str
    patients: int
    public_patients: int = 80


@dataclass(frozen=True)
class Ready:
    """A folder in which everything of a task stands ready."""

    folder: Path
    name: str

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
        return self.folder / "start" / f"{self.name}.safetensors"

    @property
    def settings(self) -> Path:
        """The task's settings that ship."""
        return ROOT / "configs" / "tasks" / f"{self.name}.yaml"

    def task(self) -> Task:
        """Make the task that all learn."""
        return make_task(load_settings(self.settings, TaskSettings))

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
    ready, told = Ready(folder, cast.task), folder / "ready.json"
    if told.is_file() and json.loads(told.read_text(encoding="utf-8")) == asdict(cast):
        return ready
    if folder.is_dir() and any(folder.iterdir()):
        raise SystemExit(f"{folder}: holds something else; name a new folder")
    for one in CAST.hospitals:
        if cast.task == RADIOGRAPHS:
            _fill_with_radiographs(ready.sites / one.name, one, cast.patients)
        else:
            _take_in(folder / "pacs" / one.name, ready.sites / one.name, one, cast.patients)
    _osteofed(
        "server", "pretrain", ready.settings, "--out", ready.start.parent,
        "--patients", cast.public_patients, "--seed", 1,
    )  # fmt: skip
    ready.samples.mkdir(exist_ok=True)
    for name in MEMBERS:
        for split in ("train", "validation"):
            export(ready.task(), ready.sites / name, split, ready.samples / f"{name}.{split}.npz")
    told.write_text(json.dumps(asdict(cast)), encoding="utf-8")
    return ready


def _take_in(pacs: Path, site: Path, one: Hospital, patients: int) -> None:
    """Fill a site as a hospital does, from DICOM."""
    _osteofed(
        "phantom", "make", "--out", pacs, "--scanner", one.scanner, "--population",
        one.population, "--patients", patients, "--seed", one.seed,
    )  # fmt: skip
    _osteofed("site", "init", site, "--name", one.name)
    _osteofed("site", "ingest", site, pacs)


def _fill_with_radiographs(site: Path, one: Hospital, patients: int) -> None:
    """Fill a site with digital radiographs, straight into its store: none come as DICOM."""
    policy, compute = SitePolicy(tasks=(RADIOGRAPHS,)), SiteCompute(device="cpu")
    init_site(site, SiteConfig(site=one.name, policy=policy, compute=compute))
    fill_store(site, DigitalPatients(patients, one.seed, views=(View.LUMBAR_AP,)))


def export(task: Task, site: Path, split: Split, path: Path) -> None:
    """Write the prepared samples of a split as plain arrays, one patient a row."""
    store = SiteStore.open(site)
    patients = Patients(task, store.source(split))
    samples = [patients.newest(name) for name in patients.names]
    store.close()
    arrays = {
        key: np.concatenate([one[key].numpy() for one in samples]) for key in GIVEN[task.name]
    }
    np.savez(path, allow_pickle=False, **arrays)


def _osteofed(*words: object) -> None:
    command = [sys.executable, "-m", "shared.cli", *map(str, words)]
    subprocess.run(
        command, cwd=ROOT, env=one_thread(PYTHONPATH=str(ROOT)), check=True,
        stdout=subprocess.DEVNULL,
    )  # fmt: skip
