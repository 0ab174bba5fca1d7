"""Adds up what the lines of a ledger spent, and what the budget leaves: arithmetic, no database."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from client.privacy.ledger_entries import Entry, EntryMode
from client.privacy.privacy_filter import RELATIVE_ROUNDING, PrivacyFilter
from shared.errors import BudgetExceededError
from shared.settings.files import SitePrivacy
from shared.training.accounting import Mechanism


@dataclass(frozen=True)
class Quote:
    """What a step would cost. `asked` is what it adds to `spent`; `left` is before it.

    `fits` says whether the budget allows it.
    """

    spent: float
    asked: float
    left: float
    fits: bool


@dataclass(frozen=True)
class Spending:
    """What was spent by some lines, reserved ones included, under a hospital's limits.

    Attributes
    ----------
    entries : sequence of Entry
        The lines, oldest first.
    budget : SitePrivacy
        Budget and delta.
    rule : PrivacyFilter
        How the ledger prices them.
    """

    entries: Sequence[Entry]
    budget: SitePrivacy
    rule: PrivacyFilter

    def epsilon(
        self, cohort: str | None = None, *, run: str | None = None, task: str | None = None
    ) -> float:
        """Compute the epsilon of the private lines at the site's delta.

        Parameters
        ----------
        cohort, run, task : str, optional
            Count only lines of these; all by default. Without a cohort, the
            largest over the cohorts, for no patient is in two of them.

        Returns
        -------
        float
            Epsilon; see `plain_rounds` for the lines that it does not cover.
        """
        chosen = [
            entry
            for entry in self.entries
            if entry.mode is EntryMode.PRIVATE
            and cohort in (None, entry.cohort)
            and run in (None, entry.run)
            and task in (None, entry.task)
        ]
        cohorts = {entry.cohort for entry in chosen}
        spent = [self._epsilon_of(e for e in chosen if e.cohort == name) for name in cohorts]
        return max(spent, default=0.0)

    def _epsilon_of(self, entries: Iterable[Entry]) -> float:
        total = self.rule.total(entry.mechanism for entry in entries)
        return self.rule.epsilon(total, self.budget.delta)

    def plain_rounds(self) -> int:
        """Count the rounds without privacy, which no epsilon covers."""
        return sum(entry.mode is EntryMode.PLAIN for entry in self.entries)

    def quote(self, mechanism: Mechanism, cohort: str) -> Quote:
        """Say what a mechanism would cost a cohort after these lines."""
        before = self.rule.total(
            entry.mechanism
            for entry in self.entries
            if entry.cohort == cohort and entry.mode is EntryMode.PRIVATE
        )
        after = math.fsum((before, self.rule.total([mechanism])))
        spent = self.rule.epsilon(before, self.budget.delta)
        asked = math.inf
        if math.isfinite(spent):
            asked = self.rule.epsilon(after, self.budget.delta) - spent
        fits = after * (1 + RELATIVE_ROUNDING / 1e3) <= self.rule.capacity(self.budget)
        return Quote(spent, asked, self.budget.epsilon_budget - spent, fits)

    def check_fits(self, mechanism: Mechanism, cohort: str) -> None:
        """Refuse a mechanism that the ledger's rule has no price for, or that passes the budget.

        Raises
        ------
        PolicyRefusedError
            If it is of another kind than the rule.
        BudgetExceededError
            Says what is spent, asked and left.
        """
        self.rule.check_kind(mechanism)
        quote = self.quote(mechanism, cohort)
        if not quote.fits:
            raise BudgetExceededError(
                f"the privacy budget does not allow it: spent {quote.spent:.3f}, asked "
                f"{quote.asked:.3f} more, left {quote.left:.3f} of epsilon "
                f"{self.budget.epsilon_budget:g} (site.yaml: privacy.epsilon_budget)"
            )
