"""Which tests are slow: a list made from recorded processor time.

Make it anew with ``make slow-tests``: the whole suite runs once, records what each test
and each shared fixture costs, and writes ``tests/slow.txt``.
"""

from __future__ import annotations

import json
import re
import sys
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final

LIST: Final = Path(__file__).parents[1] / "slow.txt"
#: A test or a fixture that needs more than this is slow, processor time or waiting.
SLOW_PROCESSOR_SECONDS: Final = 1.0
SLOW_SECONDS: Final = 10.0
#: What takes longer than this starts first, so that nothing waits for it at the end.
LONG_SECONDS: Final = 60.0
#: How a shared fixture of a file is named in the list.
FIXTURE: Final = "::fixture::"
#: Tests whose parameters name the same block share what they do not share with others.
BLOCK: Final = re.compile(r"[\[-](block-\d+)\b")

HEADER: Final = """\
# Slow tests and shared fixtures, with processor seconds and seconds, as recorded by
# `make slow-tests`. `make quick` leaves them out; `make test` starts them first.
"""


@dataclass(frozen=True)
class SlowList:
    """What is slow, with the seconds that it takes.

    Parameters
    ----------
    seconds : dict of str to float
        Seconds by a test's id, or by ``FILE::fixture::NAME``.
    """

    seconds: dict[str, float]

    def is_slow(self, test: str, fixtures: list[str]) -> bool:
        """Whether a test is slow itself, or uses a slow fixture of its file."""
        file = test.partition("::")[0]
        names = [test, *(f"{file}{FIXTURE}{name}" for name in fixtures)]
        return any(name in self.seconds for name in names)

    def unit(self, test: str) -> str:
        """What is given to one worker as a whole.

        A file; or a slow test that shares no slow fixture; or the tests of a file whose
        parameters name the same ``block-…``.
        """
        file = test.partition("::")[0]
        if block := BLOCK.search(test):
            return f"{file}::{block[1]}"
        shares = any(name.startswith(f"{file}{FIXTURE}") for name in self.seconds)
        return test if test in self.seconds and not shares else file

    def unit_seconds(self, unit: str) -> float:
        """Recorded seconds of a unit; what is not on the list counts as nothing."""
        if unit in self.seconds:
            return self.seconds[unit]
        file, _, block = unit.partition("::")
        return sum(
            seconds
            for name, seconds in self.seconds.items()
            if name.startswith(f"{file}::")
            and (FIXTURE in name or not block or re.search(rf"[\[-]{block}\b", name))
        )


@cache
def slow_list(path: Path = LIST) -> SlowList:
    """Read the list; a missing file is an empty list."""
    lines = path.read_text().splitlines() if path.exists() else []
    found = {}
    for line in lines:
        if line and not line.startswith("#"):
            _, seconds, name = line.split(maxsplit=2)
            found[name] = float(seconds)
    return SlowList(found)


def write_list(record: Path, path: Path = LIST) -> int:
    """Write the list of what is slow from a record; returns how many lines it has."""
    costs: dict[str, tuple[float, float]] = {}
    for line in map(json.loads, record.read_text().splitlines()):
        name = line.get("test") or f"{line['file']}{FIXTURE}{line['fixture']}"
        known = costs.get(name, (0.0, 0.0))
        costs[name] = (
            max(known[0], line["processor_seconds"]), max(known[1], line["seconds"])
        )  # fmt: skip
    slow = {
        name: cost
        for name, cost in costs.items()
        if cost[0] >= SLOW_PROCESSOR_SECONDS or cost[1] >= SLOW_SECONDS
    }
    rows = [f"{p:8.1f} {s:8.1f} {name}\n" for name, (p, s) in sorted(slow.items())]
    path.write_text(HEADER + "".join(rows))
    return len(rows)


if __name__ == "__main__":
    sys.stdout.write(f"{LIST.name}: {write_list(Path(sys.argv[1]))} slow tests and fixtures\n")
