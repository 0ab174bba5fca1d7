"""Files that are broken in any way: every reader ends with a reason, in time and within memory.

Whole files of each kind that a hospital delivers are changed at random, seeded: bits, cut ends,
pieces left out, put twice or taken from another file, lengths and sizes that lie. Each is taken
in by a site in a process of its own, whose time, memory and end are recorded.
"""

from __future__ import annotations

import gzip
import json
import os
import resource
import shutil
import signal
import struct
import tempfile
import zipfile
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from functools import cache, partial
from pathlib import Path
from typing import Any, Final

import numpy as np
from openpyxl import Workbook
from pydicom import dcmread

from client.ingest.folder import ingest
from client.ingest.zip_archive import ingest_archive
from client.store.site_store import init_site
from shared.dicom.masks.write_regions import write_volume_regions
from shared.errors import OsteofedError
from shared.phantom.writers import write_study
from shared.regions import code_of
from shared.seeds import numpy_generator
from shared.settings.files import SiteConfig
from tests.shared.ct_samples import SHAPE, save, write_ct, write_radiograph
from tests.shared.encoded import BY_GDCM, BY_PYDICOM, rewrite
from tests.shared.rendered_samples import sample_study
from tests.verify.stored import digest_of
from tests.verify.topic import Line, Planned, Runs, Tell, Topic, at_most

SEED: Final = 27
FILES: Final = 2000
BATCH: Final = 100
#: Processor seconds after which a reader counts as hanging; the system ends it then.
MOST_SECONDS: Final = 60
#: Megabytes that taking in one broken file may take, the libraries included.
MOST_MEGABYTES: Final = 1024.0
#: Sizes and lengths that lie: what fits 16 and 32 bits, and what is just past half of it.
LIES: Final = (
    b"\xff\xff", b"\xff\x7f", b"\x00\x80", b"\xff\xff\xff\xff", b"\xfe\xff\xff\xff",
    b"\xff\xff\xff\x7f", b"\x00\x00\x00\x80", b"\x00\x00\x00\x00",
)  # fmt: skip
Write = Callable[[Path], object]


def _ct(folder: Path) -> None:
    write_ct(folder)


def _ct_with_outlines(folder: Path) -> None:
    slices = [dcmread(path) for path in write_ct(folder)]
    save(write_volume_regions(_outlines(), slices), folder / "outlines.dcm")


def _outlines() -> np.ndarray:
    regions = np.zeros(SHAPE, np.uint8)
    regions[1:4, 4:12, 4:12] = code_of("L2", "volume")
    return regions


def _nifti(folder: Path) -> None:
    import nibabel

    write_ct(folder)
    image = nibabel.Nifti1Image(_outlines().transpose(2, 1, 0), np.diag([-0.7, -0.8, 2.5, 1.0]))
    nibabel.save(image, folder / "vertebrae_L2.nii.gz")
    packed = folder / "vertebrae_L2.nii.gz"
    (folder / "vertebrae_L3.nii").write_bytes(gzip.decompress(packed.read_bytes()))


def _nrrd(folder: Path) -> None:
    import nrrd

    write_ct(folder)
    header = {
        "space": "left-posterior-superior",
        "space directions": np.diag([0.7, 0.8, 2.5]),
        "space origin": [-10.0, -20.0, 100.0],
    }
    nrrd.write(str(folder / "vertebrae_L2.nrrd"), _outlines().transpose(2, 1, 0), header)


def _tables(folder: Path) -> None:
    write_study(sample_study(0), folder)
    book = Workbook()
    sheet = book.active
    assert sheet is not None
    for row in (["study_uid", "region", "bmd"], ["1.2.3", "L1", 0.9], ["1.2.3", "L2", 1.1]):
        sheet.append(row)
    book.save(folder / "bmd.xlsx")


def _encoded(syntax: str, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    generator = np.random.default_rng(3)
    pixels = np.full((60, 48), 800, np.uint16)
    pixels[:, 18:30] = 3000
    pixels += generator.integers(0, 200, pixels.shape).astype(np.uint16)
    rewrite(write_radiograph(folder / "film.dcm", pixels), syntax)


def _zip(folder: Path) -> None:
    """A ZIP file with a series in it, inside the folder."""
    with tempfile.TemporaryDirectory() as room:
        paths = write_ct(Path(room))
        folder.mkdir(parents=True, exist_ok=True)
        with zipfile.ZipFile(folder / "series.zip", "w", zipfile.ZIP_DEFLATED) as archive:
            for path in paths:
                archive.write(path, path.name)


#: What is written whole, by kind; any one of its files is then changed.
KINDS: Final[Mapping[str, Write]] = {
    "DXA study with its reports": lambda folder: write_study(sample_study(0), folder),
    "DXA study of another vendor": lambda folder: write_study(sample_study(1), folder),
    "tables": _tables,
    "CT series": _ct,
    "CT with a Segmentation": _ct_with_outlines,
    "CT with NIfTI": _nifti,
    "CT with NRRD": _nrrd,
    "ZIP file": _zip,
    **{f"film, {syntax}": partial(_encoded, syntax) for syntax in (*BY_GDCM, *BY_PYDICOM)},
}


@cache
def whole_of(kind: str) -> tuple[tuple[str, bytes], ...]:
    """All files of a kind, by relative name."""
    with tempfile.TemporaryDirectory() as room:
        folder = Path(room) / "whole"
        KINDS[kind](folder)
        return tuple(
            (path.relative_to(folder).as_posix(), path.read_bytes())
            for path in sorted(folder.rglob("*"))
            if path.is_file()
        )


def changed(content: bytes, other: bytes, draw: np.random.Generator) -> bytes:
    """Break a file in one to three of seven ways."""
    found = bytearray(content)
    for _ in range(int(draw.integers(1, 4))):
        if not found:
            break
        # Headers are short beside pixels: half of the places lie in the first two kilobytes.
        reach = min(len(found), 2048) if draw.random() < 0.5 else len(found)
        at = int(draw.integers(0, reach))
        length = min(2 ** int(draw.integers(0, 12)), len(found) - at)
        match int(draw.integers(7)):
            case 0:
                for place in draw.integers(0, reach, int(draw.integers(1, 33))):
                    found[place] ^= 1 << int(draw.integers(8))
            case 1:
                del found[at:]
            case 2:
                del found[at : at + length]
            case 3:
                found[at:at] = found[at : at + length] * int(draw.integers(1, 9))
            case 4:
                start = int(draw.integers(0, max(len(other) - length, 1)))
                found[at : at + length] = other[start : start + length]
            case 5:
                lie = LIES[int(draw.integers(len(LIES)))]
                found[at : at + len(lie)] = lie
            case _:
                _lie_about_size(found, draw)
    return bytes(found)


def _lie_about_size(found: bytearray, draw: np.random.Generator) -> None:
    """Let a DICOM file's rows, columns, frames, bits or a length say something else, if it can."""
    tags = ((0x28, 0x10), (0x28, 0x11), (0x28, 0x100), (0x28, 0x101), (0x28, 0x02), (0x7FE0, 0x10))
    group, element = tags[int(draw.integers(len(tags)))]
    at = found.find(struct.pack("<HH", group, element))
    if at < 0:
        return
    lie = LIES[int(draw.integers(len(LIES)))]
    place = at + 8 if draw.random() < 0.7 else at + 6  # the value, or its length
    found[place : place + len(lie)] = lie


def write_broken(number: int, folder: Path) -> tuple[str, str]:
    """Write a kind's files with one of them broken; give the kind and the file's name."""
    draw = numpy_generator(SEED, "broken", number)
    kind = tuple(KINDS)[number % len(KINDS)]
    whole = whole_of(kind)
    # What is not like its neighbours is worth as much as all of them: one of each ending.
    endings = sorted({Path(name).suffix for name, _ in whole})
    ending = endings[int(draw.integers(len(endings)))]
    names = [name for name, _ in whole if Path(name).suffix == ending]
    chosen = names[int(draw.integers(len(names)))]
    _, other = whole_of(tuple(KINDS)[int(draw.integers(len(KINDS)))])[0]
    for name, content in whole:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(changed(content, other, draw) if name == chosen else content)
    return kind, chosen


def _take(site: Path, folder: Path) -> dict[str, Any]:
    """Take it in; runs in the child."""
    archive = folder / "series.zip"
    try:
        if archive.exists():
            report = ingest_archive(site, archive)
        else:
            report = ingest(site, folder, workers=1)
    except OsteofedError as error:
        return {"end": "said", "why": type(error).__name__}
    return {"end": "accounted", "verdicts": Counter(one.verdict for one in report.files)}


def _peak_megabytes() -> float:
    [line] = [one for one in Path("/proc/self/status").read_text().splitlines() if "VmHWM" in one]
    own = int(line.split()[1]) / 1024
    return max(own, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024)


def in_child(work: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """Do something in a forked child that may take `MOST_SECONDS` of a processor.

    Returns
    -------
    dict
        What it gave, with ``seconds`` and ``megabytes``; or ``end`` is "hung", "crashed" or
        "raised", with why.
    """
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        status = 1
        try:
            resource.setrlimit(resource.RLIMIT_CPU, (MOST_SECONDS, MOST_SECONDS))
            try:
                found = work()
            except BaseException as error:  # what a batch must never end with
                found = {"end": "raised", "why": f"{type(error).__name__}: {error}"[:200]}
            used = resource.getrusage(resource.RUSAGE_SELF)
            found |= {"seconds": used.ru_utime + used.ru_stime, "megabytes": _peak_megabytes()}
            os.write(writing, json.dumps(found).encode())
            status = 0
        finally:
            os._exit(status)
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        told = pipe.read()
    _, status = os.waitpid(child, 0)
    if told and status == 0:
        answer: dict[str, Any] = json.loads(told)
        return answer
    by = os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0
    hung = by in (signal.SIGXCPU, signal.SIGKILL)
    return {"end": "hung" if hung else "crashed", "why": f"status {status}"}


def taken_in(number: int, room: Path) -> dict[str, Any]:
    """Break a file and take it in, with what became of it."""
    site, folder = room / "site", room / "given"
    kind, name = write_broken(number, folder)
    init_site(site, SiteConfig(site="riverside"))
    return {"kind": kind, "file": name, "number": number, **in_child(lambda: _take(site, folder))}


def made(first: int, tell: Tell) -> dict[str, Any]:
    """Take in a batch of broken files."""
    found = []
    for number in range(first, first + BATCH):
        tell(f"file {number}", (number - first) / BATCH)
        room = Path(tempfile.mkdtemp(prefix="osteofed-"))
        try:
            found.append(taken_in(number, room))
        finally:
            shutil.rmtree(room, ignore_errors=True)
    return {
        "ends": Counter(one["end"] for one in found),
        "verdicts": sum((Counter(one.get("verdicts", {})) for one in found), Counter()),
        "seconds": max(one.get("seconds", float(MOST_SECONDS)) for one in found),
        "megabytes": max(one.get("megabytes", 0.0) for one in found),
        "wrong": [one for one in found if one["end"] not in ("said", "accounted")],
    }


def plan() -> Iterator[Planned]:
    """A run is a hundred broken files."""
    for first in range(0, FILES, BATCH):
        settings = [SEED, first, BATCH, list(KINDS), MOST_SECONDS]
        yield Planned(f"from-{first:04d}", digest_of(settings), partial(made, first))


def judge(runs: Runs) -> list[Line]:
    """Hold every end against what must be."""
    ends: Counter[str] = sum((Counter(run.figures["ends"]) for run in runs.values()), Counter())
    verdicts: Counter[str] = sum(
        (Counter(run.figures["verdicts"]) for run in runs.values()), Counter()
    )
    of = ends.total()
    lines = [
        Line(what, f"{ends[end]} of {of}", "none", ends[end] == 0)
        for what, end in (
            ("readers that crashed", "crashed"),
            ("readers that hung", "hung"),
            ("errors that are no sentence", "raised"),
        )
    ]
    slowest = max(run.figures["seconds"] for run in runs.values())
    largest = max(run.figures["megabytes"] for run in runs.values())
    lines += [
        at_most(slowest, MOST_SECONDS, "processor seconds of the slowest", 1),
        at_most(largest, MOST_MEGABYTES, "megabytes of the largest, libraries included", 0),
    ]
    return lines + [
        Line(f"files {verdict}, whole ones beside them included", f"{count}", "reported", True)
        for verdict, count in sorted(verdicts.items())
    ]


TOPIC: Final = Topic(
    "reader-limits",
    "Two thousand broken files of every kind: none crashes or hangs a reader, memory is bounded.",
    plan,
    judge,
)
