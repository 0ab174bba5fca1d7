"""Two runs through ten kills each, drawn by seed: they end, with the bits of runs without any.

Every kill is SIGKILL to a process that works: the server's program, the SuperLink, nginx,
a node, the program that answers a message; before, during and after training. What comes
of each is a test of its own; a run is made once, and the two are blocks that share nothing.
"""

from __future__ import annotations

import json
import shutil
import threading
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from typing import Any, Final

import psutil
import pytest

from client.node.ledger_summary import ledger_statement
from server.deployment.readiness import read_up
from server.runtime.status import run_status
from shared.audit.chain import verify_chain
from shared.audit.keys import read_key
from shared.seeds import numpy_generator
from shared.settings.files import Quorum
from tests.server.tiny_sites import TINY_TASK
from tests.suite.waiting import HANG_SECONDS, comes, wait_for
from tests.system.real_federation import (
    MISSING_NGINX,
    NAMES,
    Federation,
    has_nginx,
    real_federation,
    write_agreement,
)

pytestmark = [
    pytest.mark.system,
    pytest.mark.timeout(2400),
    pytest.mark.skipif(not has_nginx(), reason=MISSING_NGINX),
]

#: A kill takes a round, and one more each time its target ended just before it.
ROUNDS: Final = 18
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


@pytest.fixture(scope="module")
def faults(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Faults]:
    with real_federation(tmp_path_factory.mktemp("faults")) as federation:
        simulated = federation.folder / "simulated"
        for name in NAMES:
            shutil.copytree(federation.site(name), simulated / name)
            (simulated / name / "coordinator.json").unlink()
        for name in NAMES:
            federation.join(name)
        federation.connected(*NAMES)
        quorum = Quorum(minimum_sites=3, deadline_seconds=60, attempts=5, restarts=50)
        path = write_agreement(federation.folder, rounds=ROUNDS, quorum=quorum)
        run = federation.start("run", "server", "run", path, "--home", federation.home, "--json")
        made = Faults(federation, run, kills_of(request.param))

        def work() -> None:
            for kill in made.kills:
                made.carry_out(kill)

        worker = threading.Thread(target=work, daemon=True)
        worker.start()
        made.wait_to_end()
        worker.join(HANG_SECONDS)
        for told in made.watching:
            told.join(HANG_SECONDS)
        came = {str(kill): asdict(made.outcomes.get(kill.number, Outcome())) for kill in made.kills}
        (federation.folder / "outcomes.json").write_text(json.dumps(came, indent=1))
        federation.run("server", "run", write_agreement(simulated, rounds=ROUNDS))
        made.ended = how_it_ended(made)
        yield made


def how_it_ended(faults: Faults) -> dict[str, Any]:
    """What all that can be asked says after the run, before another one begins."""
    federation = faults.federation
    simulated = federation.folder / "simulated"
    result = json.loads((simulated / "work" / "result.json").read_text())
    return {
        "server": faults.server_says(),
        "sites": {name: faults.site_says(name) for name in NAMES},
        "result": federation.result(),
        "ledgers": {name: ledger_statement(federation.site(name))["lines"] for name in NAMES},
        "result without": result,
        "ledgers without": {name: ledger_statement(simulated / name)["lines"] for name in NAMES},
    }


def name_of(kill: Kill) -> str:
    return f"{kill.number}-{kill.target}-{kill.moment}-{kill.site}"


# With a scope: without it pytest gives the run the scope of the kills beside it, a test's.
in_each_run = pytest.mark.parametrize(
    "faults", BLOCKS, indirect=True, ids=lambda block: f"block-{block}", scope="module"
)
for_each_kill = pytest.mark.parametrize(
    ("faults", "kill"),
    [
        pytest.param(block, kill, id=f"block-{block}-{name_of(kill)}")
        for block in BLOCKS
        for kill in kills_of(block)
    ],
    indirect=["faults"],
    scope="module",
)


@in_each_run
def test_the_run_ends_although_twenty_processes_were_killed(faults: Faults) -> None:
    log = faults.federation.log("run").read_text()
    assert faults.process.returncode == 0, log[-3000:]


@for_each_kill
def test_each_kill_is_survived_in_time(faults: Faults, kill: Kill) -> None:
    outcome = faults.outcomes.get(kill.number, Outcome())
    assert outcome.killed, "the run was over before its turn"
    assert outcome.recovered_seconds is not None, f"no sign of life for {HANG_SECONDS} s"


@for_each_kill
def test_status_tells_the_truth_of_each_kill(faults: Faults, kill: Kill) -> None:
    outcome = faults.outcomes.get(kill.number, Outcome())
    assert outcome.lied == ""
    assert outcome.told_seconds is not None, "status never told that it was started again"


@in_each_run
def test_status_tells_how_it_ended(faults: Faults) -> None:
    said = faults.ended["server"]
    assert (said["run"]["state"], said["run"]["rounds_done"]) == ("finished", ROUNDS)
    assert (said["up"], said["members"]) == (True, list(NAMES))
    killed = sum(kill.target == "serverapp" for kill in faults.kills)
    assert killed >= 1
    assert said["run"]["resumed"] >= killed
    for name in NAMES:
        site = faults.ended["sites"][name]
        assert (site["node"]["state"], site["working_on"]) == ("connected", None)
        assert site["epsilon_spent"] == pytest.approx(said["run"]["epsilon"][name], rel=1e-6)


@in_each_run
def test_the_model_has_the_bits_of_a_run_without_faults(faults: Faults) -> None:
    without = faults.ended["result without"]["tasks"][TINY_TASK.task]
    assert faults.ended["result"]["tasks"][TINY_TASK.task]["digest"] == without["digest"]


@in_each_run
@pytest.mark.parametrize("name", NAMES)
def test_no_ledger_counts_twice_or_misses_anything(faults: Faults, name: str) -> None:
    lines = faults.ended["ledgers"][name]
    assert lines == faults.ended["ledgers without"][name]
    assert [line["rounds"] for line in lines] == [ROUNDS]


@in_each_run
def test_all_chains_are_whole(faults: Faults) -> None:
    federation = faults.federation
    for folder in [federation.home, *map(federation.site, NAMES)]:
        verify_chain(folder / "audit.jsonl", read_key(folder / "identity.key").public)
    arguments = [f"--against={name}={federation.site(name) / 'audit.jsonl'}" for name in NAMES]
    federation.run("server", "audit", "verify", federation.home, *arguments)


@pytest.mark.parametrize(
    "faults", BLOCKS[-1:], indirect=True, ids=lambda block: f"block-{block}", scope="module"
)
def test_a_frozen_site_is_late_and_the_others_go_on(faults: Faults) -> None:
    """SIGSTOP to a whole node, longer than the deadline; it comes back in a later round."""
    federation = faults.federation
    folder = federation.folder
    quorum = Quorum(minimum_sites=2, deadline_seconds=60, attempts=5)
    # More rounds than the site is away for: a woken node needs up to one heartbeat (10 s).
    path = write_agreement(folder, rounds=9, name="frozen", quorum=quorum)
    run = federation.start("run-frozen", "server", "run", path, "--home", federation.home)
    events = lambda kind: [  # noqa: E731 - said once
        event
        for file in (folder / "work" / "runs").glob("frozen-*/events.jsonl")
        for event in map(json.loads, file.read_text().splitlines())
        if event["event"] == kind
    ]
    # Frozen once the run has seen it: before, it would only not be there.
    wait_for(lambda: any(one["site"] == "gamma" for one in events("asked")))
    family = [
        psutil.Process(federation.running["join-gamma"].pid),
        *psutil.Process(federation.running["join-gamma"].pid).children(recursive=True),
    ]
    for process in family:
        process.suspend()
    try:
        without = lambda: [one for one in events("round") if one["facts"]["absent"]]  # noqa: E731
        over = lambda: bool(without()) or run.poll() is not None  # noqa: E731
        waiting_for: list[list[str]] = []

        def alone() -> bool:
            waiting_for.append(faults.server_says()["run"]["waiting_for"])
            return waiting_for[-1] == ["gamma"]

        # Where the others take longer than two heartbeats, it is gone before they have answered;
        # until then status names it beside them.
        wait_for(lambda: alone() or over(), every=1.0)
        assert any("gamma" in names for names in waiting_for)
        assert faults.site_says("gamma")["node"]["state"] == "frozen"
        wait_for(over)
    finally:
        for process in family:
            process.resume()
    assert run.wait(HANG_SECONDS) == 0, federation.log("run-frozen").read_text()
    # Late, or gone: whichever comes first, the deadline or two missed heartbeats.
    [absent] = without()[0]["facts"]["absent"]
    assert absent["site"] == "gamma"
    assert absent["kind"] in ("late", "unreachable")
    assert sorted(events("round")[-1]["facts"]["patients"]) == sorted(NAMES)


@pytest.mark.last(1)
@in_each_run
def test_everything_ends_with_its_command(faults: Faults) -> None:
    assert faults.federation.end() == []


def test_the_kills_reach_every_process_and_moment() -> None:
    assert {kill.target for kill in drawn()} == set(TARGETS)
    assert {kill.moment for kill in drawn()} == set(MOMENTS)
    assert len(drawn()) == KILLS
