"""Killed at any durable step and resumed: the same bits, one version, chains that hold.

A kill is an error that nobody catches, raised just before the n-th step that leaves
something on disk, in the registry or on the wire; n runs over all of them.
"""

from __future__ import annotations

import errno
import json
import os
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import Future
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
from safetensors import SafetensorError

from server.registry import tracking
from server.rounds.plan import RunPlan
from server.runtime import federation
from server.runtime.federation import run_plan
from server.state.checkpoint import HISTORY
from server.state.events import EVENTS, EventReader, Events
from server.state.home import AUDIT, Home
from server.state.lock import alone
from server.state.result import RunResult, TaskResult, Verdict
from shared.audit.chain import verify_chain
from shared.errors import FirewallRefusedError, RunFailedError, RunPausedError
from shared.protocol.messages import evaluate_answer, read_evaluate_job, read_job
from shared.settings.files import StrategySettings
from shared.training.weights import Weights, digest_arrays, load_weights, save_tensors
from tests.server.fake_grid import FakeGrid, Node, make
from tests.server.jobs import account, asked_in, member, signed_evaluation
from tests.server.rounds.test_train import START, honest, plan
from tests.server.tiny_sites import TINY_TASK

SITES = {"alpha": 0.1, "beta": 0.7, "gamma": 1.9}
STRATEGIES = (
    StrategySettings(name="FedAdam", options={"eta": 0.05, "tau": 0.01}),
    StrategySettings(name="FedAvg"),
    StrategySettings(name="FedAvgM", options={"server_momentum": 0.9}),
)


class KilledError(BaseException):
    """What SIGKILL is to a test."""


@dataclass
class Countdown:
    """Counts durable steps; from one of them on it kills, or the disk is full.

    A disk is full for writers until the run gives its reserve back.
    """

    left: int | None = None
    full: bool = False
    steps: list[str] = field(default_factory=list)

    def step(self, name: str, path: object = None) -> None:
        self.steps.append(name)
        if self.left is None or len(self.steps) < self.left:
            return
        if not self.full:
            raise KilledError(f"before step {len(self.steps)}, {name}")
        if isinstance(path, Path) and path.name == federation.RESERVE:
            self.left = None
        elif name in ("fsync", "write"):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))


@dataclass
class Versions:
    """A registry that outlives the processes which use it."""

    versions: list[dict[str, Any]] = field(default_factory=list)
    weights: list[Weights] = field(default_factory=list)
    champion: int | None = None
    runs: list[str] = field(default_factory=list)


def _registry(store: Versions, countdown: Countdown) -> type:
    class FakeRegistry:
        def __init__(self, uri: str, experiment: str) -> None:
            self.runs = self.versions = self.aliases = self

        def begin(self, name: str, parameters: Mapping[str, Any]) -> str:
            countdown.step("registry begin")
            store.runs.append("RUNNING")
            return str(len(store.runs) - 1)

        def go_on(self, run: str) -> str:
            store.runs[int(run)] = "RUNNING"
            return run

        def log(self, run: str, step: int, values: Mapping[str, float]) -> None:
            countdown.step("registry log")

        def of_run(self, run: str, task: str, tags: Mapping[str, str]) -> int | None:
            for number, one in enumerate(store.versions, start=1):
                if one["mlflow"] == run:
                    one.update(tags)
                    return number
            return None

        def add_artifacts(self, run: str, files: list[Path]) -> None:
            countdown.step("registry artifacts")

        def register(
            self, run: str, task: str, program: object, files: list[Path], tags: Mapping[str, str]
        ) -> int:
            countdown.step("registry register")
            store.versions.append({"mlflow": run})
            store.weights.append(load_weights(files[0]))
            countdown.step("registry tags")
            store.versions[-1] |= dict(tags)
            return len(store.versions)

        def promote(self, task: str, version: int, verdict: Verdict) -> None:
            countdown.step("registry verdict")
            store.versions[version - 1]["verdict"] = verdict.reason
            if verdict.promoted:
                countdown.step("registry champion")
                store.champion = version

        def champion(self, task: str, folder: Path) -> tuple[int, Weights] | None:
            if store.champion is None:
                return None
            return store.champion, store.weights[store.champion - 1]

        def end(self, run: str, status: str) -> None:
            countdown.step("registry end")
            store.runs[int(run)] = status

    return FakeRegistry


class _Inline:
    """An executor that does it at once, so that a kill in it is a kill."""

    def __init__(self, **options: Any) -> None:
        pass

    def submit(self, work: Any, *arguments: Any) -> Future[Any]:
        future: Future[Any] = Future()
        future.set_result(work(*arguments))
        return future

    def shutdown(self, **options: Any) -> None:
        pass


class _Grid(FakeGrid):
    def __init__(self, nodes: dict[int, Node], countdown: Countdown) -> None:
        super().__init__(nodes)
        self.countdown = countdown

    def push_messages(self, messages: Any) -> list[str]:
        self.countdown.step("push")
        return super().push_messages(messages)

    def pull_messages(self, identifiers: Any) -> list[Any]:
        found = super().pull_messages(identifiers)
        if found:
            self.countdown.step("pull")
        return found


def _site(name: str, shift: float) -> Node:
    train = honest(name, shift)

    def node(content: Any, times: int) -> Any:
        if "model" in content:
            return train(content, times)
        job = read_evaluate_job(content, FirewallRefusedError)
        sums = {"patients": 12.0, "loss_sum": 6.0, "dice_sum": 6.0 + shift, "dice_n": 12.0}
        given = account(name, round=0, mode="evaluate")
        found = dict.fromkeys(job.models, sums)
        return evaluate_answer(signed_evaluation(20, found, given, asked_in(content)))

    return node


@contextmanager
def _counted(countdown: Countdown, store: Versions) -> Iterator[None]:
    """Count every step that leaves something, and use the stand-in registry."""

    def before(name: str, done: Any) -> Any:
        def step(*arguments: Any, **options: Any) -> Any:
            countdown.step(name, arguments[0])
            return done(*arguments, **options)

        return step

    with ExitStack() as stack:
        for patched in (
            mock.patch.object(os, "fsync", before("fsync", os.fsync)),
            mock.patch.object(Path, "replace", before("replace", Path.replace)),
            mock.patch.object(Path, "unlink", before("unlink", Path.unlink)),
            mock.patch.object(Path, "write_bytes", before("write", Path.write_bytes)),
            mock.patch.object(tracking, "Registry", _registry(store, countdown)),
            mock.patch.object(tracking, "ThreadPoolExecutor", _Inline),
            mock.patch.object(federation, "prepare", return_value=START),
            mock.patch.object(federation, "draw_curves"),
            mock.patch("server.registry.export.program_of"),
        ):
            stack.enter_context(patched)
        yield


def read_round(content: Any) -> int:
    """The round that a train message asks for; others are of none."""
    return read_job(content, FirewallRefusedError).round if "model" in content else 0


def _plan(folder: Path, strategy: StrategySettings) -> RunPlan:
    base = plan(folder)
    task = base.tasks[0].model_copy(update={"strategy": strategy, "rounds": 3})
    members = tuple(member(name) for name in SITES)
    return base.model_copy(update={"tasks": (task,), "register_versions": True, "members": members})


def _attempt(
    work: RunPlan, store: Versions, left: int | None = None, *, full: bool = False
) -> Countdown:
    """Run or resume; returns the steps taken. A kill is over when this returns."""
    Home(work.home).make()
    work.folder.mkdir(parents=True, exist_ok=True)
    countdown = Countdown(left, full)
    nodes = {n: _site(name, shift) for n, (name, shift) in enumerate(SITES.items(), start=1)}
    with _counted(countdown, store):
        try:
            run_plan(_Grid(nodes, countdown), work, Events(work.folder / EVENTS), make)
        except KilledError:
            assert left is not None
    return countdown


def _told(work: RunPlan) -> dict[str, Any]:
    """Everything of a run that must not depend on where it was killed."""
    task = TINY_TASK.task
    result = RunResult.model_validate_json((work.folder / "result.json").read_text())
    found: TaskResult = result.tasks[task]
    history = (work.task_folder(task) / HISTORY).read_text()
    weights = load_weights(found.weights)
    assert digest_arrays(weights.arrays) == found.digest
    facts = found.model_dump(exclude={"seconds", "weights", "bytes_up", "bytes_down"})
    for one in facts["rounds"]:
        for measured in ("seconds", "bytes_down", "bytes_up"):  # times, lengths of numbers
            del one[measured]
    events = [e for e in EventReader(work.folder / EVENTS).new() if e["event"] == "round"]
    assert {e["facts"]["round"] for e in events} == {1, 2, 3}
    passports = json.loads(history)["passports"]
    assert result.sites == sorted(SITES)
    return {"facts": facts, "passports": passports, "bytes": found.weights.read_bytes()}


class Direct:
    """Fetches without threads, so that steps are counted in one order."""

    def __init__(self, grid: Any) -> None:
        self.grid = grid

    def poll(self, identifiers: Any) -> list[Any]:
        return list(self.grid.pull_messages(list(identifiers)))

    def wait(self, seconds: float) -> None:
        time.sleep(seconds)

    def broken(self) -> dict[str, str]:
        return {}

    def seconds(self, identifier: str) -> float:
        return 0.0


@pytest.fixture(autouse=True)
def _without_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("server.rounds.exchange.ReplyFetcher", Direct)


#: The strategy with most state is killed before every step, in blocks that share nothing;
#: the others before every seventh.
BLOCKS = 6
WALKS = [
    *(
        pytest.param(STRATEGIES[0], range(block, 400, BLOCKS), id=f"{STRATEGIES[0].name}-{block}")
        for block in range(1, BLOCKS + 1)
    ),
    *(pytest.param(one, range(1, 400, 7), id=one.name) for one in STRATEGIES[1:]),
]


def test_the_blocks_leave_no_step_out() -> None:
    walked = [point for walk in WALKS[:BLOCKS] for point in walk.values[1]]  # type: ignore[union-attr]
    assert sorted(walked) == list(range(1, 400))


@pytest.mark.parametrize(("strategy", "points"), WALKS)
def test_killed_anywhere_and_resumed_it_ends_with_the_same_bits(
    tmp_path: Path, strategy: StrategySettings, points: range
) -> None:
    whole = _plan(tmp_path / "whole", strategy)
    registered = Versions()
    steps = _attempt(whole, registered).steps
    expected = _told(whole)
    assert len(steps) > 60
    assert registered.champion == 1
    wrong: list[str] = []
    assert len(steps) < max(points)
    for left in points:
        if left > len(steps):
            break
        work, store = _plan(tmp_path / f"killed-{left}", strategy), Versions()
        killed = _attempt(work, store, left)
        assert len(killed.steps) >= left
        _attempt(work, store)
        where = f"before step {left} of {len(steps)}, {steps[left - 1]}"
        try:
            found = _told(work)
        except (AssertionError, OSError, ValueError) as error:
            wrong.append(f"{where}: {type(error).__name__} {str(error)[:100]}")
            continue
        wrong += [f"{where}: {key}" for key in expected if found[key] != expected[key]]
        if (len(store.versions), store.champion) != (1, 1):
            wrong.append(f"{where}: {len(store.versions)} versions, champion {store.champion}")
        if store.versions[0] != registered.versions[0] | {"mlflow": store.versions[0]["mlflow"]}:
            wrong.append(f"{where}: the version says {store.versions[0]}")
        verify_chain(work.home / AUDIT, Home(work.home).key().public)
    assert not wrong, "\n".join(wrong)


def test_a_full_disk_pauses_the_run_with_the_reason_and_it_resumes_to_the_same_bits(
    tmp_path: Path,
) -> None:
    whole = _plan(tmp_path / "whole", STRATEGIES[0])
    steps = _attempt(whole, Versions()).steps
    expected = _told(whole)
    # The first writing is that of the chain: then nothing has begun that could be paused.
    writes = [n for n, name in enumerate(steps, start=1) if name in ("fsync", "write")]
    last = max(n for n, name in enumerate(steps, start=1) if name == "registry end")
    for left in [n for n in writes if n < last][::6]:
        work, store = _plan(tmp_path / f"full-{left}", STRATEGIES[0]), Versions()
        with pytest.raises(RunPausedError, match="disk is full"):
            _attempt(work, store, left, full=True)
        chain = verify_chain(work.home / AUDIT, Home(work.home).key().public)
        assert chain[-1].event == "paused"
        assert "disk is full" in chain[-1].facts["reason"]
        assert list(work.folder.rglob("*.part")) == []
        _attempt(work, store)
        assert _told(work) == expected, left
        assert (len(store.versions), store.champion) == (1, 1)


def test_without_quorum_a_run_that_may_pause_does_and_comes_back_when_the_sites_do(
    tmp_path: Path,
) -> None:
    whole = _plan(tmp_path / "whole", STRATEGIES[0])
    _attempt(whole, Versions())
    work, store = _plan(tmp_path / "paused", STRATEGIES[0]), Versions()
    quorum = work.quorum.model_copy(
        update={"minimum_sites": 3, "on_missing": "pause", "deadline_seconds": 0.2, "attempts": 1}
    )
    work = work.model_copy(update={"quorum": quorum})
    Home(work.home).make()
    work.folder.mkdir(parents=True)
    nodes = {n: _site(name, shift) for n, (name, shift) in enumerate(SITES.items(), start=1)}
    lost: dict[int, Node] = {**nodes, 3: lambda content, times: nodes[3](content, times)
                             if read_round(content) < 2 else None}  # fmt: skip
    for there, round_ in ((lost, 2), ({1: nodes[1]}, 2), (lost, 2)):  # too few nodes, too
        grid = _Grid(there, Countdown())
        with (
            _counted(Countdown(), store),
            pytest.raises(RunPausedError, match="go on with: osteofed server resume"),
        ):
            run_plan(grid, work, Events(work.folder / EVENTS), make)
        assert federation.standing(work) == (TINY_TASK.task, round_)
        assert store.runs == ["RUNNING"]
    _attempt(work, store)
    assert _told(work)["bytes"] == _told(whole)["bytes"]
    events = [line.event for line in verify_chain(work.home / AUDIT, Home(work.home).key().public)]
    assert [e for e in events if e in ("run started", "paused", "resumed")] == [
        "run started", "paused", "resumed", "paused", "resumed", "paused", "resumed",
    ]  # fmt: skip


def test_a_full_disk_is_said_as_such_also_by_safetensors(tmp_path: Path) -> None:
    failure = SafetensorError("Error while serializing: I/O error: No space (os error 28)")
    with (
        mock.patch("shared.training.weights.save_file", side_effect=failure),
        pytest.raises(OSError, match="No space left") as caught,
    ):
        save_tensors(tmp_path / "update.safetensors", START.arrays)
    assert caught.value.errno == errno.ENOSPC
    assert list(tmp_path.iterdir()) == []


def test_two_processes_do_not_work_on_one_run(tmp_path: Path) -> None:
    with (
        alone(tmp_path / "run" / "lock", 0.0),
        pytest.raises(RunFailedError, match="another process works on this run"),
        alone(tmp_path / "run" / "lock", 0.0),
    ):
        pass
    with alone(tmp_path / "run" / "lock", 0.0):
        pass
