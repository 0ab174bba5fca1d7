"""Whether a request comes from the coordinator whom the hospital knows, and comes in time."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from pydantic import ValidationError

from shared.audit.chain import Chain
from shared.errors import ConfigError, StoreOutdatedError, TicketRefusedError
from shared.protocol.signatures import Invitation, Ticket

COORDINATOR: Final = "coordinator.json"


def pinned_coordinator(folder: Path) -> Invitation | None:
    """Read whom the site was enrolled with, or who simulates with it; None if nobody.

    Raises
    ------
    ConfigError
        If the file is damaged: then nothing is answered.
    """
    path = folder / COORDINATOR
    try:
        return Invitation.model_validate_json(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, ValidationError):
        raise ConfigError(
            f"{path}: is not an invitation; enrol again with the coordinator's invitation.json"
        ) from None


def permit_coordinator(ticket: Ticket, folder: Path, site: str, run: str) -> None:
    """Refuse a request that the hospital's coordinator did not sign for this site and run.

    Raises
    ------
    TicketRefusedError
        With a reason of its own for each thing that can be wrong.
    """
    pinned = pinned_coordinator(folder)
    if pinned is None:
        raise TicketRefusedError(
            "this site knows no coordinator (coordinator.json is not there) and answers nobody; "
            "enrol it with the coordinator's invitation.json"
        )
    if ticket.coordinator != pinned.coordinator:
        raise TicketRefusedError("the request is signed by another coordinator than ours")
    if not ticket.is_signed():
        raise TicketRefusedError("the signature is not that of the request's ticket")
    if ticket.site != site:
        raise TicketRefusedError(f"the ticket is for {ticket.site}, not for this site")
    if ticket.run != run:
        raise TicketRefusedError("the ticket is for another run than the request")


def permit_request(ticket: Ticket, asked: str, chain: Chain) -> None:
    """Refuse a ticket for another request, and any request while the site is out of date.

    Parameters
    ----------
    ticket : Ticket
        Of the coordinator (`permit_coordinator`).
    asked : str
        `shared.protocol.signatures.asked_digest` of what was received.
    chain : Chain
        The site's own.

    Raises
    ------
    TicketRefusedError
        If the coordinator signed another request than the one that came.
    StoreOutdatedError
        If the site has already said more than its chain knows: it was restored from an
        old backup, or a second copy of it is running. Its ledger may then be old too,
        and would count too little.
    """
    if ticket.asked != asked:
        raise TicketRefusedError("the ticket is for another request than the one that came")
    if not chain.holds(ticket.seen):
        raise StoreOutdatedError(
            f"this site is older than what it has already said (line {ticket.seen.line} of its "
            "audit chain is not there or differs): it was restored from an old backup, or "
            "another copy of it is running; restore the newest backup or end the other copy"
        )
