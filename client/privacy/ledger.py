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
sampled, by the Gaussian rule   refused by that reason (`client.privacy.privacy_filter`)
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

from pathlib import Path
from typing import Final

import sqlalchemy as sa

from client.privacy.evaluation_counter import MeasuredModels
from client.privacy.filter_table import filter_of, keep_filter
from client.privacy.ledger_db import empty_log, open_own_ledger, writing
from client.privacy.ledger_entries import Entry, EntryTable, RequestKey
from client.privacy.noise_keys import erase_noise_key, make_noise_key, noise_key_of
from client.privacy.privacy_filter import PrivacyFilter
from client.privacy.reservation import Reservation, check_asked_as_before, check_done
from client.privacy.spending import Quote, Spending
from shared.errors import PolicyRefusedError, StoreOutdatedError
from shared.settings.files import SitePrivacy
from shared.training.accounting import Mechanism

#: The one cohort of a site: all patients of its store.
DEFAULT_COHORT: Final = "store"


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
        If the file is missing, damaged or another store's ledger.
    """

    def __init__(self, path: Path, budget: SitePrivacy, identity: str) -> None:
        self.path = path
        self.budget = budget
        self._engine = open_own_ledger(path, identity)
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
            If plain rounds are not allowed here, the key is already taken by another
            mechanism, or the mechanism is of another kind than the ledger's rule.
        ConfigValueError
            If `site.yaml` names another kind of rule than the ledger was begun with.
        """
        if mechanism is None and not self.budget.allow_plain_runs:
            raise PolicyRefusedError(
                "this hospital does not train without privacy "
                "(site.yaml: privacy.allow_plain_runs is false)"
            )
        key = RequestKey(run, round, task, cohort, model_digest)
        rule = self._rule(mechanism)  # before others have to wait for it
        with writing(self._engine) as connection:
            lines = EntryTable(connection)
            earlier = lines.attempts(key)
            if earlier:
                last = earlier[-1]
                check_asked_as_before(last, mechanism)
                if last.serves_again(repeatable=repeatable):
                    return Reservation(
                        last.id, mechanism, repeated=True, attempt=last.attempt,
                        noise_key=noise_key_of(connection, last.id),
                    )  # fmt: skip
            if mechanism is not None:
                spending = Spending(lines.find(cohort=cohort), self.budget, rule)
                spending.check_fits(mechanism, cohort)
                _keep_rule(connection, rule)
            attempt = len(earlier) + 1
            entry = lines.reserve(key, mechanism, attempt, repeatable=repeatable)
            noise_key = b""
            if mechanism is not None and self.budget.erase_noise_keys:
                noise_key = make_noise_key(connection, entry, [one.id for one in earlier])
            return Reservation(
                entry, mechanism, repeated=False, attempt=attempt, noise_key=noise_key
            )

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
        check_done(reservation.mechanism, mechanism)
        with writing(self._engine) as connection:
            lines = EntryTable(connection)
            found = lines.find(id=reservation.entry)
            if not found:
                raise StoreOutdatedError(
                    "the ledger does not have the reservation that was made in it: another file "
                    "was put in its place; restore the newest backup (the update does not leave)"
                )
            lines.commit(found[0], mechanism)
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
            lines = EntryTable(connection)
            known = lines.attempts(RequestKey(run, round, task, cohort, model_digest))
            if known:
                lines.commit(known[-1])
                erase_noise_key(connection, known[-1].id)
        if known:
            empty_log(self._engine)
            return
        reservation = self.reserve(
            run, round, task, cohort, model_digest, mechanism, repeatable=repeatable
        )
        self.commit(reservation, mechanism)

    def spending(self) -> Spending:
        """Read what was spent, by all lines of one moment."""
        return Spending(self.entries(), self.budget, self._rule())

    def quote(self, mechanism: Mechanism, cohort: str = DEFAULT_COHORT) -> Quote:
        """Say what a mechanism would cost, without reserving it."""
        spending = Spending(self.entries(), self.budget, self._rule(mechanism))
        return spending.quote(mechanism, cohort)

    def epsilon(
        self, cohort: str | None = None, *, run: str | None = None, task: str | None = None
    ) -> float:
        """Compute what is spent and reserved (`Spending.epsilon`)."""
        return self.spending().epsilon(cohort, run=run, task=task)

    def plain_rounds(self) -> int:
        """Count the rounds without privacy, which no epsilon covers."""
        return self.spending().plain_rounds()

    def holds(self, entry: int, run: str, round: int, task: str) -> bool:
        """Tell whether an entry that was reserved once is here."""
        with self._engine.connect() as connection:
            return bool(EntryTable(connection).find(id=entry, run=run, round=round, task=task))

    def entries(self) -> list[Entry]:
        """List all entries, oldest first."""
        with self._engine.connect() as connection:
            return EntryTable(connection).find()

    def _rule(self, asked: Mechanism | None = None) -> PrivacyFilter:
        """Read by what rule this ledger decides, with the price of what is asked."""
        with self._engine.connect() as connection:
            return filter_of(connection, self.budget, () if asked is None else (asked,))

    def close(self) -> None:
        """Let go of the file."""
        self._engine.dispose()


def _keep_rule(connection: sa.Connection, rule: PrivacyFilter) -> None:
    """Keep the rule that a reservation was decided by.

    Raises
    ------
    PolicyRefusedError
        If another process has begun this ledger by another one since.
    """
    if not keep_filter(connection, rule):
        raise PolicyRefusedError(
            "the ledger was begun by another rule a moment ago (site.yaml: privacy.filter was "
            "changed while it was); ask again"
        )
