"""The hospital of two hundred patients: the suite's own tests, at the size of the acceptance."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from functools import partial
from typing import Any, Final

from tests.verify.running_tests import run_tests
from tests.verify.stored import digest_of
from tests.verify.topic import Line, Planned, Runs, Tell, Topic

PATIENTS: Final = 200
#: By key: the tests that read ``OSTEOFED_PATIENTS``.
TESTS: Final = {
    "identifiers": "tests/client/phi/test_audit.py",
    "archives": "tests/system/test_sources.py",
}
#: Tests that may take minutes at this size.
PATIENCE: Final = "--timeout=7200"


def plan() -> Iterator[Planned]:
    """A run a file of tests."""
    for key, path in TESTS.items():
        yield Planned(key, digest_of([path, PATIENTS]), partial(_run, path))


def _run(path: str, tell: Tell) -> dict[str, Any]:
    tell(f"{path} with {PATIENTS} patients", 0.0)
    found = run_tests([path, PATIENCE, "-rfE"], environment={"OSTEOFED_PATIENTS": str(PATIENTS)})
    return {"patients": PATIENTS, **asdict(found)}


def judge(runs: Runs) -> list[Line]:
    """All tests pass and none is skipped."""
    lines = []
    for key, run in runs.items():
        found = run.figures
        said = f"{found['passed']} passed, {found['failures']} failed, {found['skipped']} skipped"
        holds = found["passed"] > 0 and not found["failures"] and not found["skipped"]
        lines.append(Line(f"{key}, {found['patients']} patients", said, "all pass", holds))
    return lines


TOPIC: Final = Topic(
    "hospital", "What leaves a hospital of 200 patients names none, and archives lose none.",
    plan, judge,
)  # fmt: skip
