"""What was signed under an older protocol is still proof, and no longer let in from a line."""

from __future__ import annotations

from pathlib import Path

import pytest

from shared.audit.chain import verify_chain
from shared.errors import ChainBrokenError, FirewallRefusedError
from shared.protocol import messages
from shared.protocol.chain_cross_check import (
    Other,
    statements_in,
    tickets_in,
    verify_coordinator_chain,
)
from shared.protocol.codec import config_record
from tests.server.jobs import arrays, job, ticket, train_message
from tests.shared.audit.test_chain import both_sides, talk

OLDER = (2, 3)


@pytest.mark.parametrize("before", OLDER)
def test_lines_of_an_older_protocol_are_still_held_against_each_other(
    before: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as older:
        older.setattr("shared.protocol.signatures.PROTOCOL_VERSION", before)
        site, coordinator = both_sides(tmp_path)
    talk(site, coordinator, 1)
    lines = verify_chain(site.path, site.key.public)
    assert [ticket.protocol for ticket in tickets_in(site.path, lines)] == [
        before,
        before,
        before,
        4,
    ]
    others = [Other(site.path, site.key.public)]
    lines = verify_coordinator_chain(coordinator.path, coordinator.key.public, others)
    statements = statements_in(coordinator.path, lines, site.key.public)
    assert [said.protocol for said in statements] == [before, before, before, 4]
    # An older number beside a signature of today is none that was signed.
    forged = statements[-1].model_copy(update={"protocol": before})
    coordinator.append("answered", statement=forged.model_dump())
    with pytest.raises(ChainBrokenError, match="the site did not sign"):
        verify_coordinator_chain(coordinator.path, coordinator.key.public, others)


@pytest.mark.parametrize("before", OLDER)
def test_a_ticket_of_an_older_protocol_is_not_let_in(
    before: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as older:
        older.setattr("shared.protocol.signatures.PROTOCOL_VERSION", before)
        genuine = ticket()
    assert (genuine.protocol, genuine.is_signed()) == (before, True)
    content = train_message(arrays(), job())
    content["ticket"] = config_record(genuine)
    for spoken in (before, float(before), True):
        content["ticket"]["protocol"] = spoken
        with pytest.raises(FirewallRefusedError, match="this side speaks 4"):
            messages.read_ticket(content, FirewallRefusedError)
