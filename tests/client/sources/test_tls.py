"""Connections to a PACS: certificates are checked, odd servers are told apart."""

from __future__ import annotations

import gc
import json
import logging
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from pynetdicom.sop_class import Verification

from client.sources.dicomweb import WebSource
from client.sources.dimse import PeerSource
from client.sources.nodes import new_node, serving, silence, storing_node
from client.sources.query import FoundStudy, Wanted
from client.sources.retry import StudyFailedError, TryAgainError
from server.deployment.pki import CA, CA_KEY, SERVER, SERVER_KEY, make_home
from shared.errors import (
    ConfigError,
    ConfigValueError,
    InputMissingError,
    PlaceholderSecretError,
    SourceRefusedError,
)
from shared.runtime.flower import free_port
from shared.settings.pacs import (
    DicomWebSettings,
    ListenSettings,
    PacsSettings,
    PeerSettings,
    RetrySettings,
    TlsSettings,
)


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("keys") / "home"
    make_home(folder, "127.0.0.1")
    return folder


class Answers(BaseHTTPRequestHandler):
    """Answers by the first part of the path; knows 7 studies and ignores every filter."""

    def do_GET(self) -> None:
        what = urlsplit(self.path).path.split("/")[1]
        asked = parse_qs(urlsplit(self.path).query)
        if what == "moved":
            self.answer(302, b"", Location="http://127.0.0.1:1/elsewhere")
        elif what == "busy":
            self.answer(503, b"")
        elif what == "page":
            self.answer(200, b"<html>hello</html>")
        elif what == "empty":
            self.answer(204, b"")
        elif what == "numbers":
            self.answer(200, b"[1, 2]")
        elif what == "picture":
            self.answer(200, b"no DICOM", **{"Content-Type": "image/jpeg"})
        elif what == "file":
            self.answer(200, b"DICOM", **{"Content-Type": "application/dicom"})
        else:
            first = 0 if what == "stubborn" else int(asked.get("offset", ["0"])[0])
            studies = [
                {
                    "0020000D": {"vr": "UI", "Value": [f"1.2.{number}"]},
                    "00080020": {"vr": "DA", "Value": [f"2024010{number}"]},
                    "00080061": {"vr": "CS", "Value": ["CT" if number == 3 else "CR"]},
                }
                for number in range(1, 8)
            ]
            studies.append({"0020000D": {"vr": "UI", "Value": ["../../1.2"]}})
            self.answer(200, json.dumps(studies[first : first + 3]).encode())

    def answer(self, status: int, body: bytes, **headers: str) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *arguments: Any) -> None:
        pass


class QuietServer(ThreadingHTTPServer):
    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that does not trust us breaks the connection, as it should."""


@contextmanager
def web_server(tls: ssl.SSLContext | None = None) -> Iterator[int]:
    server = QuietServer(("127.0.0.1", 0), Answers)
    if tls is not None:
        server.socket = tls.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def web(folder: Path, url: str, **more: Any) -> WebSource:
    return WebSource(folder, DicomWebSettings(url=url, **more), 10.0)


def test_a_web_server_is_trusted_only_by_its_certificate(tmp_path: Path, keys: Path) -> None:
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(keys / SERVER, keys / SERVER_KEY)
    with web_server(tls) as port:
        url = f"https://127.0.0.1:{port}/whole"
        assert len(web(tmp_path, url, tls=TlsSettings(authority=keys / CA)).find(Wanted())) == 7
        with pytest.raises(SourceRefusedError, match="TLS"):
            web(tmp_path, url).find(Wanted())


def test_a_server_is_asked_to_its_last_page_and_its_answers_are_looked_at_again(
    tmp_path: Path,
) -> None:
    from datetime import date

    with web_server() as port:
        pages = web(tmp_path, f"http://127.0.0.1:{port}/whole")
        uids = [study.study_uid for study in pages.find(Wanted())]
        assert uids == [f"1.2.{number}" for number in range(1, 8)]  # what is no UID is left out
        assert [s.study_uid for s in pages.find(Wanted(modalities=("CT",)))] == ["1.2.3"]
        days = Wanted(date(2024, 1, 2), date(2024, 1, 4))
        assert [s.study_uid for s in pages.find(days)] == ["1.2.2", "1.2.3", "1.2.4"]
        stubborn = web(tmp_path, f"http://127.0.0.1:{port}/stubborn")
        assert len(stubborn.find(Wanted())) == 3
        assert web(tmp_path, f"http://127.0.0.1:{port}/empty").find(Wanted()) == []


def test_odd_answers_are_told_apart(tmp_path: Path) -> None:
    with web_server() as port:
        for path, error, words in (
            ("moved", SourceRefusedError, "another address"),
            ("page", SourceRefusedError, "not as a DICOMweb server"),
            ("busy", TryAgainError, "503"),
            ("numbers", SourceRefusedError, "no DICOMweb"),
        ):
            with pytest.raises(error, match=words):
                web(tmp_path, f"http://127.0.0.1:{port}/{path}").find(Wanted())


def test_an_odd_answer_fails_its_study_and_our_own_mistakes_stay_ours(tmp_path: Path) -> None:
    came: list[bytes] = []

    def take(study_uid: str, data: bytes) -> bool:
        came.append(data)
        return True

    def mistaken(study_uid: str, data: bytes) -> bool:
        raise KeyError("a mistake of ours")

    study = FoundStudy("1.2.3", 1)
    with web_server() as port:
        for path in ("empty", "page", "picture"):
            with pytest.raises(StudyFailedError, match="no DICOM"):
                web(tmp_path, f"http://127.0.0.1:{port}/{path}").fetch(study, take)
        whole = web(tmp_path, f"http://127.0.0.1:{port}/file")
        whole.fetch(study, take)
        with pytest.raises(KeyError, match="a mistake of ours"):
            whole.fetch(study, mistaken)
    assert came == [b"DICOM"]


def test_credentials_are_private_and_never_sent_in_the_clear(tmp_path: Path) -> None:
    secret = tmp_path / "password"
    secret.write_text("user:word\n")
    secret.chmod(0o644)
    for url, more, error, words in (
        ("http://pacs.example/dicom-web", {}, ConfigValueError, "no TLS"),
        ("http://127.0.0.1/dicom-web", {"credentials": secret}, PlaceholderSecretError, "0600"),
        ("http://127.0.0.1/", {"credentials": tmp_path / "none"}, InputMissingError, "no such"),
        ("https://127.0.0.1/", {"tls": TlsSettings(authority=Path("no.pem"))}, InputMissingError,
         "no such"),
    ):  # fmt: skip
        with pytest.raises(error, match=words):
            web(tmp_path, url, **more)
    secret.chmod(0o600)
    secret.write_text("nothing of the kind\n")
    with pytest.raises(PlaceholderSecretError, match="one line"):
        web(tmp_path, "http://127.0.0.1/", credentials=secret)
    web(tmp_path, "http://pacs.example/dicom-web", insecure=True)


def ours(keys: Path) -> TlsSettings:
    """Certificates of who calls; the server's own is for servers only, the authority's is not."""
    return TlsSettings(authority=keys / CA, certificate=keys / CA, key=keys / CA_KEY)


@contextmanager
def pacs_of(keys: Path, port: int, *, asks_for_ours: bool) -> Iterator[None]:
    """Run a node as a PACS's: whether it asks for a certificate is its own business."""
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(keys / SERVER, keys / SERVER_KEY)
    if asks_for_ours:
        tls.load_verify_locations(keys / CA)
        tls.verify_mode = ssl.CERT_REQUIRED
    node = new_node("PACS", 10.0)
    node.add_supported_context(Verification)
    node.start_server(("127.0.0.1", port), block=False, ssl_context=tls)
    try:
        yield
    finally:
        node.shutdown()


# pynetdicom leaves a socket open that TLS ended.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("asks_for_ours", [False, True])
def test_a_node_is_trusted_only_by_its_certificate_and_so_are_we(
    tmp_path: Path, keys: Path, asks_for_ours: bool
) -> None:
    port = free_port()

    def check(tls: TlsSettings) -> None:
        peer = PeerSettings(host="127.0.0.1", port=port, title="PACS", tls=tls)
        settings = PacsSettings(
            peer=peer, listen=ListenSettings(title="US"), retry=RetrySettings(timeout_seconds=10.0)
        )
        PeerSource(tmp_path, settings).check()

    with pacs_of(keys, port, asks_for_ours=asks_for_ours):
        if asks_for_ours:
            with pytest.raises(SourceRefusedError, match="TLS"):
                check(TlsSettings(authority=keys / CA))
            check(ours(keys))
        else:
            check(TlsSettings(authority=keys / CA))
            with pytest.raises(SourceRefusedError, match="TLS"):
                check(TlsSettings())
    gc.collect()


def listens(folder: Path, **settings: Any) -> None:
    listen = ListenSettings(port=free_port(), senders=("US",), **settings)
    node = storing_node("US", ["US"], 1.0)
    with serving(node, folder, listen, lambda study_uid, data: True):
        pass


# pynetdicom leaves a socket open that TLS ended.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_with_tls_only_who_shows_a_certificate_may_push(tmp_path: Path, keys: Path) -> None:
    own = {"certificate": keys / SERVER, "key": keys / SERVER_KEY}
    with pytest.raises(ConfigError, match="certificate"):
        listens(tmp_path, tls=TlsSettings())
    with pytest.raises(ConfigValueError, match="authority is missing"):
        listens(tmp_path, tls=TlsSettings(**own))
    tls = TlsSettings(**own, authority=keys / CA)
    listen = ListenSettings(port=free_port(), senders=("US",), title="PACS", tls=tls)

    def check(tls: TlsSettings) -> None:
        peer = PeerSettings(host="127.0.0.1", port=listen.port, title="PACS", tls=tls)
        settings = PacsSettings(peer=peer, listen=ListenSettings(title="US"))
        PeerSource(tmp_path, settings).check()

    node = storing_node(listen.title, ["US"], 10.0)
    with serving(node, tmp_path, listen, lambda study_uid, data: True):
        check(ours(keys))
        with pytest.raises(SourceRefusedError, match="TLS"):
            check(TlsSettings(authority=keys / CA))
    gc.collect()


# pynetdicom leaves a socket open that TLS ended.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_who_connects_and_says_nothing_keeps_nobody_waiting(tmp_path: Path, keys: Path) -> None:
    tls = TlsSettings(authority=keys / CA, certificate=keys / SERVER, key=keys / SERVER_KEY)
    listen = ListenSettings(port=free_port(), senders=("US",), title="PACS", tls=tls)
    peer = PeerSettings(host="127.0.0.1", port=listen.port, title="PACS", tls=ours(keys))
    retry = RetrySettings(timeout_seconds=5.0, attempts=1)
    settings = PacsSettings(peer=peer, listen=ListenSettings(title="US"), retry=retry)
    node = storing_node(listen.title, ["US"], 30.0)
    with ExitStack() as open_lines:
        begun = time.monotonic()
        with serving(node, tmp_path, listen, lambda study_uid, data: True):
            silent = [
                open_lines.enter_context(socket.create_connection(("127.0.0.1", listen.port)))
                for _ in range(3)
            ]
            silent[0].sendall(b"\x16\x03\x01")  # the beginning of a handshake, and no more
            time.sleep(0.2)
            PeerSource(tmp_path, settings).check()
        assert time.monotonic() - begun < 10  # the silent have 30 s, and the end waits for none
    gc.collect()


# pynetdicom leaves a socket open that TLS ended.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_who_does_not_shake_hands_in_time_is_cut_off(tmp_path: Path, keys: Path) -> None:
    tls = TlsSettings(authority=keys / CA, certificate=keys / SERVER, key=keys / SERVER_KEY)
    listen = ListenSettings(port=free_port(), senders=("US",), title="PACS", tls=tls)
    node = storing_node(listen.title, ["US"], 0.5)
    with (
        serving(node, tmp_path, listen, lambda study_uid, data: True),
        socket.create_connection(("127.0.0.1", listen.port), timeout=10) as silent,
    ):
        assert silent.recv(1) == b""
        assert node.active_associations == []
    gc.collect()


def test_between_machines_dimse_is_in_the_clear_only_on_purpose(tmp_path: Path) -> None:
    everywhere = "0.0.0.0"  # noqa: S104
    with pytest.raises(ConfigValueError, match=r"pacs\.listen: 0\.0\.0\.0 has no TLS"):
        listens(tmp_path, host=everywhere)
    listens(tmp_path, host=everywhere, insecure=True)
    listens(tmp_path, host="localhost")
    peer = {"host": "pacs.example", "title": "PACS"}
    with pytest.raises(ConfigValueError, match=r"pacs\.peer: pacs\.example has no TLS"):
        PeerSource(tmp_path, PacsSettings(peer=PeerSettings(**peer)))
    PeerSource(tmp_path, PacsSettings(peer=PeerSettings(**peer, insecure=True)))
    PeerSource(tmp_path, PacsSettings(peer=PeerSettings(**peer | {"host": "127.0.0.1"})))


def test_a_private_key_that_others_may_read_is_refused(tmp_path: Path, keys: Path) -> None:
    key, both = tmp_path / "key.pem", tmp_path / "both.pem"
    key.write_bytes((keys / SERVER_KEY).read_bytes())
    both.write_bytes((keys / SERVER).read_bytes() + key.read_bytes())
    peer = {"host": "127.0.0.1", "title": "PACS"}
    split = TlsSettings(authority=keys / CA, certificate=keys / SERVER, key=key)
    joined = TlsSettings(authority=keys / CA, certificate=both)

    def make(tls: TlsSettings) -> None:
        web(tmp_path, "https://127.0.0.1/", tls=tls)
        PeerSource(tmp_path, PacsSettings(peer=PeerSettings(**peer, tls=tls)))

    for path, tls in ((key, split), (both, joined)):
        path.chmod(0o600)
        make(tls)
        path.chmod(0o640)
        with pytest.raises(PlaceholderSecretError, match="private key"):
            web(tmp_path, "https://127.0.0.1/", tls=tls)
        with pytest.raises(PlaceholderSecretError, match="private key"):
            PeerSource(tmp_path, PacsSettings(peer=PeerSettings(**peer, tls=tls)))
    with pytest.raises(PlaceholderSecretError, match="private key"):
        listens(tmp_path, tls=split)


def test_libraries_that_talk_to_a_pacs_log_nothing(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    # MLflow and dicomweb-client give a module's logger a level of its own.
    own = logging.getLogger("urllib3.connectionpool")
    before = own.level
    own.setLevel(logging.DEBUG)
    try:
        silence()
        for name in ("pynetdicom.dul", "dicomweb_client.web", "urllib3", "pydicom"):
            logging.getLogger(name).error("GET /studies/1.2.3")
        own.error("GET /studies/1.2.3")
    finally:
        own.setLevel(before)
    assert caplog.text == ""
