"""A node that is killed at any point answers every study once, by one set of UIDs."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pydicom.dataset import Dataset
from pydicom.uid import UID

from client.bedside.work.database import open_work_database
from client.bedside.work.looking import show
from client.bedside.work.work_list import WorkList
from client.sources.association import call, leave
from client.sources.nodes import new_node
from tests.suite.waiting import wait_for

from .test_serving import EXPECTED
from .ward import Ward, make_ward, whole_study

#: OSTEOFED_KILLS=20 is the acceptance.
KILLS = int(os.environ.get("OSTEOFED_KILLS", "5"))
STUDIES = 4
#: Each of a node's durable steps (a file or a change of the list) counts; at one of them it is
#: killed, before or after that step.
PROGRAM = """
import os, signal, sys, threading
from pathlib import Path
from sqlalchemy import event
from client.bedside import serving
from client.bedside.work import database
from tests.client.bedside.ward import StandInReader

site, dies_at = Path(sys.argv[1]), int(sys.argv[2])
steps, lock = [0], threading.Lock()

def step(*arguments):
    with lock:
        steps[0] += 1
        if steps[0] == dies_at:
            os.kill(os.getpid(), signal.SIGKILL)

real = os.fsync
os.fsync = lambda descriptor: (step(), real(descriptor))[1]
opened = database.open_work_database
def counting(*arguments):
    engine = opened(*arguments)
    event.listen(engine, "commit", step)
    event.listen(engine, "checkin", step)
    return engine
serving.open_work_database = counting
with serving.serving(site, StandInReader(), print):
    print("ready", flush=True)
    sys.stdin.read()
"""


@contextmanager
def running(ward: Ward, dies_at: int) -> Iterator[subprocess.Popen[str]]:
    """Run a node that is killed at a step, or at the end."""
    with subprocess.Popen(
        [sys.executable, "-c", PROGRAM, str(ward.site), str(dies_at)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": str(Path.cwd())},
    ) as program:
        assert program.stdout is not None
        program.stdout.readline()
        try:
            yield program
        finally:
            program.kill()


def push(ward: Ward, studies: dict[str, list[Dataset]]) -> None:
    """Send what is not safe yet, as a scanner does; whoever hangs up is tried again later."""
    for datasets in studies.values():
        if not datasets:
            continue
        node = new_node("SCANNER", 10.0)
        node.add_requested_context(UID(datasets[0].SOPClassUID))
        association, heard = call(node, ("127.0.0.1", ward.port), "OSTEOFEDREAD", most_bytes=10**6)
        try:
            for one in list(datasets):
                status = association.send_c_store(one)
                if "Status" not in status or status.Status != 0:
                    return
                datasets.remove(one)
        except RuntimeError:
            return
        finally:
            leave(association, heard)


def pushed_until_dead(
    ward: Ward, studies: dict[str, list[Dataset]], program: subprocess.Popen[str]
) -> bool:
    push(ward, studies)
    return program.poll() is not None


def states(ward: Ward) -> list[str]:
    engine = open_work_database(ward.site / "bedside")
    try:
        return [row["state"] for row in show(WorkList(engine), "test")["studies"]]
    finally:
        engine.dispose()


def test_whenever_it_is_killed_each_study_is_answered_exactly_once(tmp_path: Path) -> None:
    # Long, so that no half of a study is answered while its sender waits for the next start.
    ward = make_ward(tmp_path, quiet=15.0, expected=EXPECTED)
    names = [f"1.2.{number}" for number in range(10, 10 + STUDIES)]
    left = {name: whole_study(name, f"P{name}") for name in names}
    chance = random.Random(26)
    killed = 0
    with ward.pacs.running():
        for _ in range(KILLS):
            with running(ward, chance.randint(1, 40)) as program:
                while not pushed_until_dead(ward, left, program):
                    time.sleep(0.1)
            killed += program.returncode == -signal.SIGKILL
        assert killed == KILLS
        with running(ward, 0):
            push(ward, left)
            assert not any(left.values())
            wait_for(lambda: states(ward) == ["answered"] * STUDIES)
    for name in names:
        assert ward.pacs.results(name) == ["sc", "sr"]
    assert len(ward.pacs.kept) == 2 * STUDIES  # whatever had to be sent again had the same UID
