"""The hospital's privacy ledger: what training has spent, and what it may still spend.

Guarantee: everything that this site's private training has sent out, over all
rounds, runs and tasks of a cohort, is (`epsilon_budget`, `delta`)-differentially
private for each of its patients, because nothing is trained before its cost
stands in this ledger and fits the budget.

=============================== ==================================================
case                            what happens
=============================== ==================================================
it would pass the budget        refused with spent, asked and left; nothing written
crash after `reserve`           the reservation stands and counts as spent
the same request again          uses its reservation again: it is the same release
same key, other mechanism       refused (two releases would share their noise)
same request, not repeatable    counts again (a GPU does not give the same bits)
more steps done than reserved   refused at `commit`; the update must not leave
a round without privacy         kept apart as unbounded: no epsilon covers it
=============================== ==================================================
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import sqlalchemy as sa

from shared.config import SitePrivacy
from shared.errors import BudgetExceededError, PolicyRefusedError, StoreMissingError
from shared.training.accounting import Mechanism
from shared.training.accounting import epsilon as compose

#: The one cohort of a site: all patients of its store.
DEFAULT_COHORT: Final = "store"
#: A budget is not passed by rounding in the last digits.
TOLERANCE: Final = 1e-9
#: How long one process waits for another that writes, seconds.
PATIENCE_SECONDS: Final = 60

_METADATA = sa.MetaData()
_MECHANISMS = sa.Table(
    "mechanisms",
    _METADATA,
    sa.Column("id", sa.Integer, primary_key=True, autoincrement=True),
    sa.Column("run", sa.String, nullable=False),
    sa.Column("round", sa.Integer, nullable=False),
    sa.Column("task", sa.String, nullable=False),
    sa.Column("cohort", sa.String, nullable=False),
    sa.Column("model_digest", sa.String, nullable=False),
    sa.Column("attempt", sa.Integer, nullable=False, default=1),
    sa.Column("mode", sa.String, nullable=False),  # private | plain
    sa.Column("state", sa.String, nullable=False),  # reserved | committed
    sa.Column("sample_rate", sa.Float, nullable=False),
    sa.Column("noise_multiplier", sa.Float, nullable=False),
    sa.Column("steps", sa.Integer, nullable=False),
    sa.Column("reserved_at", sa.String, nullable=False),
    sa.Column("committed_at", sa.String, nullable=True),
    sa.UniqueConstraint("run", "round", "task", "cohort", "model_digest", "attempt"),
)


@dataclass(frozen=True)
class Entry:
    """One line of the ledger.

    `mode` is ``private`` or ``plain`` (unbounded), `state` ``reserved`` (counts as
    spent) or ``committed``. Times are UTC, ISO 8601.
    """

    id: int
    run: str
    round: int
    task: str
    cohort: str
    model_digest: str
    attempt: int
    mode: str
    state: str
    sample_rate: float
    noise_multiplier: float
    steps: int
    reserved_at: str
    committed_at: str | None

    @property
    def mechanism(self) -> Mechanism:
        """What was spent."""
        return Mechanism(self.sample_rate, self.noise_multiplier, self.steps)


@dataclass(frozen=True)
class Reservation:
    """The right to train one round. `repeated`: it was reserved before."""

    entry: int
    mechanism: Mechanism | None
    repeated: bool


@dataclass(frozen=True)
class Quote:
    """What a step would cost. `asked` is what it adds to `spent`; `left` is before it."""

    spent: float
    asked: float
    left: float

    @property
    def fits(self) -> bool:
        """Whether the budget allows it."""
        return self.asked <= self.left + TOLERANCE


class Ledger:
    """The ledger of one site, in a SQLite file of its own; safe for several processes.

    Parameters
    ----------
    path : Path
        The SQLite file; made, with mode 0600, if it is not there.
    budget : SitePrivacy
        The hospital's own limits.
    """

    def __init__(self, path: Path, budget: SitePrivacy) -> None:
        self.path = path
        self.budget = budget
        if not path.parent.is_dir():
            raise StoreMissingError(
                f"{path.parent}: no such folder for the ledger; make the site with "
                "`osteofed site init`"
            )
        if not path.exists():
            path.touch(mode=0o600)
        self._engine = sa.create_engine(
            f"sqlite:///{path}",
            poolclass=sa.pool.NullPool,
            connect_args={"timeout": PATIENCE_SECONDS, "isolation_level": None},
        )
        sa.event.listen(self._engine, "connect", _make_durable)
        with self._writing() as connection:
            _METADATA.create_all(connection, checkfirst=True)

    def reserve(
        self,
        run: str,
        round: int,
        task: str,
        cohort: str,
        model_digest: str,
        mechanism: Mechanism | None,
        *,
        repeatable: bool = True,
    ) -> Reservation:
        """Reserve what one round will spend, before its first step.

        Parameters
        ----------
        run, round, task, cohort, model_digest
            The key. `model_digest` names the whole request
            (`shared.protocol.request_digest`).
        mechanism : Mechanism or None
            What will be spent at most; None = a round without privacy.
        repeatable : bool
            Whether a repeat gives the same bits, so that it spends nothing new.

        Returns
        -------
        Reservation
            To be given to `commit`.

        Raises
        ------
        BudgetExceededError
            If it would pass the budget; says what is spent, asked and left.
        PolicyRefusedError
            If plain rounds are not allowed here, or the key is already taken by
            another mechanism.
        """
        if mechanism is None and not self.budget.allow_plain_runs:
            raise PolicyRefusedError(
                "this hospital does not train without privacy "
                "(site.yaml: privacy.allow_plain_runs is false)"
            )
        key = {
            "run": run, "round": round, "task": task, "cohort": cohort,
            "model_digest": model_digest,
        }  # fmt: skip
        with self._writing() as connection:
            earlier = _entries(connection, **key)
            if earlier:
                _check_same(earlier[-1], mechanism, key)
                if repeatable:
                    return Reservation(earlier[-1].id, mechanism, repeated=True)
            if mechanism is not None:
                self._veto(connection, cohort, mechanism)
            wanted = mechanism or Mechanism(1.0, 0.0, 0)
            inserted = connection.execute(
                _MECHANISMS.insert().values(
                    **key,
                    **asdict(wanted),
                    attempt=len(earlier) + 1,
                    mode="private" if mechanism is not None else "plain",
                    state="reserved",
                    reserved_at=_now(),
                )
            )
            entry = inserted.inserted_primary_key
            return Reservation(int(entry[0]) if entry else 0, mechanism, repeated=False)

    def commit(self, reservation: Reservation, mechanism: Mechanism | None) -> None:
        """Write down what was really done, before the update leaves.

        Fewer steps than reserved are taken as they are; a repeat leaves the entry
        as it was first committed.

        Raises
        ------
        PolicyRefusedError
            If more was done than was reserved. The reservation stands, and the
            update must not leave.
        """
        reserved = reservation.mechanism
        if (mechanism is None) != (reserved is None) or (
            mechanism is not None
            and reserved is not None
            and (
                mechanism.steps > reserved.steps
                or mechanism.sample_rate > reserved.sample_rate
                or mechanism.noise_multiplier < reserved.noise_multiplier
            )
        ):
            raise PolicyRefusedError(
                f"more was done than was reserved ({mechanism} after {reserved}); "
                "the update does not leave"
            )
        done = {} if mechanism is None else asdict(mechanism)
        with self._writing() as connection:
            connection.execute(
                _MECHANISMS.update()
                .where(_MECHANISMS.c.id == reservation.entry, _MECHANISMS.c.state == "reserved")
                .values(state="committed", committed_at=_now(), **done)
            )

    def quote(self, mechanism: Mechanism, cohort: str = DEFAULT_COHORT) -> Quote:
        """Say what a mechanism would cost now, without reserving it."""
        with self._engine.connect() as connection:
            return self._quote(connection, cohort, mechanism)

    def epsilon(
        self, cohort: str | None = None, *, run: str | None = None, task: str | None = None
    ) -> float:
        """Compute what is spent and reserved at the site's delta.

        Parameters
        ----------
        cohort, run, task : str, optional
            Count only entries of these; all by default. Without a cohort, the
            largest over the cohorts, for no patient is in two of them.

        Returns
        -------
        float
            Epsilon of the private entries; see `plain_rounds` for the others.
        """
        chosen = [
            entry
            for entry in self.entries()
            if entry.mode == "private"
            and cohort in (None, entry.cohort)
            and run in (None, entry.run)
            and task in (None, entry.task)
        ]
        cohorts = {entry.cohort for entry in chosen}
        spent = [
            compose([e.mechanism for e in chosen if e.cohort == name], self.budget.delta)
            for name in cohorts
        ]
        return max(spent, default=0.0)

    def plain_rounds(self) -> int:
        """Count the rounds without privacy, which no epsilon covers."""
        return sum(entry.mode == "plain" for entry in self.entries())

    def entries(self) -> list[Entry]:
        """List all entries, oldest first."""
        with self._engine.connect() as connection:
            return _entries(connection)

    def close(self) -> None:
        """Let go of the file."""
        self._engine.dispose()

    def _veto(self, connection: sa.Connection, cohort: str, mechanism: Mechanism) -> None:
        quote = self._quote(connection, cohort, mechanism)
        if not quote.fits:
            raise BudgetExceededError(
                f"the privacy budget does not allow it: spent {quote.spent:.3f}, asked "
                f"{quote.asked:.3f} more, left {quote.left:.3f} of epsilon "
                f"{self.budget.epsilon_budget:g} (site.yaml: privacy.epsilon_budget)"
            )

    def _quote(self, connection: sa.Connection, cohort: str, mechanism: Mechanism) -> Quote:
        spent_on = [e.mechanism for e in _entries(connection, cohort=cohort, mode="private")]
        spent = compose(spent_on, self.budget.delta)
        after = compose([*spent_on, mechanism], self.budget.delta)
        asked = after - spent if math.isfinite(spent) else math.inf
        return Quote(spent=spent, asked=asked, left=self.budget.epsilon_budget - spent)

    @contextmanager
    def _writing(self) -> Iterator[sa.Connection]:
        """Open a transaction that excludes other writers from its first statement on."""
        with self._engine.connect() as connection:
            connection.exec_driver_sql("BEGIN IMMEDIATE")
            try:
                yield connection
            except BaseException:
                connection.exec_driver_sql("ROLLBACK")
                raise
            connection.exec_driver_sql("COMMIT")


def _make_durable(connection: Any, _: object) -> None:
    """A committed line survives a power cut (WAL, synchronous FULL)."""
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=FULL")


def _entries(connection: sa.Connection, **where: object) -> list[Entry]:
    query = sa.select(_MECHANISMS).order_by(_MECHANISMS.c.id)
    for column, value in where.items():
        query = query.where(_MECHANISMS.c[column] == value)
    rows: Sequence[sa.RowMapping] = connection.execute(query).mappings().all()
    return [Entry(**row) for row in rows]


def _check_same(earlier: Entry, mechanism: Mechanism | None, key: dict[str, object]) -> None:
    """A key names one release; noise that was drawn for it serves no other mechanism."""
    before = earlier.mechanism if earlier.mode == "private" else None
    fewer = earlier.state == "committed"  # what was done may be less than what was asked
    same = (before is None) == (mechanism is None) and (
        before is None
        or mechanism is None
        or (
            before.sample_rate == mechanism.sample_rate
            and before.noise_multiplier == mechanism.noise_multiplier
            and (before.steps == mechanism.steps or (fewer and before.steps < mechanism.steps))
        )
    )
    if not same:
        raise PolicyRefusedError(
            f"round {key['round']} of run {key['run']} ({key['task']}) was already asked with "
            "another privacy mechanism; ask it as before or as a new run"
        )


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
