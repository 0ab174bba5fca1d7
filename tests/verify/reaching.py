"""A plugin of pytest: which tests reach which places, and how long each took.

``pytest -p tests.verify.reaching`` with the variable `REACHED` naming a file to write.
Coverage.py follows only the files that hold a place, with the test at work as its context.
What another process does is not seen.
"""

from __future__ import annotations

import ast
import json
import os
from collections import defaultdict
from collections.abc import Generator
from pathlib import Path
from typing import Final

import coverage
import pytest

from tests.verify.places import Place, places
from tests.verify.stored import ROOT

REACHED: Final = "OSTEOFED_REACHED"


class _Watch:
    """Follows the tests of one process of pytest."""

    def __init__(self, out: Path) -> None:
        self.out = out
        self.seconds: dict[str, float] = defaultdict(float)
        self.failed: set[str] = set()
        files = sorted({str(ROOT / place.file) for place in places()})
        self.coverage = coverage.Coverage(data_file=None, include=files, config_file=False)
        # Tests that reach no place at all are a result like any other.
        self.coverage.set_option("run:disable_warnings", ["no-data-collected"])

    def pytest_sessionstart(self) -> None:
        self.coverage.start()

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Generator[None, object, object]:
        self.coverage.switch_context(item.nodeid)
        return (yield)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self.seconds[report.nodeid] += report.duration
        if report.when == "call" and not report.passed:
            self.failed.add(report.nodeid)

    def pytest_sessionfinish(self) -> None:
        self.coverage.stop()
        data = self.coverage.get_data()
        found: dict[str, dict[str, float]] = {}
        for place in places():
            by_line = data.contexts_by_lineno(str(ROOT / place.file))
            tests = {test for line in lines_of(place) for test in by_line.get(line, [])}
            if tests := tests - {""}:
                found[place.key] = self._by_function(tests)
        self.out.write_text(json.dumps(found), encoding="utf-8")

    def _by_function(self, tests: set[str]) -> dict[str, float]:
        """Functions with the seconds of all their cases; without those that fail anyway."""
        functions = {test.partition("[")[0] for test in tests}
        bad = {test.partition("[")[0] for test in self.failed}
        seconds: dict[str, float] = defaultdict(float)
        for test, took in self.seconds.items():
            seconds[test.partition("[")[0]] += took
        return {name: round(seconds[name], 2) for name in sorted(functions - bad)}


def lines_of(place: Place) -> range:
    """Lines of the statement that a place is in, up to the place's last; counted from 1."""
    text = (ROOT / place.file).read_text(encoding="utf-8")
    first = text[: text.index(place.before)].count("\n") + 1
    last = first + place.before.count("\n")
    holding = [
        node.lineno
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.stmt) and node.lineno <= first <= (node.end_lineno or 0)
    ]
    return range(max(holding), last + 1)


def pytest_configure(config: pytest.Config) -> None:
    """Watch, if somebody wants to know."""
    if out := os.environ.get(REACHED):
        config.pluginmanager.register(_Watch(Path(out)))
