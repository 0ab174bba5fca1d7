"""Sites that keep failing rest for some rounds, so that the others need not wait for them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from server.state.result import RoundFacts
from shared.phrases import counted
from shared.settings.files import Quorum

#: What counts as failing. A refusal is the hospital's right, and a node that is not
#: connected costs nobody time.
FAILING: Final = ("failed", "late", "rejected")


def resting_sites(rounds: Sequence[RoundFacts], number: int, quorum: Quorum) -> dict[str, str]:
    """Tell which sites are not asked in a round, from the rounds before it.

    Parameters
    ----------
    rounds : sequence of RoundFacts
        All finished rounds, the first first.
    number : int
        The round that begins.
    quorum : Quorum
        ``quarantine_after`` and ``quarantine_rounds``.

    Returns
    -------
    dict of str to str
        Why each resting site is not asked.
    """
    resting: dict[str, str] = {}
    for site in sorted({one.site for facts in rounds for one in facts.absent}):
        last_failed, running = 0, 0
        for facts in rounds:
            kinds = {one.kind for one in facts.absent if one.site == site}
            if kinds & set(FAILING):
                running += 1
                last_failed = facts.round
            elif "quarantined" not in kinds:
                running = 0
        until = last_failed + quorum.quarantine_rounds
        if running >= quorum.quarantine_after and number <= until:
            resting[site] = (
                f"failed in {counted(running, 'round')} running; it is asked again in round "
                f"{until + 1}"
            )
    return resting
