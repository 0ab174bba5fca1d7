"""The way to the sites of a simulation: the same messages, over sockets of this machine."""

from __future__ import annotations

import queue
import threading
import time
import uuid
from collections.abc import Callable, Iterable
from multiprocessing.connection import Connection
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, Final

from server.rounds.reply_fetcher import AT_ONCE
from shared.runtime.packing import COORDINATOR, RUN, pack, unpack

if TYPE_CHECKING:
    from flwr.app import Message, RecordDict

#: Flower's code of an error of no other kind.
UNKNOWN: Final = 0

#: How long `LocalGrid.pull_messages` waits for an answer that is not there yet: as long as
#: the round loop pauses at most, so that an answer wakes it. Where sites are more than are
#: looked for at once, each look is as much shorter.
PULL_SECONDS: Final = 2.0


def make_message(content: RecordDict, node: int, kind: str, lifetime: float) -> Message:
    """Make a message for a `LocalGrid`, where no SuperLink gives it its identifier.

    Parameters
    ----------
    content : RecordDict
        What is asked.
    node : int
        The site's number, from 1.
    kind : str
        Flower's message type.
    lifetime : float
        Seconds.
    """
    from flwr.app import Message, Metadata

    facts: Any = Metadata(
        run_id=RUN, message_id=uuid.uuid4().hex, src_node_id=COORDINATOR, dst_node_id=node,
        reply_to_message_id="", group_id="", created_at=time.time(), ttl=lifetime,
        message_type=kind,
    )  # fmt: skip
    made: Any = Message
    message: Message = made(content=content, metadata=facts)
    return message


class LocalGrid:
    """Sites on this machine: each message goes to a process that is free.

    A process answers one message after another, of whichever sites. One that is killed
    takes the message it was at with it, as a node does, and another takes its place.

    Parameters
    ----------
    sites : int
        All there are; they are nodes 1, 2, ...
    at_once : int
        How many work at the same time.
    start : callable
        Starts a process; returns the connection on which it answers.
    """

    def __init__(self, sites: int, at_once: int, start: Callable[[], Connection]) -> None:
        self.sites = sites
        self.patience = PULL_SECONDS * min(1.0, AT_ONCE / sites)
        self._start = start
        self._asked: queue.SimpleQueue[Message] = queue.SimpleQueue()
        self._replies: dict[str, Message] = {}
        self._came = threading.Condition()
        for _ in range(at_once):
            threading.Thread(target=self._work, daemon=True).start()

    def get_nodes(self) -> Iterable[Any]:
        """All sites, always; they have no keys, and say by their signatures who they are."""
        return [SimpleNamespace(node_id=one + 1, public_key=b"") for one in range(self.sites)]

    def push_messages(self, messages: Iterable[Message]) -> Iterable[str]:
        """Hand messages to the sites."""
        identifiers = []
        for message in messages:
            self._asked.put(message)
            identifiers.append(str(message.metadata.message_id))
        return identifiers

    def pull_messages(self, message_ids: Iterable[str]) -> Iterable[Message]:
        """Take the replies that are there, or the first to come within a short time."""
        wanted = set(message_ids)
        with self._came:
            self._came.wait_for(lambda: wanted & self._replies.keys(), self.patience)
            return [self._replies.pop(one) for one in wanted & self._replies.keys()]

    def _work(self) -> None:
        """Hand one message after another to one process, begun anew when it is killed."""
        site: Connection | None = None
        while True:
            message = self._asked.get()
            if time.time() > message.metadata.created_at + message.metadata.ttl:
                continue  # nobody waits any more: an answer would spend a site's budget for nothing
            try:
                site = site or self._start()
                site.send_bytes(pack(message))
                reply = unpack(site.recv_bytes())
            except Exception as error:  # of this site alone: the others go on
                site = None
                reply = _failure(message, f"{type(error).__name__}: {error}")
            with self._came:
                self._replies[str(message.metadata.message_id)] = reply
                self._came.notify_all()


def _failure(message: Message, reason: str) -> Message:
    """What Flower says of a program that broke."""
    from flwr.app import Error, Message

    return Message(Error(code=UNKNOWN, reason=reason), reply_to=message)
