"""In which order tests run, and which of them one worker gets as a whole.

The order is random (pytest-randomly, whose seed is printed at the end), but for two things: what
takes long starts first, so that no worker is alone at the end, and a test marked ``last``
ends its file.
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


def order(items: list[pytest.Item]) -> None:
    """Sort tests in place: units by how long they take, ``last`` at the end of a unit."""
    slow = slow_list()
    first_seen: dict[str, int] = {}
    for position, item in enumerate(items):
        first_seen.setdefault(slow.unit(item.nodeid), position)

    def place(item: pytest.Item) -> tuple[int, int, int]:
        unit, last = slow.unit(item.nodeid), item.get_closest_marker("last")
        turn = 0 if last is None else last.args[0]
        return tier(unit, slow), first_seen[unit], turn

    items.sort(key=place)
