"""Results to a DICOMweb server by STOW-RS (PS3.18, 10.5)."""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable, Iterator, Sequence
from http import HTTPStatus
from io import BytesIO
from pathlib import Path
from typing import Any, Final

import requests
from pydicom import dcmread

from client.sources.dicomweb import open_session
from client.sources.refusals import OUT_OF_RESOURCES
from client.sources.retry import TooMuchError, TryAgainError
from client.sources.web_client import ByteLimit, limit
from shared.errors import SourceRefusedError
from shared.settings.bedside import DestinationSettings
from shared.settings.pacs import DicomWebSettings

from .outcome import Outcome, kept, later, no

#: Attributes of the answer in DICOM JSON (PS3.18, table 10.5.3-2 and PS3.3, C.12.1.1).
FAILED: Final = "00081198"
REFERENCED: Final = "00081199"
INSTANCE: Final = "00081155"
FAILURE: Final = "00081197"
WARNING: Final = "00081196"
MOST_ANSWER_BYTES: Final = 1024**2
#: Answers after which sending again may help.
BUSY: Final = (408, 425, 429, 500, 502, 503, 504, 507)


class WebDestination:
    """A DICOMweb server that is sent results.

    Parameters
    ----------
    site_folder : Path
        That paths of the settings are relative to.
    settings : DestinationSettings
        With a `web`.
    timeout_seconds : float
        Longest silence of the server.

    Raises
    ------
    ConfigValueError, InputMissingError, PlaceholderSecretError
        See `client.sources.dicomweb.WebSource`.
    """

    def __init__(
        self,
        site_folder: Path,
        settings: DestinationSettings,
        web: DicomWebSettings,
        timeout_seconds: float,
    ) -> None:
        self.name = settings.name
        self._where = f"bedside.send_to, {settings.name}, web"
        self._url = web.url.rstrip("/")
        self._seconds = timeout_seconds
        self._session, _ = open_session(site_folder, web, self._where)

    def send(self, objects: Sequence[bytes], became: Callable[[int, Outcome], bool]) -> None:
        """Send objects, one after another; see `client.bedside.delivering.peer`.

        Raises
        ------
        TryAgainError
            If the server is not there, or went away.
        SourceRefusedError
            If it lets us in nowhere.
        """
        for number, data in enumerate(objects):
            if not became(number, self._store(data)):
                return

    def _store(self, data: bytes) -> Outcome:
        header = dcmread(BytesIO(data), stop_before_pixels=True)
        boundary = secrets.token_hex(16)
        kind = f'multipart/related; type="application/dicom"; boundary={boundary}'
        try:
            with self._session.post(
                f"{self._url}/studies/{header.StudyInstanceUID}",
                data=b"".join(_parts(data, boundary)),
                headers={
                    "Content-Type": kind,
                    "Accept": "application/dicom+json",
                    "Accept-Encoding": "identity",
                },
                timeout=(self._seconds, self._seconds),
                stream=True,
                allow_redirects=False,
            ) as response:
                return self._judge(response, str(header.SOPInstanceUID))
        except requests.exceptions.SSLError:
            raise SourceRefusedError(
                f"{self.name}: the TLS connection failed (the certificate must be signed by "
                f"{self._where}.tls.authority and be made out to that host name)"
            ) from None
        except requests.exceptions.Timeout:
            raise TryAgainError(f"gave nothing more for {self._seconds:g} s") from None
        except TooMuchError as error:
            raise TryAgainError(str(error)) from None
        except (requests.exceptions.RequestException, OSError):
            raise TryAgainError("cannot be reached, or the connection broke") from None

    def _judge(self, response: requests.Response, sop_uid: str) -> Outcome:
        """Say what a server's answer means for the one object that it was sent."""
        status = response.status_code
        phrase = HTTPStatus(status).phrase if status in set(HTTPStatus) else ""
        said = f"{status} {phrase}".strip()
        if status in (401, 403):
            raise SourceRefusedError(
                f"{self.name}: refused us with {said} (put the right user:password or Bearer "
                f"token into the file that {self._where}.credentials names, and let it write)"
            )
        if response.is_redirect or status == HTTPStatus.NOT_FOUND:
            return no(f"answers {said} to STOW-RS (check the path of its address)")
        limit(response, ByteLimit(MOST_ANSWER_BYTES, MOST_ANSWER_BYTES), lambda: None)
        try:
            answer = json.loads(response.content)
        except (ValueError, RecursionError):
            answer = None
        return judge_answer(status, said, answer, sop_uid)


def judge_answer(status: int, said: str, answer: Any, sop_uid: str) -> Outcome:
    """Say what became of one object, by the HTTP status and the answer's references.

    Parameters
    ----------
    status : int
        Of HTTP; 200 all stored, 202 some not or with warnings, 409 none (PS3.18, 10.5.3).
    said : str
        The status in words.
    answer : object
        The answer in DICOM JSON, as parsed; anything else counts as saying nothing.
    sop_uid : str
        SOP Instance UID of the object.
    """
    for item in _items(answer, FAILED):
        if _first(item, INSTANCE) in (sop_uid, None):
            reason = _first(item, FAILURE)
            words = f"{said}, failure reason 0x{reason:04X}" if isinstance(reason, int) else said
            return later(words) if reason in OUT_OF_RESOURCES else no(words)
    for item in _items(answer, REFERENCED):
        if _first(item, INSTANCE) == sop_uid:
            reason = _first(item, WARNING)
            return kept(f"warning 0x{reason:04X}" if isinstance(reason, int) else "")
    if status == HTTPStatus.OK:
        return kept("" if answer is not None else "it said nothing of what it stored")
    if status in BUSY:
        return later(said)
    return no(said)


def _items(answer: Any, tag: str) -> Iterator[dict[str, Any]]:
    """Items of a sequence in DICOM JSON; whatever is none is left out."""
    element = answer.get(tag) if isinstance(answer, dict) else None
    values = element.get("Value") if isinstance(element, dict) else None
    yield from (
        one for one in (values if isinstance(values, list) else []) if isinstance(one, dict)
    )


def _first(item: dict[str, Any], tag: str) -> Any:
    element = item.get(tag)
    values = element.get("Value") if isinstance(element, dict) else None
    return values[0] if isinstance(values, list) and values else None


def _parts(data: bytes, boundary: str) -> Iterator[bytes]:
    """The body of a request with one object (RFC 2387)."""
    yield f"--{boundary}\r\nContent-Type: application/dicom\r\n\r\n".encode()
    yield data
    yield f"\r\n--{boundary}--\r\n".encode()
