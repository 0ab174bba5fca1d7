"""Run pytest as a process of its own, in this tree or in a copy, and say how it went."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.verify.stored import ROOT

#: Whatever the settings of the suite add (many processes, random order, coverage) stays out,
#: so that tests run one after the other, in the order given.
ALONE: Final = (
    "-o",
    "addopts=",
    "-q",
    "-p",
    "no:randomly",
    "-p",
    "no:xdist",
    "-p",
    "no:cacheprovider",
)
#: What pytest exits with: all passed, some failed, or there was none to run.
PASSED, FAILED, NONE = 0, 1, 5


@dataclass(frozen=True)
class Outcome:
    """What pytest said. `failed` names the first test that failed, empty if none did."""

    passed: int
    skipped: int
    failures: int
    failed: str


def run_tests(
    words: Sequence[str],
    folder: Path = ROOT,
    environment: Mapping[str, str] | None = None,
    limit_seconds: float | None = None,
    *,
    none_is_right: bool = False,
) -> Outcome:
    """Run tests with one thread of torch.

    Parameters
    ----------
    words : sequence of str
        Tests and options.
    folder : Path
        Root of the tree whose code and tests are run, in processes that tests start as well.
    environment : mapping of str to str, optional
        Variables to set besides.
    limit_seconds : float, optional
        When to give up.
    none_is_right : bool, default: False
        Whether all tests may be left out by what the words say.

    Raises
    ------
    RuntimeError
        If no test could be run: the words, not the code, are wrong.
    subprocess.TimeoutExpired
        Past the limit.
    """
    given = {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(folder), "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *ALONE, *words], cwd=folder,
        env=os.environ | given | dict(environment or {}),
        capture_output=True, text=True, timeout=limit_seconds,
    )  # fmt: skip
    right = (PASSED, FAILED, NONE) if none_is_right else (PASSED, FAILED)
    if done.returncode not in right:
        raise RuntimeError(f"pytest {' '.join(words)[:200]}: {done.stdout[-2000:]}{done.stderr}")
    *_, last = done.stdout.strip().splitlines()
    counts = {what: int(number) for number, what in re.findall(r"(\d+) (\w+?)s?\b", last)}
    found = re.search(r"^(?:FAILED|ERROR) (\S+)", done.stdout, re.MULTILINE)
    return Outcome(
        counts.get("passed", 0),
        counts.get("skipped", 0),
        counts.get("failed", 0) + counts.get("error", 0),
        found[1] if found else "",
    )
