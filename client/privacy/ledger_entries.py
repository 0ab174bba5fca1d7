"""The lines of the ledger: what each round reserved, and what it then did."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, Final

import sqlalchemy as sa

from client.privacy.entry_state import TRANSITIONS, EntryEvent, EntryState
from client.privacy.ledger_db import MECHANISMS
from shared.training.accounting import Mechanism

#: What a line without privacy holds where others hold a mechanism.
NO_MECHANISM: Final = Mechanism(sample_rate=1.0, noise_multiplier=0.0, steps=0)


class EntryMode(StrEnum):
    """Whether an epsilon covers the round."""

    PRIVATE = "private"
    PLAIN = "plain"


@dataclass(frozen=True)
class RequestKey:
    """What a line is for.

    `model_digest` names the whole request (`shared.protocol.messages.request_digest`).
    """

    run: str
    round: int
    task: str
    cohort: str
    model_digest: str


@dataclass(frozen=True)
class Entry:
    """One line of the ledger.

    `attempt` counts the lines of one request from 1. `repeatable` says whether training it
    again gives the same bits. Times are UTC, ISO 8601.
    """

    id: int
    run: str
    round: int
    task: str
    cohort: str
    model_digest: str
    attempt: int
    mode: EntryMode
    state: EntryState
    repeatable: bool
    sample_rate: float
    noise_multiplier: float
    steps: int
    reserved_at: str
    committed_at: str | None

    @property
    def mechanism(self) -> Mechanism:
        """What was spent."""
        return Mechanism(self.sample_rate, self.noise_multiplier, self.steps)

    def serves_again(self, *, repeatable: bool) -> bool:
        """Tell whether its request, asked again, may be trained under this line.

        Parameters
        ----------
        repeatable : bool
            Whether training gives the same bits today. It must have been so too when the
            line was written: else one noise would hide two releases.
        """
        same_bits = self.repeatable and repeatable
        event = EntryEvent.ASKED_AGAIN if same_bits else EntryEvent.ASKED_FOR_OTHER_BITS
        return TRANSITIONS[self.state, event] is not None


class EntryTable:
    """The lines, as one transaction sees and changes them.

    Parameters
    ----------
    connection : sqlalchemy.Connection
        To change lines: one of `client.privacy.ledger_db.writing`.
    """

    def __init__(self, connection: sa.Connection) -> None:
        self._connection = connection

    def find(self, **where: object) -> list[Entry]:
        """List the lines with these values in their columns, oldest first."""
        query = sa.select(MECHANISMS).order_by(MECHANISMS.c.id)
        for column, value in where.items():
            query = query.where(MECHANISMS.c[column] == value)
        rows: Sequence[sa.RowMapping] = self._connection.execute(query).mappings().all()
        return [_entry(row) for row in rows]

    def attempts(self, key: RequestKey) -> list[Entry]:
        """List the lines of one request, in the order of their attempts."""
        return self.find(**asdict(key))

    def reserve(
        self, key: RequestKey, mechanism: Mechanism | None, attempt: int, *, repeatable: bool
    ) -> int:
        """Write a reserved line; return its number."""
        inserted = self._connection.execute(
            MECHANISMS.insert().values(
                **asdict(key),
                **asdict(mechanism or NO_MECHANISM),
                attempt=attempt,
                mode=EntryMode.PLAIN if mechanism is None else EntryMode.PRIVATE,
                state=EntryState.RESERVED,
                repeatable=repeatable,
                reserved_at=_now(),
            )
        )
        number = inserted.inserted_primary_key
        return int(number[0]) if number else 0

    def commit(self, entry: Entry, done: Mechanism | None = None) -> None:
        """Write down that a line's answer is kept; one that was committed stays as it was.

        Parameters
        ----------
        entry : Entry
            As it stands.
        done : Mechanism, optional
            What was really done; what was reserved by default.
        """
        state = TRANSITIONS[entry.state, EntryEvent.ANSWER_KEPT]
        if state is entry.state:
            return
        self._connection.execute(
            MECHANISMS.update()
            .where(MECHANISMS.c.id == entry.id)
            .values(state=state, committed_at=_now(), **({} if done is None else asdict(done)))
        )


def _entry(row: sa.RowMapping) -> Entry:
    values: dict[str, Any] = dict(row)
    return Entry(
        **values | {"mode": EntryMode(values["mode"]), "state": EntryState(values["state"])}
    )


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
