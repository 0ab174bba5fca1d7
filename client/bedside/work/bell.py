"""What wakes those who wait for a change of the work list."""

from __future__ import annotations

import threading


class Bell:
    """Rings whenever the list changed; each of several threads may wait for the next time."""

    def __init__(self) -> None:
        self._condition = threading.Condition()
        self._rung = 0

    @property
    def rung(self) -> int:
        """How often it rang."""
        return self._rung

    def ring(self) -> None:
        """Wake everybody who waits."""
        with self._condition:
            self._rung += 1
            self._condition.notify_all()

    def wait(self, heard: int, seconds: float) -> None:
        """Return once it rang more often than was heard, or after some time."""
        with self._condition:
            self._condition.wait_for(lambda: self._rung > heard, seconds)
