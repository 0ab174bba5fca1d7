"""A CT of 1,200 slices of 0.5 mm: what it takes to bring it to slabs, to read it and to keep it.

Each is a process of its own, whose peak of memory the operating system tells. Levels and
outlines are given where the networks would be asked for them: what a reading holds beside the
series hangs on its shape alone.
"""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from tests.benchmarks.commands import run_alone
from tests.shared.ct_samples import body_slice, write_ct
from tests.verify.stored import digest_of
from tests.verify.topic import Line, Planned, Runs, Tell, Topic, at_most

SLICES: Final = 1200
SIDE: Final = 512
STEP_MM: Final = 0.5
PIXEL_MM: Final = 0.75
#: Slices that differ in their noise; after them they come again.
DIFFERENT: Final = 8
#: The body's vertebra is a column: levels are laid along it, from the feet, one each 33 mm.
LEVELS: Final = ("L4", "L3", "L2", "L1")
WAY_MM: Final = 33.0
#: Of issue 22, check 8.
MOST_GB: Final = 4.0
KINDS: Final = {
    "slabs": "brought to slabs",
    "predict": "read (predict), with levels and outlines",
    "ingest": "taken in (site ingest)",
}


class Slices(Sequence[NDArray[np.int16]]):
    """Slices of one body, made when they are asked for.

    Parameters
    ----------
    number : int
    side : int
        Rows and columns.
    """

    def __init__(self, number: int, side: int) -> None:
        self.number = number
        drawn = [body_slice(seed, side) for seed in range(min(number, DIFFERENT))]
        # its vertebra is as dense as trabecular bone
        self.drawn = [np.where(hu > 350, hu - 350, hu).astype(np.int16) for hu in drawn]

    def __len__(self) -> int:
        return self.number

    def __getitem__(self, index: Any) -> Any:
        if not 0 <= index < self.number:
            raise IndexError(index)
        return self.drawn[index % len(self.drawn)]


def write_thin(folder: Path, number: int = SLICES, side: int = SIDE) -> None:
    """Write a series of thin slices, uncompressed."""
    width = PIXEL_MM * SIDE / side

    def thin(dataset: Dataset, _: int) -> None:
        dataset.SliceThickness = f"{STEP_MM}"
        dataset.ContrastBolusAgent = "NONE"

    positions = np.array([[-190.0, -190.0, 100.0 + STEP_MM * k] for k in range(number)])
    slices: Any = Slices(number, side)
    write_ct(folder, slices, positions=positions, spacing=(width, width), change=thin)


def to_slabs_alone(folder: Path) -> int:
    """Read a folder's one series and bring it to slabs; their number."""
    from shared.dicom.read import read_study_folder
    from shared.tasks.ct.slabs import to_slabs

    (study,) = read_study_folder(folder).studies
    (volume,) = study.volumes.values()
    return len(to_slabs(volume.record).hu)


def read_all(folder: Path, out: Path) -> int:
    """Predict with levels and outlines that are given; the number of densities."""
    import torch

    from shared.findings.findings import Findings
    from shared.inference.predict import predict_folder
    from shared.regions import code_of
    from shared.settings.task import TaskSettings
    from shared.tasks import make_task
    from shared.tasks.ct.localisation import CtLocalisation
    from shared.tasks.ct.segmentation import CtSegmentation
    from shared.tasks.ct.series import chosen_series
    from shared.tasks.ct.slabs import PIXEL_MM as PIXEL
    from shared.tasks.ct.slabs import SLAB_MM, regions_of_series, to_slabs
    from shared.tasks.reading import Reading
    from shared.training.arrays import get_arrays
    from shared.training.weights import Weights, save_weights

    def levels(_: Any, reading: Reading) -> Findings:
        chosen = chosen_series(reading.study)
        assert chosen is not None
        first = len(chosen[1].hu) / 2 - 1.5 * WAY_MM / STEP_MM
        marks = {name: round(first + k * WAY_MM / STEP_MM) for k, name in enumerate(LEVELS)}
        return Findings(marked_slices={chosen[0]: marks})

    def outlines(_: Any, reading: Reading) -> Findings:
        chosen = chosen_series(reading.study)
        assert chosen is not None
        slabs = to_slabs(chosen[1])
        drawn = np.zeros(slabs.hu.shape, np.uint8)
        rows = np.array([slabs.hu.shape[1] - 75, slabs.hu.shape[1] - 75 + 44])
        side, half = round(16 / PIXEL), round(13 / SLAB_MM)
        middle = slabs.hu.shape[2] // 2
        for name, place in reading.before.marked_slices[chosen[0]].items():
            at = round(slabs.placed.slab_at(place))
            box = drawn[at - half : at + half, rows[0] : rows[1], middle - side : middle + side]
            box[:] = code_of(name, "volume")
        return Findings(volume_maps={chosen[0]: regions_of_series(drawn, slabs.placed)})

    CtLocalisation.find = levels  # type: ignore[method-assign, assignment]
    CtSegmentation.find = outlines  # type: ignore[method-assign, assignment]
    torch.manual_seed(0)
    models = out.parent / "models"
    models.mkdir()
    for name in ("ct-localisation", "ct-segmentation", "ct-bmd"):
        settings = TaskSettings(task=name)
        arrays = get_arrays(make_task(settings).network())
        save_weights(models / f"{name}.safetensors", Weights(settings, arrays, "random"))
    result = predict_folder(folder, out, models=models, device="cpu")
    (prediction,) = result.predictions.values()
    return len(prediction.measurements)


def take_in(folder: Path, site: Path) -> int:
    """Take the folder into a new site; the number of files that were taken."""
    from client.ingest.folder import ingest
    from client.store.site_store import init_site
    from shared.settings.files import SiteConfig

    init_site(site, SiteConfig(site="riverside"))
    report = ingest(site, folder, workers=1)
    return sum(one.verdict == "taken" for one in report.files)


def measured(kind: str, tell: Tell) -> dict[str, Any]:
    """Write a series, do one thing with it in a process of its own, delete it again."""
    with tempfile.TemporaryDirectory() as room:
        tell("slices", 0.0)
        write_thin(Path(room) / "ct")
        tell(KINDS[kind], 0.3)
        words = [sys.executable, "-m", "tests.verify.thin_ct", kind, f"{room}/ct", f"{room}/out"]
        said, cost = run_alone(words, os.environ | {"OMP_NUM_THREADS": "1"})
        return {
            "kind": kind,
            "came of it": int(said.split()[-1]),
            "seconds": cost.wall_seconds,
            "processor seconds": cost.processor_seconds,
            "peak GB": cost.peak_mb * 2**20 / 1e9,
        }


def plan() -> Iterator[Planned]:
    """A run a thing that is done with the series."""
    for kind in KINDS:
        settings = [kind, SLICES, SIDE, STEP_MM, PIXEL_MM, DIFFERENT]
        yield Planned(kind, digest_of(settings), partial(measured, kind))


#: What has to come of each: slabs of 3 mm, densities of four levels and their mean, files taken.
WANTED: Final = {"slabs": 200, "predict": 5, "ingest": SLICES}


def judge(runs: Runs) -> list[Line]:
    """Hold the peaks against the limit, and tell the times."""
    lines = []
    for run in runs.values():
        kind, found = run.figures["kind"], run.figures["came of it"]
        words = f"{SLICES:,} slices {KINDS[kind]}"
        wanted = WANTED[kind]
        lines += [
            Line(f"{words}: what came of it", f"{found}", f"{wanted}", found == wanted),
            at_most(run.figures["peak GB"], MOST_GB, f"{words}: peak of memory, GB", 2),
            Line(f"{words}: seconds", f"{run.figures['seconds']:.0f}", "reported", holds=True),
            Line(
                f"{words}: processor seconds",
                f"{run.figures['processor seconds']:.0f}", "reported", holds=True,
            ),
        ]  # fmt: skip
    return lines


TOPIC: Final = Topic(
    "thin-ct", "A CT of 1,200 slices of 0.5 mm is read and kept in under 4 GB.", plan, judge
)


def main(kind: str, folder: Path, out: Path) -> int:
    """Do one thing with a folder, in this process."""
    if kind == "slabs":
        return to_slabs_alone(folder)
    return read_all(folder, out) if kind == "predict" else take_in(folder, out)


if __name__ == "__main__":
    sys.stdout.write(f"{main(sys.argv[1], *map(Path, sys.argv[2:4]))}\n")
