"""A DIMSE peer that rejects: what it says reaches who asks, however fast it hangs up."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from pynetdicom.acse import ACSE
from pynetdicom.pdu import A_ASSOCIATE_RJ
from pynetdicom.sop_class import Verification

from client.sources.dimse import PeerSource
from client.sources.nodes import new_node
from client.sources.refusals import reason_of
from client.sources.retry import TryAgainError
from shared.errors import SourceRefusedError
from shared.runtime.flower import free_port
from shared.settings.pacs import ListenSettings, PacsSettings, PeerSettings
from tests.suite.waiting import wait_for


@contextmanager
def a_pacs(port: int, *, most_associations: int = 10) -> Iterator[None]:
    node = new_node("PACS", 10.0)
    node.require_called_aet = True
    node.maximum_associations = most_associations
    node.add_supported_context(Verification)
    server = node.start_server(("127.0.0.1", port), block=False)
    assert server is not None
    try:
        yield
    finally:
        node.shutdown()


@pytest.fixture(params=["at once", "late"])
def looks(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the thread that asks look at the connection at once, or only when it is closed again."""
    if request.param == "at once":
        return
    send = ACSE.send_request

    def send_and_be_late(self: ACSE) -> None:
        send(self)
        states = self.dul.state_machine
        wait_for(lambda: states.current_state not in ("Sta1", "Sta4"), every=0.001)
        wait_for(lambda: states.current_state != "Sta5", every=0.001)

    monkeypatch.setattr(ACSE, "send_request", send_and_be_late)


def check(folder: Path, port: int, title: str) -> None:
    peer = PeerSettings(host="127.0.0.1", port=port, title=title)
    PeerSource(folder, PacsSettings(peer=peer, listen=ListenSettings(title="US"))).check()


@pytest.mark.usefixtures("looks")
def test_a_peer_says_that_it_does_not_know_the_title(tmp_path: Path) -> None:
    port = free_port()
    with a_pacs(port):
        check(tmp_path, port, "PACS")
        with pytest.raises(SourceRefusedError, match="rejected the association: called ae title"):
            check(tmp_path, port, "SOMEBODY")


def test_a_reason_that_the_standard_does_not_know_is_still_a_sentence() -> None:
    rejection = A_ASSOCIATE_RJ()
    rejection.decode(bytes([3, 0, 0, 0, 0, 4, 0, 1, 1, 99]))  # PS3.8, 9.3.4
    assert reason_of(rejection) == "no reason that the standard knows"


@pytest.mark.usefixtures("looks")
def test_a_peer_that_is_busy_is_asked_again(tmp_path: Path) -> None:
    port = free_port()
    with a_pacs(port, most_associations=1):
        occupant = new_node("OTHER", 10.0)
        occupant.add_requested_context(Verification)
        held = occupant.associate("127.0.0.1", port, ae_title="PACS")
        assert held.is_established
        with pytest.raises(TryAgainError, match="is busy"):
            check(tmp_path, port, "PACS")
        held.release()
