"""The warm process: forks per message, shares nothing, ends with whoever asked."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tests.suite.waiting import HANG_SECONDS, wait_for

ROOT = Path(__file__).resolve().parents[3]
ASK = ROOT / "client" / "node" / "prefork_client.py"

WARM = """
import sys, time, os
from pathlib import Path
import client.node.prefork_server
from client.node.prefork_server import Template, serve

state = []

def answer(arguments):
    if arguments[0] == "sleep":
        print(os.getpid(), flush=True)
        time.sleep(60)
    state.append(arguments)
    print("answered", *arguments, len(state), os.environ.get("FROM_ASKER"))
    print("and an error", file=sys.stderr)
    return int(arguments[0])

client.node.prefork_server.READY_SECONDS = 2.0
outdated, hangs, ends = (Path(sys.argv[1] + name) for name in (".outdated", ".hangs", ".ends"))

def prepare(loads):
    if loads and hangs.exists():
        hangs.unlink()
        time.sleep(600)
    if loads and ends.exists():
        ends.unlink()
        os.abort()
    outdated.unlink(missing_ok=True)
    state.append("prepared in " + str(os.getpid()))
    return Template(answer, outdated.exists)

serve(Path(sys.argv[1]), prepare, Path(sys.argv[1] + '.lost'))
"""


@pytest.fixture
def warm(tmp_path: Path) -> Iterator[tuple[Path, subprocess.Popen[bytes]]]:
    path = tmp_path / "s"
    process = subprocess.Popen([sys.executable, "-c", WARM, str(path)], cwd=ROOT)
    wait_for(path.exists)
    # Answered: the template is ready. Before that it is one that might be replaced by another.
    assert ask(path, "0").communicate(timeout=HANG_SECONDS)[0] == "answered 0 2 yes\n"
    yield path, process
    process.kill()
    process.wait()


def ask(path: Path, *arguments: str) -> subprocess.Popen[str]:
    cold = [sys.executable, "-c", "import sys; print('cold', *sys.argv[1:]); sys.exit(9)"]
    command = [sys.executable, "-I", "-S", str(ASK), str(path), *cold, "--", *arguments]
    return subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"FROM_ASKER": "yes"},
    )


def test_the_asker_ends_as_the_child_did_and_says_what_it_said(
    warm: tuple[Path, subprocess.Popen[bytes]],
) -> None:
    for code in ("7", "0"):
        process = ask(warm[0], code, "--token", "x")
        out, errors = process.communicate(timeout=HANG_SECONDS)
        # Every child begins with what the parent had: the state never grows.
        assert (out, errors) == (f"answered {code} --token x 2 yes\n", "and an error\n")
        assert process.returncode == int(code)


def test_without_a_warm_process_the_cold_one_is_started(tmp_path: Path) -> None:
    process = ask(tmp_path / "nobody", "--token", "x")
    assert process.communicate(timeout=HANG_SECONDS)[0] == "cold --token x\n"
    assert process.returncode == 9


def test_killing_the_asker_ends_the_child(warm: tuple[Path, subprocess.Popen[bytes]]) -> None:
    process = ask(warm[0], "sleep")
    assert process.stdout is not None
    child = int(process.stdout.readline())
    process.kill()
    process.communicate()
    wait_for(lambda: ended(child))
    again = ask(warm[0], "0")  # and the warm process goes on
    again.communicate(timeout=HANG_SECONDS)
    assert again.returncode == 0


def test_killing_the_child_or_the_warm_process_ends_the_asker(
    warm: tuple[Path, subprocess.Popen[bytes]],
) -> None:
    process = ask(warm[0], "sleep")
    assert process.stdout is not None
    os.kill(int(process.stdout.readline()), signal.SIGKILL)
    process.communicate(timeout=HANG_SECONDS)
    assert process.returncode == 128 + signal.SIGKILL
    process = ask(warm[0], "sleep")
    assert process.stdout is not None
    child = int(process.stdout.readline())
    warm[1].kill()
    process.communicate(timeout=HANG_SECONDS)
    assert process.returncode == 1
    wait_for(lambda: ended(child))


def test_an_outdated_template_answers_what_it_has_begun_and_another_takes_the_next(
    warm: tuple[Path, subprocess.Popen[bytes]],
) -> None:
    [template] = psutil.Process(warm[1].pid).children()
    begun = ask(warm[0], "sleep")
    assert begun.stdout is not None
    child = psutil.Process(int(begun.stdout.readline()))
    assert child.ppid() == template.pid
    warm[0].with_name(warm[0].name + ".outdated").touch()
    again = ask(warm[0], "0")
    assert again.communicate(timeout=HANG_SECONDS)[0] == "answered 0 2 yes\n"
    assert child.is_running()
    assert template.is_running()
    os.kill(child.pid, signal.SIGTERM)  # what it was doing is over
    begun.communicate(timeout=HANG_SECONDS)
    assert begun.returncode == 128 + signal.SIGTERM
    assert ended(template.pid)
    assert warm[1].poll() is None


@pytest.mark.parametrize("how", ["hangs", "ends"])
def test_where_the_approved_code_cannot_be_loaded_messages_are_still_answered(
    warm: tuple[Path, subprocess.Popen[bytes]], how: str
) -> None:
    for name in (how, "outdated"):
        warm[0].with_name(f"{warm[0].name}.{name}").touch()
    process = ask(warm[0], "0")
    assert process.communicate(timeout=HANG_SECONDS)[0] == "answered 0 2 yes\n"
    assert warm[1].poll() is None


def test_a_message_that_dies_with_an_outdated_template_is_lost_and_said_so(
    warm: tuple[Path, subprocess.Popen[bytes]],
) -> None:
    [template] = psutil.Process(warm[1].pid).children()
    begun = ask(warm[0], "sleep")
    assert begun.stdout is not None
    begun.stdout.readline()
    warm[0].with_name(f"{warm[0].name}.outdated").touch()
    assert ask(warm[0], "0").communicate(timeout=HANG_SECONDS)[0] == "answered 0 2 yes\n"
    template.kill()
    begun.communicate(timeout=HANG_SECONDS)
    lost = warm[0].with_name(f"{warm[0].name}.lost")
    wait_for(lost.exists)
    assert warm[1].poll() is None


def test_without_its_template_the_warm_process_ends(
    warm: tuple[Path, subprocess.Popen[bytes]],
) -> None:
    [template] = psutil.Process(warm[1].pid).children()
    template.kill()
    assert warm[1].wait(timeout=HANG_SECONDS) == 1


def ended(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True
