"""A killed `site join` is healed by one new one; a node that is not answered is not connected.

In the place of Flower's node and of the warm process stand two shell scripts.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from client.node import join as joining
from client.node.enrol import NODE_KEY
from client.node.join import NODE, STATUS, _predecessor, read_status
from client.node.status import require_connected
from shared.errors import RuntimeUnavailableError
from shared.protocol.invitation import COORDINATOR
from shared.protocol.signatures import Invitation
from shared.runtime.processes import end_marked, marked, new_token
from shared.runtime.supervisor import born_of
from tests.suite.waiting import HANG_SECONDS, wait_for

ROOT = Path(__file__).resolve().parents[3]
MARK = "OSTEOFED_TEST_TOKEN"

#: Says that it was taken, starts a child as Flower does, and is answered while "well" is there.
SUPERNODE = """
setsid sh -c "sleep 600; :" flower-superexec &
echo "$OSTEOFED_LAST_NODE" >> "$1/started"
echo "SuperNode ID: 41"
while :; do
    [ -e "$1/well" ] && touch "$OSTEOFED_REACHED"
    sleep 0.2
done
"""
JOIN = """
import sys
from pathlib import Path
import client.node.join as joining
folder, own = sys.argv[1:]
joining.approved_digests = lambda _: [{"digest": "ab"}]
joining.SILENT_SECONDS, joining.ASK_SECONDS = 1.0, 0.2
prepare = joining._prepare
def prepared(*words):
    node = prepare(*words)
    node.warm.command = ["sleep", "600"]
    node.supernode.command = ["sh", own + "/supernode.sh", own]
    return node
joining._prepare = prepared
joining.join(Path(folder))
"""


def enrolled(folder: Path) -> Path:
    folder.mkdir()
    (folder / "site.yaml").write_text("site: alpha\n")
    invitation = Invitation(address="127.0.0.1:1", ca="", coordinator="0" * 64)
    (folder / COORDINATOR).write_text(invitation.model_dump_json())
    (folder / NODE_KEY).write_text("a key")
    (folder / NODE_KEY).chmod(0o600)
    return folder


class Joined:
    """A site that is joined, again and again."""

    def __init__(self, folder: Path) -> None:
        self.site, self.own = enrolled(folder / "alpha"), folder
        self.token = new_token()
        (folder / "supernode.sh").write_text(SUPERNODE)
        (folder / "well").touch()
        self.process = self.join()

    def join(self) -> subprocess.Popen[bytes]:
        self.process = subprocess.Popen(
            [sys.executable, "-c", JOIN, str(self.site), str(self.own)], cwd=ROOT,
            env=os.environ | {MARK: self.token, "TMPDIR": str(self.own)},
        )  # fmt: skip
        wait_for(lambda: self.told().get("pid") == self.process.pid)
        wait_for(lambda: self.told()["state"] == "connected")
        return self.process

    def told(self) -> dict[str, Any]:
        return read_status(self.site)

    def started(self) -> list[str]:
        """Whose leave each node was told to take."""
        return (self.own / "started").read_text().splitlines()


@pytest.fixture
def joined(tmp_path: Path) -> Iterator[Joined]:
    made = Joined(tmp_path)
    try:
        yield made
    finally:
        made.process.terminate()
        made.process.wait(HANG_SECONDS)
        left = marked(MARK, made.token)
        end_marked(MARK, made.token, 0.0)
        assert left == []


def alive(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


@pytest.mark.system
def test_a_killed_join_is_healed_by_one_new_one(joined: Joined) -> None:
    wait_for(lambda: len(psutil.Process(joined.told()["supernode_pid"]).children()) >= 1)
    before = marked(MARK, joined.token)
    socket_folder = Path(joined.told()["socket_folder"])
    joined.process.kill()
    joined.process.wait()
    assert any(alive(one) for one in before)  # what Flower's node had started
    assert socket_folder.is_dir()
    joined.join()
    assert not any(alive(one) for one in before)
    assert not socket_folder.exists()
    assert joined.started() == ["", "41"]  # the second takes leave for the first


@pytest.mark.system
def test_a_node_that_is_answered_no_more_is_not_connected(joined: Joined) -> None:
    wait_for(lambda: (joined.site / NODE / "reached").exists())
    (joined.own / "well").unlink()
    wait_for(lambda: joined.told()["state"] == "connecting")
    wait_for(lambda: joined.told()["reason"])
    with pytest.raises(RuntimeUnavailableError, match="the node is connecting: "):
        require_connected(joined.site)
    (joined.own / "well").touch()
    wait_for(lambda: joined.told()["state"] == "connected")
    assert joined.told()["reason"] == ""
    assert joined.started() == [""]  # nothing had to be started again


def test_only_the_very_site_on_this_machine_takes_leave_for_the_node_before(
    tmp_path: Path,
) -> None:
    facts = {"folder": str(tmp_path), "born": born_of(os.getpid()), "number": "41"}
    assert _predecessor(tmp_path, facts) == "41"
    assert _predecessor(tmp_path / "copy", facts) == ""
    assert _predecessor(tmp_path, facts | {"born": "another machine 7"}) == ""
    assert _predecessor(tmp_path, {"pid": 7}) == ""


def test_a_process_that_has_the_number_of_a_killed_join_is_not_taken_for_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    site = enrolled(tmp_path / "alpha")
    (site / NODE).mkdir()
    facts = {"pid": os.getpid(), "born": "another machine 7", "state": "connected", "reason": "",
             "restarts": 0, "superlink": "127.0.0.1:1"}  # fmt: skip
    (site / NODE / STATUS).write_text(json.dumps(facts))
    with pytest.raises(RuntimeUnavailableError, match="the node is gone"):
        require_connected(site)
    monkeypatch.setattr(joining, "approved_digests", lambda _: [{"digest": "ab"}])
    monkeypatch.setattr(joining, "until_stopped", lambda step: None)
    joining.join(site)
