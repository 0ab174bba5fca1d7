"""Audit chains of both sides, held against each other, offline.

Each side's chain holds heads of the other's: the coordinator's ``answered`` lines hold
the site's statements, the site's ``asked`` lines the coordinator's tickets. Whoever
rewrites his own chain, even with his own key, contradicts what the other was told.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from pydantic import ValidationError

from shared.audit.chain import Anchor, ChainLine, Head, verify_chain
from shared.errors import ChainBrokenError
from shared.protocol.signatures import Statement, Ticket


@dataclass(frozen=True)
class Other:
    """The other side's chain, and the public key of who wrote it."""

    path: Path
    key: str


def verify_site_chain(path: Path, key: str, coordinator: Other | None = None) -> list[ChainLine]:
    """Check a site's chain, and against what the coordinator says it was told.

    Parameters
    ----------
    path : Path
        The site's chain.
    key : str
        The site's public key.
    coordinator : Other, optional
        The coordinator's chain.

    Returns
    -------
    list of Line
        All lines.

    Raises
    ------
    ChainBrokenError
        Naming the first bad line, of either chain.
    """
    anchors: list[Anchor] = []
    if coordinator is not None:
        lines = verify_chain(coordinator.path, coordinator.key)
        told = f"the coordinator ({coordinator.path})"
        anchors = [Anchor(s.head, told) for s in statements_in(coordinator.path, lines, key)]
    found = verify_chain(path, key, anchors)
    if coordinator is not None:
        for said in statements_in(coordinator.path, lines, key):
            if not released_as_signed(found[said.head.line - 1], said):
                raise ChainBrokenError(
                    f"{path}: line {said.head.line} is not what {said.site} signed to the "
                    f"coordinator ({coordinator.path}) in round {said.round} of run {said.run}"
                )
        heads = [Anchor(ticket.own, f"the site ({path})") for ticket in tickets_in(path, found)
                 if ticket.coordinator == coordinator.key]  # fmt: skip
        verify_chain(coordinator.path, coordinator.key, heads)
    return found


def released_as_signed(line: ChainLine, said: Statement) -> bool:
    """Tell whether a line of a site's chain says that what its statement is about was released."""
    return line.event == "released" and released_facts(said).items() <= line.facts.items()


def released_facts(said: Statement) -> dict[str, Any]:
    """Give what a site's chain says of a release, by the statement about it."""
    return {
        "run": said.run, "round": said.round, "task": said.task, "mode": said.mode,
        "asked": said.asked, "update": said.update, "metrics": said.metrics,
        "account": said.account, "patients": said.patients, "sample_rate": said.sample_rate,
        "noise_multiplier": said.noise_multiplier, "steps": said.steps,
    }  # fmt: skip


def verify_coordinator_chain(path: Path, key: str, sites: Iterable[Other] = ()) -> list[ChainLine]:
    """Check the coordinator's chain, and against what each site says it was told.

    Raises
    ------
    ChainBrokenError
        Naming the first bad line, of any chain.
    """
    found = verify_chain(path, key)
    for site in sites:
        verify_site_chain(site.path, site.key, Other(path, key))
    return found


def statements_in(path: Path, lines: Sequence[ChainLine], key: str) -> list[Statement]:
    """Statements that a coordinator's chain holds of the site with this key.

    Raises
    ------
    ChainBrokenError
        If one of them is not what the site signed.
    """
    return _signed_in(
        path, lines, "answered", "statement", Statement, "the site", lambda one: one.key == key
    )


def tickets_in(path: Path, lines: Sequence[ChainLine]) -> list[Ticket]:
    """Tickets that a site's chain holds.

    Raises
    ------
    ChainBrokenError
        If one of them is not what its coordinator signed.
    """
    return _signed_in(path, lines, "asked", "ticket", Ticket, "its coordinator", lambda one: True)


S = TypeVar("S", Statement, Ticket)


def _signed_in(
    path: Path,
    lines: Sequence[ChainLine],
    event: str,
    what: str,
    kind: type[S],
    signer: str,
    wanted: Callable[[S], bool],
) -> list[S]:
    """Read what the lines of one event hold; those wanted must be signed as they say."""
    found = []
    for line in lines:
        if line.event != event:
            continue
        try:
            one = kind.model_validate(line.facts[what])
        except (KeyError, ValidationError):
            raise ChainBrokenError(f"{path}: line {line.line} holds no {what}") from None
        if not wanted(one):
            continue
        if not one.is_signed():
            raise ChainBrokenError(
                f"{path}: line {line.line} holds a {what} that {signer} did not sign"
            )
        found.append(one)
    return found


def last_head(lines: Sequence[ChainLine]) -> Head:
    """Where a checked chain ends."""
    return Head(line=lines[-1].line, digest=lines[-1].digest()) if lines else Head()
