"""Fetches replies side by side, so that one that comes slowly does not delay the others.

A reply whose upload broke off is announced to the SuperLink without its tensors, and
Flower's `pull_messages` then waits for them for minutes. So every reply is fetched by a
thread of its own, and the round loop never waits for one.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from flwr.app import Message

    from server.rounds.grid import Grid

#: How many replies are fetched at once: each may be a whole model.
AT_ONCE: Final = 4
#: A fetch that lasts longer than this does not keep others waiting.
SLOW_SECONDS: Final = 5.0


@dataclass
class _Fetch:
    """One fetch under way."""

    started: float = field(default_factory=time.monotonic)
    done: threading.Event = field(default_factory=threading.Event)
    replies: list[Message] = field(default_factory=list)
    error: BaseException | None = None


@dataclass
class ReplyFetcher:
    """Fetches the replies to messages, a few at a time."""

    grid: Grid
    _under_way: dict[str, _Fetch] = field(default_factory=dict)
    _broken: dict[str, str] = field(default_factory=dict)
    _next: int = 0
    _came: threading.Event = field(default_factory=threading.Event)

    def wait(self, seconds: float) -> None:
        """Wait that long, or until a fetch that is under way brings something."""
        self._came.wait(seconds)

    def poll(self, identifiers: Iterable[str]) -> list[Message]:
        """Return the replies that came; look for those that did not.

        What else a fetch raises than that the SuperLink is away is the matter of that one
        reply (`broken`): a site may have sent what Flower cannot put together.

        Parameters
        ----------
        identifiers : iterable of str
            Messages that are waited for.

        Raises
        ------
        OSError, httpx.HTTPError
            What a fetch raised: the SuperLink is away.
        """
        self._came.clear()
        found = self._collect()
        # Whatever is not there yet is looked for again, also if it was in the last poll.
        self._start([one for one in identifiers if one not in found])
        # A reply that is there comes within milliseconds; the loop's own pause is longer.
        for fetch in list(self._under_way.values()):
            fetch.done.wait(0.002)
        found |= self._collect()
        return [reply for replies in found.values() for reply in replies]

    def _collect(self) -> dict[str, list[Message]]:
        """Take what finished fetches brought, by identifier; a broken one brought nothing."""
        found: dict[str, list[Message]] = {}
        for identifier, fetch in list(self._under_way.items()):
            if not fetch.done.is_set():
                continue
            del self._under_way[identifier]
            if fetch.error is not None:
                if _is_away(fetch.error):
                    raise fetch.error
                self._broken[identifier] = type(fetch.error).__name__
                found[identifier] = []
            elif fetch.replies:
                found[identifier] = fetch.replies
        return found

    def broken(self) -> dict[str, str]:
        """Give the messages whose replies could not be fetched since it was last asked.

        Returns
        -------
        dict of str to str
            The kind of error by message.
        """
        found, self._broken = self._broken, {}
        return found

    def seconds(self, identifier: str) -> float:
        """How long a reply has been being fetched; 0 if it is not."""
        fetch = self._under_way.get(identifier)
        return 0.0 if fetch is None else time.monotonic() - fetch.started

    def _start(self, waited: list[str]) -> None:
        now = time.monotonic()
        quick = sum(now - fetch.started < SLOW_SECONDS for fetch in self._under_way.values())
        for step in range(len(waited)):
            if quick >= AT_ONCE:
                break
            identifier = waited[(self._next + step) % len(waited)]
            if identifier in self._under_way:
                continue
            fetch = _Fetch()
            self._under_way[identifier] = fetch
            # A daemon: whatever it waits for, the program can end.
            threading.Thread(target=self._work, args=(identifier, fetch), daemon=True).start()
            quick += 1
        self._next += AT_ONCE

    def _work(self, identifier: str, fetch: _Fetch) -> None:
        try:
            fetch.replies = list(self.grid.pull_messages([identifier]))
        except BaseException as error:  # handed to the round loop
            fetch.error = error
        finally:
            fetch.done.set()
            if fetch.replies or fetch.error is not None:
                self._came.set()


def _is_away(error: BaseException) -> bool:
    """Whether an error is of the connection or of the run, and not of one reply.

    A server that answers 500 to one request is there.
    """
    import httpx

    if isinstance(error, httpx.HTTPStatusError):
        return error.response.status_code != httpx.codes.INTERNAL_SERVER_ERROR
    return isinstance(error, OSError | httpx.HTTPError) or not isinstance(error, Exception)
