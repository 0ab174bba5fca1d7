"""What the archive says of a study: how many instances it has, and whose it is there."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from pynetdicom.sop_class import StudyRootQueryRetrieveInformationModelFind as FindStudies

from client.bedside.work.identities import WhoseObject, whose
from client.sources.association import call, cut, leave
from client.sources.nodes import OTHER_SYNTAXES, new_node
from client.sources.query import count_of, identifier_of
from client.sources.refusals import PENDING, SUCCESS, explain, in_words, not_offered, status_of
from client.sources.retry import TryAgainError
from client.sources.tls import calling_context, require_tls
from shared.dicom.attributes import quietly, text_of
from shared.errors import SourceRefusedError
from shared.settings.pacs import PeerSettings

FIELDS: Final = (
    "NumberOfStudyRelatedInstances", "PatientID", "IssuerOfPatientID", "PatientBirthDate",
    "PatientSex", "AccessionNumber",
)  # fmt: skip
MOST_BYTES: Final = 1024**2
#: One study has one answer; an archive that gives more is not read to its end.
MOST_ANSWERS: Final = 10


@dataclass(frozen=True)
class ArchivedStudy:
    """A study as the archive has it; `instances` is None where it does not say."""

    instances: int | None
    who: WhoseObject


class Archive:
    """The PACS that is asked (`pacs.peer`).

    Parameters
    ----------
    site_folder : Path
        That paths of the settings are relative to.
    peer : PeerSettings
    ours : str
        Our own title.
    timeout_seconds : float
        Longest time that it may take.

    Raises
    ------
    ConfigValueError, InputMissingError, ConfigError, PlaceholderSecretError
        See `client.sources.dimse.PeerSource`.
    """

    def __init__(
        self, site_folder: Path, peer: PeerSettings, ours: str, timeout_seconds: float
    ) -> None:
        require_tls("pacs.peer", peer.host, peer.tls, insecure=peer.insecure)
        self._peer = peer
        self._ours = ours
        self._seconds = timeout_seconds
        self._tls = None if peer.tls is None else calling_context(site_folder, peer.tls)
        self.name = f"{peer.title} at {peer.host}:{peer.port}"

    def find(self, study_uid: str) -> ArchivedStudy | None:
        """Ask for one study; None if the archive does not have it.

        Raises
        ------
        TryAgainError
            If it does not answer.
        SourceRefusedError
            If it refuses.
        """
        node = new_node(self._ours, self._seconds)
        node.add_requested_context(FindStudies, list(OTHER_SYNTAXES))
        try:
            association, heard = call(
                node, (self._peer.host, self._peer.port), self._peer.title,
                most_bytes=MOST_BYTES, tls=self._tls,
            )  # fmt: skip
        except OSError:
            raise TryAgainError("is not known by that name, so it cannot be reached") from None
        try:
            if not association.is_established:
                raise explain(self.name, self._ours, heard, self._seconds)
            if not association.accepted_contexts:
                raise not_offered(self.name, self._ours, FindStudies, association)
            query = identifier_of("STUDY", FIELDS, study_uid)
            found: ArchivedStudy | None = None
            status = None
            with quietly():
                for count, (answer, given) in enumerate(
                    association.send_c_find(query, FindStudies)
                ):
                    status = status_of(answer)
                    if count >= MOST_ANSWERS:
                        cut(association)
                        break
                    if status not in PENDING or given is None:
                        continue
                    if text_of(given, "StudyInstanceUID") == study_uid:
                        count_there = text_of(given, "NumberOfStudyRelatedInstances")
                        found = ArchivedStudy(count_of(count_there), whose(given))
        except RuntimeError:  # what pynetdicom raises on an association that has ended
            raise TryAgainError("ended the association") from None
        finally:
            leave(association, heard)
        if status is None:
            raise TryAgainError("ended the association instead of answering C-FIND")
        if status != SUCCESS and found is None:
            raise SourceRefusedError(
                f"{self.name}: answers C-FIND with {in_words(status, 'C-FIND')}"
            )
        return found
