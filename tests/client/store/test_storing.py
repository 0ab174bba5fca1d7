"""What is sent to a node by C-STORE: taken, or refused so that the sender keeps it."""

from __future__ import annotations

import threading
from io import BytesIO
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from pydicom import dcmread, dcmwrite
from pydicom.dataset import Dataset
from pydicom.uid import DeflatedExplicitVRLittleEndian, ExplicitVRLittleEndian
from pynetdicom import AE
from pynetdicom.sop_class import SecondaryCaptureImageStorage

from client.ingest.folder import IngestReport
from client.ingest.inbox import Inbox
from client.sources import router
from client.sources.association import call
from client.sources.dimse import PeerSource
from client.sources.listen import listen
from client.sources.nodes import (
    CANNOT_UNDERSTAND,
    OUT_OF_RESOURCES,
    STORED,
    Deliver,
    storing,
    storing_node,
    study_of,
)
from client.sources.query import FoundStudy
from client.sources.refusals import NOT_AUTHORISED
from client.sources.taking import Taking
from client.store.site_store import SETTINGS, SiteStore, init_site
from shared.dicom import parsing
from shared.runtime.flower import free_port
from shared.settings.files import SiteConfig, save_settings
from shared.settings.pacs import ListenSettings, PacsSettings, PeerSettings, RetrySettings
from tests.client.stored_objects import an_object


def file_of(dataset: Dataset) -> bytes:
    file = BytesIO()
    dcmwrite(file, dataset, enforce_file_format=True)
    return file.getvalue()


class FakeAssociation:
    """Stands for the association that a file came by."""


def answer(deliver: Deliver, data: bytes) -> int:
    event: Any = SimpleNamespace(encoded_dataset=lambda: data, assoc=FakeAssociation())
    return storing(deliver)(event)


def push(port: int, title: str, dataset: Dataset) -> int | None:
    """Status of one C-STORE; None if the association is rejected."""
    node = AE(ae_title=title)
    node.add_requested_context(SecondaryCaptureImageStorage, ExplicitVRLittleEndian)
    association, heard = call(node, ("127.0.0.1", port), "OSTEOFED", most_bytes=10_000)
    if not association.is_established:
        assert heard.rejection is not None
        return None
    status = int(association.send_c_store(dataset).Status)
    association.release()
    return status


def test_only_what_is_kept_is_a_success() -> None:
    data = file_of(an_object())

    def full(study_uid: str, data: bytes) -> bool:
        raise OSError

    assert answer(lambda study_uid, data: True, data) == STORED
    assert answer(lambda study_uid, data: False, data) == STORED  # it is there already
    assert answer(full, data) == OUT_OF_RESOURCES
    assert answer(lambda study_uid, data: True, b"no DICOM") == CANNOT_UNDERSTAND
    assert answer(router._take_nothing, data) == NOT_AUTHORISED  # `site echo` listens for a moment


def test_during_a_retrieval_nothing_but_what_was_asked_for_is_taken(tmp_path: Path) -> None:
    port = free_port()
    settings = PacsSettings(
        peer=PeerSettings(host="127.0.0.1", port=1, title="HOSPITAL", retrieve="move"),
        listen=ListenSettings(port=port, senders=("SCANNER",)),
        retry=RetrySettings(timeout_seconds=5.0),
    )
    source = PeerSource(tmp_path, settings)
    came: list[str] = []

    def deliver(study_uid: str, data: bytes) -> bool:
        came.append(study_uid)
        return len(came) == 1

    with source.ready():
        assert push(port, "HOSPITAL", an_object()) == NOT_AUTHORISED  # nothing was asked for
        source._taking = Taking(FoundStudy("1.2.3", 1), deliver)
        assert push(port, "HOSPITAL", an_object("1.2.5")) == NOT_AUTHORISED
        assert push(port, "SCANNER", an_object()) is None
        assert push(port, "HOSPITAL", an_object()) == STORED
        assert push(port, "HOSPITAL", an_object()) == STORED
    assert came == ["1.2.3", "1.2.3"]


def test_nothing_deflated_is_asked_for_and_what_comes_so_all_the_same_is_known() -> None:
    for context in storing_node("OSTEOFED", ["HOSPITAL"], 1.0).supported_contexts:
        assert not any("eflate" in syntax.name for syntax in context.transfer_syntax or [])
    dataset = an_object()
    assert study_of(file_of(dataset)) == "1.2.3"
    dataset.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    deflated = file_of(dataset)
    assert dcmread(BytesIO(deflated)).StudyInstanceUID == "1.2.3"
    assert study_of(deflated) == "1.2.3"  # within the bounds of `shared.dicom.parsing`


def test_a_header_without_end_is_not_read_to_its_end(monkeypatch: pytest.MonkeyPatch) -> None:
    dataset = an_object()
    for number in range(200):
        dataset.add_new((0x0009, 0x1000 + number), "LO", "x")
    data = file_of(dataset)
    assert study_of(data) == "1.2.3"
    monkeypatch.setattr(parsing, "MOST_READS", 100)
    assert study_of(data) == ""


def listening_site(folder: Path) -> Path:
    init_site(folder, SiteConfig(site="riverside"))
    node = ListenSettings(port=free_port(), senders=("HOSPITAL",), quiet_seconds=0.1)
    settings = SiteConfig(site="riverside", pacs=PacsSettings(listen=node))
    save_settings(settings, folder / SETTINGS)
    return folder


@pytest.mark.parametrize("half", [False, True])
def test_complete_studies_that_a_kill_left_are_taken_at_the_next_start(
    tmp_path: Path, half: bool
) -> None:
    site = listening_site(tmp_path / "site")
    store = SiteStore.open(site)
    store.close()
    inbox = Inbox(site, store.secret, "pushed")
    inbox.deliver("1.2.3", file_of(an_object()))
    inbox.finish(inbox.name_of("1.2.3"))
    if half:
        inbox.deliver("1.2.5", file_of(an_object("1.2.5")))
    reports: list[IngestReport] = []
    stop = threading.Event()
    ends = threading.Timer(20.0, stop.set)
    ends.start()
    listen(site, reports.append, once=True, stop=stop)
    ends.cancel()
    assert [len(report.files) for report in reports] == [1 + half]
    assert not inbox.waiting()
    assert not inbox.studies()
