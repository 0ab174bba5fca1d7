"""In which order tests run, and which of them one worker gets as a whole.

The order is random (pytest-randomly, whose seed is printed at the end), but for two things: what
takes long starts first, the longest before all, so that no worker is alone at the end, and a
test marked ``last`` ends its file.
"""

from __future__ import annotations

import pytest
from xdist.scheduler.loadscope import LoadScopeScheduling

from tests.suite.slow import LONG_SECONDS, SlowList, slow_list


class UnitScheduling(LoadScopeScheduling):
    """Gives a worker a whole file, or one slow test that shares no slow fixture."""

    def _split_scope(self, nodeid: str) -> str:
        return slow_list().unit(nodeid)


def tier(unit: str, slow: SlowList) -> int:
    """0 for what takes long, 1 for what is slow, 2 for the rest."""
    seconds = slow.unit_seconds(unit)
    return 0 if seconds >= LONG_SECONDS else 1 if seconds > 0 else 2


def rank(unit: str, slow: SlowList) -> tuple[int, float]:
    """What units are sorted by: their tier, and in the first of them the longest before others."""
    found = tier(unit, slow)
    return found, -slow.unit_seconds(unit) if found == 0 else 0.0


def order(items: list[pytest.Item]) -> None:
    """Sort tests in place: units by how long they take, ``last`` at the end of a unit."""
    slow = slow_list()
    first_seen: dict[str, int] = {}
    units = [slow.unit(item.nodeid) for item in items]
    for position, unit in enumerate(units):
        first_seen.setdefault(unit, position)
    ranks = {unit: rank(unit, slow) for unit in first_seen}

    def place(of: tuple[str, pytest.Item]) -> tuple[tuple[int, float], int, int]:
        unit, item = of
        last = item.get_closest_marker("last")
        return ranks[unit], first_seen[unit], 0 if last is None else last.args[0]

    items[:] = [item for _, item in sorted(zip(units, items, strict=True), key=place)]
