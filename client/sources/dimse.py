"""A DIMSE node as a source: C-FIND to find studies, C-GET or C-MOVE to fetch them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Final

from pydicom.dataset import Dataset
from pynetdicom import build_role, evt
from pynetdicom.association import Association
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
from shared.phrases import counted
from shared.settings.pacs import PacsSettings, PeerSettings

from .association import Heard, call, cut, leave
from .nodes import (
    MOST_MESSAGE_BYTES,
    OTHER_SYNTAXES,
    Deliver,
    NotWantedError,
    contexts_to_get,
    new_node,
    serving,
    storing,
    storing_node,
)
from .query import (
    MOST_STUDIES,
    SERIES_FIELDS,
    STUDY_FIELDS,
    FoundStudy,
    Wanted,
    clipped,
    count_of,
    identifier_of,
    is_uid,
    too_many,
)
from .refusals import (
    DESTINATION_UNKNOWN,
    OUT_OF_RESOURCES,
    PENDING,
    REFUSALS,
    SOME_FAILED,
    SUCCESS,
    explain,
    failed_in,
    in_words,
    not_offered,
    status_of,
    what_ended,
)
from .retry import SilentError, StudyFailedError, TooMuchError, TryAgainError
from .taking import Taking
from .tls import calling_context, require_tls
from .waiting import Say, Waiting, Watch, silently

#: The longest answer to a query.
MOST_ANSWER_BYTES: Final = 1024**2


class PeerSource:
    """Studies of a DIMSE peer.

    Parameters
    ----------
    site_folder : Path
        That paths of the settings are relative to.
    settings : PacsSettings
        The peer, our own title and port (`listen`), and the longest silence.
    say : callable
        Told what is being waited for.

    Raises
    ------
    ConfigValueError
        If ``site.yaml`` names no peer, or one without TLS that is not this machine's.
    InputMissingError, ConfigError, PlaceholderSecretError
        If a certificate that the settings name is missing or none, or others may read its key.
    """

    def __init__(self, site_folder: Path, settings: PacsSettings, say: Say = silently) -> None:
        self._site = site_folder
        self._settings = settings
        self._peer = require_peer(settings)
        self.name = f"{self._peer.title} at {self._peer.host}:{self._peer.port}"
        self.notes: list[str] = []
        self._patience = settings.retry.patience_seconds
        self._watch = Watch(self.name, self._patience, say)
        self._held: tuple[Association, Heard] | None = None
        self._taking: Taking | None = None
        tls = self._peer.tls
        require_tls("pacs.peer", self._peer.host, tls, insecure=self._peer.insecure)
        self._tls = None if tls is None else calling_context(site_folder, tls)

    def check(self) -> None:
        """Say C-ECHO; what is wrong is raised as by `find`."""
        with self._asking([Verification], "C-ECHO") as (association, heard, waiting):
            status = status_of(association.send_c_echo())
            self._require(status, "C-ECHO", heard, waiting)

    def find(self, wanted: Wanted) -> list[FoundStudy]:
        """Find the studies that are wanted, sorted by UID.

        Raises
        ------
        TryAgainError
            If it does not answer.
        SourceRefusedError
            If it refuses, or answers without end.
        """
        found: dict[str, FoundStudy] = {}
        seen: set[str] = set()
        with self._asking([FindStudies], "C-FIND") as asked, quietly():
            for modality in wanted.modalities or ("",):
                query = identifier_of("STUDY", STUDY_FIELDS)
                query.StudyDate, query.ModalitiesInStudy = wanted.study_date, modality
                for answer in self._answers(asked, query):
                    study = _found(answer)
                    if study.study_uid not in seen:  # the same one again is no progress
                        seen.add(study.study_uid)
                        asked[2].heard(f"more answers to C-FIND ({len(seen)} came)")
                    if is_uid(study.study_uid) and wanted.may_be(study):
                        found[study.study_uid] = study
            return [
                found[uid]
                for uid in sorted(found)
                if not wanted.description or wanted.describes(self._descriptions(asked, found[uid]))
            ]

    def fetch(self, study: FoundStudy, deliver: Deliver) -> None:
        """Fetch the files of a study, as they are stored.

        Raises
        ------
        TryAgainError
            If they do not come, or not all.
        SourceRefusedError
            If it refuses.
        """
        what = f"C-{self._peer.retrieve.upper()}"
        with self._holding() as (association, heard), quietly():
            taking = self._taking = Taking(study, deliver)
            first = f"{taking.waits_for} ({what})"
            with self._watch.over(first, lambda: cut(association)) as waiting:
                taking.heard = waiting.heard
                answers = self._retrieve(association, study)
                self._follow(answers, what, taking, heard, waiting)
        taking.require_whole()

    def _retrieve(self, association: Association, study: FoundStudy) -> Any:
        if self._peer.retrieve == "move":
            title = self._settings.listen.title
            return association.send_c_move(
                identifier_of("STUDY", (), study.study_uid), title, MoveStudies
            )
        return association.send_c_get(identifier_of("STUDY", (), study.study_uid), GetStudies)

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
        if self._taking is None:
            raise NotWantedError
        return self._taking.take(study_uid, data)

    @contextmanager
    def _holding(self) -> Iterator[tuple[Association, Heard]]:
        """Use the association of the study before, or a new one."""
        if self._held is None or not self._held[0].is_established:
            self._let_go()
            self._held = self._associate_to_fetch()
        try:
            yield self._held
        except RuntimeError:  # what pynetdicom raises on an association that has ended
            self._let_go()
            raise TryAgainError("ended the association") from None
        except BaseException:
            self._let_go()
            raise
        finally:
            self._taking = None

    def _associate_to_fetch(self) -> tuple[Association, Heard]:
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
        held, self._held = self._held, None
        if held is not None:
            leave(*held)

    def _follow(
        self, answers: Any, what: str, taking: Taking, heard: Heard, waiting: Waiting
    ) -> None:
        """Read the answers of a retrieval until the last."""
        last, counts = None, (0, 0)
        for answer, _ in answers:
            last = answer
            done = (failed_in(answer), int(answer.get("NumberOfCompletedSuboperations") or 0))
            if done != counts:  # an archive that only says that it goes on is no progress
                counts = done
                waiting.heard(f"{taking.waits_for} ({what})")
        status = status_of(last)
        if status is None:
            raise self._lost(what, heard, waiting, f" after {counted(taking.came, 'file')}")
        said = f"answers {what} with {in_words(status, what)}"
        if status == DESTINATION_UNKNOWN:
            listen = self._settings.listen
            raise SourceRefusedError(
                f"{self.name}: does not know where {listen.title} is (enter {listen.title} with "
                f"this machine's address and port {listen.port} in the PACS, or set "
                "pacs.peer.retrieve to get)"
            )
        if status in REFUSALS:
            self._require(status, what, heard, waiting)
        # What we did not take of another study is no failure of this one.
        failed = failed_in(last) - taking.others
        if failed > 0:
            said += f": {counted(taking.came, 'file')} came, {failed} failed there"
        if status not in (SUCCESS, SOME_FAILED) or failed > 0:
            raise StudyFailedError(said, f"0x{status:04X}")
        if status == SOME_FAILED and taking.study.instances is None and not taking.others:
            raise StudyFailedError(said, f"0x{status:04X}")

    def _answers(
        self, asked: tuple[Association, Heard, Waiting], query: Dataset
    ) -> Iterator[Dataset]:
        """Yield what a C-FIND finds."""
        association, heard, waiting = asked
        status = None
        for count, (answer, identifier) in enumerate(association.send_c_find(query, FindStudies)):
            status = status_of(answer)
            if count >= MOST_STUDIES:
                cut(association)
                raise too_many(self.name)
            if status in PENDING and identifier is not None:
                yield identifier
        self._require(status, "C-FIND", heard, waiting)

    def _lost(self, what: str, heard: Heard, waiting: Waiting, after: str = "") -> Exception:
        """Make the error of an association that ended before the last answer."""
        if heard.too_much:
            said = f"was cut off at {what}{after}: it sends more than any file or answer has"
            return (
                TooMuchError(said) if self._taking else SourceRefusedError(f"{self.name}: {said}")
            )
        if waiting.cut_off:
            return SilentError(f"gave nothing more of {what} for {self._patience:g} s{after}")
        return what_ended(self._settings.listen.title, heard, what + after)

    def _require(self, status: int | None, what: str, heard: Heard, waiting: Waiting) -> None:
        """Go on only after success."""
        if status is None:
            raise self._lost(what, heard, waiting)
        if status in OUT_OF_RESOURCES:
            raise TryAgainError(f"answers {what} with {in_words(status, what)}")
        if status != SUCCESS:
            raise SourceRefusedError(
                f"{self.name}: answers {what} with {in_words(status, what)} (permit "
                f"{self._settings.listen.title} to use it in the PACS; it may also not support "
                "the query)"
            )

    def _descriptions(
        self, asked: tuple[Association, Heard, Waiting], study: FoundStudy
    ) -> list[str]:
        """Everything that says what was scanned."""
        fields = ("SeriesInstanceUID", *SERIES_FIELDS)
        query = identifier_of("SERIES", fields, study.study_uid)
        texts: list[str] = []
        seen: set[str] = set()
        for answer in self._answers(asked, query):
            if text_of(answer, "StudyInstanceUID") not in ("", study.study_uid):
                continue  # of another study than was asked for
            if (series := text_of(answer, "SeriesInstanceUID")) not in seen:
                seen.add(series)
                asked[2].heard("answers to C-FIND for the series of a study")
            texts += [clipped(text_of(answer, field)) for field in SERIES_FIELDS]
        return [study.description, *texts]

    @contextmanager
    def _asking(
        self, classes: list[Any], what: str
    ) -> Iterator[tuple[Association, Heard, Waiting]]:
        """Hold an association with the peer for one question."""
        association, heard = self._associate(classes)
        try:
            with self._watch.over(f"an answer to {what}", lambda: cut(association)) as waiting:
                yield association, heard, waiting
        except RuntimeError:  # what pynetdicom raises on an association that has ended
            raise what_ended(self._settings.listen.title, heard, what) from None
        finally:
            leave(association, heard)

    def _associate(
        self, classes: list[Any], contexts: Any = (), roles: Any = (), handlers: Any = ()
    ) -> tuple[Association, Heard]:
        """Make an association that offers what is needed."""
        ours, retry = self._settings.listen.title, self._settings.retry
        seconds = min(retry.timeout_seconds, self._patience)
        node = new_node(ours, seconds)
        # Our own watch cuts off, as it knows what came; the library knows only one answer.
        node.dimse_timeout = None
        for one in classes:
            node.add_requested_context(one, list(OTHER_SYNTAXES))  # none that is deflated
        node.requested_contexts = [*node.requested_contexts, *contexts]
        with self._watch.over("an association", lambda: None):
            try:
                association, heard = call(
                    node,
                    (self._peer.host, self._peer.port),
                    self._peer.title,
                    most_bytes=MOST_MESSAGE_BYTES if contexts else MOST_ANSWER_BYTES,
                    tls=self._tls,
                    ext_neg=list(roles),
                    evt_handlers=list(handlers),
                )
            except OSError:
                raise TryAgainError("is not known by that name, so it cannot be reached") from None
        if not any(c.abstract_syntax in classes for c in association.accepted_contexts):
            made = association.is_established or heard.accepted
            leave(association, heard)
            if made and not heard.aborted:
                raise not_offered(self.name, ours, classes[0], association)
            raise explain(self.name, ours, heard, seconds)
        self._note_title(heard.title)
        return association, heard

    def _note_title(self, title: str) -> None:
        """Note a peer that answers under another title, as it may (PS3.8, 9.3.3)."""
        if title and title != self._peer.title:
            note = (
                f"answers as {title[:16]!r}, not as {self._peer.title}: harmless by itself, but if "
                "studies are missing, ask the PACS team which of the two pacs.peer.title must be"
            )
            if note not in self.notes:
                self.notes.append(note)


def require_peer(settings: PacsSettings) -> PeerSettings:
    """Return the peer of ``site.yaml``, or say that there is none."""
    if settings.peer is None:
        raise ConfigValueError(
            "site.yaml: pacs.peer is missing (must give host, port and title of the PACS)"
        )
    return settings.peer


def _found(answer: Dataset) -> FoundStudy:
    return FoundStudy(
        study_uid=text_of(answer, "StudyInstanceUID"),
        instances=count_of(text_of(answer, "NumberOfStudyRelatedInstances")),
        day=clipped(text_of(answer, "StudyDate")),
        modalities=tuple(filter(None, clipped(text_of(answer, "ModalitiesInStudy")).split("\\"))),
        description=clipped(text_of(answer, "StudyDescription")),
    )
