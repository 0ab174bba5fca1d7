"""A DICOMweb server is not trusted with our memory, nor with our time."""

from __future__ import annotations

import json
import threading
import time
import tracemalloc
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from pydicom import dcmwrite

from client.sources import dicomweb, web_client
from client.sources.dicomweb import WebSource
from client.sources.query import FoundStudy, Wanted
from client.sources.retry import SilentError, StudyFailedError, TooMuchError, TryAgainError
from shared.errors import SourceRefusedError
from shared.settings.pacs import DicomWebSettings
from tests.client.stored_objects import an_object

MEBIBYTE = 1024**2
#: What may be held of an answer that is too large; the limits below are smaller.
MOST_HELD = 24 * MEBIBYTE
STUDY = FoundStudy("1.2.1", 2)
Reply = Callable[[BaseHTTPRequestHandler], None]


@contextmanager
def server(reply: Reply) -> Iterator[str]:
    """Run a server that answers everything alike; its address."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            with suppress(OSError):  # we hang up on it
                reply(self)
            self.close_connection = True

        def log_message(self, format: str, *arguments: Any) -> None:
            pass

    one = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    one.daemon_threads = False
    thread = threading.Thread(target=one.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"http://127.0.0.1:{one.server_port}/dicom-web"
    finally:
        one.shutdown()
        one.server_close()
        thread.join()


def source(url: str, patience: float = 60.0, told: list[str] | None = None) -> WebSource:
    def say(sentence: str | None) -> None:
        if told is not None and sentence is not None:
            told.append(sentence)

    return WebSource(Path(), DicomWebSettings(url=url), 60.0, patience, say)


def answer(body: Any, kind: str = "application/dicom+json", **headers: str) -> Reply:
    """Make a server that sends a body, or the parts of one without an end."""

    def reply(request: BaseHTTPRequestHandler) -> None:
        request.send_response(200)
        request.send_header("Content-Type", kind)
        for name, value in headers.items():
            request.send_header(name.replace("_", "-"), value)
        request.end_headers()
        for part in [body] if isinstance(body, bytes) else body():
            request.wfile.write(part)

    return reply


def gzipped(size: int) -> bytes:
    packer = zlib.compressobj(9, wbits=31)
    parts = [packer.compress(b" " * MEBIBYTE) for _ in range(size // MEBIBYTE)]
    return b"".join([*parts, packer.flush()])


def endless(part: bytes) -> Callable[[], Iterator[bytes]]:
    def parts() -> Iterator[bytes]:
        while True:
            yield part

    return parts


@contextmanager
def little_memory() -> Iterator[None]:
    tracemalloc.start()
    try:
        yield
        assert tracemalloc.get_traced_memory()[1] < MOST_HELD
    finally:
        tracemalloc.stop()


@pytest.fixture
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(web_client, "MOST_JSON_BYTES", 2 * MEBIBYTE)
    monkeypatch.setattr(web_client, "MOST_PART_BYTES", 2 * MEBIBYTE)
    monkeypatch.setattr(web_client, "MOST_STUDY_BYTES", 6 * MEBIBYTE)


def redirect(request: BaseHTTPRequestHandler) -> None:
    request.send_response(302)
    request.send_header("Location", "http://127.0.0.1:1/")
    request.send_header("Content-Encoding", "gzip")
    request.end_headers()
    request.wfile.write(gzipped(64 * MEBIBYTE))


@pytest.mark.usefixtures("_small")
@pytest.mark.parametrize(
    ("reply", "words"),
    [
        (answer(gzipped(64 * MEBIBYTE), Content_Encoding="gzip"), "answers compressed .'gzip'."),
        (answer(b"x", Content_Encoding="br"), "answers compressed"),
        (answer(endless(b" " * 65536)), "sends more than 2097152 bytes"),
        (answer(b"[" * 1_900_000), "more than 1000000 values"),
        (answer(b"[" + b"[]," * 600_000 + b"0]"), "more than 1000000 values"),
        (answer(b"[" * 100_000 + b"]" * 100_000), "no DICOMweb"),
        (answer(b"[" + b"9" * 1_900_000 + b"]"), "no DICOMweb"),
        (redirect, "sends on to another address"),
    ],
)
def test_an_answer_to_a_query_is_read_within_limits(reply: Reply, words: str) -> None:
    with server(reply) as url:
        one = source(url)
        with little_memory(), pytest.raises(SourceRefusedError, match=words):
            one.find(Wanted())


def multipart(*parts: bytes) -> bytes:
    head = b"\r\n--x\r\nContent-Type: application/dicom\r\n\r\n"
    return b"".join(head + part for part in parts) + b"\r\n--x--"


MULTIPART = 'multipart/related; type="application/dicom"; boundary=x'


@pytest.mark.usefixtures("_small")
@pytest.mark.parametrize(
    ("reply", "words"),
    [
        (answer(gzipped(64 * MEBIBYTE), MULTIPART, Content_Encoding="gzip"), "answers compressed"),
        (answer(endless(bytes(65536)), MULTIPART), "sends more than 2097152 bytes"),
        (answer(endless(bytes(65536)), "application/dicom"), "sends more than 2097152 bytes"),
        (answer(endless(bytes(65536)), "multipart/related"), "sends more than 2097152 bytes"),
        (answer(endless(b"\r\n--x" * 9999), MULTIPART), "more than 50000 files"),
        (answer(endless(multipart(bytes(MEBIBYTE))[:-7]), MULTIPART), "more than 6291456 bytes"),
    ],
)
def test_a_study_is_read_within_limits(reply: Reply, words: str) -> None:
    with server(reply) as url:
        one = source(url)
        with little_memory(), pytest.raises(TooMuchError, match=words):
            one.fetch(STUDY, lambda study_uid, data: True)


def test_a_study_of_more_files_than_any_has_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(web_client, "MOST_INSTANCES", 5)
    for part in (multipart(b"file")[:-7], b"\r\n--x"):
        with (
            server(answer(endless(part), MULTIPART)) as url,
            pytest.raises(TooMuchError, match="more than 5 files"),
        ):
            source(url).fetch(STUDY, lambda study_uid, data: True)


def file_of(study: str, number: int) -> bytes:
    file = BytesIO()
    dcmwrite(file, an_object(study, number), enforce_file_format=True)
    return file.getvalue()


def test_another_patients_study_is_not_taken_for_the_one_that_was_asked_for() -> None:
    body = multipart(file_of("1.2.1", 0), file_of("1.2.9", 0), b"no DICOM at all")
    came: list[bytes] = []

    def deliver(study_uid: str, data: bytes) -> bool:
        came.append(data)
        return True

    with server(answer(body, MULTIPART)) as url:
        one = source(url)
        one.fetch(STUDY, deliver)  # what cannot be read goes on to its verdict
        assert came == [file_of("1.2.1", 0), b"no DICOM at all"]
        with pytest.raises(StudyFailedError, match="2 files of a study of 3, and 1 file of anothe"):
            one.fetch(FoundStudy("1.2.1", 3), deliver)


def test_identity_is_asked_for_and_nothing_else() -> None:
    asked: list[str | None] = []

    def note(request: BaseHTTPRequestHandler) -> None:
        asked.append(request.headers["Accept-Encoding"])
        answer(b"[]")(request)

    with server(note) as url:
        assert source(url).find(Wanted()) == []
    assert asked == ["identity"]


def test_studies_without_end_are_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dicomweb, "MOST_STUDIES", 12)
    monkeypatch.setattr("client.sources.query.MOST_STUDIES", 12)
    count = iter(range(10_000))

    def pages(request: BaseHTTPRequestHandler) -> None:
        page = [{"0020000D": {"vr": "UI", "Value": [f"1.2.{next(count)}"]}} for _ in range(5)]
        answer(json.dumps(page).encode())(request)

    with server(pages) as url:
        with pytest.raises(SourceRefusedError, match="more than 12 studies"):
            source(url).find(Wanted())
        monkeypatch.setattr(dicomweb, "MOST_PAGES", 1)
        with pytest.raises(SourceRefusedError, match="answers a query"):
            source(url).find(Wanted())


def test_a_text_without_end_is_not_kept() -> None:
    study = {
        "0020000D": {"vr": "UI", "Value": ["1.2.1"]},
        "00081030": {"vr": "LO", "Value": ["x" * 100_000]},
        "00080061": {"vr": "CS", "Value": ["CR"] * 5000},
    }
    with server(answer(json.dumps([study]).encode())) as url:
        (found,) = source(url).find(Wanted())
    assert (len(found.description), len(found.modalities)) == (1000, 100)


def drip(head: bytes, kind: str, over: threading.Event) -> Reply:
    def parts() -> Iterator[bytes]:
        yield head
        while not over.wait(0.02):
            yield b" "

    return answer(parts, kind)


@pytest.mark.parametrize("what", ["query", "study", "header", "silence"])
def test_who_sends_a_byte_now_and_then_is_given_up(what: str) -> None:
    over = threading.Event()
    replies: dict[str, Reply] = {
        "query": drip(b"[", "application/dicom+json", over),
        "study": drip(b"\r\n--x\r\n\r\n", MULTIPART, over),
    }

    def slow_header(request: BaseHTTPRequestHandler) -> None:
        request.wfile.write(b"HTTP/1.1 200 OK\r\nX-Slow: ")
        while not over.wait(0.02):
            request.wfile.write(b"x")

    def silence(request: BaseHTTPRequestHandler) -> None:
        over.wait(60.0)

    told: list[str] = []
    begun = time.monotonic()
    with server({"header": slow_header, "silence": silence}.get(what) or replies[what]) as url:
        one = source(url, 0.5, told)
        try:
            with pytest.raises(SilentError, match=r"gave nothing more for 0\.5 s"):
                one.fetch(STUDY, lambda *file: True) if what == "study" else one.find(Wanted())
        finally:
            over.set()
    assert time.monotonic() - begun < 30.0
    waits = "the first file of a study" if what == "study" else "an answer to a query"
    assert f"{url}: waits for {waits}; nothing came for " in told[0]


def test_a_study_that_is_late_is_waited_for_and_one_that_is_refused_says_its_status() -> None:
    told: list[str] = []
    go_on = threading.Event()

    def say(sentence: str | None) -> None:
        told.append(sentence or "")
        go_on.set()

    def late(request: BaseHTTPRequestHandler) -> None:
        go_on.wait(60.0)
        body = multipart(file_of("1.2.1", 0), file_of("1.2.1", 1))
        answer(body, MULTIPART)(request)

    with server(late) as url:
        one = WebSource(Path(), DicomWebSettings(url=url), 60.0, 8.0, say)
        one.fetch(STUDY, lambda study_uid, data: True)
    assert "given up after 8 s, pacs.retry.patience_seconds" in told[0]
    assert told[-1] == ""  # the wait is over, and so is its sentence

    def refused(request: BaseHTTPRequestHandler) -> None:
        request.send_error(503)

    with server(refused) as url, pytest.raises(StudyFailedError, match="answers 503") as failed:
        source(url).fetch(STUDY, lambda study_uid, data: True)
    assert failed.value.status == "503 Service Unavailable"
    with server(refused) as url, pytest.raises(TryAgainError, match="answers 503"):
        source(url).find(Wanted())
