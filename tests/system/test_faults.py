"""Two runs through ten kills each, drawn by seed: they end, with the bits of runs without any.

Every kill is SIGKILL to a process that works: the server's program, the SuperLink, nginx,
a node, the program that answers a message; before, during and after training. What comes
of each is a test of its own; a run is made once, and the two are blocks that share nothing.
"""

from __future__ import annotations

import json
import shutil
import threading
from collections.abc import Iterator
from dataclasses import asdict
from typing import Any, Final

import psutil
import pytest

from client.node.ledger_summary import ledger_statement
from shared.audit.chain import verify_chain
from shared.audit.keys import read_key
from shared.settings.files import Quorum
from tests.server.tiny_sites import TINY_TASK
from tests.suite.waiting import HANG_SECONDS, wait_for
from tests.system.kills import (
    BLOCKS,
    KILLS,
    MOMENTS,
    TARGETS,
    Faults,
    Kill,
    Outcome,
    drawn,
    kills_of,
)
from tests.system.real_federation import (
    MISSING_NGINX,
    NAMES,
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
