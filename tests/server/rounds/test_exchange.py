"""How often answers are looked for: rarely until the sites are nearly done, then often."""

from __future__ import annotations

import itertools

import pytest

from server.rounds.exchange import LONGEST_POLL_SECONDS, NEARLY, POLL_SECONDS, POLL_SHARE, pause


def looks(expected: float, until: float) -> list[float]:
    """Moments of the looks in an exchange that lasts so long."""
    moments = [0.0]
    while moments[-1] < until:
        moments.append(moments[-1] + pause(moments[-1], expected))
    return moments


@pytest.mark.parametrize("expected", [0.0, 1.0, 30.0, 3600.0])
def test_a_pause_is_never_longer_than_allowed_nor_shorter(expected: float) -> None:
    pauses = [b - a for a, b in itertools.pairwise(looks(expected, 2 * expected + 100))]

    assert min(pauses) >= POLL_SECONDS - 1e-9
    assert max(pauses) <= LONGEST_POLL_SECONDS + 1e-9


def test_an_answer_that_takes_as_long_as_last_time_is_noticed_at_once() -> None:
    moments = looks(30.0, 40.0)
    near = [b - a for a, b in itertools.pairwise(moments) if 30.0 * NEARLY <= a < 31.0]

    assert max(near) <= POLL_SECONDS + 0.01
    # A look every 0.2 s would be more than three times as many.
    assert sum(moment < 31.0 for moment in moments) < 0.3 * 31.0 / POLL_SECONDS


def test_a_refusal_is_noticed_soon_whatever_was_expected() -> None:
    assert len([moment for moment in looks(3600.0, 10.0) if moment < 3.0]) >= 6


def test_an_answer_that_takes_longer_is_late_by_a_share_of_the_excess() -> None:
    for at, after in itertools.pairwise(looks(10.0, 60.0)):
        beyond = at - NEARLY * 10.0
        if beyond > POLL_SECONDS / POLL_SHARE:
            assert after - at <= max(POLL_SHARE * beyond, POLL_SECONDS) + 1e-9
