"""The states of a line of the ledger, and what moves it from one to another: a table."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Final


class EntryState(StrEnum):
    """How a line stands. In both states it counts as spent."""

    RESERVED = "reserved"
    COMMITTED = "committed"


class EntryEvent(StrEnum):
    """What can happen to the newest line of a request."""

    ANSWER_KEPT = "the answer is kept and may leave"
    ASKED_AGAIN = "the request is asked again; training it gives the same bits"
    ASKED_FOR_OTHER_BITS = "the request is asked again; training it gives other bits"


#: How the line stands after an event. None: the line stays, and what is asked is an attempt
#: of its own, with a line and noise of its own.
TRANSITIONS: Final[Mapping[tuple[EntryState, EntryEvent], EntryState | None]] = {
    (EntryState.RESERVED, EntryEvent.ANSWER_KEPT): EntryState.COMMITTED,
    (EntryState.RESERVED, EntryEvent.ASKED_AGAIN): EntryState.RESERVED,
    (EntryState.RESERVED, EntryEvent.ASKED_FOR_OTHER_BITS): None,
    (EntryState.COMMITTED, EntryEvent.ANSWER_KEPT): EntryState.COMMITTED,
    (EntryState.COMMITTED, EntryEvent.ASKED_AGAIN): None,
    (EntryState.COMMITTED, EntryEvent.ASKED_FOR_OTHER_BITS): None,
}
