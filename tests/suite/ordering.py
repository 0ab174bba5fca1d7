"""In which order tests run, and which of them one worker gets as a whole.

The order is random (pytest-randomly, whose seed is printed at the end), but for two things: what
takes long starts first, the longest before all, so that no worker is alone at the end, and a
test marked ``last`` ends its file. Of the files that keep a server and three nodes running, two
run at a time: each is a dozen programs, and more of them miss one another's heartbeats on two
slow cores.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import pytest
from xdist.scheduler.loadscope import LoadScopeScheduling
from xdist.workermanage import WorkerController

from tests.suite.slow import LONG_SECONDS, SlowList, slow_list

#: Files that keep a server and three nodes running (`tests.system.real_federation`).
FEDERATIONS: Final = tuple(
    f"tests/system/test_{name}.py" for name in ("bad_days", "faults", "real_nodes")
)
#: How many of them run at a time.
MOST_FEDERATIONS: Final = 2


class UnitScheduling(LoadScopeScheduling):
    """Gives a worker a whole file, or one slow test that shares no slow fixture."""

    def _split_scope(self, nodeid: str) -> str:
        return slow_list().unit(nodeid)

    def _assign_work_unit(self, node: WorkerController) -> None:
        at_work = [
            unit
            for units in self.assigned_work.values()
            for unit, tests in units.items()
            if not all(tests.values())
        ]
        self.workqueue.move_to_end(next_unit(self.workqueue, at_work), last=False)
        super()._assign_work_unit(node)


def next_unit(waiting: Iterable[str], at_work: Iterable[str]) -> str:
    """Of the units that wait, the first for which there is room beside those at work."""
    many = sum(unit.startswith(FEDERATIONS) for unit in at_work)
    units = list(waiting)
    fitting = (u for u in units if many < MOST_FEDERATIONS or not u.startswith(FEDERATIONS))
    return next(fitting, units[0])


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
