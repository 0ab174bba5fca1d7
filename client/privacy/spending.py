"""Adds up what the lines of a ledger spent, and what the budget leaves: arithmetic, no database."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from client.privacy.ledger_entries import Entry, EntryMode
from shared.errors import BudgetExceededError
from shared.settings.files import SitePrivacy
from shared.training.accounting import Mechanism
from shared.training.accounting import epsilon as compose

#: A budget is not passed by rounding in the last digits.
TOLERANCE: Final = 1e-9


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


@dataclass(frozen=True)
class Spending:
    """What was spent by some lines, reserved ones included, under a hospital's limits.

    Attributes
    ----------
    entries : sequence of Entry
        The lines, oldest first.
    budget : SitePrivacy
        Budget and delta.
    """

    entries: Sequence[Entry]
    budget: SitePrivacy

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
        spent = [
            compose([e.mechanism for e in chosen if e.cohort == name], self.budget.delta)
            for name in cohorts
        ]
        return max(spent, default=0.0)

    def plain_rounds(self) -> int:
        """Count the rounds without privacy, which no epsilon covers."""
        return sum(entry.mode is EntryMode.PLAIN for entry in self.entries)

    def quote(self, mechanism: Mechanism, cohort: str) -> Quote:
        """Say what a mechanism would cost a cohort after these lines."""
        before = [
            entry.mechanism
            for entry in self.entries
            if entry.cohort == cohort and entry.mode is EntryMode.PRIVATE
        ]
        spent = compose(before, self.budget.delta)
        after = compose([*before, mechanism], self.budget.delta)
        asked = after - spent if math.isfinite(spent) else math.inf
        return Quote(spent=spent, asked=asked, left=self.budget.epsilon_budget - spent)

    def check_fits(self, mechanism: Mechanism, cohort: str) -> None:
        """Refuse a mechanism that would pass the budget.

        Raises
        ------
        BudgetExceededError
            Says what is spent, asked and left.
        """
        quote = self.quote(mechanism, cohort)
        if not quote.fits:
            raise BudgetExceededError(
                f"the privacy budget does not allow it: spent {quote.spent:.3f}, asked "
                f"{quote.asked:.3f} more, left {quote.left:.3f} of epsilon "
                f"{self.budget.epsilon_budget:g} (site.yaml: privacy.epsilon_budget)"
            )
