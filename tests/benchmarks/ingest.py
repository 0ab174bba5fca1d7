"""How fast studies come in, whole processes: ``python -m tests.benchmarks.ingest``.

The bare loop decodes the pixels of the same files and does nothing with them. Runs are
interleaved (bare, one worker, two workers, bare, …) and ratios are taken run by run. "Per
core" compares processor seconds, with and without what starting the program costs.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from pydicom import dcmread
from pydicom.uid import JPEG2000Lossless, SegmentationStorage
from rich.table import Table
from scipy import ndimage

from shared.command_line import console
from shared.phantom.rendered import RenderedImage, RenderedStudy
from shared.phantom.writers import write_study
from shared.seeds import numpy_generator
from tests.benchmarks.commands import Figure, measure
from tests.shared.rendered_samples import sample_study

#: Name, patients, how much finer than 1 mm the pixels are, whether compressed as in archives.
EXPORTS: Final = (
    ("1 mm pixels, as phantoms are", 300, 1, False),
    ("0.25 mm pixels, as scanners'", 80, 4, False),
    ("0.25 mm pixels, JPEG 2000, as archives keep them", 80, 4, True),
    ("0.1 mm pixels, JPEG 2000, as radiographs", 20, 10, True),
)
#: Noise of one pixel, as a share of the display's range.
NOISE: Final = 0.01
STUDIES: Final = 10_000
PYTHON: Final = sys.executable


def _finer(image: RenderedImage, factor: int, noise: np.random.Generator) -> RenderedImage:
    """Draw an image with finer pixels: smooth between the old ones, each with its own noise."""
    if factor == 1:
        return image

    def smooth(values: NDArray[np.float32]) -> NDArray[np.float32]:
        fine = ndimage.zoom(np.nan_to_num(values), factor, order=1, grid_mode=True, mode="nearest")
        noisy = fine + noise.normal(0, NOISE * float(fine.max()), fine.shape)
        blank = np.kron(np.isnan(values), np.ones((factor, factor), bool))
        return np.where(blank, np.nan, np.clip(noisy, 0, fine.max())).astype(np.float32)

    return replace(
        image,
        display=smooth(image.display),
        bone_density=smooth(image.bone_density),
        regions=np.kron(image.regions, np.ones((factor, factor), np.uint8)),
        spacing_mm=(1 / factor, 1 / factor),
    )


def make_export(folder: Path, patients: int, factor: int, *, compressed: bool) -> int:
    """Write studies of three images and three masks; return the number of files."""
    noise = numpy_generator(3, "bench pixels")
    for number in range(patients):
        study: RenderedStudy = sample_study(number)
        images = {view: _finer(image, factor, noise) for view, image in study.images.items()}
        write_study(replace(study, images=images), folder)
    paths = list(folder.rglob("*.dcm"))
    for path in paths:
        dataset = dcmread(path)
        if compressed and dataset.SOPClassUID != SegmentationStorage:
            # With a UID of its own, no mask would refer to it.
            dataset.compress(JPEG2000Lossless, generate_instance_uid=False)
            dataset.save_as(path)
    return len(paths)


def bare(folder: Path) -> None:
    """Decode every file and forget it."""
    for path in sorted(folder.rglob("*.dcm")):
        _ = dcmread(path).pixel_array


def make_store(folder: Path, studies: int) -> None:
    """Make a site with studies that were never read: rows, and one tiny array linked by all."""
    from sqlalchemy import insert
    from sqlalchemy.orm import Session

    from client.store.catalogue import Image, Label, Patient, Quality, Study
    from client.store.site_store import SiteStore, init_site
    from client.store.split import SPLITS
    from shared.records import DXA_VIEWS
    from shared.settings.files import SiteConfig

    init_site(folder, SiteConfig(site="bench"))
    store = SiteStore.open(folder)
    np.save(folder / "tiny.npy", np.zeros((2, 2), np.float16))
    rows: dict[Any, list[dict[str, Any]]] = {t: [] for t in (Patient, Study, Image, Quality, Label)}
    for number in range(studies):
        uid, who = f"2.25.{number}", f"{number:032x}"
        rows[Patient].append({"pseudonym": who, "split": SPLITS[number % 3]})
        rows[Study].append(
            {"uid": uid, "patient": who, "vendor": "lunar", "visit": f"{number:064x}", "day": 1}
        )
        rows[Label].append(
            {"study": uid, "kind": "bmd", "name": "L1", "value": 1.0, "disputed": False}
        )
        for view in DXA_VIEWS:
            key = {"study": uid, "view": view.value}
            spacing = {"row_mm": 1.0, "column_mm": 1.0, "spacing_provenance": "derived"}
            rows[Image].append(key | spacing | {"digest": f"{number:064x}"})
            rows[Quality].append(key | {"flag": "none", "strength": 0.0})
            path = store.array_path(uid, view.value, "pixels")
            path.parent.mkdir(exist_ok=True)
            os.link(folder / "tiny.npy", path)
    with Session(store.engine) as session:
        for table, some in rows.items():
            session.connection().execute(insert(table), some)
        session.commit()
    store.close()


def _median(figures: list[Figure], name: str) -> float:
    return statistics.median(getattr(figure, name) for figure in figures)


def _cost(base: Path, source: Path, workers: int | None) -> Figure:
    """What it costs to decode an export, or to take it into a new site with some workers."""
    from client.store.site_store import init_site
    from shared.settings.files import SiteConfig

    if workers is None:
        return measure([PYTHON, "-m", "tests.benchmarks.ingest", "bare", str(source)])
    with tempfile.TemporaryDirectory(dir=base) as folder:
        site = Path(folder) / "site"
        init_site(site, SiteConfig(site="bench"))
        ingest = [PYTHON, "-m", "shared.cli", "site", "ingest", str(site), str(source)]
        return measure([*ingest, "--workers", str(workers), "--json"])


def measure_ingest(base: Path, runs: int) -> list[dict[str, Any]]:
    """Figures of each export, medians over interleaved runs."""
    found = []
    for number, (name, patients, factor, compressed) in enumerate(EXPORTS):
        folder, nearly_nothing = base / f"export{number}", base / f"one{number}"
        files = make_export(folder, patients, factor, compressed=compressed)
        make_export(nearly_nothing, 1, factor, compressed=compressed)
        commands = {
            "bare": (folder, None),
            "one": (folder, 1),
            "two": (folder, 2),
            "bare start": (nearly_nothing, None),
            "one start": (nearly_nothing, 1),
        }
        took: dict[str, list[Figure]] = {key: [] for key in commands}
        for _ in range(runs):
            for key, (source, workers) in commands.items():
                took[key].append(_cost(base, source, workers))
        cpu = {key: [one.processor_seconds for one in took[key]] for key in took}
        whole = [b / o for b, o in zip(cpu["bare"], cpu["one"], strict=True)]
        rest = [
            (b - b0) / max(o - o0, 1e-9)
            for b, b0, o, o0 in zip(
                cpu["bare"], cpu["bare start"], cpu["one"], cpu["one start"], strict=True
            )
        ]
        two = [
            a.wall_seconds / b.wall_seconds for a, b in zip(took["one"], took["two"], strict=True)
        ]
        found.append(
            {
                "export": name,
                "files": files,
                "bare_seconds": statistics.median(cpu["bare"]),
                "one_worker_seconds": statistics.median(cpu["one"]),
                "of_bare_speed": statistics.median(whole),
                "of_bare_speed_without_start": statistics.median(rest),
                "two_workers_against_one_wall": statistics.median(two),
            }
        )
    return found


def measure_store(base: Path, runs: int) -> dict[str, tuple[float, float]]:
    """Wall and processor seconds of commands on a store of many studies, whole processes."""
    make_store(base / "site", STUDIES)
    osteofed = [PYTHON, "-m", "shared.cli", "site"]
    found = {}
    for name in ("status", "studies"):
        took = [measure([*osteofed, name, str(base / "site"), "--json"]) for _ in range(runs)]
        found[name] = (_median(took, "wall_seconds"), _median(took, "processor_seconds"))
    return found


def show(runs: int) -> dict[str, Any]:
    """Measure everything, print the tables, and return the figures."""
    with tempfile.TemporaryDirectory() as base:
        exports = measure_ingest(Path(base), runs)
        store = measure_store(Path(base), runs)
    table = Table(title=f"taking studies in: medians of {runs} runs, {os.cpu_count()} cores")
    columns = (
        "export", "files", "bare loop, processor s", "one worker, processor s",
        "of the loop's speed", "… without start", "two workers against one, wall",
    )  # fmt: skip
    for column in columns:
        table.add_column(column)
    for row in exports:
        table.add_row(row["export"], *(
            f"{value:.2f}" if isinstance(value, float) else str(value)
            for value in list(row.values())[1:]
        ))  # fmt: skip
    console().print(table)
    for name, (wall, processor) in store.items():
        console().print(
            f"site {name}, a store of {STUDIES} studies: {wall:.2f} s ({processor:.2f} processor s)"
        )
    return {"exports": exports, "store": store}


def main() -> None:
    """Do one part of a measurement, or measure everything."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("part", nargs="*", help="bare FOLDER")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    if options.part[:1] == ["bare"]:
        bare(Path(options.part[1]))
    else:
        figures = show(options.runs)
        if options.json:
            options.json.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
