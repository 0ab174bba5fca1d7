"""What a round costs the coordinator's program with 10, 100, 1,000 sites and a 28 MB model.

``python -m tests.benchmarks.sites`` runs one round per number of sites, each in a process of
its own, and prints seconds and peak memory; ``--sites N`` is such a process.

Everything is the platform's own (tickets, statements, checks, spool, aggregation,
checkpoint, both ends' signatures) but the sites, which are signatures and one of four
prepared updates, made when they are fetched, as Flower's grid would hand them over.
Flower's SuperLink, which keeps messages on their way, is a process of its own and is not
measured here.
"""

from __future__ import annotations

import argparse
import json
import resource
import sys
import tempfile
import threading
import time
from collections.abc import Iterable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
from flwr.app import RecordDict
from rich.table import Table

from server.rounds.plan import PlannedTask, RunPlan
from server.rounds.roster import Roster
from server.rounds.train import Start, train_rounds
from server.state.events import Events
from server.state.home import Home
from server.state.journal import Journal
from shared.audit.chain import Head
from shared.command_line import console
from shared.protocol import messages as protocol
from shared.protocol.codec import Arrays
from shared.protocol.half_precision import halved
from shared.protocol.messages import TrainAnswer
from shared.protocol.signatures import sign_statement
from shared.settings.files import PrivacyTarget, Quorum, StrategySettings
from shared.tasks import make_task
from shared.training.weights import digest_arrays
from tests.benchmarks.commands import measure
from tests.server.fake_grid import FakeMessage, make
from tests.server.jobs import account, asked_in, member, signing_key
from tests.server.tiny_sites import TINY_TASK

#: 7 million numbers: 28 MB as float32, half of that on the way.
SHAPE = (7000, 1000)
NAME = "layer.weight"
PREPARED = 4
STRATEGIES = ("FedAvg", "FedMedian")


class LazyGrid:
    """Sites that make their answer when it is fetched, and keep nothing."""

    def __init__(self, sites: int, updates: list[Arrays]) -> None:
        self.names = {number: f"site-{number:04d}" for number in range(1, sites + 1)}
        self.updates = [(update, digest_arrays(update)) for update in updates]
        self.asked: dict[str, tuple[int, str]] = {}
        self.lock = threading.Lock()

    def get_nodes(self) -> list[Any]:
        return [
            SimpleNamespace(node_id=node, public_key=b"", last_activated_at="")
            for node in self.names
        ]

    def push_messages(self, messages: Iterable[FakeMessage]) -> list[str]:
        found = []
        for message in messages:
            identifier = f"m{message.node}"
            self.asked[identifier] = (message.node, asked_in(message.content))
            found.append(identifier)
        return found

    def pull_messages(self, identifiers: Iterable[str]) -> list[FakeMessage]:
        found = []
        for identifier in identifiers:
            node, asked = self.asked[identifier]
            found.append(FakeMessage(self._answer(node, asked), node, "train", identifier))
        return found

    def _answer(self, node: int, asked: str) -> RecordDict:
        name, (update, digest) = self.names[node], self.updates[node % len(self.updates)]
        given, sums = account(name, mode="private"), {"patients": 12.0, "loss_sum": 1.0}
        statement = sign_statement(
            signing_key(name), given, asked=asked, update=digest, patients=20,
            statistics={"": sums}, mechanism=(0.0, 0.0, 0), head=Head(),
        )  # fmt: skip
        with self.lock:
            return protocol.train_answer(TrainAnswer(update, 20, sums, given, statement))


def one_round(folder: Path, sites: int, strategy: str) -> dict[str, Any]:
    """Run a round; give seconds and peak memory of this process."""
    generator = np.random.default_rng(1)
    model: Arrays = {NAME: generator.normal(size=SHAPE).astype(np.float32)}
    updates = [
        halved({NAME: np.full(SHAPE, 0.01 * number, np.float32)})
        for number in range(1, PREPARED + 1)
    ]
    grid = LazyGrid(sites, updates)
    members = tuple(member(name) for name in grid.names.values())
    planned = PlannedTask(
        settings=TINY_TASK, rounds=1, start_from=None, start_digest="",
        strategy=StrategySettings(name=strategy),
    )  # fmt: skip
    plan = RunPlan(
        run="run-1", name="bench", seed=1, workspace=folder, home=folder / "home",
        members=members, privacy=PrivacyTarget(),
        quorum=Quorum(minimum_sites=sites, deadline_seconds=3600), tracking_uri="",
        experiment="x", register_versions=False, keep_updates=False, tasks=(planned,),
    )  # fmt: skip
    home = Home(plan.home)
    home.make()
    journal = Journal(Events(folder / "events.jsonl"), home, plan.run)
    start = Start(make_task(TINY_TASK), model, (NAME,), 2.0)
    roster = Roster(members)
    roster.look(grid)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    began = time.monotonic()
    trained = train_rounds(
        grid, roster, plan, planned, start, make, journal,
        lambda facts, point: None,
    )  # fmt: skip
    seconds = time.monotonic() - began
    assert len(trained.rounds[0].patients) == sites
    return {
        "sites": sites, "strategy": strategy, "seconds": seconds, "mb_before": before,
        "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }  # fmt: skip


def main() -> None:
    """Measure each number of sites in a process of its own."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sites", type=int)
    parser.add_argument("--strategy", choices=STRATEGIES, default="FedAvg")
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--numbers", type=int, nargs="+", default=[10, 100, 1000])
    options = parser.parse_args()
    if options.sites is not None:
        facts = one_round(options.folder, options.sites, options.strategy)
        (options.folder / "facts.json").write_text(json.dumps(facts), encoding="utf-8")
        return
    table = Table(title="one round at the coordinator's program, 28 MB model")
    for column in ("strategy", "sites", "s", "s a site", "peak MB", "of that before the round"):
        table.add_column(column)
    for strategy in STRATEGIES:
        for sites in options.numbers:
            with tempfile.TemporaryDirectory(prefix="osteofed-bench-") as folder:
                words = ["--sites", str(sites), "--folder", folder, "--strategy", strategy]
                measure([sys.executable, "-m", "tests.benchmarks.sites", *words])
                facts = json.loads((Path(folder) / "facts.json").read_text(encoding="utf-8"))
            table.add_row(
                strategy, str(sites), f"{facts['seconds']:.1f}",
                f"{facts['seconds'] / sites:.3f}", f"{facts['peak_mb']:.0f}",
                f"{facts['mb_before']:.0f}",
            )  # fmt: skip
            console().print(table)


if __name__ == "__main__":
    main()
