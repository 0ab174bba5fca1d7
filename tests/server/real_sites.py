"""Real hospitals on the stand-in grid: the platform's own two ends, without Flower between."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from flwr.app import RecordDict

from client.app import _attempt
from client.identity.chain import IDENTITY
from client.round.answer import answer_evaluate, answer_train
from client.round.open_site import Site
from server.rounds.plan import RunPlan, simulated_names
from server.rounds.roster import Roster
from server.rounds.train import Start, Trained, train_rounds
from server.runtime.simulation import invite_sites
from server.state.home import Member
from shared.audit.keys import read_key
from shared.protocol import messages
from shared.settings.files import PrivacyTarget, SitePrivacy
from shared.settings.task import TaskSettings
from shared.tasks import make_task
from shared.training.arrays import get_arrays, trainable_names
from shared.training.initial_weights import start_network
from tests.server.fake_grid import FakeGrid, Node, make
from tests.server.rounds.test_train import journal, plan
from tests.server.tiny_sites import TINY_TASK, tiny_site

NAMES = ("alpha", "beta")


def real_sites(folder: Path) -> list[Path]:
    """Make two hospitals that also train without privacy."""
    # Copies of the sites are compared with them, bit by bit.
    privacy = SitePrivacy(
        epsilon_budget=50.0, delta=1e-3, allow_plain_runs=True, erase_noise_keys=False
    )
    return [
        tiny_site(folder / name, name, seed=seed, privacy=privacy)
        for seed, name in enumerate(NAMES, start=1)
    ]


def node_of(folder: Path) -> Node:
    """Answer as the hospital's ClientApp does, with its refusals."""
    context: Any = SimpleNamespace(node_config={"site": str(folder)}, run_config={})

    def node(content: RecordDict, times: int) -> RecordDict:
        def answer(site: Site) -> RecordDict:
            if "model" in content:
                return messages.train_answer(answer_train(site, content))
            return messages.evaluate_answer(answer_evaluate(site, content))

        message: Any = SimpleNamespace(content=content)
        return _attempt(answer, message, context)

    return node


def start_of(settings: TaskSettings, mode: str) -> Start:
    """What a run of the settings begins with."""
    task = make_task(settings)
    network, _ = start_network(settings, None)
    which = settings.private.trainable if mode == "private" else settings.plain.trainable
    return Start(task, get_arrays(network), trainable_names(task, network, which), 2.0)


def plan_of(folder: Path, sites: Sequence[Path], mode: str, rounds: int) -> RunPlan:
    """Plan a run of the tiny task."""
    members = tuple(
        Member(site=site.name, signing_key=read_key(site / IDENTITY).public) for site in sites
    )
    base = plan(folder, deadline_seconds=60.0)
    invite_sites(base.model_copy(update={"sites": tuple(sites)}))
    return base.model_copy(
        update={
            "members": members,
            "sites": tuple(sites),
            "privacy": PrivacyTarget.model_validate({"mode": mode, "delta": 1e-3}),
            "tasks": (base.tasks[0].model_copy(update={"rounds": rounds}),),
        }
    )


def train(folder: Path, nodes: Sequence[Node], work: RunPlan) -> tuple[Trained, FakeGrid]:
    """Train, or go on with, a plan of `plan_of`."""
    grid = FakeGrid(dict(enumerate(nodes, start=1)))
    trained = train_rounds(
        grid, Roster(work.members, names=simulated_names(work.sites)), work, work.tasks[0],
        start_of(TINY_TASK, work.privacy.mode), make, journal(folder), lambda facts, point: None,
    )  # fmt: skip
    return trained, grid
