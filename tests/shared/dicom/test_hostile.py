"""Odd, broken and hostile files: each ends with a reason, none hangs, memory stays bounded."""

from __future__ import annotations

import json
import os
import struct
import subprocess
import sys
import threading
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom import config, dcmread
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate
from pydicom.uid import JPEG2000Lossless, JPEGBaseline8Bit, RLELossless

from shared.dicom import parsing
from shared.dicom.attributes import quietly
from shared.dicom.read import read_study_folder
from shared.dicom.verdicts import REASONS, FileVerdict
from tests.shared.ct_samples import write_ct, write_radiograph
from tests.suite.waiting import HANG_SECONDS

PYDICOM = Path(pydicom.__file__).parent
ROOT = Path(__file__).parents[3]
#: Megabytes that reading a folder may take at its worst.
MOST_MEGABYTES = 2048
#: And refusing one file, most of it for the libraries; 8000 by 8000 pixels took 1.2 GB.
MOST_MEGABYTES_OF_A_REFUSAL = 250

MEASURED = """
import json, sys
from pathlib import Path
from shared.dicom.read import read_study_folder
result = read_study_folder(Path(sys.argv[1]))
# Not getrusage: its peak is also that of the process which started this one.
[line] = [one for one in Path("/proc/self/status").read_text().splitlines() if "VmHWM" in one]
peak = int(line.split()[1]) / 1024
empty = [s for s in result.studies if not s.images and not s.volumes]
print(json.dumps({
    "peak": peak, "empty": len(empty),
    "files": [[v.path, v.verdict, v.reason] for v in result.files],
}))
"""


def measured(folder: Path, seconds: float = 120) -> dict[str, object]:
    """Read a folder in a process of its own, which must end in time."""
    done = subprocess.run(
        [sys.executable, "-c", MEASURED, str(folder)],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=seconds,
        check=True,
    )
    found: dict[str, object] = json.loads(done.stdout)
    return found


def test_every_file_inside_pydicom_has_a_reason_within_memory() -> None:
    found = measured(PYDICOM)
    files = found["files"]
    assert isinstance(files, list)
    there = {p.relative_to(PYDICOM).as_posix() for p in PYDICOM.rglob("*") if p.is_file()}
    assert {path for path, _, _ in files} >= there - {  # caches are written while this runs
        path for path in there if path.endswith(".pyc")
    }
    assert all(reason in REASONS for _, _, reason in files)
    # A short CT of five slices and a copy of a file are all that has an image and a meaning.
    taken = {path.rsplit("/", 2)[-2] for path, verdict, _ in files if verdict == "taken"}
    assert "CT5N" in taken
    assert all(
        "/CT5N/" in path or reason == "already_there"
        for path, verdict, reason in files
        if verdict == "taken"
    )
    assert found["empty"] == 0
    assert float(str(found["peak"])) < MOST_MEGABYTES


# --- single files ------------------------------------------------------------------------


def verdict_of(folder: Path, name: str = "a.dcm") -> FileVerdict:
    return next(v for v in read_study_folder(folder).files if v.path == name)


def edited(path: Path, change: Callable[[Dataset], None]) -> None:
    dataset = dcmread(path)
    change(dataset)
    dataset.save_as(path, enforce_file_format=False)


def compressed(syntax: str, stream: bytes, frames: int = 1) -> Callable[[Dataset], None]:
    def change(dataset: Dataset) -> None:
        dataset.file_meta.TransferSyntaxUID = syntax
        dataset.PixelData = encapsulate([stream] * frames)
        dataset["PixelData"].is_undefined_length = True
        dataset["PixelData"].VR = "OB"

    return change


def rle(pixels: int, planes: int = 2) -> bytes:
    """RLE frame whose planes unpack to so many pixels of zero."""
    segment = b"\x81\x00" * -(-pixels // 128)
    starts = [64 + len(segment) * k for k in range(planes)] + [0] * (15 - planes)
    return struct.pack("<16I", planes, *starts) + segment * planes


def j2k(rows: int, columns: int) -> bytes:
    size = struct.pack(">HH8IH", 41, 0, columns, rows, 0, 0, columns, rows, 0, 0, 1)
    return b"\xff\x4f\xff\x51" + size + b"\x0f\x01\x01" + b"\x00" * 100


def jpeg(rows: int, columns: int, bits: int = 8) -> bytes:
    start = b"\xff\xd8\xff\xe0\x00\x04ab\xff\xc0"
    return (
        start + struct.pack(">HBHHB", 11, bits, rows, columns, 1) + b"\x01\x11\x00" + b"\x00" * 50
    )


def eight_bits(stream: bytes) -> Callable[[Dataset], None]:
    def change(dataset: Dataset) -> None:
        dataset.BitsAllocated = dataset.BitsStored = 8
        dataset.HighBit = 7
        compressed(JPEGBaseline8Bit, stream)(dataset)

    return change


def huge(dataset: Dataset) -> None:
    dataset.Rows = dataset.Columns = 65535


def many_frames(dataset: Dataset) -> None:
    dataset.NumberOfFrames = 2**31 - 1


def large(dataset: Dataset) -> None:
    dataset.Rows = dataset.Columns = 6000


def whole_rle(dataset: Dataset) -> None:
    dataset.Rows = dataset.Columns = 8000
    compressed(RLELossless, rle(8000 * 8000))(dataset)


def large_rle(dataset: Dataset) -> None:
    large(dataset)
    compressed(RLELossless, rle(1000))(dataset)


def wrong_vr(dataset: Dataset) -> None:
    dataset["Rows"].VR = "LO"
    dataset["Rows"].value = "sixty"


BOMBS: list[tuple[str, Callable[[Dataset], None]]] = [
    ("image_too_large", huge),
    ("image_too_large", whole_rle),
    ("several_frames", many_frames),
    ("pixels_truncated", large),
    ("pixels_truncated", large_rle),
    ("pixels_damaged", compressed(RLELossless, rle(50_000_000))),
    ("pixels_damaged", compressed(RLELossless, rle(60 * 48, planes=1))),
    ("pixels_damaged", compressed(RLELossless, struct.pack("<16I", *[2**32 - 1] * 16))),
    ("pixels_truncated", compressed(RLELossless, b"\x00\x00")),
    ("pixels_damaged", compressed(JPEG2000Lossless, j2k(60_000, 60_000))),
    ("pixels_damaged", compressed(JPEG2000Lossless, j2k(60, 48))),
    ("pixels_damaged", compressed(JPEG2000Lossless, b"no picture at all")),
    ("pixels_damaged", eight_bits(jpeg(65_000, 65_000))),
    ("pixels_damaged", eight_bits(jpeg(60, 48))),
    ("transfer_syntax", eight_bits(jpeg(60, 48, 12))),
    ("pixels_damaged", compressed("1.2.840.10008.1.2.4.70", jpeg(60, 48))),
    ("transfer_syntax", compressed("1.2.840.10008.1.2.4.102", b"a film")),
    ("pixels_missing", wrong_vr),
]


@pytest.mark.timeout(60)
@pytest.mark.filterwarnings("ignore::UserWarning:pydicom")  # the spoiling itself is warned about
@pytest.mark.parametrize(("reason", "change"), BOMBS)
def test_a_file_that_claims_more_than_it_holds_is_set_aside_before_decoding(
    tmp_path: Path, reason: str, change: Callable[[Dataset], None]
) -> None:
    edited(write_radiograph(tmp_path / "a.dcm"), change)
    assert verdict_of(tmp_path).reason == reason


@pytest.mark.parametrize("part", [0.1, 0.3, 0.6, 0.9, 0.99])
def test_a_slice_cut_off_anywhere_costs_the_series(tmp_path: Path, part: float) -> None:
    path = write_ct(tmp_path)[2]
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * part)])
    result = read_study_folder(tmp_path)
    assert result.studies == []
    assert all(v.verdict != "taken" for v in result.files)


# --- attributes without end ---------------------------------------------------------------

SEQUENCE = struct.pack("<HH2sHI", 0x0008, 0x1140, b"SQ", 0, 0xFFFFFFFF)
ITEM = struct.pack("<HHI", 0xFFFE, 0xE000, 0xFFFFFFFF)
PRIVATE = struct.pack("<HH2sH", 0x0009, 0x1001, b"OB", 0)
EMPTY_ITEM = struct.pack("<HHI", 0xFFFE, 0xE000, 0)


def before_pixels(path: Path, insert: bytes) -> None:
    """Put bytes into a file right after its SOP instance UID."""
    data = path.read_bytes()
    place = data.index(struct.pack("<HH2s", 0x0008, 0x0020, b"DA"))
    path.write_bytes(data[:place] + insert + data[place:])


WITHOUT_END: list[tuple[set[str], Callable[[], bytes]]] = [
    ({"header_too_large", "damaged"}, lambda: (SEQUENCE + ITEM) * 200_000),
    ({"header_too_large", "damaged"}, lambda: (SEQUENCE + ITEM) * 900),
    ({"header_too_large"}, lambda: PRIVATE + struct.pack("<I", 20_000_000) + bytes(20_000_000)),
    ({"damaged", "pixels_missing"}, lambda: PRIVATE + struct.pack("<I", 2**31)),
]


@pytest.mark.timeout(120)
def test_attributes_without_end_are_refused_within_memory(tmp_path: Path) -> None:
    for number, (_, insert) in enumerate(WITHOUT_END):
        before_pixels(write_radiograph(tmp_path / f"{number}.dcm", study=number + 1), insert())
    found = measured(tmp_path)
    files = found["files"]
    assert isinstance(files, list)
    for (path, _, reason), (reasons, _) in zip(files, WITHOUT_END, strict=True):
        assert reason in reasons, path
    assert float(str(found["peak"])) < MOST_MEGABYTES


def test_an_image_of_more_pixels_than_are_read_costs_no_memory(tmp_path: Path) -> None:
    edited(write_radiograph(tmp_path / "a.dcm"), whole_rle)
    found = measured(tmp_path)
    assert found["files"] == [["a.dcm", "refused", "image_too_large"]]
    assert float(str(found["peak"])) < MOST_MEGABYTES_OF_A_REFUSAL


def test_items_without_end_are_refused_after_so_many_reads(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parsing, "MOST_READS", 20_000)
    before_pixels(write_radiograph(tmp_path / "a.dcm"), SEQUENCE + EMPTY_ITEM * 300_000)
    assert verdict_of(tmp_path).reason == "header_too_large"


# --- names ----------------------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore::UserWarning:pydicom")  # such UIDs are warned about
@pytest.mark.parametrize("keyword", ["StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID"])
@pytest.mark.parametrize("value", ["../../etc", "1.2/3", "1" * 65, "1.2\\..\\3"])
def test_a_uid_that_could_name_another_place_is_quarantined(
    tmp_path: Path, keyword: str, value: str
) -> None:
    edited(write_radiograph(tmp_path / "a.dcm"), lambda d: d.add_new(keyword, "LO", value))
    assert verdict_of(tmp_path).reason == "uid_invalid"


@pytest.mark.parametrize("name", ["..dcm", "...", "a\nb.dcm", "..\\..\\up.dcm", "-rf", "%2e%2e%2f"])
def test_a_tricky_file_name_changes_nothing(tmp_path: Path, name: str) -> None:
    write_radiograph(tmp_path / "in" / "a.dcm").rename(tmp_path / "in" / name)
    before = sorted(tmp_path.rglob("*"))
    (verdict,) = read_study_folder(tmp_path / "in").files
    assert (verdict.path, verdict.reason) == (name, "ok")
    assert sorted(tmp_path.rglob("*")) == before


def test_random_damage_never_stops_the_batch(tmp_path: Path) -> None:
    generator = np.random.default_rng(11)
    whole = write_radiograph(tmp_path / "whole" / "a.dcm").read_bytes()
    folder = tmp_path / "damaged"
    folder.mkdir()
    for number in range(60):
        data = bytearray(whole)
        for place in generator.integers(132, len(data) - 5000, 8):
            data[place] = int(generator.integers(256))
        (folder / f"{number:02d}.dcm").write_bytes(bytes(data))
    result = read_study_folder(folder)
    assert len(result.files) == 60
    assert all(v.reason in REASONS for v in result.files)


def test_it_is_quiet_until_the_last_thread_that_wants_it_so_has_ended() -> None:
    inside, leave = threading.Event(), threading.Event()

    def first() -> None:
        with quietly():
            inside.set()
            leave.wait(HANG_SECONDS)

    mode = config.settings.reading_validation_mode
    with warnings.catch_warnings(record=True) as shown:
        warnings.simplefilter("always")
        filters = list(warnings.filters)
        thread = threading.Thread(target=first)
        thread.start()
        assert inside.wait(HANG_SECONDS)
        with quietly():
            leave.set()
            thread.join()  # what the first found is not put back under the second
            assert config.settings.reading_validation_mode == config.IGNORE
            warnings.warn("DOE^JANE", stacklevel=1)
        assert config.settings.reading_validation_mode == mode
        assert list(warnings.filters) == filters
    assert shown == []
