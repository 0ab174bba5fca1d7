"""Wait for what a test needs; how long a test may hang, and no limit that decides anything.

A test waits for an event and not for a time. The limit only ends a test whose event never
comes; it is many times what the slowest machine took, beside other tests. A machine that
stands still, as a virtual one does now and then, uses none of it.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

HANG_SECONDS: Final = 300.0
#: The longest time between two looks that counts: a look may take this long by itself.
LONGEST_LOOK: Final = 10.0


@dataclass
class Patience:
    """What is left of `HANG_SECONDS` while somebody looks again and again."""

    left: float = HANG_SECONDS
    looked: float = field(default_factory=lambda: time.monotonic())

    def is_over(self) -> bool:
        """Count the time since the last look, and tell whether it was the last."""
        now = time.monotonic()
        self.left -= min(now - self.looked, LONGEST_LOOK)
        self.looked = now
        return self.left < 0


def comes(condition: Callable[[], object], *, every: float = 0.05) -> bool:
    """Wait until something is so; tell whether it was before patience was over."""
    patience = Patience()
    while not condition():
        if patience.is_over():
            return False
        time.sleep(every)
    return True


def wait_for(
    condition: Callable[[], object], log: Path | None = None, *, every: float = 0.05
) -> None:
    """Return once something is so; fail, with the end of a log, after `HANG_SECONDS`."""
    if not comes(condition, every=every):
        said = log.read_text(errors="replace")[-2000:] if log and log.exists() else ""
        raise AssertionError(f"did not come within {HANG_SECONDS:g} seconds: {said}")
