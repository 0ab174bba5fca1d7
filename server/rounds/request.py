"""What is asked of every site in one exchange, and what comes of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic, Literal, Protocol, TypeVar

from server.state.result import Absence
from shared.protocol.account import Account
from shared.protocol.messages import Refusal
from shared.protocol.signatures import Statement, Ticket

if TYPE_CHECKING:
    from flwr.app import Message, RecordDict


class Answer(Protocol):
    """What every kind of answer has."""

    @property
    def account(self) -> Account:
        """What the site says about it."""
        ...

    @property
    def statement(self) -> Statement:
        """What the site signed."""
        ...

    @property
    def patients(self) -> int:
        """The number of patients it claims."""
        ...


A = TypeVar("A", bound=Answer)
#: Raises unless an answer comes from whom it says, and claims what it may.
Check = Callable[[Answer], None]
#: Makes the message for a node; a Flower message can only be made inside a run.
MessageMaker = Callable[["RecordDict", int, str], "Message"]


@dataclass(frozen=True)
class Question(Generic[A]):
    """What is asked of every site, the same but for the ticket.

    `build` makes a message's content for a ticket, in whole or without what the sites
    `holders` have already; `expected_seconds` is how long the quickest site took last
    time at least; `read` reads an answer or a refusal, holds it against
    everything, keeps what must be kept of it, and raises `AggregationRefusedError` on
    anything else.
    """

    kind: Literal["train", "evaluate"]
    run: str
    task: str
    round: int
    asked: str
    build: Callable[[Ticket, bool], RecordDict]
    read: Callable[[RecordDict, Check], A | Refusal]
    holders: frozenset[str] = frozenset()
    expected_seconds: float = 0.0


@dataclass(frozen=True)
class Asked(Generic[A]):
    """What came of an exchange. Answers are by site name, sorted."""

    answers: dict[str, A]
    absent: list[Absence]
    attempts: int
    seconds: float
    bytes_down: int
    bytes_up: int
