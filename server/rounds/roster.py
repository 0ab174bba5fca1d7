"""The members of a run, the nodes that are there, and which node is whose."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, NamedTuple

from server.state.home import Home, Member
from shared.errors import QuorumError
from shared.phrases import counted

if TYPE_CHECKING:
    from server.rounds.grid import Grid

POLL_SECONDS: Final = 0.05


class Attendance(NamedTuple):
    """Names of the members that are connected, and of those that are not."""

    there: tuple[str, ...]
    missing: tuple[str, ...]


@dataclass
class Roster:
    """The members of a run, the nodes that are there, and which node is whose.

    On real nodes Flower knows a node by the public key that its member was admitted
    with, and the members are whoever is admitted at the moment (`home`): hospitals come
    and go while a run is on. In a simulation nodes have no keys: there a node is the
    member that first answered from it with its own signature.
    """

    members: tuple[Member, ...]
    home: Home | None = None
    names: dict[int, str] = field(default_factory=dict)
    nodes: dict[int, str] = field(default_factory=dict)  # node: when it last connected

    @property
    def pinned(self) -> bool:
        """Whether members are known by their nodes' keys."""
        return self.home is not None or any(member.node_key for member in self.members)

    def look(self, grid: Grid) -> None:
        """Learn who is admitted and which nodes are there now; others' are left out."""
        if self.home is not None:
            self.members = self.home.members()
        by_key = {member.node_key: member.site for member in self.members if member.node_key}
        found: dict[int, str] = {}
        for node in grid.get_nodes():
            number = int(node.node_id)
            if self.pinned:
                site = by_key.get(bytes(node.public_key).hex())
                if site is None:
                    continue
                self.names[number] = site
            found[number] = str(getattr(node, "last_activated_at", "") or "")
        self.nodes = found

    def name(self, node: int) -> str:
        """Name of a node's site, or of the node while it has not said who it is."""
        return self.names.get(node, f"node {node}")

    def attendance(self) -> Attendance:
        """Who of the members is connected and who is not, by name; see `look`."""
        there = {self.names[node] for node in self.nodes if node in self.names}
        members = {member.site for member in self.members}
        return Attendance(tuple(sorted(members & there)), tuple(sorted(members - there)))

    def member(self, site: str) -> Member | None:
        """The admitted hospital of that name."""
        return next((one for one in self.members if one.site == site), None)


def wait_for_nodes(
    grid: Grid,
    roster: Roster,
    minimum: int,
    seconds: float,
    tell: Callable[[Attendance, float], None] = lambda found, until: None,
) -> None:
    """Wait until all members' nodes are there, or at the deadline at least the minimum.

    Parameters
    ----------
    grid : Grid
        Flower's way to the nodes.
    roster : Roster
        Members; learns their nodes.
    minimum : int
        How many sites are enough at the deadline.
    seconds : float
        How long is waited at most.
    tell : callable
        Told who is there and the deadline (seconds since 1970): when the wait begins and
        whenever someone comes or goes. Not told where all are there at once, nor in a
        simulation, whose nodes have no names yet.

    Raises
    ------
    QuorumError
        If fewer than the minimum came.
    """
    deadline, until = time.monotonic() + seconds, time.time() + seconds
    told: Attendance | None = None
    while time.monotonic() < deadline:
        roster.look(grid)
        found = roster.attendance()
        if roster.pinned and found != told and (found.missing or told is not None):
            tell(found, until)
            told = found
        if len(roster.nodes) >= len(roster.members):
            break
        time.sleep(POLL_SECONDS)
    if len(roster.nodes) < minimum:
        missing = ", ".join(roster.attendance().missing) if roster.pinned else ""
        there = counted(len(roster.nodes), "site is", "sites are")
        raise QuorumError(
            f"{there} connected after {seconds:g} seconds "
            f"(quorum.minimum_sites: {minimum}{missing and f'; not connected: {missing}'}); "
            "start the others or lower the quorum"
        )
