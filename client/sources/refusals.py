"""What a peer's refusals mean, in the standard's words, and who has to change what."""

from __future__ import annotations

from typing import Any, Final

from pydicom.dataset import Dataset
from pynetdicom.association import Association
from pynetdicom.pdu import A_ASSOCIATE_RJ
from pynetdicom.status import (
    QR_FIND_SERVICE_CLASS_STATUS,
    QR_GET_SERVICE_CLASS_STATUS,
    QR_MOVE_SERVICE_CLASS_STATUS,
)

from shared.errors import SourceRefusedError

from .association import Heard
from .retry import HungUpError, TryAgainError

SUCCESS: Final = 0x0000
PENDING: Final = (0xFF00, 0xFF01)
#: Sub-operations are complete, but one or more failed or had a warning.
SOME_FAILED: Final = 0xB000
NOT_AUTHORISED: Final = 0x0124
OUT_OF_RESOURCES: Final = range(0xA700, 0xA800)
DESTINATION_UNKNOWN: Final = 0xA801
REFUSALS: Final = (NOT_AUTHORISED, 0x0110)
#: By request; PS3.4, tables C.4-1 to C.4-3, and PS3.7, annex C.
MEANINGS: Final = {
    "C-FIND": QR_FIND_SERVICE_CLASS_STATUS,
    "C-GET": QR_GET_SERVICE_CLASS_STATUS,
    "C-MOVE": QR_MOVE_SERVICE_CLASS_STATUS,
}
#: Results of a presentation context that is not accepted (PS3.8, table 9-18).
CONTEXT_RESULTS: Final = {
    1: "rejected by its user",
    2: "rejected without a reason",
    3: "it does not have this service",
    4: "it has none of the transfer syntaxes",
}
#: A-ASSOCIATE-RJ, result: transient (PS3.8, table 9-21).
TRANSIENT: Final = 0x02


def in_words(status: int, what: str) -> str:
    """Say a status: ``status 0xA702, refused: out of resources, unable to …``."""
    meanings = MEANINGS.get(what, QR_FIND_SERVICE_CLASS_STATUS)
    _, meaning = meanings.get(status, ("", ""))
    if not meaning and status in OUT_OF_RESOURCES:
        meaning = "refused: out of resources"
    if not meaning and status >> 12 in (0xA, 0xC):
        meaning = "failed"
    meaning = meaning[:1].lower() + meaning[1:]
    return f"status 0x{status:04X}, {meaning or 'which the standard does not know'}"


def status_of(answer: Any) -> int | None:
    """Status of a DIMSE answer; None if the connection was lost before there was one."""
    return int(answer.Status) if answer is not None and "Status" in answer else None


def failed_in(answer: Dataset) -> int:
    """Count the sub-operations that failed, as a last answer says."""
    return int(answer.get("NumberOfFailedSuboperations", None) or 0)


def reason_of(rejection: A_ASSOCIATE_RJ) -> str:
    """Say why a peer rejects, as far as the standard knows its number."""
    try:
        return str(rejection.reason_str).lower()
    except ValueError:
        return "no reason that the standard knows"


def explain(
    name: str, ours: str, heard: Heard, seconds: float, where: str = "pacs.peer"
) -> Exception:
    """Make the error of a peer that made no association.

    Parameters
    ----------
    name, ours : str
        Of the peer, and our own title.
    heard : Heard
        What it did.
    seconds : float
        How long it was waited for.
    where : str
        Where in ``site.yaml`` it is set.
    """
    if heard.rejection is not None:
        if heard.rejection.result == TRANSIENT:
            return TryAgainError("is busy")
        return SourceRefusedError(
            f"{name}: rejected the association: {reason_of(heard.rejection)} "
            f"({where}.title must be its own title, and it must know {ours})"
        )
    if heard.insecure:
        return SourceRefusedError(
            f"{name}: the TLS connection failed (its certificate must be signed by "
            f"{where}.tls.authority and be made out to that host name, and a peer that "
            f"asks for one needs {where}.tls.certificate)"
        )
    if not heard.connected:
        return TryAgainError("cannot be reached")
    if heard.speaks_tls:
        return SourceRefusedError(
            f"{name}: answers in TLS, which it was not spoken to in (set {where}.tls)"
        )
    if heard.strange:
        return SourceRefusedError(
            f"{name}: answers with what is no DICOM (check {where}.host and port: something "
            "else listens there)"
        )
    if heard.too_much:
        return SourceRefusedError(
            f"{name}: answers our association request with more than any answer has (check "
            f"{where}.host and port)"
        )
    if heard.aborted:
        return _NoAssociationError("aborts instead of answering our association request")
    if heard.ended:
        return _NoAssociationError("ends the connection before there is an association")
    return _NoAssociationError(
        f"takes the connection but did not answer our association request in {seconds:g} s"
    )


class _NoAssociationError(TryAgainError):
    """It is there, and makes no association."""

    remedy = (
        "it can be reached, so whether it is overloaded, or wants TLS (pacs.peer.tls), or does "
        "not let this machine in, is for the PACS team to say"
    )


def not_offered(name: str, ours: str, wanted: Any, association: Association) -> Exception:
    """Make the error of a peer that makes an association without what was asked for."""
    results = {
        CONTEXT_RESULTS.get(context.result or 0, "no reason given")
        for context in association.rejected_contexts
        if context.abstract_syntax == wanted
    }
    why = ", ".join(sorted(results)) or "no reason given"
    return SourceRefusedError(
        f"{name}: makes an association but does not offer {wanted.name}: {why} (permit {ours} to "
        "use it in the PACS; where it has no C-GET, pacs.peer.retrieve: move, or pacs:web)"
    )


def what_ended(ours: str, heard: Heard, what: str) -> TryAgainError:
    """Make the error of a peer that ends the association instead of answering."""
    if heard.strange:
        return HungUpError(f"answers {what} with what is no DICOM, and was cut off")
    how = "aborts the association" if heard.aborted else "hangs up"
    return HungUpError(
        f"takes the association and {how} at {what} (permit {ours} to use it in the PACS; if it "
        "is permitted, its own log says why)"
    )
