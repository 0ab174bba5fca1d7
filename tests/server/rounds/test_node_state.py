"""What can happen to a node in an exchange, and that the documentation draws just that."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest

from server.rounds.asked_nodes import AskedNodes
from server.rounds.node_state import (
    ABSENT,
    LISTENED_TO,
    MAY_BE_ASKED,
    TRANSITIONS,
    Happening,
    State,
    after,
    diagram,
)

PAGE = Path(__file__).resolve().parents[3] / "docs" / "exchange.md"
REPLIES = (
    Happening.ANSWER, Happening.REFUSAL, Happening.UNUSABLE, Happening.BREAKDOWN,
    Happening.NODE_GONE, Happening.LOST,
)  # fmt: skip


@pytest.mark.parametrize(("state", "reply"), list(itertools.product(LISTENED_TO, REPLIES)))
def test_whatever_a_site_replies_has_a_place(state: State, reply: Happening) -> None:
    """A KeyError there would be a run ended by what a site sent."""
    if state is State.REFUSED and reply is not Happening.ANSWER:
        assert (state, reply) not in TRANSITIONS  # the refusal stands, whatever comes later
        return
    assert (after(state, reply) is State.ANSWERED) == (reply is Happening.ANSWER)


def test_an_answer_is_final_and_who_refused_is_not_asked_again() -> None:
    assert [key for key in TRANSITIONS if key[0] is State.ANSWERED] == []
    assert (State.REFUSED, Happening.SENT) not in TRANSITIONS
    assert set(MAY_BE_ASKED) == {state for state, what in TRANSITIONS if what is Happening.SENT}


def test_every_state_is_reached_from_the_first() -> None:
    reached = {State.UNASKED}
    for _ in State:
        reached |= {end for (start, _), end in TRANSITIONS.items() if start in reached}
    assert reached == set(State)
    assert set(ABSENT) | {State.REFUSED} == set(State) - {
        State.UNASKED, State.ASKED, State.ANSWERED,
    }  # fmt: skip


def test_a_node_is_absent_until_something_else_happens_to_it() -> None:
    nodes: AskedNodes[object] = AskedNodes()  # type: ignore[type-var]
    assert nodes[7].state is State.UNASKED
    nodes.move(7, Happening.SENT)
    nodes.miss(7, Happening.TIME_UP, "alpha", "no answer")
    assert [(one.site, one.kind) for one in nodes.absences()] == [("alpha", "late")]
    assert nodes.in_state(State.LATE) == [7]
    nodes.move(7, Happening.SENT)
    assert nodes.absences() == []
    assert nodes.in_state(State.ASKED) == [7]


def test_the_page_shows_the_table() -> None:
    assert f"```mermaid\n{diagram()}\n```" in PAGE.read_text(encoding="utf-8")
