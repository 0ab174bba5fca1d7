"""A real federation: nginx, SuperLink, three nodes; what is reached from outside; what is not."""

from __future__ import annotations

import http.client
import json
import shutil
import socket
import ssl
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from client.node.ledger_summary import ledger_statement
from server.deployment.readiness import read_up
from server.state.home import Home
from shared.audit.chain import Anchor, verify_chain
from shared.audit.keys import read_key
from shared.protocol.signatures import Statement
from shared.training.weights import digest_arrays, load_weights
from tests.server.tiny_sites import TINY_TASK, tiny_site
from tests.suite.waiting import HANG_SECONDS, wait_for
from tests.system.real_federation import (
    MISSING_NGINX,
    NAMES,
    Federation,
    enrol_all_by_commands,
    has_nginx,
    real_federation,
    write_agreement,
)

pytestmark = [
    pytest.mark.system,
    pytest.mark.timeout(900),
    pytest.mark.skipif(not has_nginx(), reason=MISSING_NGINX),
]


@pytest.fixture(scope="module")
def federation(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Federation]:
    with real_federation(tmp_path_factory.mktemp("real"), enrol_all_by_commands) as served:
        # The same sites before anything happened, for the simulation to compare with.
        for name in NAMES:
            copy = served.folder / "simulated" / name
            shutil.copytree(served.site(name), copy)
            (copy / "coordinator.json").unlink()  # enrolled sites answer nobody else
        for name in NAMES:
            served.join(name)
        served.connected(*NAMES)
        yield served


def ask(port: int, method: str, path: str, folder: Path) -> int:
    """Ask over TLS with the path exactly as given; return the status."""
    trusted = ssl.create_default_context(cafile=str(folder / "ca.pem"))
    connection = http.client.HTTPSConnection("127.0.0.1", port, timeout=10, context=trusted)
    try:
        connection.putrequest(method, path, skip_accept_encoding=True)
        connection.putheader("Content-Length", "0")
        connection.endheaders()
        return connection.getresponse().status
    finally:
        connection.close()


@pytest.mark.parametrize(
    "path",
    [
        "/", "/health", "/docs", "/openapi.json", "/v1/control/start-run",
        "/v1/control/register-node", "/v1/control/list-runs", "/v1/runtime/pull-messages",
        "/v1/fleet/../control/start-run", "/v1/fleet/..%2fcontrol/start-run",
        "/v1/fleet/%2e%2e/control/start-run", "//v1/control/start-run", "/v1//control/start-run",
        "/v1/fleet//../control/start-run", "/v1/fleet/", "/V1/CONTROL/start-run",
        "/v1/fleet/pull-messages/../../control/start-run", "/v1/control/start-run?x=/v1/fleet/",
    ],
)  # fmt: skip
def test_nothing_but_the_fleet_is_reached_from_outside(federation: Federation, path: str) -> None:
    for method in ("GET", "POST"):
        assert ask(federation.port, method, path, federation.home) in (403, 404)


def test_the_fleet_asks_everybody_who_they_are(federation: Federation) -> None:
    status = ask(federation.port, "POST", "/v1/fleet/pull-messages", federation.home)
    assert 400 <= status < 500
    assert status not in (403, 404)  # it is there, and takes nobody without a key


@pytest.mark.parametrize(
    "lengths",
    [
        ["Content-Length: 6", "Transfer-Encoding: chunked"],
        ["Content-Length: 6", "Content-Length: 60"],
        ["Transfer-Encoding: chunked, identity"],
        ["Transfer-Encoding: xchunked"],
    ],
)
def test_no_second_request_is_hidden_in_a_first(federation: Federation, lengths: list[str]) -> None:
    """nginx keeps its connections to the SuperLink, so both must see the same requests."""
    trusted = ssl.create_default_context(cafile=str(federation.home / "ca.pem"))
    inner = b"POST /v1/control/list-runs HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n"
    head = "\r\n".join(["POST /v1/fleet/pull-messages HTTP/1.1", "Host: x", *lengths, "", ""])
    with (
        socket.create_connection(("127.0.0.1", federation.port), timeout=10) as line,
        trusted.wrap_socket(line, server_hostname="127.0.0.1") as secure,
    ):
        secure.sendall(head.encode() + b"0\r\n\r\n" + inner)
        answer = secure.recv(65536)
        while more := secure.recv(65536):
            answer += more
    assert answer.split()[1] in (b"400", b"501")
    assert answer.count(b"HTTP/1.1 ") == 1


def test_plain_http_gets_no_answer(federation: Federation) -> None:
    with socket.create_connection(("127.0.0.1", federation.port), timeout=10) as line:
        line.sendall(b"POST /v1/fleet/pull-messages HTTP/1.1\r\nHost: x\r\n\r\n")
        assert b"200" not in line.recv(4096)[:20]


def test_only_the_one_port_is_published_and_nodes_only_call_out(federation: Federation) -> None:
    for name, process in federation.running.items():
        family = [psutil.Process(process.pid), *psutil.Process(process.pid).children(True)]
        listening = {
            (one.laddr.ip, one.laddr.port)
            for member in family
            for one in member.net_connections("inet")
            if one.status == psutil.CONN_LISTEN
        }
        assert {ip for ip, _ in listening} == {"127.0.0.1"}, name
        # Here nginx was told to listen on loopback too; it is the only one that can be
        # told otherwise.
        if name == "up":
            assert federation.port in {port for _, port in listening}


@pytest.fixture(scope="module")
def trained(federation: Federation) -> dict[str, Any]:
    """What came of a run on the nodes, and of the same run simulated."""
    path = write_agreement(federation.folder)
    printed = federation.run("server", "run", path, "--home", federation.home, "--json")
    task = json.loads(printed)["tasks"][TINY_TASK.task]
    simulated = federation.folder / "simulated"
    federation.run("server", "run", write_agreement(simulated))
    other = json.loads((simulated / "work" / "result.json").read_text())["tasks"][TINY_TASK.task]
    return {
        "task": task,
        "weights": digest_arrays(load_weights(Path(task["weights"])).arrays),
        "simulated": other,
        "statements": {name: ledger_statement(federation.site(name)) for name in NAMES},
        "statements simulated": {name: ledger_statement(simulated / name) for name in NAMES},
    }


def test_private_rounds_end_with_the_bits_of_the_simulation(trained: dict[str, Any]) -> None:
    task = trained["task"]
    assert [sorted(one["patients"]) for one in task["rounds"]] == [sorted(NAMES)] * 3
    for name, statement in trained["statements"].items():
        assert task["epsilon"][name] == pytest.approx(statement["epsilon_spent"])
        assert [line["rounds"] for line in statement["lines"]] == [3]
    assert task["digest"] == trained["simulated"]["digest"]
    assert task["digest"] == trained["weights"]
    for name in NAMES:
        real, same = (trained[one][name] for one in ("statements", "statements simulated"))
        assert real["lines"] == same["lines"]


@pytest.mark.usefixtures("trained")
def test_both_chains_verify_and_agree_with_each_other(federation: Federation) -> None:
    home = Home(federation.home)
    coordinator = verify_chain(federation.home / "audit.jsonl", home.key().public)
    answered = [line.facts["statement"] for line in coordinator if line.event == "answered"]
    assert len(answered) >= 3
    for name in NAMES:
        heads = [Statement.model_validate(one).head for one in answered if one["site"] == name]
        folder = federation.site(name)
        lines = verify_chain(
            folder / "audit.jsonl",
            read_key(folder / "identity.key").public,
            [Anchor(head, "the coordinator") for head in heads],
        )
        assert {"site made", "enrolled", "approved", "asked", "reserved", "released"} <= {
            line.event for line in lines
        }


@pytest.mark.usefixtures("trained")
def test_a_bundle_that_was_not_approved_runs_nowhere(federation: Federation) -> None:
    """One character of the code differs, and every hospital refuses to unpack it."""
    from server.deployment.members import CONNECTION, flwr_home
    from server.runtime.bundle import stage_bundle
    from shared.runtime.flower import environment_for, program

    staged = federation.folder / "other-bundle"
    staged.mkdir()
    stage_bundle(staged)
    mark = federation.folder / "it-ran"
    app = staged / "client" / "app.py"
    app.write_text(f"open({str(mark)!r}, 'w').close()\n" + app.read_text().replace(
        "from __future__ import annotations\n", ""))  # fmt: skip
    plan = next((federation.folder / "work" / "runs").glob("*/plan.json"))
    run = plan.parent
    shutil.rmtree(run / TINY_TASK.task)
    (run / "result.json").unlink()
    settings = f'federation="{plan}"'
    command = [program("flwr"), "run", str(staged), CONNECTION, "--run-config", settings]
    environment = environment_for(flwr_home(federation.home))
    subprocess.run(command, env=environment, cwd="/", check=True, capture_output=True)

    def refused_everywhere() -> bool:
        return all(
            any(line.event == "bundle refused" for line in federation.chain(federation.site(name)))
            for name in NAMES
        )

    wait_for(refused_everywhere, federation.home / "superlink" / "superlink.log")
    assert not mark.exists()
    for name in NAMES:
        apps = federation.site(name) / "approved" / "apps"
        assert len(list(apps.iterdir())) == 1
    wait_for(lambda: "has not approved" in (run / "events.jsonl").read_text())


def test_nodes_that_are_not_admitted_or_have_another_key_are_refused(
    federation: Federation,
) -> None:
    folder = federation.folder
    tiny_site(folder / "delta", "delta", seed=9)
    federation.run("site", "enrol", folder / "delta", federation.home / "invitation.json")
    federation.run("site", "approve", folder / "delta", folder / "osteofed.fab", "--yes")
    federation.join("delta")
    wait_for(lambda: federation.status("delta").get("state") == "refused")
    assert "does not know this node's key" in federation.status("delta")["reason"]
    federation.leave("delta")


@pytest.mark.last(1)
def test_one_new_command_each_heals_what_was_killed(federation: Federation) -> None:
    """SIGKILL of the server and of two nodes at once; the third node's stays, and says so."""
    for name in ("up", "join-alpha", "join-beta"):
        federation.running[name].kill()
        federation.running.pop(name).wait(HANG_SECONDS)
    wait_for(lambda: federation.status("gamma")["state"] != "connected")
    said = json.loads(federation.run("site", "status", federation.site("gamma"), "--json"))
    assert said["node"]["state"] == "connecting"
    assert str(federation.port) in said["node"]["reason"]
    federation.run("server", "healthy", federation.home, code=52)
    federation.up()
    for name in ("alpha", "beta"):
        federation.join(name)
    federation.connected(*NAMES)
    federation.run("server", "healthy", federation.home)
    path = write_agreement(federation.folder, rounds=1, name="healed")
    federation.run("server", "run", path, "--home", federation.home)
    [only] = federation.rounds("healed")
    assert sorted(only["patients"]) == sorted(NAMES)


@pytest.mark.last(2)
def test_an_expelled_site_is_cut_off(federation: Federation) -> None:
    federation.run("server", "expel", federation.home, "gamma")
    assert [member.site for member in Home(federation.home).members()] == ["alpha", "beta"]
    wait_for(lambda: federation.status("gamma").get("state") != "connected")
    federation.run("server", "expel", federation.home, "gamma", code=55)


@pytest.mark.last(3)
def test_everything_ends_with_its_command(federation: Federation) -> None:
    assert read_up(federation.home)["superlink"]["restarts"] == 0
    assert federation.end() == []
