"""Results to a DIMSE peer by C-STORE."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from io import BytesIO
from pathlib import Path
from typing import Final

from pydicom import dcmread
from pydicom.dataset import Dataset
from pynetdicom.presentation import build_context
from pynetdicom.sop_class import Verification
from pynetdicom.status import STORAGE_SERVICE_CLASS_STATUS

from client.sources.association import call, leave
from client.sources.nodes import MOST_MESSAGE_BYTES, OTHER_SYNTAXES, new_node
from client.sources.refusals import (
    CONTEXT_RESULTS,
    OUT_OF_RESOURCES,
    SUCCESS,
    explain,
    status_of,
)
from client.sources.retry import TryAgainError
from client.sources.tls import calling_context, require_tls
from shared.errors import SourceRefusedError
from shared.settings.bedside import DestinationSettings
from shared.settings.pacs import PeerSettings

from .outcome import Outcome, kept, later, no

#: The object is stored; something of it was changed or did not match (PS3.4, table B.2-1).
WARNINGS: Final = (0xB000, 0xB006, 0xB007)


class PeerDestination:
    """A peer that is sent results.

    Parameters
    ----------
    site_folder : Path
        That paths of the settings are relative to.
    settings : DestinationSettings
        With a `peer`.
    ours : str
        Our own title.
    timeout_seconds : float
        Longest time that an answer takes.

    Raises
    ------
    ConfigValueError, InputMissingError, ConfigError, PlaceholderSecretError
        See `client.sources.dimse.PeerSource`.
    """

    def __init__(
        self,
        site_folder: Path,
        settings: DestinationSettings,
        peer: PeerSettings,
        ours: str,
        timeout_seconds: float,
    ) -> None:
        self.name = settings.name
        self._where = f"bedside.send_to, {settings.name}"
        self._peer = peer
        self._ours = ours
        self._seconds = timeout_seconds
        require_tls(self._where, peer.host, peer.tls, insecure=peer.insecure)
        self._tls = None if peer.tls is None else calling_context(site_folder, peer.tls)

    def send(self, objects: Sequence[bytes], became: Callable[[int, Outcome], bool]) -> None:
        """Send objects, one after another, over one association.

        Parameters
        ----------
        objects : sequence of bytes
            Files (PS3.10).
        became : callable
            Told what became of the object of a number, at once; False ends the sending.

        Raises
        ------
        TryAgainError
            If the peer is not there, or went away; what it was asked for before has its outcome.
        SourceRefusedError
            If it makes no association.
        """
        datasets = [dcmread(BytesIO(one)) for one in objects]
        node = new_node(self._ours, self._seconds)
        wanted = {(one.SOPClassUID, one.file_meta.TransferSyntaxUID) for one in datasets}
        node.requested_contexts = [build_context(*one) for one in sorted(wanted)]
        node.add_requested_context(Verification, list(OTHER_SYNTAXES))
        try:
            association, heard = call(
                node, (self._peer.host, self._peer.port), self._peer.title,
                most_bytes=MOST_MESSAGE_BYTES, tls=self._tls,
            )  # fmt: skip
        except OSError:
            raise TryAgainError("is not known by that name, so it cannot be reached") from None
        try:
            if not association.is_established:
                if heard.accepted and not heard.aborted:  # it has none of what we asked for
                    for number in range(len(datasets)):
                        became(number, no("it takes none of these kinds of objects"))
                    return
                raise explain(self.name, self._ours, heard, self._seconds, self._where)
            for number, dataset in enumerate(datasets):
                if not became(number, self._store(association, dataset)):
                    return
        finally:
            leave(association, heard)

    def _store(self, association: object, dataset: Dataset) -> Outcome:
        """Send one object."""
        refused = {
            (c.abstract_syntax): CONTEXT_RESULTS.get(c.result or 0, "no reason given")
            for c in association.rejected_contexts  # type: ignore[attr-defined]
        }
        if dataset.SOPClassUID in refused:
            return no(
                f"it does not take {dataset.SOPClassUID.name}: {refused[dataset.SOPClassUID]}"
            )
        try:
            status = status_of(association.send_c_store(dataset))  # type: ignore[attr-defined]
        except RuntimeError:  # what pynetdicom raises on an association that has ended
            raise TryAgainError("ended the association") from None
        if status is None:
            raise TryAgainError("ended the association instead of answering C-STORE")
        if status == SUCCESS or status in WARNINGS:
            return kept("" if status == SUCCESS else _in_words(status))
        if status in OUT_OF_RESOURCES:
            return later(_in_words(status))
        return no(_in_words(status))


def _in_words(status: int) -> str:
    """Say a status of C-STORE (PS3.4, table B.2-1)."""
    _, meaning = STORAGE_SERVICE_CLASS_STATUS.get(status, ("", ""))
    if not meaning and status in OUT_OF_RESOURCES:
        meaning = "Refused: Out of Resources"
    if not meaning and status >> 12 == 0xA:
        meaning = "Data Set Does Not Match SOP Class"
    if not meaning and status >> 12 == 0xC:
        meaning = "Cannot Understand"
    return f"status 0x{status:04X}, {(meaning or 'which the standard does not know').lower()}"


__all__ = ["PeerDestination", "SourceRefusedError"]
