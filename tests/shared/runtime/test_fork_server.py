"""The fork server: children that have what their grandparent loaded, and end with it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

ROOT = Path(__file__).resolve().parents[3]

#: Prints the children that it has, does what it is told, and waits.
GRANDPARENT = """
import os, sys, time
from shared.runtime.fork_server import ForkServer

loaded = []

def serve(connection):
    while True:
        try:
            word = connection.recv_bytes()
        except EOFError:
            return
        if word == b"raise":
            raise ValueError("of the child's own")
        loaded.append(word)
        connection.send_bytes(b"%d %d %s" % (os.getpid(), len(loaded), b" ".join(loaded)))

loaded.append(b"before")
forks = ForkServer(serve)
loaded.append(b"after")
"""


def run(program: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", GRANDPARENT + program],
        cwd=ROOT, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip


def test_children_have_what_was_loaded_before_and_share_nothing_after() -> None:
    done = run("""
one, two = forks.child(), forks.child()
for connection, word in ((one, b"a"), (one, b"b"), (two, b"c")):
    connection.send_bytes(word)
    print(connection.recv_bytes().decode())
""")
    first, second, other = [line.split() for line in done.stdout.splitlines()]
    assert first[1:] == ["2", "before", "a"]
    assert second == [first[0], "3", "before", "a", "b"]
    assert other[1:] == ["2", "before", "c"]
    assert other[0] != first[0]
    assert done.stderr == ""


@pytest.mark.parametrize("end", ["one.send_bytes(b'raise')", "os.kill(pid, 9)"])
def test_a_child_that_breaks_or_is_killed_closes_its_connection_and_no_other(end: str) -> None:
    done = run(f"""
one, two = forks.child(), forks.child()
one.send_bytes(b"a")
pid = int(one.recv_bytes().split()[0])
{end}
try:
    one.recv_bytes()
except EOFError:
    print("closed")
for connection in (two, forks.child()):
    connection.send_bytes(b"b")
    print(connection.recv_bytes().split()[1:])
""")
    assert done.stdout.splitlines() == ["closed", *2 * ["[b'2', b'before', b'b']"]]
    assert ("of the child's own" in done.stderr) == ("raise" in end)


def test_fork_server_and_children_end_with_whoever_made_them() -> None:
    grandparent = subprocess.Popen(
        [sys.executable, "-c", GRANDPARENT + """
one = forks.child()
one.send_bytes(b"a")
print(one.recv_bytes().split()[0].decode(), flush=True)
time.sleep(60)
"""],
        cwd=ROOT, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert grandparent.stdout is not None
    with grandparent.stdout as said:
        child = psutil.Process(int(said.readline()))
    forks = child.parent()
    assert forks is not None
    os.kill(grandparent.pid, signal.SIGKILL)
    grandparent.wait()
    _, left = psutil.wait_procs([forks, child], timeout=20)
    assert left == []
