"""Images with a planted fault get no number, good ones are read, and no radiograph passes for DXA.

A thousand digital patients of scanners and seeds that no threshold was set on
(`tests.planted_faults`). ``--only patients-00`` makes the first hundred of them. Real radiographs
are asked of where `OSTEOFED_REAL_DATA` names their folder.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from functools import partial
from typing import Final

import numpy as np

from shared.quality.gates import gate
from shared.records import DXA_VIEWS, ImageRecord
from tests.planted_faults import Planted, planted
from tests.suite.real_images import REAL_IMAGES
from tests.verify.stored import digest_of
from tests.verify.topic import Line, Planned, Runs, Tell, Topic, at_least, at_most

SEED: Final = 606
PATIENTS: Final = 1000
#: Rendered in one run.
TOGETHER: Final = 20
LEAST_FOUND, MOST_WITHHELD = 0.9, 0.04
#: Widths in mm that a radiograph's file might be given, a narrow field to a whole trunk.
WIDTHS: Final = (110.0, 180.0, 350.0)


def counted(images: Iterable[Planted]) -> dict[str, list[int]]:
    """Count by fault how many images are withheld, of how many."""
    seen: Counter[str] = Counter()
    withheld: Counter[str] = Counter()
    for one in images:
        seen[one.fault] += 1
        withheld[one.fault] += gate(one.image, one.view) is not None
    return {fault: [withheld[fault], seen[fault]] for fault in seen}


def radiographs(every: int = 1) -> Iterator[Planted]:
    """Real radiographs of the spine, given as each view of a DXA scanner in several sizes."""
    from PIL import Image

    for path in sorted((REAL_IMAGES / "xray_spine").glob("*/images/*"))[::every]:
        pixels = np.asarray(Image.open(path).convert("L"), np.float32) / 255
        for view in DXA_VIEWS:
            for width in WIDTHS:
                side = width / pixels.shape[1]
                yield Planted("radiograph", view, ImageRecord(pixels, (side, side), "derived"))


def plan() -> Iterator[Planned]:
    """A run a few patients, and the radiographs where they are."""
    for first in range(0, PATIENTS, TOGETHER):
        numbers = range(first, first + TOGETHER)
        key = f"patients-{first:04d}-{numbers[-1]:04d}"
        yield Planned(key, digest_of([SEED, list(numbers)]), partial(_patients, numbers))
    if (REAL_IMAGES / "xray_spine").is_dir():
        yield Planned("radiographs", digest_of(list(WIDTHS)), _radiographs)


def _patients(numbers: range, tell: Tell) -> dict[str, list[int]]:
    total: dict[str, list[int]] = {}
    for done, number in enumerate(numbers):
        tell(f"patient {number}", done / len(numbers))
        for fault, (withheld, seen) in counted(planted(number, SEED)).items():
            known = total.setdefault(fault, [0, 0])
            known[0] += withheld
            known[1] += seen
    return total


def _radiographs(tell: Tell) -> dict[str, list[int]]:
    tell("radiographs", 0.0)
    return counted(radiographs())


def _added(runs: Runs) -> dict[str, list[int]]:
    total: dict[str, list[int]] = {}
    for run in runs.values():
        figures: dict[str, list[int]] = run.figures
        for fault, line in figures.items():
            total[fault] = [a + b for a, b in zip(total.get(fault, [0, 0]), line, strict=True)]
    return total


def judge(runs: Runs) -> list[Line]:
    """Faults are found, good images are read; the figure of each fault is told."""
    total = _added(runs)
    lines: list[Line] = []
    if "good" in total:
        withheld, good = total["good"]
        lines.append(at_most(withheld / good, MOST_WITHHELD, f"withheld of {good} good images"))
    faults = {name: line for name, line in total.items() if name not in ("good", "radiograph")}
    if faults:
        found, all_of_them = (sum(line[place] for line in faults.values()) for place in (0, 1))
        what = f"withheld of {all_of_them} images with a fault"
        lines.append(at_least(found / all_of_them, LEAST_FOUND, what))
        lines += [
            Line(name, f"{a / b:.3f}", "reported", holds=True) for name, (a, b) in faults.items()
        ]
    if "radiograph" in total:
        withheld, seen = total["radiograph"]
        passed = seen - withheld
        lines.append(at_most(passed, 0, f"of {seen} radiographs given as DXA, read", 0))
    return lines


TOPIC: Final = Topic(
    "planted-faults",
    "Images that do not show what they are said to give no number, and good ones are read.",
    plan,
    judge,
)
