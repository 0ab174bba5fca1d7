"""Wait for what a test needs; how long a test may hang, and no limit that decides anything.

A test waits for an event and not for a time. The limit only ends a test whose event never
comes; it is many times what the slowest machine took, beside other tests.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

HANG_SECONDS: Final = 300.0


def wait_for(
    condition: Callable[[], object], log: Path | None = None, *, every: float = 0.05
) -> None:
    """Return once something is so; fail, with the end of a log, after `HANG_SECONDS`."""
    deadline = time.monotonic() + HANG_SECONDS
    while not condition():
        if time.monotonic() > deadline:
            said = log.read_text(errors="replace")[-2000:] if log and log.exists() else ""
            raise AssertionError(f"did not come within {HANG_SECONDS:g} seconds: {said}")
        time.sleep(every)
