"""What a hospital says when it does not do what it was asked: little, and never of its data."""

from __future__ import annotations

import os
import re
import traceback
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from shared.errors import (
    BudgetExceededError,
    CohortTooSmallError,
    ContractNotMetError,
    FirewallRefusedError,
    ModelNotKeptError,
    OsteofedError,
    PolicyRefusedError,
    StoreOutdatedError,
    TicketRefusedError,
)
from shared.protocol.codec import plain_text
from shared.protocol.messages import Job, Refusal
from shared.runtime.files import is_disk_full
from shared.settings.files import SiteConfig, load_settings

if TYPE_CHECKING:
    from client.round.open_site import Site
    from shared.protocol.signatures import Ticket

#: Errors whose sentence speaks of settings and of the message only. The sentences of
#: all others were written for the hospital's engineer: they name files and counts.
OUTSPOKEN: Final = (
    BudgetExceededError,
    PolicyRefusedError,
    ContractNotMetError,
    FirewallRefusedError,
    TicketRefusedError,
    StoreOutdatedError,
    ModelNotKeptError,
)
#: A path, wherever it stands in a sentence.
PATHS: Final = re.compile(r"(?<![\w.)])~?/[^\s'\",;]*[^\s'\",;:.]")
#: Room for a number that has no bound of its own.
LARGEST: Final = 1e9
UNKNOWN_SITE: Final = "unknown-site"
LOG: Final = "failures.log"
#: The log is begun anew at this size; the one before is kept beside it.
LARGEST_LOG_BYTES: Final = 1_000_000
LONGEST_ENTRY: Final = 50_000


def refusal_of(error: Exception, folder: Path, site: Site | None, job: Job | None) -> Refusal:
    """Say why a site does not do what it was asked, in one sentence and without its data.

    Parameters
    ----------
    error : Exception
        What went wrong.
    folder : Path
        The site's folder, as far as it is known.
    site : Site or None
        The open site.
    job : Job or None
        What was asked.

    Returns
    -------
    Refusal
        With the error's own sentence only if it is of `OUTSPOKEN`.
    """
    kind = type(error).__name__[:80]
    code = error.exit_code if isinstance(error, OsteofedError) else 1
    spent = asked = left = 0.0
    if site is not None and job is not None and isinstance(error, BudgetExceededError):
        from client.round.answer import mechanism_of

        mechanism = mechanism_of(job, job.steps)
        if mechanism is not None:
            quote = site.ledger.quote(mechanism)
            spent, asked, left = (
                min(max(value, 0.0), LARGEST) for value in (quote.spent, quote.asked, quote.left)
            )
    return Refusal(
        site=_name(folder, site)[:80],
        code=code,
        kind=kind,
        reason=_reason(error, kind, folder),
        spent=spent,
        asked=asked,
        left=left,
    )


def least_refusal(error: Exception) -> Refusal:
    """Refuse where even the refusal failed."""
    kind = type(error).__name__[:80]
    return Refusal(site=UNKNOWN_SITE, code=1, kind=kind, reason=_unsaid(kind))


def write_refusal(
    folder: Path, refusal: Refusal, job: Job | None, ticket: Ticket | None = None
) -> None:
    """Write into the site's chain what was refused, what the asker was told, and who asked.

    The ticket is kept whole, as it came: where its signature is good, the coordinator
    cannot deny what it asked. It may have been refused because the signature is not.
    """
    from client.identity.chain import site_chain

    about: dict[str, Any] = {}
    if job is not None:
        about = {"run": job.run, "round": job.round, "task": job.task}
    if ticket is not None:
        about["ticket"] = ticket.model_dump(mode="json")
    site_chain(folder, refusal.site).append(
        "refused", **about, kind=refusal.kind, code=refusal.code, reason=refusal.reason
    )


def log_failure(folder: Path, error: Exception) -> None:
    """Leave the details of a failure inside the hospital, in a file of bounded size.

    One line for an error that the user can mend, a traceback for any other.
    """
    if not folder.is_dir():
        return
    foreseen = isinstance(error, OsteofedError)
    text = f"{type(error).__name__}: {error.__cause__ or error}"
    if not foreseen:
        text = "".join(traceback.format_exception(error))
    log = folder / LOG
    if log.exists() and log.stat().st_size > LARGEST_LOG_BYTES:
        log.replace(log.with_suffix(".log.1"))
    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    with os.fdopen(descriptor, "a", encoding="utf-8", errors="replace") as file:
        file.write(text[-LONGEST_ENTRY:].rstrip() + "\n")


def _reason(error: Exception, kind: str, folder: Path) -> str:
    if isinstance(error, CohortTooSmallError):
        return "the hospital declares fewer patients for this task than its policy asks"
    if is_disk_full(error, folder):
        return "the hospital's disk is full; nothing more was spent than its ledger says"
    if isinstance(error, OUTSPOKEN):
        return plain_text(PATHS.sub("(a path)", str(error)))
    return _unsaid(kind)


def _unsaid(kind: str) -> str:
    return f"the hospital could not do it ({kind}); its log has the details"


def _name(folder: Path, site: Site | None) -> str:
    """Name the site by its settings; the name of its folder is nobody else's business."""
    if site is not None:
        return site.name
    try:
        return load_settings(folder / "site.yaml", SiteConfig).site
    except OsteofedError:
        return UNKNOWN_SITE
