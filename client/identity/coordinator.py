"""Whether a request comes from the coordinator whom the hospital knows, and comes in time."""

from __future__ import annotations

from pathlib import Path

from shared.audit.chain import Chain
from shared.errors import StoreOutdatedError, TicketRefusedError
from shared.protocol.invitation import pinned_coordinator
from shared.protocol.signatures import Ticket


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
