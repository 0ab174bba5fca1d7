"""The privacy budget for the first page, which must not wait for the accountant to load."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any, Final

from client.node.ledger_summary import ledger_statement
from shared.errors import OsteofedError

#: How long a page waits; the first sum after a start can take some seconds more.
PATIENCE_SECONDS: Final = 2.0


class Budget:
    """Adds up the site's ledger beside the pages, one sum at a time.

    Parameters
    ----------
    folder : Path
        The site folder.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._lock = threading.Lock()
        self._sum: _Sum | None = None

    def read(self, patience_seconds: float = PATIENCE_SECONDS) -> dict[str, Any]:
        """Give the ledger's statement (`client.node.ledger_summary`), and how it stands.

        Returns
        -------
        dict
            ``state``: ``known`` (with the statement and ``share``, what is spent of the
            budget, 0 to 1), ``pending``, or ``problem`` (with ``sentence``).
        """
        with self._lock:
            if self._sum is None:
                self._sum = _Sum(self._folder)
                self._sum.start()
            running = self._sum
        running.join(patience_seconds)
        if running.is_alive():
            return {"state": "pending"}
        with self._lock:
            if self._sum is running:
                self._sum = None  # the next page adds up anew
        return running.facts


class _Sum(threading.Thread):
    """One sum; a daemon, so that the program ends when it is told to."""

    def __init__(self, folder: Path) -> None:
        super().__init__(daemon=True, name="ledger")
        self._folder = folder
        self.facts: dict[str, Any] = {
            "state": "problem",
            "sentence": "The privacy ledger cannot be added up; the terminal says more.",
        }

    def run(self) -> None:
        """Read and add up."""
        try:
            facts = ledger_statement(self._folder)
        except OsteofedError as error:
            self.facts = {"state": "problem", "sentence": str(error)}
            return
        share = min(facts["epsilon_private"] / facts["epsilon_budget"], 1.0)
        self.facts = facts | {"state": "known", "share": share}
