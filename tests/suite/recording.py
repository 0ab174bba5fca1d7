"""Records what each test and each shared fixture costs: ``pytest --record-costs FILE``."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest


class CostRecorder:
    """Writes one JSON line a test and one a fixture that tests share.

    Processor time is this process's and that of the children it has waited for; seconds
    are those of the wall clock. What a shared fixture costs is not the first test's.

    Parameters
    ----------
    path : Path
        File that lines are added to. Workers of one run add to the same file.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._shared = [0.0, 0.0]

    @pytest.hookimpl(wrapper=True)
    def pytest_fixture_setup(
        self, fixturedef: pytest.FixtureDef[object], request: pytest.FixtureRequest
    ) -> Iterator[None]:
        """Measure fixtures that outlive a test."""
        if fixturedef.scope == "function":
            return (yield)
        with self._measured(
            {"fixture": fixturedef.argname, "file": request.node.nodeid.partition("::")[0]}
        ) as cost:
            result = yield
        self._shared = [a + b for a, b in zip(self._shared, cost, strict=True)]
        return result

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_protocol(
        self, item: pytest.Item, nextitem: pytest.Item | None
    ) -> Iterator[None]:
        """Measure a test from its set-up to its end."""
        self._shared = [0.0, 0.0]
        with self._measured({"test": item.nodeid}):
            return (yield)

    @contextmanager
    def _measured(self, line: dict[str, str]) -> Iterator[list[float]]:
        cost = [0.0, 0.0]
        before = os.times()
        try:
            yield cost
        finally:
            after = os.times()
            cost[:] = sum(after[:4]) - sum(before[:4]), after[4] - before[4]
            own = [max(a - b, 0.0) for a, b in zip(cost, self._shared, strict=True)]
            figures = own if "test" in line else cost
            values = {"processor_seconds": round(figures[0], 2), "seconds": round(figures[1], 2)}
            with self.path.open("a") as file:
                file.write(json.dumps(line | values) + "\n")
