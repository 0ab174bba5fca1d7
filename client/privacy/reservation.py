"""The right to train one round once, and what must not be done with it."""

from __future__ import annotations

from dataclasses import dataclass, field

from client.privacy.entry_state import EntryState
from client.privacy.ledger_entries import Entry, EntryMode
from shared.errors import PolicyRefusedError
from shared.training.accounting import Mechanism


@dataclass(frozen=True)
class Reservation:
    """The right to train one round once.

    `repeated`: it was reserved before and nothing had left. `attempt` numbers the
    releases of one request from 1 and must be part of what seeds the noise, and so must
    `noise_key` (empty where `SitePrivacy.erase_noise_keys` is off): a repeat gets the same
    one, and `client.privacy.ledger.Ledger.commit` erases it.
    """

    entry: int
    mechanism: Mechanism | None
    repeated: bool
    attempt: int
    noise_key: bytes = field(default=b"", repr=False)


def check_done(reserved: Mechanism | None, done: Mechanism | None) -> None:
    """Refuse what costs more than was reserved: more steps, a larger sample rate, less noise.

    Raises
    ------
    PolicyRefusedError
        The update must not leave.
    """
    if reserved is None or done is None:
        within = reserved is None and done is None
    else:
        within = (
            done.steps <= reserved.steps
            and done.sample_rate <= reserved.sample_rate
            and done.noise_multiplier >= reserved.noise_multiplier
        )
    if not within:
        raise PolicyRefusedError(
            f"more was done than was reserved ({done} after {reserved}); the update does not leave"
        )


def check_asked_as_before(earlier: Entry, mechanism: Mechanism | None) -> None:
    """Refuse a request that was reserved with another mechanism.

    Raises
    ------
    PolicyRefusedError
        It must be asked as before or as a new run.
    """
    before = earlier.mechanism if earlier.mode is EntryMode.PRIVATE else None
    if not _is_same(before, mechanism, fewer=earlier.state is EntryState.COMMITTED):
        raise PolicyRefusedError(
            f"round {earlier.round} of run {earlier.run} ({earlier.task}) was already asked with "
            "another privacy mechanism; ask it as before or as a new run"
        )


def _is_same(before: Mechanism | None, asked: Mechanism | None, *, fewer: bool) -> bool:
    """Compare mechanisms; `fewer`: before says what was done, which may be fewer steps."""
    if before is None or asked is None:
        return before is None and asked is None
    return (
        before.sample_rate == asked.sample_rate
        and before.noise_multiplier == asked.noise_multiplier
        and (before.steps == asked.steps or (fewer and before.steps < asked.steps))
    )
