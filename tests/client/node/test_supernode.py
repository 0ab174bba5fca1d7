"""Flower's node waits as a hospital's should, and Flower is still what that rests on."""

from __future__ import annotations

import importlib
import inspect
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from client.node import supernode
from client.node.supernode import BUSY_PAUSE_SECONDS, Clock, fit, note_answers, take_leave


@pytest.fixture
def slept(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    found: list[float] = []
    monkeypatch.setattr(time, "sleep", found.append)
    return found


def test_a_node_asks_often_after_work_and_rarely_when_it_has_none(
    slept: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 1000.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    clock = Clock()
    clock.sleep(3)
    clock.note_work()
    clock.sleep(3)
    clock.sleep(0.5)
    for now in (1010.0, 1040.0, 1060.0, 2000.0):  # noqa: B007 - the lambda reads it
        clock.sleep(3)
    assert slept == [3, BUSY_PAUSE_SECONDS, 0.5, BUSY_PAUSE_SECONDS, 2.0, 3, 3]
    assert clock.strftime is time.strftime


class Flower:
    """Stand-ins of Flower's modules, which note what is done to them."""

    def __init__(self, messages: list[Any]) -> None:
        self.done: list[Any] = []

        @contextmanager
        def connect(*arguments: Any) -> Iterator[tuple[Any, ...]]:
            self.done.append("activate")
            yield (7, lambda: messages.pop(0), "send", "get_run")

        self.loop: Any = SimpleNamespace()
        self.loop.http_request_response = connect
        self.connection: Any = SimpleNamespace()
        self.connection.HEARTBEAT_DEFAULT_INTERVAL = 30
        self.connection.FleetHttpClient = SimpleNamespace(from_server_address=self.client)
        self.connection.RuntimeVersionHttpInterceptor = lambda **_: None
        self.connection.NodeAuthHttpInterceptor = lambda *_: None
        self.connection.DeactivateNodeRequest = lambda node_id: f"deactivate {node_id}"
        self.heartbeat: Any = SimpleNamespace()
        self.fails = False

    @contextmanager
    def client(self, *_: Any, **__: Any) -> Iterator[Any]:
        if self.fails:
            raise OSError("the SuperLink is away")
        yield SimpleNamespace(DeactivateNode=self.done.append)


ARGUMENTS = ("host:1", False, b"ca", ("private", "public"), None, None)


def test_work_is_noted_and_nothing_is_lost_on_the_way() -> None:
    flower = Flower([None, ("message", "tree"), None, None])
    clock = fit(flower.loop, flower.connection, flower.heartbeat)
    with flower.loop.http_request_response(*ARGUMENTS) as (node, receive, *others):
        assert (node, others) == (7, ["send", "get_run"])
        assert receive() is None
        assert clock.worked_at is None
        assert receive() == ("message", "tree")
        came = clock.worked_at
        assert came is not None
        # It asks again only when the message is answered, however long that took.
        assert receive() is None
        answered = clock.worked_at
        assert answered is not None
        assert answered > came
        assert receive() is None
        assert clock.worked_at == answered
    assert flower.loop.time is clock
    assert flower.connection.HEARTBEAT_DEFAULT_INTERVAL == 10


@pytest.mark.parametrize(
    ("last", "done"), [("41", ["deactivate 41", "activate"]), ("", ["activate"])]
)
def test_leave_is_taken_for_a_predecessor_of_this_machine_only(
    monkeypatch: pytest.MonkeyPatch, last: str, done: list[str]
) -> None:
    monkeypatch.setenv(supernode.LAST_NODE, last)
    flower = Flower([])
    fit(flower.loop, flower.connection, flower.heartbeat)
    with flower.loop.http_request_response(*ARGUMENTS):
        assert flower.done == done


def test_a_node_that_cannot_take_leave_connects_all_the_same(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv(supernode.LAST_NODE, "41")
    flower = Flower([])
    flower.fails = True
    fit(flower.loop, flower.connection, flower.heartbeat)
    with flower.loop.http_request_response(*ARGUMENTS):
        assert flower.done == ["activate"]
    assert take_leave(flower.connection, 41, "host:1", True, None, None) is False


def test_each_answer_of_the_coordinator_is_noted_and_a_failed_request_is_not(
    tmp_path: Path,
) -> None:
    class Client:
        def _unary_unary(self, path: str) -> str:
            if path == "away":
                raise OSError("the SuperLink is away")
            return f"answer to {path}"

        def ask(self, path: str) -> str:
            return self._unary_unary(path=path)

    connection: Any = SimpleNamespace(FleetHttpClient=Client)
    note_answers(connection, tmp_path / "reached")
    client = connection.FleetHttpClient()
    with pytest.raises(OSError, match="away"):
        client.ask("away")
    assert not (tmp_path / "reached").exists()
    assert client.ask("here") == "answer to here"
    assert (tmp_path / "reached").exists()
    note_answers(connection, tmp_path / "no folder" / "reached")
    assert connection.FleetHttpClient().ask("here") == "answer to here"


def test_flower_is_what_this_rests_on() -> None:
    """An update of Flower that moves one of these makes nodes slow again: then look here."""
    from flwr.supercore import heartbeat
    from flwr.supernode import fleet_http_connection, start_client_internal

    program = importlib.import_module("flwr.supernode.cli.flower_supernode")
    loop = inspect.getsource(start_client_internal.start_client_internal)
    assert loop.count("time.sleep(3)") == 1
    assert "with http_request_response(" in inspect.getsource(start_client_internal)
    given = list(inspect.signature(fleet_http_connection.http_request_response).parameters)
    assert given[:4] == [
        "server_address", "insecure", "root_certificates", "authentication_keys"
    ]  # fmt: skip
    for module in (fleet_http_connection, heartbeat):
        assert module.HEARTBEAT_DEFAULT_INTERVAL in (10, 30)
        assert "HEARTBEAT_DEFAULT_INTERVAL" in inspect.getsource(module)
    for name in ("FleetHttpClient", "NodeAuthHttpInterceptor", "DeactivateNodeRequest"):
        assert hasattr(fleet_http_connection, name)
    # Every request of the node goes through this one method of the class of this name.
    client = inspect.getsource(fleet_http_connection.FleetHttpClient)
    asked = [line for line in client.splitlines() if "Request" in line and "def " in line]
    assert client.count("return self._unary_unary(") >= max(10, len(asked))
    source = inspect.getsource(fleet_http_connection.http_request_response)
    assert "with FleetHttpClient.from_server_address(" in source
    assert program.start_client_internal is start_client_internal.start_client_internal
