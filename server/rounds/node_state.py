"""The states of a node in one exchange, and what moves it from one to another: a table.

The picture in docs/exchange.md is drawn from this table (`diagram`).
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Final


class State(StrEnum):
    """How a node stands in an exchange. Those from `REFUSED` on are kinds of `Absence`."""

    UNASKED = "unasked"
    ASKED = "asked"
    ANSWERED = "answered"
    REFUSED = "refused"
    REJECTED = "rejected"
    FAILED = "failed"
    LATE = "late"
    UNREACHABLE = "unreachable"


class Happening(StrEnum):
    """What can happen to a node in an exchange."""

    SENT = "the request is sent"
    UNDELIVERED = "the message cannot be given to it"
    ANSWER = "a valid answer comes"
    REFUSAL = "the hospital says no"
    UNUSABLE = "what comes is not an answer"
    BREAKDOWN = "its program breaks"
    NODE_GONE = "its node is gone"
    LOST = "its answer cannot be fetched"
    TIME_UP = "the deadline passes"


#: A reply may be to an earlier attempt, so it counts whatever became of the node since then;
#: of a node that refused only an answer does.
LISTENED_TO: Final = (
    State.ASKED, State.REFUSED, State.REJECTED, State.FAILED, State.LATE, State.UNREACHABLE,
)  # fmt: skip
#: A node that refused is not asked again in the same exchange, nor one that answered.
MAY_BE_ASKED: Final = (
    State.UNASKED, State.ASKED, State.REJECTED, State.FAILED, State.LATE, State.UNREACHABLE,
)  # fmt: skip
#: What a reply can be, and how the node then stands.
_BY_REPLY: Final = {
    Happening.ANSWER: State.ANSWERED,
    Happening.REFUSAL: State.REFUSED,
    Happening.UNUSABLE: State.REJECTED,
    Happening.BREAKDOWN: State.FAILED,
    Happening.NODE_GONE: State.UNREACHABLE,
    Happening.LOST: State.FAILED,
}

TRANSITIONS: Final[Mapping[tuple[State, Happening], State]] = {
    **{(state, Happening.SENT): State.ASKED for state in MAY_BE_ASKED},
    **{
        (state, reply): becomes
        for state in LISTENED_TO
        for reply, becomes in _BY_REPLY.items()
        if state is not State.REFUSED or reply is Happening.ANSWER
    },
    (State.ASKED, Happening.UNDELIVERED): State.UNREACHABLE,
    (State.ASKED, Happening.TIME_UP): State.LATE,
}


def after(state: State, happening: Happening) -> State:
    """The state after something happened; what cannot happen in a state is a KeyError."""
    return TRANSITIONS[state, happening]


#: States in which a node is absent and may be asked again; drawn as one.
ABSENT: Final = (State.REJECTED, State.FAILED, State.LATE, State.UNREACHABLE)


def diagram() -> str:
    """Draw the table as a Mermaid state diagram."""
    lines = ["stateDiagram-v2", f"    [*] --> {State.UNASKED}", "    state absent {"]
    lines += [f"        {state}" for state in ABSENT]
    lines.append("    }")
    for (state, happening), becomes in TRANSITIONS.items():
        if state not in ABSENT:
            lines.append(f"    {state} --> {becomes}: {happening}")
    for happening in Happening:
        ends = {TRANSITIONS.get((state, happening)) for state in ABSENT}
        lines += [f"    absent --> {end}: {happening}" for end in ends if end and len(ends) == 1]
    return "\n".join(lines)
