"""What errors mean to a caller."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

from shared.errors import InputUnreadableError, NoChampionError, ReadersBusyError
from shared.inference.service.statuses import refusal_of, refused

FOLDER = Path("/spool/osteofed-x")


@pytest.mark.parametrize(
    ("error", "reason", "status"),
    [
        (ReadersBusyError("many wait"), "busy", "UNAVAILABLE"),
        (NoChampionError("none"), "no_model", "FAILED_PRECONDITION"),
        (OSError(errno.ENOSPC, "No space left", f"{FOLDER}/1.dcm"), "disk_full",
         "RESOURCE_EXHAUSTED"),
        (OSError(errno.EIO, "broken", f"{FOLDER}/1.dcm"), "fault", "INTERNAL"),
        (ValueError("Doe^Jane"), "fault", "INTERNAL"),
        (refused("not_permitted", "no"), "not_permitted", "PERMISSION_DENIED"),
    ],
)  # fmt: skip
def test_an_error_has_a_status_and_a_fault_of_ours_says_its_kind_only(
    error: Exception, reason: str, status: str
) -> None:
    found = refusal_of(error, FOLDER)
    assert (found.reason, found.status.name) == (reason, status)
    assert "Doe" not in found.sentence
    assert str(FOLDER) not in found.sentence


def test_where_a_study_lies_is_no_matter_of_the_callers() -> None:
    found = refusal_of(InputUnreadableError(f"{FOLDER}: no study could be read"), FOLDER)
    assert found.sentence == "the study: no study could be read"
