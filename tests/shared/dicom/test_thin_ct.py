"""What reading a CT holds beside its voxels does not grow with its slices.

At full size: ``make verify ONLY=thin-ct``.
"""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import pytest

from shared.dicom.read import read_study_folder
from shared.records import VolumeRecord
from shared.tasks.ct.slabs import to_slabs
from tests.verify.thin_ct import WANTED, judge, plan, write_thin
from tests.verify.topic import Runs

#: Slices of the two series; rows and columns.
FEW, MANY, SIDE = 12, 48, 192
SLICE_BYTES = 2 * SIDE**2
Made = TypeVar("Made")


def peak_of(make: Callable[[], Made]) -> tuple[Made, int]:
    """What something makes, and the most bytes that were held meanwhile."""
    tracemalloc.start()
    try:
        made = make()
        return made, tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def volume_of(folder: Path) -> VolumeRecord:
    (study,) = read_study_folder(folder).studies
    (volume,) = study.volumes.values()
    return volume.record


@pytest.fixture(scope="module")
def series(tmp_path_factory: pytest.TempPathFactory) -> dict[int, Path]:
    """A short and a long series, of which the short one was read: what is loaded is loaded."""
    folders = {number: tmp_path_factory.mktemp(f"slices{number}") for number in (FEW, MANY)}
    for number, folder in folders.items():
        write_thin(folder, number, SIDE)
    to_slabs(volume_of(folders[FEW]))
    return folders


def test_beside_the_voxels_a_slice_more_takes_no_room(series: dict[int, Path]) -> None:
    """A slice is 74 kB; what is known of a file, its name and digests among it, takes a few."""
    beside = {}
    for number, folder in series.items():
        record, peak = peak_of(lambda folder=folder: volume_of(folder))  # type: ignore[misc]
        assert record.hu.shape == (number, SIDE, SIDE)
        assert record.hu.nbytes == number * SLICE_BYTES
        beside[number] = peak - record.hu.nbytes
    assert beside[FEW] > 0
    assert (beside[MANY] - beside[FEW]) / (MANY - FEW) < SLICE_BYTES / 5


def test_slabs_are_made_of_a_few_slices_at_a_time(series: dict[int, Path]) -> None:
    beside = {}
    for number, folder in series.items():
        volume = volume_of(folder)
        slabs, peak = peak_of(lambda volume=volume: to_slabs(volume))  # type: ignore[misc]
        assert len(slabs.hu) == number // 6
        beside[number] = peak - slabs.hu.nbytes
    assert (beside[MANY] - beside[FEW]) / (MANY - FEW) < SLICE_BYTES / 5


def figures(kind: str, peak: float, number: int) -> dict[str, float | str]:
    return {
        "kind": kind, "came of it": number, "seconds": 1.0, "processor seconds": 1.0,
        "peak GB": peak,
    }  # fmt: skip


def test_a_peak_above_the_limit_and_a_reading_of_nothing_do_not_hold() -> None:
    from tests.verify.stored import Stored

    keys = [planned.key for planned in plan()]
    assert keys == list(WANTED)

    def held(peak: float, off: int = 0) -> bool:
        runs: Runs = {key: Stored(figures(key, peak, WANTED[key] + off), {}) for key in keys}
        return all(line.holds for line in judge(runs))

    assert held(3.9)
    assert not held(4.1)
    assert not held(3.9, -1)
