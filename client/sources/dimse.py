"""A DIMSE node as a source: C-FIND to find studies, C-GET or C-MOVE to fetch them."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Final

from pydicom.dataset import Dataset
from pynetdicom import build_role, evt
from pynetdicom.association import Association
from pynetdicom.pdu import A_ASSOCIATE_RJ
from pynetdicom.sop_class import (
    StudyRootQueryRetrieveInformationModelFind as FindStudies,
)
from pynetdicom.sop_class import (
    StudyRootQueryRetrieveInformationModelGet as GetStudies,
)
from pynetdicom.sop_class import (
    StudyRootQueryRetrieveInformationModelMove as MoveStudies,
)
from pynetdicom.sop_class import (
    Verification,
)

from shared.dicom.attributes import quietly, text_of
from shared.errors import ConfigValueError, SourceRefusedError
from shared.settings.pacs import PacsSettings, PeerSettings

from .nodes import (
    NOT_AUTHORISED,
    OTHER_SYNTAXES,
    Deliver,
    NotWantedError,
    call,
    contexts_to_get,
    new_node,
    serving,
    status_of,
    storing,
    storing_node,
)
from .query import SERIES_FIELDS, STUDY_FIELDS, FoundStudy, Wanted, count_of, is_uid
from .retry import HungUpError, StudyFailedError, TryAgainError
from .tls import calling_context, require_tls

SUCCESS: Final = 0x0000
PENDING: Final = (0xFF00, 0xFF01)
OUT_OF_RESOURCES: Final = range(0xA700, 0xA800)
DESTINATION_UNKNOWN: Final = 0xA801
REFUSALS: Final = (NOT_AUTHORISED, 0x0110)
#: A-ASSOCIATE-RJ, result: transient (PS3.8, table 9-21).
TRANSIENT: Final = 0x02
LONGEST_KNOCK_SECONDS: Final = 10.0
LISTEN_SECONDS: Final = 0.5


class PeerSource:
    """Studies of a DIMSE peer.

    Parameters
    ----------
    site_folder : Path
        That paths of the settings are relative to.
    settings : PacsSettings
        The peer, our own title and port (`listen`), and the longest silence.

    Raises
    ------
    ConfigValueError
        If ``site.yaml`` names no peer, or one without TLS that is not this machine's.
    InputMissingError, ConfigError, PlaceholderSecretError
        If a certificate that the settings name is missing or none, or others may read its key.
    """

    def __init__(self, site_folder: Path, settings: PacsSettings) -> None:
        self._site = site_folder
        self._settings = settings
        self._peer = require_peer(settings)
        self.name = f"{self._peer.title} at {self._peer.host}:{self._peer.port}"
        self._association: Association | None = None
        self._expected: tuple[str, Deliver] = ("", lambda study_uid, data: False)
        tls = self._peer.tls
        require_tls("pacs.peer", self._peer.host, tls, insecure=self._peer.insecure)
        self._tls = None if tls is None else calling_context(site_folder, tls)

    def check(self) -> None:
        """Say C-ECHO; what is wrong is raised as by `find`."""
        with self._associated([Verification]) as association:
            self._require(status_of(association.send_c_echo()), "C-ECHO")

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
        with self._associated([FindStudies]) as association, quietly():
            for modality in wanted.modalities or ("",):
                query = _query("STUDY", STUDY_FIELDS)
                query.StudyDate, query.ModalitiesInStudy = wanted.study_date, modality
                for answer in self._answers(association, query):
                    study = _found(answer)
                    if is_uid(study.study_uid) and wanted.may_be(study):
                        found[study.study_uid] = study
            return [
                found[uid]
                for uid in sorted(found)
                if not wanted.description
                or wanted.describes(self._descriptions(association, found[uid]))
            ]

    def fetch(self, study: FoundStudy, deliver: Deliver) -> None:
        """Fetch the files of a study, as they are stored."""
        self._expected = (study.study_uid, deliver)
        title = self._settings.listen.title
        with self._holding() as association, quietly():
            if self._peer.retrieve == "move":
                answers = association.send_c_move(_one(study), title, MoveStudies)
            else:
                answers = association.send_c_get(_one(study), GetStudies)
            self._follow(answers, f"C-{self._peer.retrieve.upper()}")

    @contextmanager
    def ready(self) -> Iterator[None]:
        """Hold what fetching needs: one association, and for C-MOVE a node to be sent to."""
        listen = self._settings.listen
        with ExitStack() as stack:
            if self._peer.retrieve == "move":
                # Who else may push is not let in: nothing but what was asked for is taken.
                timeout = self._settings.retry.timeout_seconds
                node = storing_node(listen.title, [self._peer.title], timeout)
                stack.enter_context(serving(node, self._site, listen, self._take))
            stack.callback(self._let_go)
            yield

    def _take(self, study_uid: str, data: bytes) -> bool:
        """Take what is sent, if it is of the study that was asked for."""
        wanted, deliver = self._expected
        if study_uid != wanted:
            raise NotWantedError
        return deliver(study_uid, data)

    @contextmanager
    def _holding(self) -> Iterator[Association]:
        """Use the association of the study before, or a new one."""
        if self._association is None or not self._association.is_established:
            self._association = self._associate_to_fetch()
        try:
            yield self._association
        except RuntimeError:  # what pynetdicom raises on an association that has ended
            self._let_go()
            raise TryAgainError("ended the association") from None
        except BaseException:
            self._let_go()
            raise

    def _associate_to_fetch(self) -> Association:
        if self._peer.retrieve == "move":
            return self._associate([MoveStudies])
        contexts = contexts_to_get()
        # We ask for studies and are sent them: the roles of a storage context turn round.
        classes = sorted({str(context.abstract_syntax) for context in contexts})
        roles = [build_role(one, scp_role=True) for one in classes]
        handlers = [(evt.EVT_C_STORE, storing(self._take))]
        return self._associate([GetStudies], contexts, roles, handlers)

    def _let_go(self) -> None:
        """End the association, if there is one."""
        association, self._association = self._association, None
        if association is not None and association.is_established:
            association.release()

    def _follow(self, answers: Any, what: str) -> None:
        """Read the answers of a retrieval until the last; fewer files show by themselves."""
        status = None
        for answer, _ in answers:
            status = status_of(answer)
        if status is None:
            raise self._hung_up(what)
        if status in OUT_OF_RESOURCES:
            raise StudyFailedError(f"has no resources for {what} (status {status:04X})")
        if status == DESTINATION_UNKNOWN:
            listen = self._settings.listen
            raise SourceRefusedError(
                f"{self.name}: does not know where {listen.title} is (enter {listen.title} with "
                f"this machine's address and port {listen.port} in the PACS, or set "
                "pacs.peer.retrieve to get)"
            )
        if status in REFUSALS:
            self._require(status, what)
        if status != SUCCESS and status >> 12 != 0xB:
            raise StudyFailedError(f"answers {what} with status {status:04X}")

    def _answers(self, association: Association, query: Dataset) -> Iterator[Dataset]:
        """Yield what a C-FIND finds."""
        status = None
        for answer, identifier in association.send_c_find(query, FindStudies):
            status = status_of(answer)
            if status in PENDING and identifier is not None:
                yield identifier
        self._require(status, "C-FIND")

    def _hung_up(self, what: str) -> HungUpError:
        title = self._settings.listen.title
        return HungUpError(
            f"takes the association and hangs up at {what} (permit {title} to use it in the PACS)"
        )

    def _require(self, status: int | None, what: str) -> None:
        """Go on only after success."""
        if status is None:
            raise self._hung_up(what)
        if status in OUT_OF_RESOURCES:
            raise TryAgainError(f"has no resources for {what} (status {status:04X})")
        if status != SUCCESS:
            raise SourceRefusedError(
                f"{self.name}: answers {what} with status {status:04X} (permit "
                f"{self._settings.listen.title} to use it in the PACS; it may also not support "
                "the query)"
            )

    def _descriptions(self, association: Association, study: FoundStudy) -> list[str]:
        """Everything that says what was scanned."""
        query = _query("SERIES", ("SeriesInstanceUID", *SERIES_FIELDS))
        query.StudyInstanceUID = study.study_uid
        texts = [
            text_of(answer, field)
            for answer in self._answers(association, query)
            for field in SERIES_FIELDS
        ]
        return [study.description, *texts]

    @contextmanager
    def _associated(self, classes: list[Any]) -> Iterator[Association]:
        """Hold an association with the peer for one question."""
        association = self._associate(classes)
        try:
            yield association
        except RuntimeError:  # what pynetdicom raises on an association that has ended
            raise TryAgainError("ended the association") from None
        finally:
            if association.is_established:
                association.release()

    def _associate(
        self, classes: list[Any], contexts: Any = (), roles: Any = (), handlers: Any = ()
    ) -> Association:
        """Make an association that offers what is needed."""
        self._reach()  # pynetdicom does not tell a peer that is down from one that hangs up
        node = new_node(self._settings.listen.title, self._settings.retry.timeout_seconds)
        for one in classes:
            node.add_requested_context(one, list(OTHER_SYNTAXES))  # none that is deflated
        node.requested_contexts = [*node.requested_contexts, *contexts]
        association, rejection = call(
            node,
            (self._peer.host, self._peer.port),
            self._peer.title,
            ext_neg=list(roles),
            tls_args=None if self._tls is None else (self._tls, self._peer.host),
            evt_handlers=list(handlers),
        )
        if not association.is_established:
            self._explain(rejection)
        if not any(c.abstract_syntax in classes for c in association.accepted_contexts):
            association.release()
            raise SourceRefusedError(
                f"{self.name}: does not offer {classes[0].name} (permit "
                f"{self._settings.listen.title} to use it in the PACS)"
            )
        return association

    def _explain(self, rejection: A_ASSOCIATE_RJ | None) -> None:
        """Say why there is no association."""
        if rejection is not None:
            if rejection.result == TRANSIENT:
                raise TryAgainError("is busy")
            raise SourceRefusedError(
                f"{self.name}: rejected the association: {_reason(rejection)} (pacs.peer."
                f"title must be its own title, and it must know {self._settings.listen.title})"
            )
        self._reach(wait=True)
        raise TryAgainError("ends the connection before there is an association")

    def _reach(self, *, wait: bool = False) -> None:
        """Connect and hang up, to tell a peer that is down from one whose TLS is not ours."""
        timeout = min(self._settings.retry.timeout_seconds, LONGEST_KNOCK_SECONDS)
        try:
            line = socket.create_connection((self._peer.host, self._peer.port), timeout)
        except OSError:
            raise TryAgainError("cannot be reached") from None
        with line:
            if self._tls is None:
                return
            try:
                with self._tls.wrap_socket(line, server_hostname=self._peer.host) as wrapped:
                    if wait:  # in TLS 1.3 a certificate of ours that is missing is said late
                        wrapped.settimeout(LISTEN_SECONDS)
                        wrapped.recv(1)
            except TimeoutError:
                return  # it waits for us to begin, as it must
            except OSError:  # what ssl raises are OSErrors too
                raise SourceRefusedError(
                    f"{self.name}: the TLS connection failed (its certificate must be signed by "
                    "pacs.peer.tls.authority and be made out to that host name, and a peer that "
                    "asks for one needs pacs.peer.tls.certificate)"
                ) from None


def require_peer(settings: PacsSettings) -> PeerSettings:
    """Return the peer of ``site.yaml``, or say that there is none."""
    if settings.peer is None:
        raise ConfigValueError(
            "site.yaml: pacs.peer is missing (must give host, port and title of the PACS)"
        )
    return settings.peer


def _reason(rejection: A_ASSOCIATE_RJ) -> str:
    """Say why a peer rejects, as far as the standard knows its number."""
    try:
        return rejection.reason_str.lower()
    except ValueError:
        return "no reason that the standard knows"


def _query(level: str, fields: tuple[str, ...]) -> Dataset:
    query = Dataset()
    query.QueryRetrieveLevel = level
    for field in fields:
        setattr(query, field, None if field.startswith("Number") else "")
    return query


def _one(study: FoundStudy) -> Dataset:
    query = Dataset()
    query.QueryRetrieveLevel = "STUDY"
    query.StudyInstanceUID = study.study_uid
    return query


def _found(answer: Dataset) -> FoundStudy:
    return FoundStudy(
        study_uid=text_of(answer, "StudyInstanceUID"),
        instances=count_of(text_of(answer, "NumberOfStudyRelatedInstances")),
        day=text_of(answer, "StudyDate"),
        modalities=tuple(filter(None, text_of(answer, "ModalitiesInStudy").split("\\"))),
        description=text_of(answer, "StudyDescription"),
    )
