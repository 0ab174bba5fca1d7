"""An archive that misbehaves: a true sentence in its time, and nothing else is lost."""

from __future__ import annotations

import shutil
import socket
import struct
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pydicom.dataset import Dataset
from pynetdicom import evt
from pynetdicom.sop_class import MRImageStorage

from client.ingest.folder import IngestReport
from client.ingest.inbox import Inbox
from client.sources import association, dimse, fetch, nodes
from client.sources.dimse import PeerSource
from client.sources.fetch import Fetched, fetch_all
from client.sources.query import Wanted
from client.store.site_store import SiteStore, init_site
from shared.errors import SourceRefusedError, SourceUnavailableError
from shared.runtime.flower import free_port
from shared.settings.files import SiteConfig
from shared.settings.pacs import ListenSettings, PacsSettings, PeerSettings, RetrySettings
from tests.client.stored_objects import an_object

from .misbehaving import BAD, FILES, STUDIES, Archive, archive, found, line

#: Of a site that waits for what comes, and of one that is tried with what does not.
LONG = RetrySettings(
    attempts=2, first_wait_seconds=0.01, timeout_seconds=60.0, patience_seconds=120.0
)
SHORT = LONG.model_copy(update={"patience_seconds": 3.0})
IMPATIENT = LONG.model_copy(update={"timeout_seconds": 0.4, "patience_seconds": 0.4})
#: A sentence is said long before this; a patience of the site's is 600 s.
IN_TIME = 30.0


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    site = tmp_path_factory.mktemp("template") / "site"
    init_site(site, SiteConfig(site="riverside"))
    return site


@pytest.fixture
def site(template: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Make a site that leaves in its inbox what came, to be looked at."""
    shutil.copytree(template, tmp_path / "site")

    def take_nothing(folder: Path) -> IngestReport:
        store = SiteStore.open(folder)
        store.close()
        return IngestReport("riverside", [], 0, 0, {})

    monkeypatch.setattr(fetch, "take_inbox", take_nothing)
    return tmp_path / "site"


@pytest.fixture(autouse=True)
def _nothing_is_left(request: pytest.FixtureRequest) -> Iterator[None]:
    """Fail a test that leaves a thread behind."""
    before = set(threading.enumerate())
    yield
    until = time.monotonic() + 5.0
    while left := [one for one in threading.enumerate() if one not in before]:
        assert time.monotonic() < until, left
        time.sleep(0.01)


class Asked:
    """A site that asks, and what it was told meanwhile."""

    def __init__(self, site: Path, port: int, retry: RetrySettings = LONG) -> None:
        self.site = site
        self.retry = retry
        self.told: list[str] = []
        self.begun = time.monotonic()
        peer = PeerSettings(host="127.0.0.1", port=port, title="PACS")
        settings = PacsSettings(peer=peer, listen=ListenSettings(title="US"), retry=retry)
        self.source = PeerSource(site, settings, self.say)
        self.on_word = threading.Event()

    def say(self, sentence: str | None) -> None:
        if sentence is not None:
            self.told.append(sentence)
            self.on_word.set()

    def fetch(self) -> Fetched:
        return fetch_all(self.site, self.source, Wanted(), self.retry, say=self.say)

    @property
    def came(self) -> dict[str, int]:
        """How many files of each study wait in the inbox."""
        store = SiteStore.open(self.site)
        store.close()
        box = Inbox(self.site, store.secret)
        folders = {study: box.complete / box.name_of(study) for study in STUDIES}
        return {study: len(list(folder.glob("*.dcm"))) for study, folder in folders.items()}


OTHERS = {study: 0 if study == BAD else FILES for study in STUDIES}
ALL = dict.fromkeys(STUDIES, FILES)


def refuse(one: Archive, event: evt.Event) -> Iterator[Any]:
    yield FILES
    yield 0xA702, None


def give_what_is_not_taken(one: Archive, event: evt.Event) -> Iterator[Any]:
    yield FILES
    yield 0xFF00, an_object(BAD, 0)
    other = an_object(BAD, 1)
    other.SOPClassUID = MRImageStorage  # for which there is no context: one failure
    yield 0xFF00, other


def give_fewer(one: Archive, event: evt.Event) -> Iterator[Any]:
    yield 1
    yield 0xFF00, an_object(BAD, 0)


def abort(one: Archive, event: evt.Event) -> Iterator[Any]:
    yield FILES
    yield 0xFF00, an_object(BAD, 0)
    event.assoc.abort()


def say_nothing(one: Archive, event: evt.Event) -> Iterator[Any]:
    one.over.wait()
    yield 0


def only_go_on(one: Archive, event: evt.Event) -> Iterator[Any]:
    response = Dataset()
    response.Status = 0xFF00
    yield FILES
    yield 0xFF00, an_object(BAD, 0)
    one.over.wait()


def send_garbage(one: Archive, event: evt.Event) -> Iterator[Any]:
    event.assoc.dul.socket.send(b"\x04\x00" + struct.pack(">LLBB", 10, 6, 9, 255) + b"junk")
    one.over.wait()
    yield 0


def send_another(one: Archive, event: evt.Event) -> Iterator[Any]:
    yield FILES
    yield 0xFF00, an_object(BAD, 0)
    yield 0xFF00, an_object("1.2.9", 0)  # of another patient


def stop_in_a_part(one: Archive, event: evt.Event) -> Iterator[Any]:
    event.assoc.dul.socket.send(b"\x04\x00" + struct.pack(">L", 1000) + b"half")
    one.over.wait()
    yield 0


def announce_four_gigabytes(one: Archive, event: evt.Event) -> Iterator[Any]:
    event.assoc.dul.socket.send(b"\x04\x00" + b"\xff" * 4 + bytes(1000))
    one.over.wait()
    yield 0


def send_without_end(one: Archive, event: evt.Event) -> Iterator[Any]:
    part = struct.pack(">LBB", 60_002, 1, 0) + bytes(60_000)  # a data set that goes on
    while not one.over.is_set() and event.assoc.is_established:
        event.assoc.dul.socket.send(b"\x04\x00" + struct.pack(">L", len(part)) + part)
    yield 0


@pytest.mark.parametrize(
    ("get", "status", "words"),
    [
        (refuse, "0xA702", "status 0xA702, refused: Out of resources"),
        (give_what_is_not_taken, "0xB000", "status 0xB000, sub-operations complete, one or more"),
        (give_fewer, "", "gave 1 file of a study of 2, asked 2 times"),
        (abort, "", "takes the association and aborts the association at C-GET after 1 file"),
        (say_nothing, "", "gave nothing more of C-GET for 3 s after 0 files"),
        (only_go_on, "", "gave nothing more of C-GET for 3 s after 1 file"),
        (send_garbage, "", "answers C-GET after 0 files with what is no DICOM"),
        (send_another, "", "gave 1 file of a study of 2, and 1 file of another study"),
        (stop_in_a_part, "", "gave nothing more of C-GET for 3 s after 0 files"),
        (announce_four_gigabytes, "", "was cut off at C-GET after 0 files: it sends more than"),
        (send_without_end, "", "was cut off at C-GET after 0 files: it sends more than"),
    ],
)
def test_one_study_is_left_with_its_reason_and_the_others_come(
    site: Path, monkeypatch: pytest.MonkeyPatch, get: Any, status: str, words: str
) -> None:
    monkeypatch.setattr(dimse, "MOST_MESSAGE_BYTES", 200_000)
    port = free_port()
    with archive(port, get=get) as one:
        asked = Asked(site, port, SHORT if "for 3 s" in words else LONG)
        result = asked.fetch()
        one.over.set()
    assert (result.found, result.fetched, result.failed) == (3, 2, 1)
    assert asked.came == OTHERS
    (left,) = result.left
    assert (left.study_uid, left.status) == (BAD, status)
    assert words in left.sentence
    assert result.as_dict()["source"]["studies_left"] == [left.as_dict()]
    assert BAD not in repr(result)
    # What is left is asked for again by the same command, and nothing else.
    with archive(port) as mended:
        again = Asked(site, port)
        assert (again.fetch().fetched, mended.asked) == (1, [BAD])
    assert again.came == ALL


def test_who_answers_late_is_waited_for_and_it_is_said_for_what(site: Path) -> None:
    patient = LONG.model_copy(update={"timeout_seconds": 5.0, "patience_seconds": 4.0})
    port = free_port()

    def late(one: Archive, event: evt.Event) -> Iterator[Any]:
        one.go_on.wait()
        yield FILES
        for number in range(FILES):
            yield 0xFF00, an_object(BAD, number)

    with archive(port, get=late) as one:
        asked = Asked(site, port, patient)
        asked.on_word = one.go_on  # the tape is found when a person has read the sentence
        result = asked.fetch()
    assert (result.fetched, result.failed) == (3, 0)
    assert asked.came == ALL
    assert "waits for the first file of a study (C-GET); nothing came for 1 s" in asked.told[0]
    assert "given up after 4 s, pacs.retry.patience_seconds" in asked.told[0]


def test_nothing_is_connected_to_but_associations(site: Path) -> None:
    port = free_port()
    with archive(port) as one:
        Asked(site, port).fetch()
        assert one.connections == one.associations == 2


def test_who_answers_under_another_title_is_taken_from_and_it_is_noted(site: Path) -> None:
    port = free_port()
    with archive(port, title="OTHER"):
        result = Asked(site, port).fetch()
    assert (result.fetched, result.failed) == (3, 0)
    (note,) = result.notes
    assert note.startswith("answers as 'OTHER', not as PACS")


def test_three_studies_in_vain_are_enough(site: Path) -> None:
    port = free_port()

    def many(one: Archive, event: evt.Event) -> Iterator[Any]:
        for number in range(6):
            yield 0xFF00, found(f"1.3.{number}")

    def only_first(one: Archive, event: evt.Event) -> Iterator[Any]:
        study = event.identifier.StudyInstanceUID
        if study != "1.3.0":
            event.assoc.abort()
            yield 0
            return
        yield FILES
        for number in range(FILES):
            yield 0xFF00, an_object(study, number)

    with archive(port, find=many, get=only_first, bad=[f"1.3.{n}" for n in range(6)]):
        result = Asked(site, port, LONG.model_copy(update={"attempts": 1})).fetch()
    assert (result.found, result.fetched, result.failed) == (6, 1, 5)
    assert ["was not asked for" in left.sentence for left in result.left] == [False] * 3 + [
        True
    ] * 2


def whole(
    site: Path, port: int, words: str, kind: type[Exception], retry: RetrySettings = LONG
) -> Asked:
    """Ask an archive that gives nothing at all; it says so in time."""
    asked = Asked(site, port, retry)
    with pytest.raises(kind, match=words):
        asked.fetch()
    assert time.monotonic() - asked.begun < IN_TIME
    assert asked.came == dict.fromkeys(STUDIES, 0)
    return asked


def test_who_accepts_none_of_what_is_asked_for_is_not_said_to_be_down(site: Path) -> None:
    port = free_port()
    with archive(port, services=False):
        words = "makes an association but does not offer Study Root .*: it does not have this"
        asked = whole(site, port, words, SourceRefusedError)
    assert asked.told == []  # it is said at once


def test_who_finds_without_end_is_cut_off(site: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dimse, "MOST_STUDIES", 50)
    monkeypatch.setattr("client.sources.query.MOST_STUDIES", 50)
    port = free_port()

    def endless(one: Archive, event: evt.Event) -> Iterator[Any]:
        number = 0
        while not one.over.is_set() and event.assoc.is_established:
            number += 1
            yield 0xFF00, found(f"1.2.{number}")

    with archive(port, find=endless):
        whole(site, port, "more than 50 studies .*--from", SourceRefusedError)


def test_who_finds_the_same_again_and_again_is_given_up(site: Path) -> None:
    port = free_port()

    def the_same(one: Archive, event: evt.Event) -> Iterator[Any]:
        while not one.over.wait(0.05) and event.assoc.is_established:
            yield 0xFF00, found(BAD)

    with archive(port, find=the_same):
        whole(site, port, "gave nothing more of C-FIND for 3 s", SourceUnavailableError, SHORT)


def test_who_never_answers_a_query_is_waited_for_as_the_site_says(site: Path) -> None:
    port = free_port()
    with archive(port, find=say_nothing):
        words = "gave nothing more of C-FIND for 3 s.*raise pacs.retry.patience_seconds"
        asked = whole(site, port, words, SourceUnavailableError, SHORT)
    assert "waits for an answer to C-FIND" in asked.told[0]


def stay_silent(one: socket.socket, over: threading.Event) -> None:
    over.wait(5.0)


def reset(one: socket.socket, over: threading.Event) -> None:
    one.recv(1)
    one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def close(one: socket.socket, over: threading.Event) -> None:
    one.recv(100_000)


def answer_as_a_web_server(one: socket.socket, over: threading.Event) -> None:
    one.recv(100_000)
    one.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")


def answer_in_tls(one: socket.socket, over: threading.Event) -> None:
    one.recv(100_000)
    one.sendall(bytes([0x15, 3, 3, 0, 2, 2, 10]))  # an alert: unexpected message


def abort_at_once(one: socket.socket, over: threading.Event) -> None:
    one.recv(100_000)
    one.sendall(bytes([7, 0, 0, 0, 0, 4, 0, 0, 2, 0]))


def half_an_answer(one: socket.socket, over: threading.Event) -> None:
    one.recv(100_000)
    one.sendall(b"\x02\x00\x00\x00\x01\x00half")
    over.wait(5.0)


@pytest.mark.parametrize(
    ("behave", "kind", "words"),
    [
        (stay_silent, SourceUnavailableError, "did not answer our association request in 0.4 s"),
        (reset, SourceUnavailableError, "ends the connection before there is an association"),
        (close, SourceUnavailableError, "ends the connection before there is an association"),
        (abort_at_once, SourceUnavailableError, "aborts instead of answering our association"),
        (half_an_answer, SourceUnavailableError, "did not answer our association|ends the conn"),
        (answer_as_a_web_server, SourceRefusedError, "answers with what is no DICOM"),
        (answer_in_tls, SourceRefusedError, "answers in TLS, which it was not spoken to in"),
    ],
)
def test_who_makes_no_association_is_said_to_be_there(
    site: Path, behave: Any, kind: type[Exception], words: str
) -> None:
    with line(behave) as port:
        asked = Asked(site, port, IMPATIENT)
        with pytest.raises(kind, match=words) as failed:
            asked.source.find(Wanted()) if kind is SourceRefusedError else asked.fetch()
    assert "cannot be reached" not in str(failed.value)
    assert "check that it runs" not in str(failed.value)


def test_who_accepts_and_closes_is_said_to_hang_up(site: Path) -> None:
    port = free_port()

    def hang_up(one: Archive, event: evt.Event) -> Iterator[Any]:
        event.assoc.dul.socket.close()
        yield 0xFE00, None

    with archive(port, find=hang_up):
        whole(site, port, "hangs up at C-FIND", SourceRefusedError)


def test_who_is_down_or_has_no_such_name_is_said_so(site: Path) -> None:
    asked = whole(site, free_port(), "cannot be reached, asked 2 times", SourceUnavailableError)
    assert any("cannot be reached; asked again in 0.01 s" in told for told in asked.told)
    assert nodes.MOST_MESSAGE_BYTES > association.MOST_PDU_BYTES
