"""What a DICOMweb server may send: read as it is, no more than any answer has, in a time.

A server is not trusted with our memory. Nothing is asked for compressed and nothing that is
compressed is read: a gzip of 3 MB can hold 3 GB. Caps hold while reading, so what is too
long is not read to its end.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from email.message import Message
from typing import Any, Final

import requests
import urllib3
from dicomweb_client.uri import build_query_string
from dicomweb_client.web import DICOMwebClient
from requests.adapters import HTTPAdapter

from shared.dicom.scan import LARGEST_FILE
from shared.phrases import counted

from .nodes import MOST_INSTANCES
from .retry import TooMuchError

#: As it is stored, whatever its transfer syntax (PS3.18, 8.7.3.5.2).
AS_STORED: Final = 'multipart/related; type="application/dicom"; transfer-syntax=*'

#: Bytes of an answer in JSON; 200 studies are 500 kB.
MOST_JSON_BYTES: Final = 16 * 1024**2
#: Values of an answer in JSON, counted by what begins or parts them.
MOST_JSON_VALUES: Final = 1_000_000
#: Bytes between the end of one file and that of the next: the largest file and its frame.
MOST_PART_BYTES: Final = LARGEST_FILE + 1024**2
#: Bytes of one study.
MOST_STUDY_BYTES: Final = 64 * 1024**3
#: What comes more slowly than so much in the site's patience counts as nothing.
PROGRESS_BYTES: Final = 1024**2
READ_BYTES: Final = 65_536
#: What an answer may be called that is as it is.
IDENTITY: Final = ("", "identity")


class WatchedAdapter(HTTPAdapter):
    """Connections that can be cut off by another thread, whatever is being read.

    `requests` has a limit for the silence between two bytes, and none for a server that
    sends one a minute.
    """

    def __init__(self) -> None:
        self._line: socket.socket | None = None
        super().__init__()

    def init_poolmanager(self, *arguments: Any, **named: Any) -> None:
        """Make the pools, whose connections are noted."""
        super().init_poolmanager(*arguments, **named)
        self.poolmanager.pool_classes_by_scheme = {
            "http": _noted(urllib3.HTTPConnectionPool, self._note),
            "https": _noted(urllib3.HTTPSConnectionPool, self._note),
        }

    def _note(self, line: socket.socket) -> None:
        self._line = line

    def cut(self) -> None:
        """End the connection."""
        if self._line is not None:
            # Of a TLS socket too the line itself, which another thread may be reading.
            with suppress(OSError):  # it is closed already
                socket.socket.shutdown(self._line, socket.SHUT_RDWR)


def _noted(pool: Any, note: Callable[[socket.socket], None]) -> Any:
    """Make a kind of pool whose connections tell their socket."""
    kind = pool.ConnectionCls

    class NotedConnection(kind):  # type: ignore[misc, valid-type] # one for http, one for https
        def connect(self) -> None:
            super().connect()
            note(self.sock)

    return type(pool.__name__, (pool,), {"ConnectionCls": NotedConnection})


@dataclass
class ByteLimit:
    """Counts what comes, and refuses what is too long.

    Attributes
    ----------
    part : int
        Bytes that may come from one `next_part` to the next.
    whole : int
        Bytes that may come in all.
    """

    part: int
    whole: int
    _part: int = 0
    _whole: int = 0

    def next_part(self) -> None:
        """Begin to count the next part."""
        self._part = 0

    def add(self, size: int) -> None:
        """Count bytes.

        Raises
        ------
        TooMuchError
            If they are too many.
        """
        self._part += size
        self._whole += size
        if self._part > self.part or self._whole > self.whole:
            most = self.part if self._part > self.part else self.whole
            raise TooMuchError(f"sends more than {most} bytes, which no answer has; it was cut off")


def limit(response: requests.Response, limits: ByteLimit, heard: Callable[[], None]) -> None:
    """Bound the reading of an answer, and refuse one that is not as it is.

    Parameters
    ----------
    response : Response
        Asked for with ``stream=True``; nothing is read yet.
    limits : ByteLimit
        How much may come.
    heard : callable
        Called for each `PROGRESS_BYTES`.

    Raises
    ------
    TooMuchError
        If it is compressed; when it is read, if it is too long.
    """
    coding = response.headers.get("Content-Encoding", "").strip().lower()
    if coding not in IDENTITY:
        raise TooMuchError(
            f"answers compressed ({coding[:16]!r}) though asked for it as it is, and what is "
            "compressed has no size that could be trusted (switch off compression for DICOMweb "
            "in the server or the proxy before it)"
        )
    raw = response.iter_content

    def read(chunk_size: int | None = 1, decode_unicode: bool = False) -> Iterator[Any]:
        since = 0
        for chunk in raw(READ_BYTES):
            limits.add(len(chunk))
            since += len(chunk)
            if since >= PROGRESS_BYTES:
                since = 0
                heard()
            yield chunk

    response.iter_content = read  # type: ignore[method-assign] # all that reads goes through it


def require_few_values(body: bytes) -> None:
    """Refuse an answer in JSON that would become much more than it is.

    Raises
    ------
    TooMuchError
        If it has more than `MOST_JSON_VALUES` values.
    """
    if sum(body.count(mark) for mark in (b"[", b"{", b",")) > MOST_JSON_VALUES:
        raise TooMuchError(
            f"answers a query with more than {MOST_JSON_VALUES} values (ask for fewer at once "
            "with --from, --to or --modality)"
        )


def take_no_note(what: str = "") -> None:
    """Take no note."""


class DicomWebClient(DICOMwebClient):
    """A client that reads within limits, and also gives the files as they came.

    The library's own methods read whatever comes, and they parse each file and stop at the
    first that is damaged; here a damaged file goes into the inbox too and gets its verdict.
    """

    def __init__(self, url: str, session: requests.Session, timeouts: tuple[float, float]) -> None:
        super().__init__(url, session=session)
        self._timeouts = timeouts
        #: Told of each piece that came; set by whoever waits.
        self.heard: Callable[[str], None] = take_no_note

    def _http_get(
        self,
        url: str,
        params: dict[str, Any] | None = None,
        headers: dict[str, str] | None = None,
        stream: bool = False,
    ) -> requests.Response:
        """Get an answer; one in JSON is read here, within its limits."""
        response = self._get(url + build_query_string(params), headers or {})
        if stream:
            return response
        most = MOST_JSON_BYTES
        with response:
            limit(response, ByteLimit(most, most), lambda: self.heard(""))
            require_few_values(response.content)
        return response

    def _get(self, url: str, headers: dict[str, str]) -> requests.Response:
        """Ask, and go on only after a success; nothing of the answer is read."""
        response = self._session.get(
            url,
            headers=headers | {"Accept-Encoding": "identity"},
            stream=True,
            timeout=self._timeouts,
            allow_redirects=False,  # `requests` would read what is sent along, whatever it is
        )
        try:
            if response.is_redirect:
                raise requests.exceptions.TooManyRedirects
            response.raise_for_status()
        except requests.exceptions.RequestException:
            response.close()
            raise
        return response

    def files_of(self, study_uid: str) -> Iterator[bytes]:
        """Yield the files of a study, one at a time."""
        limits = ByteLimit(MOST_PART_BYTES, MOST_STUDY_BYTES)
        response = self._get(f"{self.base_url}/studies/{study_uid}", {"Accept": AS_STORED})
        with response:
            limit(response, limits, lambda: self.heard(""))
            if response.headers.get("content-type", "").startswith("application/dicom"):
                yield response.content
                return
            boundary = boundary_of(response.headers["content-type"])
            if not boundary:  # some servers give one file so
                yield response.content
                return
            for count, part in enumerate(split(response.iter_content(READ_BYTES), boundary)):
                limits.next_part()
                if count > MOST_INSTANCES:  # empty ones too: they cost time
                    raise TooMuchError(
                        f"gives a study of more than {counted(MOST_INSTANCES, 'file')}"
                    )
                _, blank, content = part.partition(b"\r\n\r\n")
                if blank:
                    yield content


def boundary_of(content_type: str) -> bytes:
    """Read the boundary of an answer of several parts (RFC 2387); empty if it names none.

    Raises
    ------
    ValueError
        If it is another kind of answer.
    """
    header = Message()
    header["content-type"] = content_type
    if header.get_content_type() != "multipart/related":
        raise ValueError(content_type)
    return (header.get_boundary() or "").encode("utf-8", errors="replace")


def split(chunks: Iterable[bytes], boundary: bytes) -> Iterator[bytes]:
    """Yield the parts of an answer with their headers, one at a time (RFC 2046, 5.1.1).

    The library's own way holds each part three times, and nothing counts empty ones.
    """
    delimiter = b"\r\n--" + boundary
    held = bytearray(b"\r\n")
    begun, searched = False, 0
    for chunk in chunks:
        held += chunk
        while (end := held.find(delimiter, searched)) >= 0:
            if begun:
                yield bytes(memoryview(held)[:end])
            del held[: end + len(delimiter)]
            begun, searched = True, 0
        # A delimiter may lie across two chunks.
        searched = max(0, len(held) - len(delimiter) + 1)
    if begun and not held.startswith(b"--"):
        yield bytes(held)
