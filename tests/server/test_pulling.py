"""One reply that never arrives holds nobody up."""

from __future__ import annotations

import threading
import time
from types import SimpleNamespace
from typing import Any

import pytest

from server.pulling import AT_ONCE, Puller


class Line:
    """A grid on which the replies named in `broken` never arrive."""

    def __init__(self, broken: set[str]) -> None:
        self.broken = broken
        self.never = threading.Event()

    def pull_messages(self, identifiers: list[str]) -> list[Any]:
        [identifier] = identifiers
        if identifier in self.broken:
            self.never.wait(30)
        return [SimpleNamespace(name=identifier)]


def test_replies_behind_broken_ones_still_come(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("server.pulling.SLOW_SECONDS", 0.2)
    broken = {f"b{n}" for n in range(AT_ONCE + 1)}
    line: Any = Line(broken)
    puller = Puller(line)
    waiting = [*sorted(broken), "x", "y", "z"]
    came: set[str] = set()
    deadline = time.monotonic() + 5
    while len(came) < 3 and time.monotonic() < deadline:
        came |= {reply.name for reply in puller.poll(w for w in waiting if w not in came)}
        time.sleep(0.02)
    assert came == {"x", "y", "z"}
    assert puller.seconds("b0") > 0
    assert puller.seconds("x") == 0
    line.never.set()


def test_what_a_fetch_raises_is_raised_to_who_waits() -> None:
    class Away:
        def pull_messages(self, identifiers: list[str]) -> list[Any]:
            raise ConnectionError("the SuperLink is away")

    away: Any = Away()
    puller = Puller(away)

    def until_it_is_said() -> None:
        for _ in range(100):
            puller.poll(["m"])
            time.sleep(0.01)

    with pytest.raises(ConnectionError, match="away"):
        until_it_is_said()
