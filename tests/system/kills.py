"""Who kills what in a run of real nodes, and when; what came of each kill."""

from __future__ import annotations

import json
import threading
import time
from dataclasses import dataclass, field
from typing import Any, Final

import psutil
import pytest

from server.deployment.readiness import read_up
from server.runtime.status import run_status
from shared.seeds import numpy_generator
from tests.suite.waiting import HANG_SECONDS, comes
from tests.system.real_federation import NAMES, Federation

KILLS: Final = 20
BLOCKS: Final = (1, 2)
SEED: Final = 3
TARGETS: Final = ("serverapp", "superlink", "nginx", "supernode", "clientapp")
#: What a site's chain says last when the moment has come.
MOMENTS: Final = {"before": "asked", "during": "reserved", "after": "released"}
#: How often status is asked; each question is a program that starts.
ASK_SECONDS: Final = 5.0


@dataclass(frozen=True)
class Kill:
    """What is killed, and when: as a site's chain says that it is so far."""

    number: int
    target: str
    moment: str
    site: str
    delay_seconds: float


@dataclass
class Outcome:
    """What came of a kill."""

    killed: bool = False
    recovered_seconds: float | None = None
    told_seconds: float | None = None
    lied: str = ""


def killed_at_work(pid: int) -> bool:
    """Kill a process, and tell whether the kill is what ended it.

    A process that is ending already takes a SIGKILL without effect, for as long as the
    kernel needs to give its memory back: it had done its work, and nothing starts again.
    Only one that works can be stopped, so it is stopped first.
    """
    try:
        process = psutil.Process(pid)
        process.suspend()
        while process.status() != psutil.STATUS_STOPPED:
            if process.status() in (psutil.STATUS_ZOMBIE, psutil.STATUS_DEAD):
                return False
            time.sleep(0.001)
        process.kill()
    except psutil.NoSuchProcess:
        return False
    return True


def drawn() -> list[Kill]:
    """Draw the kills: each target equally often, at moments and sites by seed."""
    generator = numpy_generator(SEED, "kills")
    targets = [*TARGETS] * (KILLS // len(TARGETS))
    order = generator.permutation(len(targets))
    return [
        Kill(
            number,
            targets[which],
            str(generator.choice(sorted(MOMENTS))),
            str(generator.choice(NAMES)),
            float(generator.uniform(0.0, 0.4)),
        )
        for number, which in enumerate(order)
    ]


@dataclass
class Faults:
    """The run, and who kills in it."""

    federation: Federation
    process: Any
    kills: list[Kill]
    ended: dict[str, Any] = field(default_factory=dict)
    outcomes: dict[int, Outcome] = field(default_factory=dict)
    watching: list[threading.Thread] = field(default_factory=list)
    asking: threading.Lock = field(default_factory=threading.Lock)
    said: dict[str, tuple[float, dict[str, Any]]] = field(default_factory=dict)

    def events(self) -> list[dict[str, Any]]:
        found = []
        for path in (self.federation.folder / "work" / "runs").glob("*/events.jsonl"):
            for line in path.read_bytes().splitlines():
                try:
                    found.append(json.loads(line))
                except ValueError:
                    continue
        return found

    def signs_of_life(self) -> int:
        return sum(event["event"] in ("answered", "round", "finished") for event in self.events())

    def count(self, site: str, event: str) -> int:
        return sum(
            line.event == event for line in self.federation.chain(self.federation.site(site))
        )

    def server_says(self) -> dict[str, Any]:
        """What ``osteofed server status --json`` says now."""
        work = self.federation.folder / "work"
        said = self.federation.run(
            "server", "status", work, "--home", self.federation.home, "--json"
        )
        return dict(json.loads(said))

    def site_says(self, name: str) -> dict[str, Any]:
        """What ``osteofed site status --json`` says now."""
        return dict(
            json.loads(self.federation.run("site", "status", self.federation.site(name), "--json"))
        )

    def says(self, kill: Kill, since: float) -> dict[str, Any]:
        """What status of the target's side says, asked at `since` or later.

        Twenty watchers that all asked by themselves would slow down what they watch, so one
        asks at a time, and what it heard serves all who would have asked the same.
        """
        side = kill.site if kill.target in ("supernode", "clientapp") else "server"
        with self.asking:
            at, said = self.said.get(side, (0.0, {}))
            if at < since:
                at = time.monotonic()
                said = self.server_says() if side == "server" else self.site_says(side)
                self.said[side] = at, said
        return said

    def starts(self, kill: Kill, since: float) -> int:
        """How often status says that the target was started again."""
        said = self.says(kill, since)
        if kill.target == "serverapp":
            return int(said["run"]["resumed"])
        if kill.target in ("superlink", "nginx"):
            return int(said[f"{kill.target}_restarts"])
        return int(said["node"]["restarts"])

    def watch(self, kill: Kill, outcome: Outcome, before: int) -> None:
        """Hold status against what was done, until it tells that the target is back."""
        at = time.monotonic()
        if kill.target == "serverapp":
            run = self.says(kill, at)["run"]
            if run["state"] == "running" and run["resumed"] == before:
                outcome.lied = f"says running with a killed program: {run}"
        told = lambda: self.starts(kill, time.monotonic()) > before or self.over()  # noqa: E731
        if comes(told, every=ASK_SECONDS):
            outcome.told_seconds = time.monotonic() - at

    def over(self) -> bool:
        return self.process.poll() is not None

    def lives_on(self, life: int) -> bool:
        """Wait for more signs of life than there were, or the end; whether one of them came."""
        return comes(lambda: self.signs_of_life() > life or self.over(), every=0.1)

    def wait_to_end(self) -> None:
        """Wait for the run's end, or until it has given no sign of life for too long."""
        while not self.over():
            if not self.lives_on(self.signs_of_life()):
                pytest.fail(f"no sign of life for {HANG_SECONDS:g} s\n{self.federation.said()}")

    def pid(self, kill: Kill) -> int | None:
        if kill.target == "serverapp":
            started = [event["pid"] for event in self.events() if event["event"] == "started"]
            return int(started[-1]) if started else None
        if kill.target in ("superlink", "nginx"):
            found = read_up(self.federation.home).get(kill.target, {}).get("pid")
            return int(found) if found else None
        status = self.federation.status(kill.site)
        if kill.target == "supernode":
            return status.get("supernode_pid")
        try:
            templates = psutil.Process(int(status["warm_pid"])).children()
            children = [child for template in templates for child in template.children()]
        except (psutil.NoSuchProcess, KeyError, TypeError):
            return None
        return children[0].pid if children else None

    def known_starts(self, kill: Kill) -> int:
        """As `starts`, but read in no time from what status reads, just before the kill."""
        if kill.target == "serverapp":
            [folder] = (self.federation.folder / "work" / "runs").iterdir()
            return run_status(folder).resumed
        if kill.target in ("superlink", "nginx"):
            return int(read_up(self.federation.home)[kill.target]["restarts"])
        return int(self.federation.status(kill.site).get("restarts", 0))

    def carry_out(self, kill: Kill) -> None:
        outcome = self.outcomes.setdefault(kill.number, Outcome())
        starts, delay = 0, kill.delay_seconds
        event = MOMENTS[kill.moment]
        while not outcome.killed and not self.over():
            before = self.count(kill.site, event)
            while self.count(kill.site, event) == before and not self.over():
                time.sleep(0.02)
            time.sleep(delay)
            pid, starts = self.pid(kill), self.known_starts(kill)
            # If it ended just now, the next round will do, and sooner in it.
            outcome.killed = pid is not None and killed_at_work(pid)
            delay /= 2
        at, life = time.monotonic(), self.signs_of_life()
        told = threading.Thread(target=self.watch, args=(kill, outcome, starts), daemon=True)
        told.start()
        if self.lives_on(life):
            outcome.recovered_seconds = time.monotonic() - at
        self.watching.append(told)


def kills_of(block: int) -> list[Kill]:
    """Kills of one run."""
    each = KILLS // len(BLOCKS)
    return drawn()[(block - 1) * each : block * each]
