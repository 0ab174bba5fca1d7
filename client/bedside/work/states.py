"""The states of a study in the work list, and what moves it from one to another: a table."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Final


class StudyState(StrEnum):
    """How a study stands. `ANSWERED` and `REFUSED` are ends; all else waits for something."""

    RECEIVING = "receiving"
    READY = "ready"
    READING = "reading"
    SENDING = "sending"
    HELD = "held"
    ANSWERED = "answered"
    REFUSED = "refused"


class StudyEvent(StrEnum):
    """What can happen to a study."""

    MORE = "a new instance of it comes"
    COMPLETE = "all of it is there"
    NOTHING = "no series of it is read"
    BEGIN = "its reading begins"
    AGAIN = "its reading broke off"
    MADE = "its results are stored"
    UNREADABLE = "it cannot be read"
    CONFLICT = "it contradicts itself or another"
    DELIVERED = "every destination has its results"
    DECLINED = "a destination refused its results"
    GO_ON = "a person says to go on"
    SEND_AGAIN = "a person says to send again"
    GIVE_UP = "a person says to leave it"


#: In which what comes may still change the answer, and the answer what is shown.
OPEN: Final = (StudyState.RECEIVING, StudyState.READY, StudyState.READING, StudyState.SENDING)
ENDS: Final = (StudyState.ANSWERED, StudyState.REFUSED)

TRANSITIONS: Final[Mapping[tuple[StudyState, StudyEvent], StudyState]] = {
    **{
        (state, StudyEvent.MORE): StudyState.RECEIVING
        for state in (*OPEN, *ENDS)  # what is held stays so: a person was asked
    },
    (StudyState.HELD, StudyEvent.MORE): StudyState.HELD,
    **{(state, StudyEvent.CONFLICT): StudyState.HELD for state in StudyState},
    (StudyState.RECEIVING, StudyEvent.COMPLETE): StudyState.READY,
    (StudyState.RECEIVING, StudyEvent.NOTHING): StudyState.REFUSED,
    (StudyState.READY, StudyEvent.BEGIN): StudyState.READING,
    (StudyState.READING, StudyEvent.AGAIN): StudyState.READY,
    (StudyState.READING, StudyEvent.MADE): StudyState.SENDING,
    (StudyState.READING, StudyEvent.UNREADABLE): StudyState.REFUSED,
    (StudyState.SENDING, StudyEvent.DELIVERED): StudyState.ANSWERED,
    (StudyState.SENDING, StudyEvent.DECLINED): StudyState.REFUSED,
    # A study that is gone on with is looked at from its beginning: nothing is taken as known.
    (StudyState.HELD, StudyEvent.GO_ON): StudyState.RECEIVING,
    (StudyState.REFUSED, StudyEvent.GO_ON): StudyState.RECEIVING,
    (StudyState.REFUSED, StudyEvent.SEND_AGAIN): StudyState.SENDING,
    (StudyState.HELD, StudyEvent.GIVE_UP): StudyState.REFUSED,
}


class SendingState(StrEnum):
    """How one result stands at one destination."""

    WAITING = "waiting"
    SENT = "sent"
    REFUSED = "refused"
    #: A later answer to the same study took its place before it was sent.
    SUPERSEDED = "superseded"


def after(state: StudyState, event: StudyEvent) -> StudyState:
    """The state after something happened; what cannot happen in a state is a KeyError."""
    return TRANSITIONS[state, event]


def may(state: StudyState, event: StudyEvent) -> bool:
    """Whether something can happen in a state."""
    return (state, event) in TRANSITIONS
