"""An archive that misbehaves: a real DIMSE node, or a bare line, made to do what it should not."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

from pydicom.dataset import Dataset
from pynetdicom import AE, evt
from pynetdicom.sop_class import (
    CTImageStorage,
    SecondaryCaptureImageStorage,
    StudyRootQueryRetrieveInformationModelFind,
    StudyRootQueryRetrieveInformationModelGet,
    Verification,
)

from client.sources.nodes import new_node
from tests.client.stored_objects import an_object

#: Three studies of two files each.
STUDIES = ("1.2.1", "1.2.2", "1.2.3")
FILES = 2
#: The one that an archive misbehaves at; the others must not be lost.
BAD = STUDIES[1]


def found(study: str) -> Dataset:
    dataset = Dataset()
    dataset.QueryRetrieveLevel = "STUDY"
    dataset.StudyInstanceUID = study
    dataset.NumberOfStudyRelatedInstances = FILES
    return dataset


@dataclass
class Archive:
    """A real node with three studies, and what it does instead of giving them.

    Attributes
    ----------
    over : Event
        Set when the test is over: whoever answers nothing waits for it.
    go_on : Event
        Set by a test that waits for something first.
    connections, associations : int
        That were made.
    asked : list of str
        Studies that were asked for, in order.
    find, get : callable
        The handlers; `get` is called only for `bad`.
    title : str
        By which it answers, where not by its own.
    bad : collection of str
        Studies that it misbehaves at.
    """

    over: threading.Event = field(default_factory=threading.Event)
    go_on: threading.Event = field(default_factory=threading.Event)
    connections: int = 0
    associations: int = 0
    asked: list[str] = field(default_factory=list)
    find: Callable[[Archive, evt.Event], Iterator[Any]] | None = None
    get: Callable[[Archive, evt.Event], Iterator[Any]] | None = None
    title: str = ""
    bad: Collection[str] = (BAD,)

    def on_find(self, event: evt.Event) -> Iterator[Any]:
        if self.find is not None:
            yield from self.find(self, event)
            return
        for study in STUDIES:
            yield 0xFF00, found(study)

    def on_get(self, event: evt.Event) -> Iterator[Any]:
        study = event.identifier.StudyInstanceUID
        self.asked.append(study)
        if study in self.bad and self.get is not None:
            yield from self.get(self, event)
            return
        yield FILES
        for number in range(FILES):
            yield 0xFF00, an_object(study, number)

    def on_connection(self, event: evt.Event) -> None:
        self.connections += 1

    def on_request(self, event: evt.Event) -> None:
        self.associations += 1
        if self.title:
            event.assoc.requestor.primitive.called_ae_title = self.title


@contextmanager
def archive(port: int, *, services: bool = True, **behaviour: Any) -> Iterator[Archive]:
    """Run an archive on a port of this machine; nothing of it is left behind."""
    one = Archive(**behaviour)
    node = new_node("PACS", 30.0)
    node.add_supported_context(Verification)
    if services:
        node.add_supported_context(StudyRootQueryRetrieveInformationModelFind)
        node.add_supported_context(StudyRootQueryRetrieveInformationModelGet)
        for kind in (SecondaryCaptureImageStorage, CTImageStorage):
            node.add_supported_context(kind, scp_role=True, scu_role=True)
    handlers = [
        (evt.EVT_C_FIND, one.on_find),
        (evt.EVT_C_GET, one.on_get),
        (evt.EVT_CONN_OPEN, one.on_connection),
        (evt.EVT_REQUESTED, one.on_request),
    ]
    node.start_server(("127.0.0.1", port), block=False, evt_handlers=handlers)
    try:
        yield one
    finally:
        one.over.set()
        one.go_on.set()
        ended(node)


def ended(node: AE) -> None:
    """Wait for the callers to leave, and end the node."""
    for association in node.active_associations:
        association.join(5.0)
    node.shutdown()


@contextmanager
def line(behave: Callable[[socket.socket, threading.Event], None]) -> Iterator[int]:
    """Run something that takes connections and is no node; its port."""
    over = threading.Event()
    server = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        while True:
            try:
                one, _ = server.accept()
            except OSError:
                return
            with one, suppress(OSError):
                one.settimeout(5.0)
                behave(one, over)

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield server.getsockname()[1]
    finally:
        over.set()
        with suppress(OSError):
            server.shutdown(socket.SHUT_RDWR)
        server.close()
        thread.join()
