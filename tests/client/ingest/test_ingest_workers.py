"""Workers change the speed and nothing else, and a kill changes nothing at all."""

from __future__ import annotations

import errno
import multiprocessing
import os
import shutil
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import client.ingest.folder
from client.ingest.folder import ingest
from client.ingest.worker_pool import WORTH_WORKERS_BYTES, WorkerPool, start_early, workers_for
from client.store.site_store import init_site
from shared.phantom.make import make_hospital
from shared.quality import assess
from shared.runtime.processes import cores
from shared.seeds import numpy_generator
from shared.settings.files import SiteConfig
from tests.client.store_snapshot import snapshot
from tests.shared.rendered_samples import sample_study

KILLS = 10


@pytest.fixture(scope="module")
def export(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("export")
    make_hospital(folder / "one", "hologic", 6, 7, render=sample_study)
    (folder / "one" / "broken.dcm").write_bytes(b"no DICOM")
    first = sorted((folder / "one").rglob("*_SEG.dcm"))[0]
    shutil.copy(first, folder / "one" / "again.dcm")
    return folder / "one"


@pytest.fixture
def site(tmp_path: Path) -> Path:
    init_site(tmp_path / "site", SiteConfig(site="riverside"))
    return tmp_path / "site"


def test_any_number_of_workers_gives_the_same_store(
    site: Path, export: Path, tmp_path: Path
) -> None:
    reports, stores = [], []
    for workers in (1, 2, 3):
        copy = tmp_path / f"site{workers}"
        shutil.copytree(site, copy)
        reports.append(ingest(copy, export, workers=workers).as_dict())
        stores.append(snapshot(copy))
    assert reports[0]["studies_new"] == 6
    assert reports[0] == reports[1] == reports[2]
    assert stores[0] == stores[1] == stores[2]


def test_a_study_on_which_anything_breaks_does_not_stop_the_others(
    site: Path, export: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usual, called = assess, iter(range(1000))

    def breaks_once(*image: Any) -> Any:
        if next(called) == 4:
            raise ZeroDivisionError
        return usual(*image)

    monkeypatch.setattr("client.ingest.staging.assess", breaks_once)
    report = ingest(site, export, workers=1)
    assert report.studies_new == 5
    damaged = [file for file in report.files if "ZeroDivisionError" in file.sentence]
    assert len(damaged) == 6
    assert {(file.verdict, file.reason) for file in damaged} == {("refused", "damaged")}


def test_a_full_disk_ends_the_ingest(
    site: Path, export: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("client.ingest.staging._lay", full)
    with pytest.raises(OSError, match="No space left"):
        ingest(site, export, workers=1)


def test_what_comes_in_is_its_owners_alone(site: Path, export: Path) -> None:
    ingest(site, export, workers=1)
    modes = {
        (path.is_dir(), stat.S_IMODE(path.stat().st_mode)) for path in (site / "store").rglob("*")
    }
    assert modes == {(True, 0o700), (False, 0o600)}


def _ingest(site: str, export: str) -> None:
    client.ingest.folder.STUDIES_PER_COMMIT = 2  # type: ignore[misc] # a constant of the module
    ingest(Path(site), Path(export), workers=1)


def _started(site: Path, export: Path) -> multiprocessing.process.BaseProcess:
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["client.ingest.folder", "client.ingest.staging"])
    process = context.Process(target=_ingest, args=(str(site), str(export)))
    process.start()
    return process


def test_an_ingest_that_is_killed_anywhere_ends_the_same_when_started_again(
    site: Path, export: Path, tmp_path: Path
) -> None:
    whole, seconds = tmp_path / "whole", []
    for _ in range(2):  # the first one also waits for what it imports
        shutil.rmtree(whole, ignore_errors=True)
        shutil.copytree(site, whole)
        started = time.monotonic()
        process = _started(whole, export)
        process.join()
        seconds.append(time.monotonic() - started)
        assert process.exitcode == 0
    expected = snapshot(whole)
    for number, part in enumerate(numpy_generator(5, "kills").uniform(0.1, 0.95, KILLS)):
        copy, delay = tmp_path / f"killed{number}", float(part) * seconds[1]
        while True:
            shutil.copytree(site, copy)
            process = _started(copy, export)
            process.join(delay)
            process.kill()
            process.join()
            if process.exitcode != 0:
                break
            shutil.rmtree(copy)  # it had ended before: once more, and sooner
            delay /= 2
        ingest(copy, export, workers=1)
        assert snapshot(copy) == expected
        assert not list(copy.rglob("*.part"))
        shutil.rmtree(copy)


def test_workers_that_are_left_alone_end_and_leave_no_file(
    site: Path, export: Path, tmp_path: Path
) -> None:
    def interrupt(done: int, found: int) -> None:
        raise KeyboardInterrupt

    before = {path.name for path in (site / "store").iterdir()}
    with pytest.raises(KeyboardInterrupt):
        ingest(site, export, interrupt, workers=2)
    assert multiprocessing.active_children() == []
    assert {path.name for path in (site / "store").iterdir()} - before <= {
        "ingest.lock", "catalogue.sqlite-wal", "catalogue.sqlite-shm",
    }  # fmt: skip


# --- the pool -------------------------------------------------------------------


def _square(number: int) -> int:
    time.sleep(0.01 * (number % 3))  # so that later ones are done before earlier ones
    return number * number


def _process(number: int) -> int:
    return os.getpid()


def _parent(number: int) -> int:
    return os.getppid()


def _square_or_crash(number: int) -> int:
    if number == 2:
        os._exit(1)
    return number * number


def test_results_come_in_order_and_jobs_are_drawn_only_a_little_ahead() -> None:
    drawn = 0

    def jobs() -> Iterator[int]:
        nonlocal drawn
        for number in range(40):
            drawn += 1
            yield number

    ahead = []
    with WorkerPool(2) as pool:
        for done, result in enumerate(pool.each(_square, jobs()), start=1):
            assert result == (done - 1) ** 2
            ahead.append(drawn - done)
    assert done == 40
    assert max(ahead) <= 6


def test_a_job_that_ends_its_worker_costs_its_own_result_only() -> None:
    with WorkerPool(2) as pool:
        found = list(pool.each(_square_or_crash, range(6), crashed=lambda job: -job))
    assert found == [0, 1, -2, 9, 16, 25]


def test_a_single_worker_is_a_process_of_its_own_if_it_is_to_be_separate() -> None:
    with WorkerPool(1) as pool:
        assert list(pool.each(_process, [0])) == [os.getpid()]
    with WorkerPool(1, separate=True) as pool:
        assert list(pool.each(_process, [0])) != [os.getpid()]
        found = list(pool.each(_square_or_crash, range(4), crashed=lambda job: -job))
    assert found == [0, 1, -2, 9]


def test_workers_are_started_for_an_export_that_pays_for_them(tmp_path: Path) -> None:
    (tmp_path / "small.dcm").write_bytes(b"x")
    assert workers_for(tmp_path) == 1
    with (tmp_path / "large.zip").open("wb") as file:
        file.truncate(WORTH_WORKERS_BYTES)
    assert workers_for(tmp_path) == workers_for(tmp_path / "large.zip") == cores()
    assert workers_for(tmp_path, 7) == 7
    for nowhere in (tmp_path / "nothing", tmp_path / "small.dcm", Path("https://p/" + 500 * "x")):
        assert workers_for(nowhere) == workers_for(nowhere, 7) == 1


def test_what_workers_are_forked_from_is_started_once_and_ctrl_c_stays_with_this_process() -> None:
    start_early()
    with WorkerPool(2) as pool:
        first = list(pool.each(_parent, range(2)))
    start_early()
    with WorkerPool(2) as pool:
        again = list(pool.each(_parent, range(2)))
    assert len({*first, *again}) == 1
    assert first[0] != os.getpid()
    assert signal.SIGINT not in signal.pthread_sigmask(signal.SIG_BLOCK, ())


@pytest.mark.skipif(not Path("/proc/self/status").is_file(), reason="only Linux has /proc")
def test_ctrl_c_does_not_reach_what_workers_are_forked_from_while_it_imports() -> None:
    """In a process of its own: in this one it may have been started long ago."""
    program = (
        "from pathlib import Path\n"
        "from multiprocessing import forkserver\n"
        "from client.ingest.worker_pool import start_early\n"
        "start_early()\n"
        "pid = forkserver._forkserver._forkserver_pid\n"
        "print(Path(f'/proc/{pid}/status').read_text())\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    blocked = next(line for line in done.stdout.splitlines() if line.startswith("SigBlk:"))
    assert int(blocked.split()[1], 16) & 1 << (signal.SIGINT - 1)
