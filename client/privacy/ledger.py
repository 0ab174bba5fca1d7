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
again, only reserved before     uses the reservation again: nothing had left
again, its answer is kept       the kept bytes go out again; counted once (`settle`)
again, committed before         counts again, as an attempt with noise of its own
again, not repeatable           counts again (a GPU does not give the same bits)
same key, other mechanism       refused; ask it as a new run
more steps done than reserved   refused at `commit`; the update must not leave
a round without privacy         kept apart as unbounded: no epsilon covers it
the file is gone, or another's  an error: a new ledger would forget what was spent
an old backup of the site       not noticed here: the request says so (`identity.coordinator`)
two copies of the site          the same, once either has answered after the copy
an old ledger alone             its chain says so, before more is spent (`client.round.answer`)
=============================== ==================================================
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import sqlalchemy as sa

from client.privacy.evaluation_counter import MeasuredModels
from client.privacy.ledger_db import (
    MECHANISMS,
    Entry,
    empty_log,
    entries_of,
    erase_noise_key,
    identity_of,
    make_noise_key,
    noise_key_of,
    open_ledger_file,
    writing,
)
from shared.errors import (
    BudgetExceededError,
    PolicyRefusedError,
    StoreMissingError,
    StoreOutdatedError,
)
from shared.settings.files import SitePrivacy
from shared.training.accounting import Mechanism
from shared.training.accounting import epsilon as compose

#: The one cohort of a site: all patients of its store.
DEFAULT_COHORT: Final = "store"
#: A budget is not passed by rounding in the last digits.
TOLERANCE: Final = 1e-9


@dataclass(frozen=True)
class Reservation:
    """The right to train one round once.

    `repeated`: it was reserved before and nothing had left. `attempt` numbers the
    releases of one request from 1 and must be part of what seeds the noise, and so must
    `noise_key` (empty where `SitePrivacy.erase_noise_keys` is off): a repeat gets the same
    one, and `Ledger.commit` erases it.
    """

    entry: int
    mechanism: Mechanism | None
    repeated: bool
    attempt: int
    noise_key: bytes = field(default=b"", repr=False)


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
        The SQLite file that `client.privacy.ledger_db.make_ledger` made.
    budget : SitePrivacy
        The hospital's own limits.
    identity : str
        What `client.privacy.ledger_db.make_ledger` returned.

    Attributes
    ----------
    measured : MeasuredModels
        How many models were measured here.

    Raises
    ------
    StoreMissingError
        If the file is missing, damaged or another store's ledger. It is never made
        anew, since an empty ledger says that nothing was spent.
    """

    def __init__(self, path: Path, budget: SitePrivacy, identity: str) -> None:
        self.path = path
        self.budget = budget
        if not path.is_file():
            raise StoreMissingError(
                f"{path}: the privacy ledger of the site is missing; restore it from your "
                "backup (site.yaml: ledger), for without it nobody knows what was spent"
            )
        self._engine = open_ledger_file(path)
        if identity_of(self._engine) != identity:
            self._engine.dispose()
            raise StoreMissingError(
                f"{path}: is not the privacy ledger of this store (site.yaml: ledger); restore "
                "the one that was made with it from your backup"
            )
        self.measured = MeasuredModels(self._engine)

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
            (`shared.protocol.messages.request_digest`).
        mechanism : Mechanism or None
            What will be spent at most; None = a round without privacy.
        repeatable : bool
            Whether training it again gives the same bits. A reservation of which
            nothing left is used again only if this holds now and held then: else
            two processes at once could send two releases with one noise.

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
        with writing(self._engine) as connection:
            earlier = entries_of(connection, **key)
            if earlier:
                _check_same(earlier[-1], mechanism, key)
                last = earlier[-1]
                if last.state == "reserved" and last.repeatable and repeatable:
                    return Reservation(
                        last.id, mechanism, repeated=True, attempt=last.attempt,
                        noise_key=noise_key_of(connection, last.id),
                    )  # fmt: skip
            if mechanism is not None:
                self._veto(connection, cohort, mechanism)
            wanted = mechanism or Mechanism(1.0, 0.0, 0)
            inserted = connection.execute(
                MECHANISMS.insert().values(
                    **key,
                    **asdict(wanted),
                    attempt=len(earlier) + 1,
                    mode="private" if mechanism is not None else "plain",
                    state="reserved",
                    repeatable=repeatable,
                    reserved_at=_now(),
                )
            )
            entry = inserted.inserted_primary_key
            number = int(entry[0]) if entry else 0
            key_of_noise = b""
            if mechanism is not None and self.budget.erase_noise_keys:
                former = [one.id for one in earlier]
                key_of_noise = make_noise_key(connection, number, former)
            return Reservation(
                number, mechanism, repeated=False, attempt=len(earlier) + 1,
                noise_key=key_of_noise,
            )  # fmt: skip

    def commit(self, reservation: Reservation, mechanism: Mechanism | None) -> None:
        """Write down what was really done, before the update leaves; its noise's key is erased.

        Fewer steps than reserved are taken as they are; a repeat leaves the entry
        as it was first committed.

        Raises
        ------
        PolicyRefusedError
            If more was done than was reserved. The reservation stands, and the
            update must not leave.
        StoreOutdatedError
            If the reservation is not there any more.
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
        with writing(self._engine) as connection:
            mine = MECHANISMS.c.id == reservation.entry
            state = connection.scalar(sa.select(MECHANISMS.c.state).where(mine))
            if state is None:
                raise StoreOutdatedError(
                    "the ledger does not have the reservation that was made in it: another file "
                    "was put in its place; restore the newest backup (the update does not leave)"
                )
            connection.execute(
                MECHANISMS.update()
                .where(mine, MECHANISMS.c.state == "reserved")
                .values(state="committed", committed_at=_now(), **done)
            )
            erase_noise_key(connection, reservation.entry)
        empty_log(self._engine)

    def settle(
        self,
        run: str,
        round: int,
        task: str,
        cohort: str,
        model_digest: str,
        mechanism: Mechanism | None,
        *,
        repeatable: bool = True,
    ) -> None:
        """See to it that an answer that is kept, and may have left, is counted once.

        A crash between keeping the answer and `commit` leaves a reservation: it is
        committed. A ledger that does not know the answer (an older backup) counts it now.

        Raises
        ------
        BudgetExceededError
            If it was not counted and does not fit: then it does not leave again.
        """
        with writing(self._engine) as connection:
            known = entries_of(
                connection, run=run, round=round, task=task, cohort=cohort,
                model_digest=model_digest,
            )  # fmt: skip
            if known:
                connection.execute(
                    MECHANISMS.update()
                    .where(MECHANISMS.c.id == known[-1].id, MECHANISMS.c.state == "reserved")
                    .values(state="committed", committed_at=_now())
                )
                erase_noise_key(connection, known[-1].id)
        if known:
            empty_log(self._engine)
            return
        reservation = self.reserve(
            run, round, task, cohort, model_digest, mechanism, repeatable=repeatable
        )
        self.commit(reservation, mechanism)

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

    def holds(self, entry: int, run: str, round: int, task: str) -> bool:
        """Tell whether an entry that was reserved once is here."""
        with self._engine.connect() as connection:
            known = entries_of(connection, run=run, round=round, task=task)
            return any(one.id == entry for one in known)

    def entries(self) -> list[Entry]:
        """List all entries, oldest first."""
        with self._engine.connect() as connection:
            return entries_of(connection)

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
        spent_on = [e.mechanism for e in entries_of(connection, cohort=cohort, mode="private")]
        spent = compose(spent_on, self.budget.delta)
        after = compose([*spent_on, mechanism], self.budget.delta)
        asked = after - spent if math.isfinite(spent) else math.inf
        return Quote(spent=spent, asked=asked, left=self.budget.epsilon_budget - spent)


def _check_same(earlier: Entry, mechanism: Mechanism | None, key: dict[str, object]) -> None:
    """A key names one request; what was reserved for it serves no other mechanism."""
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
