"""One reply that never arrives holds nobody up."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
from flwr.supercore.run import RunNotRunningException

from server.rounds.reply_fetcher import AT_ONCE, ReplyFetcher
from server.rounds.roster import Roster
from server.rounds.train import train_rounds
from tests.server.fake_grid import FakeGrid, FakeMessage, make
from tests.server.rounds.test_train import MEMBERS, START, honest, journal, plan
from tests.suite.waiting import HANG_SECONDS, wait_for


class Line:
    """A grid on which the replies named in `broken` never arrive."""

    def __init__(self, broken: set[str]) -> None:
        self.broken = broken
        self.never = threading.Event()

    def pull_messages(self, identifiers: list[str]) -> list[Any]:
        [identifier] = identifiers
        if identifier in self.broken:
            self.never.wait(HANG_SECONDS)
        return [SimpleNamespace(name=identifier)]


def test_replies_behind_broken_ones_still_come(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("server.rounds.reply_fetcher.SLOW_SECONDS", 0.2)
    broken = {f"b{n}" for n in range(AT_ONCE + 1)}
    line: Any = Line(broken)
    fetcher = ReplyFetcher(line)
    waiting = [*sorted(broken), "x", "y", "z"]
    came: set[str] = set()

    def all_came() -> bool:
        came.update(reply.name for reply in fetcher.poll(w for w in waiting if w not in came))
        return len(came) >= 3

    wait_for(all_came, every=0.02)
    assert came == {"x", "y", "z"}
    assert fetcher.seconds("b0") > 0
    assert fetcher.seconds("x") == 0
    line.never.set()


class Slow:
    """A grid whose every look takes 20 ms, and on which a reply is there from the fifth look."""

    def __init__(self) -> None:
        self.looks = 0

    def pull_messages(self, identifiers: list[str]) -> list[Any]:
        self.looks += 1
        time.sleep(0.02)
        return [SimpleNamespace(name=identifiers[0])] if self.looks >= 5 else []


def test_every_poll_looks_again_also_when_a_look_outlasts_it() -> None:
    line: Any = Slow()
    fetcher = ReplyFetcher(line)
    for _ in range(4):
        assert fetcher.poll(["x"]) == []
        fetcher.wait(0.1)
    assert line.looks == 4


def test_what_comes_ends_the_wait_and_nothing_else_does() -> None:
    line: Any = Slow()
    fetcher = ReplyFetcher(line)
    fetcher.poll(["x"])
    started = time.monotonic()
    fetcher.wait(0.3)  # the first four looks find nothing
    assert time.monotonic() - started >= 0.29
    line.looks = 10
    assert fetcher.poll(["x"]) == []
    started = time.monotonic()
    fetcher.wait(HANG_SECONDS)
    assert time.monotonic() - started < HANG_SECONDS / 2
    assert [reply.name for reply in fetcher.poll(["x"])] == ["x"]


REQUEST = httpx.Request("POST", "http://127.0.0.1")


def status(code: int) -> httpx.HTTPStatusError:
    return httpx.HTTPStatusError("x", request=REQUEST, response=httpx.Response(code))


def poll_until(error: BaseException) -> dict[str, str]:
    """Poll a grid on which every fetch raises this, until it is said."""

    class Broken:
        def pull_messages(self, identifiers: list[str]) -> list[Any]:
            raise error

    grid: Any = Broken()
    fetcher = ReplyFetcher(grid)
    for _ in range(100):
        assert fetcher.poll(["m"]) == []
        if found := fetcher.broken():
            return found
        time.sleep(0.01)
    raise AssertionError("nothing was said")


@pytest.mark.parametrize(
    "error",
    [ConnectionError("away"), TimeoutError(), httpx.ConnectError("away"), httpx.ReadTimeout("slow"),
     status(401), status(503), KeyboardInterrupt(), RunNotRunningException()],
    ids=lambda error: type(error).__name__,
)  # fmt: skip
def test_that_the_superlink_is_away_is_raised_to_who_waits(error: BaseException) -> None:
    with pytest.raises(type(error)):
        poll_until(error)


@pytest.mark.parametrize(
    "error", [ValueError("x"), KeyError("x"), RecursionError(), status(500)],
    ids=lambda error: type(error).__name__,
)  # fmt: skip
def test_any_other_error_is_the_matter_of_that_reply(error: Exception) -> None:
    assert poll_until(error) == {"m": type(error).__name__}


def test_a_reply_that_cannot_be_fetched_costs_its_own_site_only(tmp_path: Path) -> None:
    class Grid(FakeGrid):
        def pull_messages(self, identifiers: Iterable[str]) -> list[FakeMessage]:
            found = super().pull_messages(identifiers)
            if any(message.node == 3 for message in found):
                raise ValueError("what Flower cannot put together")
            return found

    work = plan(tmp_path)
    nodes = {1: honest("alpha", 1.0), 2: honest("beta", 1.0), 3: honest("gamma", 1.0)}
    trained = train_rounds(
        Grid(nodes), Roster(MEMBERS), work, work.tasks[0], START, make, journal(tmp_path),
        lambda facts, point: None,
    )  # fmt: skip
    for facts in trained.rounds:
        [absent] = facts.absent
        assert (absent.site, absent.kind) == ("node 3", "failed")
        assert absent.reason == "its answer could not be fetched (ValueError)"
        assert sorted(facts.patients) == ["alpha", "beta"]
