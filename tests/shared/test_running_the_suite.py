"""The suite's own rules: what is slow, who gets what, in which order, and nothing is left."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
import torch
from xdist.scheduler.loadscope import LoadScopeScheduling

from shared.runtime.processes import marked, new_token
from tests.suite.ordering import FEDERATIONS, next_unit, rank, tier
from tests.suite.slow import SlowList, slow_list, write_list
from tests.suite.waiting import HANG_SECONDS, LONGEST_LOOK, Patience, wait_for

ROOT = Path(__file__).resolve().parents[2]
MARK = "OSTEOFED_TEST_TOKEN"
LEAVES = """
import subprocess, sys, time

def test_starts_a_program_and_waits():
    program = [sys.executable, "-c", "import time; time.sleep(300)"]
    subprocess.Popen(program, start_new_session=True)
    print("started", flush=True)
    time.sleep(300)
"""


def test_a_test_computes_with_one_thread() -> None:
    assert torch.get_num_threads() == 1
    assert os.environ["OMP_NUM_THREADS"] == "1"


def test_a_worker_gets_a_file_a_slow_test_or_a_block() -> None:
    slow = SlowList({"a.py::test_long[x]": 9.0, "b.py::fixture::world": 5.0, "b.py::test_y": 4.0})
    assert slow.unit("a.py::test_long[x]") == "a.py::test_long[x]"
    assert slow.unit("a.py::test_quick") == "a.py"
    assert slow.unit("b.py::test_y") == "b.py"  # it shares what is slow to make
    assert slow.unit("c.py::test_kill[block-2-nginx]") == "c.py::block-2"
    assert slow.unit("c.py::test_ledger[alpha-block-2]") == "c.py::block-2"
    assert slow.unit("c.py::test_kill[roadblock-2]") == "c.py"


def test_what_uses_a_slow_fixture_of_its_file_is_slow() -> None:
    slow = SlowList({"b.py::fixture::world": 5.0})
    assert slow.is_slow("b.py::test_any", ["world"])
    assert not slow.is_slow("b.py::test_any", ["tmp_path"])
    assert not slow.is_slow("a.py::test_any", ["world"])


def test_what_takes_long_starts_first() -> None:
    slow = SlowList({"a.py::test_x": 90.0, "b.py::fixture::world": 50.0, "b.py::test_y": 20.0,
                     "c.py::test_z": 2.0})  # fmt: skip
    units = ("a.py::test_x", "b.py", "c.py::test_z", "d.py")
    assert [tier(unit, slow) for unit in units] == [0, 0, 1, 2]
    mixed = [units[place] for place in (2, 0, 3, 1)]
    assert sorted(mixed, key=lambda unit: rank(unit, slow)) == list(units)


def test_two_federations_run_at_a_time_where_something_else_is_left() -> None:
    first, second, third = (f"{file}::block-1" for file in FEDERATIONS)
    assert next_unit([first, "a.py"], []) == first
    assert next_unit([second, "a.py"], [first, "b.py"]) == second
    assert next_unit([third, "a.py", "c.py"], [first, second]) == "a.py"
    assert next_unit([third], [first, second]) == third
    # What is overridden is xdist's own business: should it be renamed, nothing would call ours.
    assert "_assign_work_unit" in vars(LoadScopeScheduling)


def test_the_files_that_keep_a_federation_running_are_known() -> None:
    tests = {*(ROOT / "tests").rglob("test_*.py")} - {Path(__file__).resolve()}
    keep = {path for path in tests if "real_federation(" in path.read_text(encoding="utf-8")}
    assert {path.relative_to(ROOT).as_posix() for path in keep} == {*FEDERATIONS}


def test_the_list_is_made_of_processor_time_and_keeps_the_most_of_each(tmp_path: Path) -> None:
    lines = [
        {"test": "a.py::test_slow[a b]", "processor_seconds": 1.5, "seconds": 2.0},
        {"test": "a.py::test_slow[a b]", "processor_seconds": 1.2, "seconds": 3.0},
        {"test": "a.py::test_quick", "processor_seconds": 0.9, "seconds": 2.9},
        {"fixture": "world", "file": "a.py", "processor_seconds": 4.0, "seconds": 5.0},
    ]
    record, written = tmp_path / "record", tmp_path / "slow.txt"
    record.write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert write_list(record, written) == 2
    assert slow_list(written).seconds == {"a.py::test_slow[a b]": 3.0, "a.py::fixture::world": 5.0}


def test_the_list_names_files_that_are_there() -> None:
    files = {name.partition("::")[0] for name in slow_list().seconds}
    assert files
    assert not [file for file in files if not (ROOT / file).is_file()]


def test_the_quick_run_leaves_slow_tests_out() -> None:
    # Of a file that has quick ones as well.
    file = "tests/client/ingest/test_folder.py"
    slow = next(name for name in slow_list().seconds if name.startswith(f"{file}::test"))
    command = [sys.executable, "-m", "pytest", "--collect-only", "-q", "-p", "no:randomly"]
    run = subprocess.run(
        [*command, "-m", "slow", slow, "-o", "addopts="], cwd=ROOT, capture_output=True, text=True
    )
    assert slow in run.stdout, run.stdout
    run = subprocess.run(
        [*command, "-m", "not slow", file, "-o", "addopts="],
        cwd=ROOT, capture_output=True, text=True,
    )  # fmt: skip
    assert file in run.stdout
    assert slow not in run.stdout


@pytest.mark.parametrize("workers", ["0", "1"])
@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_a_run_that_is_ended_leaves_no_process(
    tmp_path: Path, how: signal.Signals, workers: str
) -> None:
    (tmp_path / "test_leaves.py").write_text(LEAVES)
    token = new_token()
    run = subprocess.Popen(
        [sys.executable, "-m", "pytest", "-p", "tests.conftest", "-c", os.devnull, "-s",
         "--rootdir", str(tmp_path), "-p", "no:cacheprovider", "--numprocesses", workers,
         str(tmp_path / "test_leaves.py")],
        cwd=ROOT, env=os.environ | {MARK: token}, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        # SIGINT is ignored by what a shell starts in the background, and would be here.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )  # fmt: skip
    sleeping = lambda: [one for one in marked(MARK, token) if "time.sleep(300)" in said(one)]  # noqa: E731
    try:
        wait_for(lambda: bool(sleeping()))
        run.send_signal(how)
        run.communicate(timeout=HANG_SECONDS)
        wait_for(lambda: marked(MARK, token) == [])
    finally:
        for one in marked(MARK, token):
            one.kill()


def said(process: psutil.Process) -> str:
    """Its command line; empty if it has just ended."""
    try:
        return " ".join(process.cmdline())
    except psutil.Error:
        return ""


def test_a_machine_that_stands_still_uses_no_patience(monkeypatch: pytest.MonkeyPatch) -> None:
    at = 0.0
    monkeypatch.setattr(time, "monotonic", lambda: at)
    patience = Patience()
    at += 100 * HANG_SECONDS
    assert not patience.is_over()
    looks = 1
    while not patience.is_over():
        at += LONGEST_LOOK / 2
        looks += 1
    assert looks == 2 + (HANG_SECONDS - LONGEST_LOOK) / (LONGEST_LOOK / 2)
