"""Follows a run by the events that it writes, until it ends or its processes do."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, Final

from server.state.events import EventReader
from shared.errors import OsteofedError, RunFailedError, RuntimeUnavailableError

POLL_SECONDS: Final = 0.1

Watch = Callable[[dict[str, Any]], None]


def follow(reader: EventReader, watch: Watch, is_over: Callable[[], bool], lost: str) -> None:
    """Hand on a run's events until it is over.

    Parameters
    ----------
    reader : EventReader
        Made before the run was started.
    watch : callable
        Told every event.
    is_over : callable
        Whether a process without which the run cannot go on has ended.
    lost : str
        What to say if one ended before the run did.

    Raises
    ------
    OsteofedError
        What ended or paused the run, as the server said it.
    RuntimeUnavailableError
        If its processes ended first.
    """
    while True:
        over = is_over()  # before the events are read: the last of them may end the run
        for event in reader.new():
            watch(event)
            if event["event"] == "finished":
                return
            if event["event"] in ("failed", "paused"):
                raise error_of(event)
        if over:
            raise RuntimeUnavailableError(lost)
        time.sleep(POLL_SECONDS)


def error_of(event: dict[str, Any]) -> OsteofedError:
    """Make the error again that ended the run on the server's side."""
    kinds = {kind.__name__: kind for kind in _all_errors(OsteofedError)}
    reason = str(event["reason"])
    return kinds.get(str(event["kind"]), RunFailedError)(reason)


def _all_errors(kind: type[OsteofedError]) -> list[type[OsteofedError]]:
    return [kind, *(one for child in kind.__subclasses__() for one in _all_errors(child))]
