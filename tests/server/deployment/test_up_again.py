"""Whatever of a coordinator is killed, one new `server up` serves again, or says who is in the way.

nginx is the real one; in the SuperLink's place stands a small program that answers as it
does, and starts a child as it does.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psutil
import pytest

from server.deployment import readiness
from server.deployment import superlink as up
from server.deployment.pki import make_home
from server.runtime.status import server_status
from shared.errors import RuntimeUnavailableError
from shared.runtime import leftovers
from shared.runtime.flower import free_port
from shared.runtime.supervisor import born_of
from tests.suite.waiting import HANG_SECONDS, wait_for

ROOT = Path(__file__).resolve().parents[3]
NOBODY = 65534

#: The child is in a session of its own and outlives whoever started it, as Flower's is.
SUPERLINK = """
setsid sh -c "sleep 600; :" flower-superexec &
exec "$1" -e "$3/error.log" -p "$3" -g "daemon off; master_process off; pid $3/pid;" -c "$2"
"""
CONFIGURATION = """
events {{}}
http {{
    access_log off;
    client_body_temp_path {own}; proxy_temp_path {own}; fastcgi_temp_path {own};
    uwsgi_temp_path {own}; scgi_temp_path {own};
    server {{
        listen 127.0.0.1:{port} ssl;
        ssl_certificate {home}/server.pem; ssl_certificate_key {home}/server.key;
        location = /health {{ return 200; }}
        location / {{ return 401; }}
    }}
}}
"""

#: `server up` with that in the SuperLink's place, as another user if one is named. What
#: Python imports late is imported first: another user may not reach Python's files.
UP = """
import encodings.ascii, encodings.idna, os, shutil, sqlite3, sys
from pathlib import Path
import server.deployment.members, server.deployment.superlink as up
home, own, configuration, user = sys.argv[1:]
def superlink(folder, port):
    Path(own, "conf").write_text(configuration.format(own=own, port=port, home=home))
    nginx = shutil.which("nginx", path=os.environ["PATH"] + ":/usr/sbin")
    return ["sh", own + "/superlink.sh", nginx, own + "/conf", own]
up._superlink = superlink
if user:
    os.setgroups([]); os.setgid(int(user)); os.setuid(int(user))
up.up(Path(home), host="127.0.0.1")
"""


class Served:
    """A home, and the command that serves it."""

    def __init__(self, folder: Path, user: str) -> None:
        self.home, self.user = folder / "home", user
        make_home(self.home, "localhost", port=free_port())
        self.own = folder / "superlink"
        self.own.mkdir()
        (self.own / "superlink.sh").write_text(SUPERLINK)
        if user:
            for path in (folder, *folder.rglob("*")):
                os.chown(path, int(user), int(user))
        self.process: subprocess.Popen[bytes] | None = None
        self.seen: dict[int, psutil.Process] = {}

    def up(self) -> subprocess.Popen[bytes]:
        """Start it and wait until a hospital would be served."""
        words = [str(self.home), str(self.own), CONFIGURATION, self.user]
        with (self.home.parent / "up.log").open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-c", UP, *words], cwd=ROOT, stdout=log, stderr=log
            )
        self.until_served()
        return self.process

    def until_served(self) -> None:
        self.wait(lambda: self.told().get("ready") and not self.why_not())
        assert server_status(None, self.home).up

    def why_not(self) -> str:
        return readiness.why_not_reached(self.home, self.told())

    def told(self) -> dict[str, Any]:
        found = readiness.read_up(self.home)
        assert self.process is not None
        return found if found.get("pid") == self.process.pid else {}

    def wait(self, condition: Callable[[], object]) -> None:
        wait_for(condition, self.home.parent / "up.log")
        self.family()

    def family(self) -> dict[str, psutil.Process]:
        """Every process of it, by what it is."""
        assert self.process is not None
        found = {}
        with contextlib.suppress(psutil.NoSuchProcess):
            found["up"] = psutil.Process(self.process.pid)
        for role in ("nginx", "superlink"):
            pid = self.told().get(role, {}).get("pid")
            child = {"nginx": "worker", "superlink": "superexec"}[role]
            with contextlib.suppress(psutil.NoSuchProcess):
                if pid:
                    found[role] = psutil.Process(pid)
                    for one in found[role].children():
                        found[child] = one
        self.seen |= {one.pid: one for one in found.values()}
        return found

    def end(self) -> list[psutil.Process]:
        """End it in order; return what was left behind."""
        if self.process is not None:
            self.process.terminate()
            self.process.wait(HANG_SECONDS)
        left = [one for one in self.seen.values() if alive(one)]
        for one in left:
            one.kill()
        return left


def alive(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


@pytest.fixture(params=["root", "user"])
def served(request: pytest.FixtureRequest) -> Iterator[Served]:
    """Served by whoever runs the tests, and if that is root, by a plain user too."""
    as_nobody = request.param == "user" and os.geteuid() == 0
    # Not pytest's own folder, which is closed to other users.
    folder = Path(tempfile.mkdtemp(prefix="osteofed-test-up-"))
    home = Served(folder, str(NOBODY) if as_nobody else "")
    try:
        home.up()
        yield home
    finally:
        left = home.end()
        shutil.rmtree(folder)
        assert not left


@pytest.mark.system
def test_what_is_killed_beside_it_is_started_again(served: Served) -> None:
    for role in ("nginx", "worker", "superlink", "superexec"):
        before = served.family()[role]
        # It has been looked at, as anything is that is killed in the course of a day.
        served.wait(lambda before=before: time.time() - before.create_time() > 2.0)  # type: ignore[misc]
        before.kill()
        served.wait(lambda role=role, before=before: served.family().get(role, before) != before)  # type: ignore[misc]
        served.until_served()


@pytest.mark.system
@pytest.mark.parametrize("also", [(), ("nginx", "superlink"), ("nginx", "worker")])
def test_a_killed_server_is_healed_by_one_new_one(served: Served, also: tuple[str, ...]) -> None:
    before = served.family()
    assert set(before) == {"up", "nginx", "worker", "superlink", "superexec"}
    for role in ("up", *also):
        before[role].send_signal(signal.SIGKILL)
    assert served.process is not None
    served.process.wait(HANG_SECONDS)
    served.wait(lambda: not any(alive(before[role]) for role in ("nginx", "superlink")))
    said = server_status(None, served.home)
    assert (said.up, said.reason) == (False, "`server up` does not run")
    served.up()
    assert not any(alive(one) for one in before.values())
    assert served.told()["nginx"]["restarts"] == 0


@pytest.fixture
def home(tmp_path: Path) -> Path:
    make_home(tmp_path / "home", "localhost", port=free_port())
    return tmp_path / "home"


def test_who_holds_the_port_is_said_in_one_sentence(home: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        name = psutil.Process().name()
        says = rf"^port {port} is held by {name} \(pid {os.getpid()}\); end it, or give another"
        with pytest.raises(RuntimeUnavailableError, match=says) as error:
            up.up(home, host="127.0.0.1", port=port, begins=pytest.fail)
    assert error.value.exit_code == 52
    assert not (home / readiness.UP).exists()


def test_a_holder_of_another_user_is_said_too(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        hidden = SimpleNamespace(
            status=psutil.CONN_LISTEN, laddr=SimpleNamespace(port=port), pid=None
        )
        monkeypatch.setattr(psutil, "net_connections", lambda kind: [hidden])
        with pytest.raises(RuntimeUnavailableError, match=r"process of another user \(root sees"):
            up.up(home, host="127.0.0.1", port=port, begins=pytest.fail)


def claim(home: Path, born: str, port: int = 1) -> None:
    facts = {
        "pid": os.getpid(), "born": born, "ready": True, "host": "127.0.0.1", "port": port,
        "superlink": {"pid": 1, "port": 1, "restarts": 0}, "nginx": {"pid": 1, "restarts": 0},
    }  # fmt: skip
    (home / readiness.UP).write_text(json.dumps(facts))


def test_up_means_that_a_hospital_would_be_served(home: Path) -> None:
    """A SuperLink that is well behind a port that leads elsewhere is not up."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        claim(home, born_of(os.getpid()), other.getsockname()[1])
        other.close()
        said = server_status(None, home)
    assert said.up is False
    assert "cannot be reached" in said.reason


def test_a_process_that_has_the_number_of_a_killed_one_is_not_taken_for_it(home: Path) -> None:
    claim(home, born_of(os.getpid()))
    assert readiness.is_up(home)
    claim(home, "another start of this machine, 1")
    assert not readiness.is_up(home)
    assert server_status(None, home).up is False


def test_two_servers_of_one_home_never_start_at_once(home: Path) -> None:
    with (
        leftovers.only_one(home / up.LOCK, "held"),
        pytest.raises(RuntimeUnavailableError, match="is up already"),
    ):
        up.up(home, begins=pytest.fail)
