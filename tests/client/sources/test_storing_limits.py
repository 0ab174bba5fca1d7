"""Who pushes more than is taken, or what is no DICOM, is cut off; the next one is served."""

from __future__ import annotations

import socket
import struct
import tracemalloc
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from pynetdicom import AE
from pynetdicom.association import Association
from pynetdicom.sop_class import SecondaryCaptureImageStorage

from client.sources import nodes
from client.sources.association import MOST_PDU_BYTES
from client.sources.nodes import OUT_OF_RESOURCES, STORED, serving, storing_node
from shared.runtime.flower import free_port
from shared.settings.pacs import ListenSettings
from tests.client.stored_objects import an_object
from tests.suite.waiting import wait_for

MOST = 500_000


@pytest.fixture
def came() -> list[str]:
    return []


@pytest.fixture
def port(tmp_path: Path, came: list[str], monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    monkeypatch.setattr(nodes, "MOST_MESSAGE_BYTES", MOST)
    listen = ListenSettings(port=free_port(), senders=("HOSPITAL",))

    def deliver(study_uid: str, data: bytes) -> bool:
        came.append(study_uid)
        return True

    with serving(storing_node("OSTEOFED", ["HOSPITAL"], 30.0), tmp_path, listen, deliver):
        yield listen.port


def calling(port: int) -> Association:
    node = AE(ae_title="HOSPITAL")
    node.add_requested_context(SecondaryCaptureImageStorage)
    association = node.associate("127.0.0.1", port, ae_title="OSTEOFED")
    assert association.is_established
    return association


def require_served(port: int, came: list[str]) -> None:
    """Push one small file."""
    association = calling(port)
    assert association.send_c_store(an_object("1.2.3", 0)).Status == STORED
    association.release()
    assert came[-1] == "1.2.3"


def test_a_file_without_end_is_cut_off_while_it_is_read(port: int, came: list[str]) -> None:
    association = calling(port)
    line = association.dul.socket.socket
    assert line is not None
    part = struct.pack(">LBB", 60_002, 1, 0) + bytes(60_000)  # a data set that goes on
    much = (b"\x04\x00" + struct.pack(">L", len(part)) + part) * 1000  # 60 MB
    tracemalloc.start()
    try:
        with pytest.raises(OSError, match=r"."):
            line.sendall(much)
        assert tracemalloc.get_traced_memory()[1] < 10 * MOST
    finally:
        tracemalloc.stop()
    association.abort()
    line.close()
    assert came == []
    require_served(port, came)


@pytest.mark.parametrize(
    "junk",
    [
        b"GET / HTTP/1.1\r\n\r\n",
        b"\x01\x00" + b"\xff" * 4 + bytes(1000),  # an association request of 4 GB
        b"\x01\x00" + struct.pack(">L", MOST_PDU_BYTES + 1),
        b"\x04\x00" + struct.pack(">LLBB", 10, 6, 9, 255) + b"junk",
        b"\x01\x00\x00\x00\x00\x10short",
    ],
)
def test_who_sends_no_dicom_is_cut_off(port: int, came: list[str], junk: bytes) -> None:
    with socket.create_connection(("127.0.0.1", port), 30.0) as line, suppress(OSError):
        line.sendall(junk)
        line.shutdown(socket.SHUT_WR)
        while line.recv(1000):
            pass
    require_served(port, came)


def test_who_connects_and_asks_nothing_holds_no_place(port: int, came: list[str]) -> None:
    for _ in range(11):  # ten may be connected at once
        socket.create_connection(("127.0.0.1", port), 30.0).close()
    wait_for(lambda: _places(port), every=0.1)
    require_served(port, came)


def _places(port: int) -> bool:
    """Whether there is room for one more caller."""
    node = AE(ae_title="HOSPITAL")
    node.add_requested_context(SecondaryCaptureImageStorage)
    association = node.associate("127.0.0.1", port, ae_title="OSTEOFED")
    if association.is_established:
        association.release()
        return True
    return False


def test_so_many_files_of_one_association_and_no_more(
    port: int, came: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(nodes, "MOST_INSTANCES", 3)
    association = calling(port)
    statuses = [association.send_c_store(an_object("1.2.1", n)).Status for n in range(5)]
    association.release()
    assert statuses == [STORED] * 3 + [OUT_OF_RESOURCES] * 2
    assert len(came) == 3
    require_served(port, came)  # the next one may send as many again
