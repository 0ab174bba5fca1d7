"""What may become of a line of the ledger is settled for every state and event."""

from __future__ import annotations

from itertools import product

from client.privacy.entry_state import TRANSITIONS, EntryEvent, EntryState


def test_the_table_is_complete_and_a_committed_line_never_changes() -> None:
    assert set(TRANSITIONS) == set(product(EntryState, EntryEvent))
    after = {TRANSITIONS[EntryState.COMMITTED, event] for event in EntryEvent}
    assert after == {EntryState.COMMITTED, None}


def test_no_request_is_trained_again_under_a_line_whose_answer_may_have_left() -> None:
    again = [pair for pair, state in TRANSITIONS.items() if state is not None]
    trained = {state for state, event in again if event is not EntryEvent.ANSWER_KEPT}
    assert trained == {EntryState.RESERVED}
