"""What a call that failed is answered: a status of gRPC, and a word that programs can tell."""

from __future__ import annotations

import errno
from pathlib import Path
from typing import Final

import grpc

from shared.errors import (
    InputEmptyError,
    InputUnreadableError,
    NoChampionError,
    OsteofedError,
    ReadersBusyError,
    SeveralStudiesError,
)

#: Keys of the metadata: of every call, and of one that failed.
REQUEST_ID: Final = "osteofed-request-id"
REASON: Final = "osteofed-reason"

#: What is said of a full disk, or of one that would be.
NO_ROOM: Final = "there is no room for the study where the service runs"


class CallRefusedError(Exception):
    """A call that is not answered. `sentence` holds nothing of a patient."""

    def __init__(self, status: grpc.StatusCode, reason: str, sentence: str) -> None:
        super().__init__(sentence)
        self.status, self.reason, self.sentence = status, reason, sentence


#: Reason -> status. docs/grpc.md lists them; a test holds that it does.
REASONS: Final[dict[str, grpc.StatusCode]] = {
    "not_permitted": grpc.StatusCode.PERMISSION_DENIED,
    "study_too_large": grpc.StatusCode.RESOURCE_EXHAUSTED,
    "disk_full": grpc.StatusCode.RESOURCE_EXHAUSTED,
    "busy": grpc.StatusCode.UNAVAILABLE,
    "unknown_model": grpc.StatusCode.NOT_FOUND,
    "no_model": grpc.StatusCode.FAILED_PRECONDITION,
    "wrong_order": grpc.StatusCode.INVALID_ARGUMENT,
    "no_study": grpc.StatusCode.INVALID_ARGUMENT,
    "unreadable": grpc.StatusCode.INVALID_ARGUMENT,
    "several_studies": grpc.StatusCode.INVALID_ARGUMENT,
    "too_slow": grpc.StatusCode.DEADLINE_EXCEEDED,
    "fault": grpc.StatusCode.INTERNAL,
}
#: What the readers raise -> reason; the first that fits.
_OF_ERRORS: Final[tuple[tuple[type[OsteofedError], str], ...]] = (
    (ReadersBusyError, "busy"),
    (SeveralStudiesError, "several_studies"),
    (InputEmptyError, "no_study"),
    (InputUnreadableError, "unreadable"),
    (NoChampionError, "no_model"),
)


def refused(reason: str, sentence: str) -> CallRefusedError:
    """Make a refusal of a reason of `REASONS`."""
    return CallRefusedError(REASONS[reason], reason, sentence)


def refusal_of(error: Exception, folder: Path | None = None) -> CallRefusedError:
    """Say what an error means to a caller; of a fault of ours its kind only.

    Parameters
    ----------
    error : Exception
        What reading raised.
    folder : Path, optional
        Where the study lies here, which is no matter of the caller's.
    """
    if isinstance(error, CallRefusedError):
        return error
    for kind, reason in _OF_ERRORS:
        if isinstance(error, kind):
            sentence = str(error).replace(str(folder), "the study") if folder else str(error)
            return refused(reason, sentence)
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return refused("disk_full", NO_ROOM)
    return refused("fault", f"a fault of the service ({type(error).__name__}); its log has more")
