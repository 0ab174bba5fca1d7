"""The grid of a simulation: Flower's messages to processes here, and what becomes of lost ones."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection, Pipe
from typing import Any

import numpy as np
import pytest
from flwr.app import Array, ArrayRecord, ConfigRecord, Message, RecordDict

from server.rounds.local_grid import LocalGrid, make_message
from shared.runtime.packing import COORDINATOR, pack, unpack
from tests.suite.waiting import HANG_SECONDS

LIFETIME = 60.0


def question(node: int, word: str = "hello") -> Message:
    content = RecordDict({"said": ConfigRecord({"word": word})})
    return make_message(content, node, "train", LIFETIME)


def word_of(message: Message) -> str:
    return str(message.content["said"]["word"])


class Sites:
    """Threads in place of processes; each answers with the word it was asked, and its number."""

    def __init__(self) -> None:
        self.started = 0
        self.working = threading.Semaphore(0)
        self.go_on = threading.Event()

    def start(self) -> Connection:
        self.started += 1
        ours, its = Pipe()
        threading.Thread(target=self._serve, args=(its, self.started), daemon=True).start()
        return ours

    def _serve(self, connection: Connection, number: int) -> None:
        while True:
            message = unpack(connection.recv_bytes())
            if word_of(message) == "die":
                connection.close()
                return
            self.working.release()
            if word_of(message) == "wait":
                self.go_on.wait(HANG_SECONDS)
            said = RecordDict({"said": ConfigRecord({"word": f"{word_of(message)} {number}"})})
            connection.send_bytes(pack(Message(said, reply_to=message)))


@pytest.fixture
def sites() -> Iterator[Sites]:
    made = Sites()
    yield made
    made.go_on.set()


def ask(grid: LocalGrid, *messages: Message) -> Callable[[], list[Message]]:
    identifiers = list(grid.push_messages(messages))
    assert len(set(identifiers)) == len(messages)

    def replies() -> list[Message]:
        found: dict[str, Message] = {}
        while len(found) < len(identifiers):
            for reply in grid.pull_messages(identifiers):
                found[reply.metadata.reply_to_message_id] = reply
        return [found[identifier] for identifier in identifiers]

    return replies


def test_a_message_comes_out_as_it_went_in() -> None:
    values = np.arange(6, dtype=np.float16).reshape(2, 3)
    content = RecordDict({"arrays": ArrayRecord({"w": Array(values)})})
    sent = make_message(content, 3, "evaluate", LIFETIME)
    came = unpack(pack(sent))
    assert came.metadata.message_id == sent.metadata.message_id != ""
    assert (came.metadata.dst_node_id, came.metadata.src_node_id) == (3, COORDINATOR)
    assert (came.metadata.message_type, came.metadata.ttl) == ("evaluate", LIFETIME)
    found: Any = came.content["arrays"]
    np.testing.assert_array_equal(found["w"].numpy(), values)
    assert found["w"].dtype == "float16"


def test_every_site_is_a_node_and_answers_the_message_it_was_sent(sites: Sites) -> None:
    grid = LocalGrid(3, 2, sites.start)
    nodes = [node.node_id for node in grid.get_nodes()]
    assert nodes == [1, 2, 3]
    replies = ask(grid, *(question(node, f"to {node}") for node in nodes))()
    assert [word_of(reply)[:4] for reply in replies] == ["to 1", "to 2", "to 3"]
    assert [reply.metadata.src_node_id for reply in replies] == nodes


def test_no_more_work_at_the_same_time_than_there_is_room_for(sites: Sites) -> None:
    grid = LocalGrid(3, 2, sites.start)
    replies = ask(grid, *(question(node, "wait") for node in (1, 2, 3)))
    assert sites.working.acquire(timeout=30)
    assert sites.working.acquire(timeout=30)
    assert not sites.working.acquire(timeout=0.3)
    sites.go_on.set()
    assert len(replies()) == 3
    assert sites.started == 2


def test_a_killed_site_is_said_to_have_failed_and_another_takes_its_place(sites: Sites) -> None:
    grid = LocalGrid(2, 1, sites.start)
    lost, answered = ask(grid, question(1, "die"), question(2))()
    assert lost.has_error()
    assert "EOFError" in lost.error.reason
    assert word_of(answered) == "hello 2"


def test_a_message_that_nobody_waits_for_any_more_reaches_no_site(sites: Sites) -> None:
    grid = LocalGrid(2, 1, sites.start)
    late = make_message(question(1).content, 1, "train", -1.0)
    grid.push_messages([late])
    replies = ask(grid, question(2))()
    assert [word_of(one) for one in replies] == ["hello 1"]
    assert list(grid.pull_messages([str(late.metadata.message_id)])) == []
    assert sites.working.acquire(timeout=10)  # by the second message, and by no other
    assert not sites.working.acquire(timeout=0.1)


def test_pulling_waits_for_an_answer_and_takes_it_once(sites: Sites) -> None:
    grid = LocalGrid(1, 1, sites.start)
    [identifier] = grid.push_messages([question(1)])
    found: list[Message] = []
    while not found:
        found = list(grid.pull_messages([identifier]))
    assert list(grid.pull_messages([identifier])) == []
