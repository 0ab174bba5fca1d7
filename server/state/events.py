"""What a run says while it runs: one JSON line per event, for whoever watches."""

from __future__ import annotations

import contextlib
import json
import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Final

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
            ``started``, ``waiting`` (for sites to connect), ``task``, ``asked``,
            ``answered``, ``absent``, ``round``, ``registered``, ``finished``, ``failed`` or
            ``paused``.
        **facts
            What belongs to it, ready for JSON.
        """
        line = json.dumps({"event": event, "time": time.time(), **facts}, default=str)
        with self.path.open("ab+") as file:
            if file.tell() and not _ends_with_newline(file):
                file.write(b"\n")  # a power cut left half a line
            file.write(line.encode("utf-8") + b"\n")
            file.flush()
            os.fsync(file.fileno())

    def rounds_told(self, task: str) -> set[int]:
        """Rounds of a task that were told already."""
        return {
            int(event["facts"]["round"])
            for event in EventReader(self.path).new()
            if event["event"] == "round" and event["task"] == task
        }


def _ends_with_newline(file: BinaryIO) -> bool:
    file.seek(-1, os.SEEK_END)
    return file.read(1) == b"\n"


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
        found = []
        for line in complete.splitlines():
            with contextlib.suppress(ValueError):  # half a line that a power cut left
                found.append(json.loads(line))
        return found

    @classmethod
    def from_now(cls, path: Path) -> EventReader:
        """Begin at the end of what is there."""
        return cls(path, path.stat().st_size if path.is_file() else 0)


def waiting_words(event: dict[str, Any]) -> str:
    """Say for whom a run waits, who is there, and until when (this machine's clock).

    Parameters
    ----------
    event : dict
        A ``waiting`` event: names ``there`` and ``missing``, how many are the ``minimum``,
        and ``until`` in seconds since 1970.
    """
    there = ", ".join(event["there"])
    if not event["missing"]:
        return f"all are connected: {there}"
    until = time.strftime("%H:%M:%S", time.localtime(event["until"]))
    return (
        f"waiting until {until} for {', '.join(event['missing'])} to connect; connected: "
        f"{there or 'nobody'} (at least {event['minimum']} needed)"
    )


def finished_words(event: dict[str, Any]) -> str:
    """Say that a run is finished, and which version of each task it made.

    Parameters
    ----------
    event : dict
        The name of the ``run``, and of each task the number of its version in ``versions``
        (None: not registered).
    """
    made = ", ".join(
        f"{task} version {number}" if number is not None else f"{task} (no version registered)"
        for task, number in event["versions"].items()
    )
    return (
        f"run {event['run']} is finished and made {made}; nothing was trained or registered "
        "(`osteofed server run --fresh` runs the agreement again and makes a new version)"
    )
