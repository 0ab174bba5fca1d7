"""What happens in a run, said twice: as events for whoever watches, and in the audit chain."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from server.state.events import Events
from server.state.home import Home
from shared.audit.chain import Head
from shared.protocol.signatures import Statement, Ticket


@dataclass(frozen=True)
class Journal:
    """The events and the coordinator's chain of one run."""

    events: Events
    home: Home
    run: str

    def asked(self, task: str, kind: str, number: int, attempt: int, ticket: Ticket) -> None:
        """A site was sent a request."""
        self.home.chain().append(
            "asked", task=task, kind=kind, round=number, ticket=ticket.model_dump(mode="json")
        )
        self.events.say(
            "asked", task=task, kind=kind, round=number, attempt=attempt, site=ticket.site
        )

    def answered(self, kind: str, statement: Statement, seconds: float, size: int) -> None:
        """A site's answer was accepted."""
        self.home.chain().append("answered", kind=kind, statement=statement.model_dump(mode="json"))
        self.events.say(
            "answered", task=statement.task, kind=kind, round=statement.round,
            site=statement.site, seconds=seconds, bytes=size,
        )  # fmt: skip

    def absent(self, task: str, kind: str, number: int, site: str, why: str, reason: str) -> None:
        """A site did not answer, or not in a way that counts."""
        event = why if why in ("rejected", "quarantined") else "absent"
        facts = {"task": task, "kind": kind, "round": number, "site": site, "why": why}
        self.home.chain().append(event, run=self.run, reason=reason, **facts)
        self.events.say("absent", reason=reason, **facts)

    def note(self, event: str, **facts: Any) -> Head:
        """Write something else into the chain."""
        return self.home.chain().append(event, run=self.run, **facts)
