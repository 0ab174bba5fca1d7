"""A DICOMweb server as a source: QIDO-RS to find studies, WADO-RS to fetch them."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from contextlib import AbstractContextManager, closing, contextmanager, nullcontext
from http import HTTPStatus
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import requests
from pydicom.datadict import tag_for_keyword
from requests.auth import HTTPBasicAuth

from shared.errors import (
    ConfigValueError,
    InputMissingError,
    PlaceholderSecretError,
    SourceRefusedError,
)
from shared.phrases import counted
from shared.runtime.files import require_private
from shared.settings.files import resolve
from shared.settings.pacs import DicomWebSettings, RetrySettings

from .nodes import Deliver, NotWantedError, silence, study_of
from .query import (
    MOST_STUDIES,
    SERIES_FIELDS,
    STUDY_FIELDS,
    FoundStudy,
    Wanted,
    clipped,
    count_of,
    is_uid,
    too_many,
)
from .retry import SilentError, StudyFailedError, TooMuchError, TryAgainError
from .taking import Taking
from .tls import is_loopback, require_private_key
from .waiting import Say, Watch, silently
from .web_client import DicomWebClient, WatchedAdapter, take_no_note

#: Studies of one answer; a server may give fewer.
PAGE: Final = 200
#: The most answers that a query is asked in.
MOST_PAGES: Final = 2000
#: Answers after which asking again may help.
BUSY: Final = (408, 425, 429, 500, 502, 503, 504)


class WebSource:
    """Studies of a DICOMweb server.

    Parameters
    ----------
    site_folder : Path
        That paths of the settings are relative to.
    settings : DicomWebSettings
        Address, credentials, certificates.
    timeout_seconds : float
        Longest time that a connection takes.
    patience_seconds : float
        Longest silence of the server.
    say : callable
        Told what is being waited for.

    Raises
    ------
    ConfigValueError
        If the address has no TLS and is not this machine's.
    InputMissingError, PlaceholderSecretError
        If a file that the settings name is missing, or others may read the credentials or the
        private key.
    """

    def __init__(
        self,
        site_folder: Path,
        settings: DicomWebSettings,
        timeout_seconds: float,
        patience_seconds: float = RetrySettings().patience_seconds,
        say: Say = silently,
    ) -> None:
        self.name = settings.url.rstrip("/")
        self.notes: list[str] = []
        self._watch = Watch(self.name, patience_seconds, say)
        session, self._lines = open_session(site_folder, settings)
        timeouts = (min(timeout_seconds, patience_seconds), patience_seconds)
        self._client = DicomWebClient(self.name, session, timeouts)
        self._client.set_http_retry_params(retry=False)

    def check(self) -> None:
        """Ask for one study; what is wrong is raised as by `find`."""
        with self._translated("an answer to a query"):
            self._client.search_for_studies(limit=1)

    def find(self, wanted: Wanted) -> list[FoundStudy]:
        """Find the studies that are wanted, sorted by UID.

        Raises
        ------
        TryAgainError
            If it does not answer.
        SourceRefusedError
            If it refuses.
        """
        found: dict[str, FoundStudy] = {}
        with self._translated("an answer to a query"):
            for modality in wanted.modalities or ("",):
                for study in self._pages(wanted, modality):
                    if is_uid(study.study_uid) and wanted.may_be(study):
                        found[study.study_uid] = study
            return [
                found[uid]
                for uid in sorted(found)
                if not wanted.description or wanted.describes(self._descriptions(found[uid]))
            ]

    def fetch(self, study: FoundStudy, deliver: Deliver) -> None:
        """Fetch the files of a study, as they are stored.

        Raises
        ------
        TryAgainError
            If they do not come, or not all.
        TooMuchError, SourceRefusedError
            If more comes than is taken, or it refuses.
        """
        taking = Taking(study, deliver)
        with closing(self._files_of(study, taking)) as files:
            for data in files:
                try:
                    # What cannot be read is taken as what was asked for, and gets its verdict.
                    taking.take(study_of(data) or study.study_uid, data)
                except NotWantedError:
                    continue  # counted
        taking.require_whole()

    def ready(self) -> AbstractContextManager[None]:
        """Hold what fetching needs: nothing."""
        return nullcontext()

    def _files_of(self, study: FoundStudy, taking: Taking) -> Generator[bytes]:
        """Yield the files of a study; what goes wrong with one that was given is not ours."""
        with self._translated(taking.waits_for, of_study=True):
            for data in self._client.files_of(study.study_uid):
                yield data
                self._client.heard(taking.waits_for)

    def _pages(self, wanted: Wanted, modality: str) -> Iterator[FoundStudy]:
        """Ask for page after page until one brings nothing new."""
        filters = {"StudyDate": wanted.study_date, "ModalitiesInStudy": modality}
        filters = {name: value for name, value in filters.items() if value}
        seen: set[str] = set()
        for _ in range(MOST_PAGES):
            page = self._client.search_for_studies(
                limit=PAGE, offset=len(seen), fields=list(STUDY_FIELDS), search_filters=filters
            )
            studies = [_found(answer) for answer in page]
            fresh = [study for study in studies if study.study_uid not in seen]
            if not fresh:
                return
            seen |= {study.study_uid for study in fresh}
            if len(seen) > MOST_STUDIES:
                break
            self._client.heard(
                f"more answers to a query ({counted(len(seen), 'study', 'studies')} came)"
            )
            yield from fresh
        raise too_many(self.name)

    def _descriptions(self, study: FoundStudy) -> list[str]:
        """Everything that says what was scanned."""
        series = self._client.search_for_series(study.study_uid, fields=list(SERIES_FIELDS))
        texts = [_first(one, field) for one in series for field in SERIES_FIELDS]
        self._client.heard("the descriptions of the series of a study")
        return [study.description, *(clipped(str(text)) for text in texts if text)]

    @contextmanager
    def _translated(self, what: str, *, of_study: bool = False) -> Iterator[None]:
        """Wait for something, and turn whatever can go wrong with it into who has to do what."""
        with self._watch.over(what, self._lines.cut) as waiting:
            self._client.heard = waiting.heard
            try:
                with self._in_sentences(of_study=of_study):
                    yield
            except (TryAgainError, SourceRefusedError):
                if not waiting.cut_off:
                    raise
            finally:
                self._client.heard = take_no_note
        if waiting.cut_off:  # what was cut off may also look as if it were whole
            raise SilentError(f"gave nothing more for {self._watch.patience_seconds:g} s") from None

    @contextmanager
    def _in_sentences(self, *, of_study: bool) -> Iterator[None]:
        """Turn what the library raises into sentences."""
        try:
            yield
        except TooMuchError as error:
            if of_study:
                raise
            raise SourceRefusedError(f"{self.name}: {error}") from None
        except requests.exceptions.SSLError:
            raise SourceRefusedError(
                f"{self.name}: the TLS connection failed (the server's certificate must be "
                "signed by pacs.web.tls.authority and be made out to that host name, and a "
                "server that asks for one needs pacs.web.tls.certificate)"
            ) from None
        except requests.exceptions.TooManyRedirects:
            raise SourceRefusedError(
                f"{self.name}: sends on to another address, which is not followed "
                "(put the final address into site.yaml)"
            ) from None
        except requests.exceptions.HTTPError as error:
            status = 0 if error.response is None else error.response.status_code
            self._judge(status, of_study=of_study)
        except requests.exceptions.JSONDecodeError:
            raise SourceRefusedError(
                f"{self.name}: answers, but not as a DICOMweb server (check the path of the "
                "address; Orthanc's is /dicom-web)"
            ) from None
        except requests.exceptions.ConnectTimeout:
            raise TryAgainError("does not take a connection in time") from None
        except requests.exceptions.Timeout:
            patience = self._watch.patience_seconds
            raise SilentError(f"gave nothing more for {patience:g} s") from None
        except (requests.exceptions.RequestException, OSError) as error:
            if isinstance(error, OSError) and error.errno is not None and _of_disk(error):
                raise
            raise TryAgainError("cannot be reached, or the connection broke") from None
        except (LookupError, ValueError, TypeError, AttributeError, RecursionError):
            # What the library stumbles over: no content type, another one, no list of studies,
            # numbers of thousands of digits, lists a thousand deep.
            if of_study:
                raise StudyFailedError("answers with no DICOM when asked for a study") from None
            raise SourceRefusedError(
                f"{self.name}: answers with what is no DICOMweb (check the path of the address; "
                "Orthanc's is /dicom-web; something between may also change the answers)"
            ) from None

    def _judge(self, status: int, *, of_study: bool) -> None:
        """Say what an HTTP status means."""
        said = f"{status} {HTTPStatus(status).phrase}" if status in _STATUSES else str(status)
        if status in (401, 403):
            raise SourceRefusedError(
                f"{self.name}: refused us with {said} (put the right user:password or Bearer "
                "token into the file that pacs.web.credentials names, and let that user read)"
            ) from None
        if status in BUSY and not of_study:
            raise TryAgainError(f"answers {said}") from None
        if of_study:
            raise StudyFailedError(f"answers {said} when asked for a study", said) from None
        raise SourceRefusedError(
            f"{self.name}: answers {said} to a query (check the path of the address; Orthanc's "
            "is /dicom-web; a server may also not support the query)"
        ) from None


_STATUSES: Final = {status.value for status in HTTPStatus}


def open_session(
    site_folder: Path, settings: DicomWebSettings, where: str = "pacs.web"
) -> tuple[requests.Session, WatchedAdapter]:
    """Open a session with a server by its settings, and the connections that can be cut off.

    It follows no answer elsewhere, and knows no proxy and no credentials that nobody named.
    `where` in ``site.yaml`` the settings stand is for the sentences.

    Raises
    ------
    ConfigValueError, InputMissingError, PlaceholderSecretError
        See `WebSource`.
    """
    silence()
    _require_tls(settings, where)
    session = requests.Session()
    lines = WatchedAdapter()
    session.mount("http://", lines)
    session.mount("https://", lines)
    session.get_redirect_target = _nowhere  # type: ignore[assignment, method-assign]
    session.trust_env = False  # no proxy and no .netrc that nobody named
    tls = settings.tls
    session.verify = str(_file(site_folder, tls.authority, where)) if tls.authority else True
    if tls.certificate is not None:
        own = str(_file(site_folder, tls.certificate, where))
        session.cert = (own, str(_file(site_folder, tls.key, where))) if tls.key else own
        require_private_key(site_folder, tls)
    if settings.credentials is not None:
        _authorise(session, resolve(site_folder, settings.credentials), where)
    return session, lines


def _of_disk(error: OSError) -> bool:
    """Whether an error is of our own disk rather than of the network."""
    return not isinstance(error, requests.exceptions.RequestException) and not isinstance(
        error, (ConnectionError, TimeoutError)
    )


def _nowhere(response: requests.Response) -> None:
    """Follow no answer elsewhere; the library would first read what it holds, however much."""


def _require_tls(settings: DicomWebSettings, where: str) -> None:
    """Refuse to send credentials and studies in the clear, unless that is meant."""
    parts = urlsplit(settings.url)
    if parts.scheme == "https" or settings.insecure or is_loopback(parts.hostname or ""):
        return
    raise ConfigValueError(
        f"{where}.url: {settings.url} has no TLS (must be https, or this machine's own address; "
        "`insecure: true` takes it all the same)"
    )


def _file(site_folder: Path, path: Path | None, where: str) -> Path:
    """Return a file that the settings name."""
    found = resolve(site_folder, path or Path())
    if not found.is_file():
        raise InputMissingError(f"{found}: no such file (site.yaml names it under {where})")
    return found


def _authorise(session: requests.Session, path: Path, where: str) -> None:
    """Read ``user:password`` or ``Bearer token`` from a file that only its owner may read."""
    if not path.is_file():
        raise InputMissingError(
            f"{path}: no such file ({where}.credentials; one line, user:password or Bearer token)"
        )
    require_private(path, "the PACS's password")
    line = path.read_text(encoding="utf-8").strip()
    user, colon, password = line.partition(":")
    if line.startswith("Bearer ") and len(line.split()) == 2:
        session.headers["Authorization"] = line
    elif colon and user and password and "\n" not in line:
        # requests encodes text as Latin-1; a password may hold any letter.
        session.auth = HTTPBasicAuth(user.encode(), password.encode())
    else:
        raise PlaceholderSecretError(
            f"{path}: is no credential (must be one line, user:password or Bearer token)"
        )


def _first(answer: dict[str, Any], keyword: str) -> Any:
    """First value of an attribute in DICOM JSON, None if there is none."""
    values = _values(answer, keyword)
    return values[0] if values else None


def _values(answer: dict[str, Any], keyword: str) -> list[Any]:
    element = answer.get(f"{tag_for_keyword(keyword):08X}")
    values = element.get("Value") if isinstance(element, dict) else None
    return values if isinstance(values, list) else []


def _found(answer: dict[str, Any]) -> FoundStudy:
    return FoundStudy(
        study_uid=str(_first(answer, "StudyInstanceUID") or ""),
        instances=count_of(_first(answer, "NumberOfStudyRelatedInstances")),
        day=clipped(str(_first(answer, "StudyDate") or "")),
        modalities=tuple(clipped(str(one)) for one in _values(answer, "ModalitiesInStudy")[:100]),
        description=clipped(str(_first(answer, "StudyDescription") or "")),
    )
