"""What a run says while it runs: one JSON line per event, for whoever watches."""

from __future__ import annotations

import json
import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

EVENTS: Final = "events.jsonl"


@dataclass(frozen=True)
class Events:
    """The event file of a run. Lines are appended and flushed; nothing is rewritten."""

    path: Path

    def say(self, event: str, **facts: Any) -> None:
        """Append one event.

        Parameters
        ----------
        event : str
            ``started``, ``task``, ``round``, ``registered``, ``finished`` or ``failed``.
        **facts
            What belongs to it, ready for JSON.
        """
        line = json.dumps({"event": event, "time": time.time(), **facts}, default=str)
        with self.path.open("a", encoding="utf-8") as file:
            file.write(line + "\n")
            file.flush()
            os.fsync(file.fileno())


@dataclass
class EventReader:
    """Reads the events of a run as they come."""

    path: Path
    position: int = 0

    def new(self) -> list[dict[str, Any]]:
        """Return the events since the last call; half a line waits for its other half."""
        if not self.path.is_file():
            return []
        with self.path.open("rb") as file:
            file.seek(self.position)
            data = file.read()
        complete = data[: data.rfind(b"\n") + 1]
        self.position += len(complete)
        return [json.loads(line) for line in complete.splitlines()]
