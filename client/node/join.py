"""``osteofed site join``: the hospital's node, kept running; it only ever calls out.

It runs Flower's SuperNode and the warm process that answers messages
(`client.node.prefork_server`), and starts either again when it ends. The node's own interface is
on loopback.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import stat
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from client.node.code_approval import APPROVED, approved_digests
from client.node.enrol import NODE_KEY, enrolled_with
from client.node.supernode import LAST_NODE, REACHED
from shared.errors import CodeNotApprovedError, ConfigError, RuntimeUnavailableError
from shared.runtime.files import require_private, write_text_atomically
from shared.runtime.fleet import ask
from shared.runtime.flower import SUPEREXEC, environment_for, free_port
from shared.runtime.leftovers import STARTED_FOR, end_leftovers, only_one
from shared.runtime.processes import own_module
from shared.runtime.supervisor import Program, born_of, is_alive, this_machine, until_stopped
from shared.settings.files import SiteConfig, load_settings

NODE: Final = "node"
STATUS: Final = "status.json"
LOCK: Final = "lock"
#: The socket's folder, among the machine's temporary ones: Unix sockets have short names only.
SOCKET_PREFIX: Final = "osteofed-"
#: A clock further off than this is refused by the server (Flower: 300 s).
CLOCK_SECONDS: Final = 290.0
REFUSED: Final = re.compile(rb"code: 2004|Failed to activate SuperNode|401 Unauthorized")
#: How often the coordinator is asked why, while the node is not connected.
ASK_SECONDS: Final = 5.0
CONNECTED: Final = re.compile(rb"SuperNode ID: (\d+)")
#: A node asks for messages every three seconds; one that was not answered for so long is not
#: connected any more.
SILENT_SECONDS: Final = 15.0


@dataclass
class _Answers:
    """The file that the node touches when the coordinator answers (`client.node.supernode`)."""

    path: Path
    _touched: int = 0
    _seen: float | None = None

    def forget(self) -> None:
        """A node begins: what its predecessor heard says nothing of it."""
        self._touched, self._seen = self._time(), None

    def are_missing(self) -> bool:
        """Tell whether there were answers and there are none any more."""
        touched = self._time()
        if touched != self._touched:
            self._touched, self._seen = touched, time.monotonic()
        return self._seen is not None and time.monotonic() - self._seen > SILENT_SECONDS

    def _time(self) -> int:
        try:
            return self.path.stat().st_mtime_ns
        except OSError:
            return 0


@dataclass
class _Node:
    """The two programs of a node, and what they have come to."""

    folder: Path
    superlink: str
    warm: Program
    supernode: Program
    lost: Path
    since: float
    answers: _Answers
    state: str = "connecting"
    reason: str = ""
    number: str = ""
    _taken: bool = False
    _read: int = 0
    _asked: float = 0.0

    def step(self) -> None:
        """Start what has ended; learn how the connection stands."""
        before = (self.state, self.reason, self.supernode.pid, self.warm.pid)
        warm_again = self.warm.look() and self.warm.restarts > 0
        if self.lost.exists() or (warm_again and self.supernode.process is not None):
            # A program that was answering a message was killed. Flower would wait a minute
            # for it; a node that begins anew can be asked again at once.
            self.lost.unlink(missing_ok=True)
            self.supernode.restart()
        self.supernode.environment = {**self.supernode.environment, LAST_NODE: self.number}
        size = self._size()  # before it starts: all that comes after is its own
        if self.supernode.look():
            self._read = size
            self.answers.forget()
            self._taken = False
            if self.state != "refused":  # which it stays until it is taken
                self.state, self.reason = "connecting", ""
        self._look_at_log()
        self._look_at_answers()
        if self.state != "connected" and time.monotonic() - self._asked > ASK_SECONDS:
            self._asked = time.monotonic()
            said = why_not_connected(self.superlink, self.folder / NODE / "ca.pem")
            if said or self.state != "refused":
                self.reason = said or "the coordinator is there, and has not taken the node yet"
        after = (self.state, self.reason, self.supernode.pid, self.warm.pid)
        if before != after or not (self.folder / NODE / STATUS).exists():
            self.write()

    def write(self, state: str | None = None) -> None:
        facts = {
            "pid": os.getpid(),
            "born": born_of(os.getpid()),
            "folder": str(self.folder),
            "number": self.number,
            "socket_folder": str(self.lost.parent),
            "since": self.since,
            "state": state or self.state,
            "reason": self.reason,
            "restarts": self.supernode.restarts,
            "superlink": self.superlink,
            "supernode_pid": self.supernode.pid,
            "warm_pid": self.warm.pid,
        }
        write_text_atomically(self.folder / NODE / STATUS, json.dumps(facts, indent=1) + "\n")

    def _size(self) -> int:
        return self.supernode.log.stat().st_size if self.supernode.log.exists() else 0

    def _look_at_log(self) -> None:
        if not self.supernode.log.exists():
            return
        with self.supernode.log.open("rb") as file:
            file.seek(self._read)
            new = file.read()
        cut = new.rfind(b"\n") + 1
        self._read += cut
        new = new[:cut]
        if found := CONNECTED.search(new):
            self.state, self.reason, self._taken = "connected", "", True
            self.number = found.group(1).decode()
        elif REFUSED.search(new):
            self.state = "refused"
            self.reason = "the coordinator does not know this node's key: it is not admitted"

    def _look_at_answers(self) -> None:
        """A node that was taken is connected for as long as it is answered."""
        silent = self.answers.are_missing()
        if self.state == "connected" and silent:
            self.state, self.reason, self._asked = "connecting", "", 0.0
        elif self.state == "connecting" and self._taken and not silent:
            self.state, self.reason = "connected", ""


def join(
    folder: Path, superlink: str | None = None, begins: Callable[[], None] = lambda: None
) -> None:
    """Run the hospital's node until SIGINT or SIGTERM.

    A site that never declared numbers of patients, of an older version perhaps, declares what
    its store holds first, and the log says so; later changes are a person's.

    Parameters
    ----------
    folder : Path
        The site folder.
    superlink : str, optional
        HOST:PORT instead of the invitation's.
    begins : callable
        Called once when nothing stands in the way, before the programs are started.

    Raises
    ------
    ConfigError
        If the site is not enrolled.
    PlaceholderSecretError
        If others may read the node's key.
    CodeNotApprovedError
        If no code was approved: the node could answer nothing.
    RuntimeUnavailableError
        If it is joined already.
    """
    folder = folder.resolve()
    config = load_settings(folder / "site.yaml", SiteConfig)  # what is no site is said so
    invitation = enrolled_with(folder)
    if invitation is None:
        raise ConfigError(
            f"{folder}: is not enrolled; run `osteofed site enrol` with the coordinator's "
            "invitation.json"
        )
    require_private(folder / NODE_KEY, "the node's key")
    if not approved_digests(folder):
        raise CodeNotApprovedError(
            f"{folder}: no code is approved; run `osteofed site approve` with the "
            "coordinator's bundle"
        )
    refusal = f"{folder}: is joined already; end that one first"
    before = read_status(folder)
    if is_joined(before):
        raise RuntimeUnavailableError(refusal)
    address = superlink or invitation.address
    _make_own(folder, invitation.ca)
    with only_one(folder / NODE / LOCK, refusal):
        end_leftovers(folder, logs_of(folder))
        if not config.declared:
            from client.contract.declaring import declare_if_never

            declare_if_never(folder)  # whoever joins a site answers for it
        _remove_socket_folder(before)
        # Unix sockets have short names only, so this one is not in the site folder.
        short = Path(tempfile.mkdtemp(prefix=SOCKET_PREFIX))
        try:
            node = _prepare(folder, address, short)
            node.number = _predecessor(folder, before)
            begins()
            try:
                until_stopped(node.step)
            finally:
                node.supernode.end()
                node.warm.end()
                node.write("stopped")
        finally:
            shutil.rmtree(short, ignore_errors=True)


def is_joined(facts: dict[str, Any]) -> bool:
    """Tell by ``node/status.json`` whether the `join` that wrote it still runs."""
    return is_alive(facts.get("pid"), facts.get("born", ""))


def logs_of(folder: Path) -> tuple[Path, Path]:
    """Where what `join` keeps running writes: the warm process and the node."""
    return folder / NODE / "warm.log", folder / NODE / "supernode.log"


def _predecessor(folder: Path, before: dict[str, Any]) -> str:
    """The number of the node that a killed `join` of this very site ran; empty: none.

    A copy of the site, elsewhere or on another machine, is no successor: it must not take
    leave for the one that it was copied from.
    """
    here = this_machine()
    if not here or before.get("folder") != str(folder):
        return ""
    return str(before.get("number", "")) if before.get("born", "").startswith(here) else ""


def _remove_socket_folder(before: dict[str, Any]) -> None:
    """Remove what a killed `join` could not: nothing but a folder that it had made."""
    left = Path(str(before.get("socket_folder", "")))
    ours = left.parent == Path(tempfile.gettempdir()) and left.name.startswith(SOCKET_PREFIX)
    if ours and not left.is_symlink() and left.is_dir() and left.stat().st_uid == os.geteuid():
        shutil.rmtree(left, ignore_errors=True)


def read_status(folder: Path) -> dict[str, Any]:
    """Read ``node/status.json``; empty if the site never joined."""
    try:
        found = json.loads((folder / NODE / STATUS).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def why_not_connected(superlink: str, authority: Path) -> str:
    """Say in plain words what stands between the node and the coordinator; empty: nothing.

    Parameters
    ----------
    superlink : str
        HOST:PORT.
    authority : Path
        The pinned certificate authority.
    """
    host, _, port = superlink.rpartition(":")
    said = ask(host, int(port), authority)
    if said.refusal or said.time is None:
        return said.refusal
    off = time.time() - said.time
    if abs(off) <= CLOCK_SECONDS:
        return ""
    return (
        f"this machine's clock is {abs(off) / 60:.0f} minutes "
        f"{'ahead of' if off > 0 else 'behind'} the coordinator's (must be within 5 minutes)"
    )


def _make_own(folder: Path, authority: str) -> None:
    own = folder / NODE
    (own / "flwr").mkdir(parents=True, exist_ok=True, mode=0o700)
    own.chmod(0o700)
    (own / "bin").mkdir(exist_ok=True)
    (own / "ca.pem").write_text(authority, encoding="ascii")
    apps = own / "flwr" / "apps"
    if not apps.is_symlink():
        apps.symlink_to(folder / APPROVED / "apps")


def _prepare(folder: Path, address: str, short: Path) -> _Node:
    own = folder / NODE
    warm_socket, lost = short / "warm", short / "lost"
    starter = own / "bin" / "flwr-clientapp"
    starter.write_text(_starter(warm_socket), encoding="utf-8")
    starter.chmod(stat.S_IRWXU)
    answering, environment = own_module("client.node.prefork_server", _environment(folder))
    asking, _ = own_module("client.node.supernode", environment)
    warm = [*answering, str(warm_socket), str(lost)]
    supernode = [
        *asking, "--superlink", address,
        "--root-certificates", str(own / "ca.pem"),
        "--auth-supernode-private-key", str(folder / NODE_KEY),
        "--node-config", f'site="{folder}"',
    ]  # fmt: skip
    warm_log, supernode_log = logs_of(folder)
    return _Node(
        folder, address,
        Program("warm", warm, environment, warm_log),
        Program("supernode", supernode, environment, supernode_log, SUPEREXEC, _port),
        lost, time.time(), _Answers(own / "reached"),
    )  # fmt: skip


def _port() -> list[str]:
    return ["--port", str(free_port())]


def _environment(folder: Path) -> dict[str, str]:
    """Flower's environment, with our own program in the place of ``flwr-clientapp``."""
    base = environment_for(folder / NODE / "flwr")
    first = str(folder / NODE / "bin")
    return base | {
        "PATH": os.pathsep.join([first, base["PATH"]]),
        "OSTEOFED_SITE": str(folder),
        REACHED: str(folder / NODE / "reached"),
        STARTED_FOR: str(folder),
    }


def _starter(warm_socket: Path) -> str:
    """The program that Flower starts per message: asks the warm one, else starts cold."""
    ask = Path(__file__).with_name("prefork_client.py")
    python = sys.executable
    return (
        "#!/bin/sh\n"
        f"exec '{python}' -I -S '{ask}' '{warm_socket}' '{python}' -P -m client.node.approved_app "
        '-- "$@"\n'
    )
