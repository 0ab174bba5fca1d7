"""A run that was killed anywhere goes on after its last round, to the same bits."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from server.rounds.roster import Roster
from server.rounds.train import Trained, train_rounds
from server.state.checkpoint import HISTORY, Checkpoint
from shared.audit.chain import verify_chain
from shared.errors import ModelIncompatibleError
from shared.settings.files import StrategySettings
from shared.training.weights import digest_arrays
from tests.server.fake_grid import FakeGrid, make
from tests.server.jobs import member
from tests.server.rounds.test_train import START, honest, journal, plan

STRATEGIES = [
    StrategySettings(name="FedAvg"),
    StrategySettings(name="FedAvgM", options={"server_momentum": 0.9}),
    StrategySettings(name="FedAdam", options={"eta": 0.1}),
    StrategySettings(name="FedMedian", clip_to_median_norm=1.0),
]
ROUNDS = 4
#: Everything that is done between the first question and the last checkpoint.
STEPS = [
    "server.rounds.exchange._Exchange.send",
    "server.rounds.aggregation.update_store.Spool.keep",
    "server.state.home.Home.note_seen",
    "server.state.journal.Journal.answered",
    "server.rounds.aggregation.aggregator.Aggregator.combine",
    "server.state.journal.Journal.note",
    "server.state.checkpoint.save_weights",
    "server.rounds.aggregation.update_store.save_tensors",
    "server.state.checkpoint.write_text_atomically",
]


class Killed(BaseException):
    """Nothing catches it, as nothing catches SIGKILL."""


def train(folder: Path, strategy: StrategySettings) -> Trained:
    base = plan(folder, maximum_patients_per_site=1000)
    task = base.tasks[0].model_copy(update={"strategy": strategy, "rounds": ROUNDS})
    work = base.model_copy(update={"tasks": (task,)})
    nodes = {1: honest("alpha", 0.3), 2: honest("beta", 1.7), 3: honest("gamma", -0.9)}
    members = tuple(member(name) for name in ("alpha", "beta", "gamma"))
    return train_rounds(
        FakeGrid(nodes), Roster(members), work, task, START, make, journal(folder),
        lambda facts, point: None,
    )  # fmt: skip


def kill_at(monkeypatch: pytest.MonkeyPatch, step: str, call: int) -> None:
    """End at the n-th call of a step, before it does anything."""
    import importlib

    module = step
    names: list[str] = []
    while True:
        try:
            found: Any = importlib.import_module(module)
            break
        except ImportError:
            module, _, name = module.rpartition(".")
            names.insert(0, name)
    for name in names[:-1]:
        found = getattr(found, name)
    original = getattr(found, names[-1])
    calls = [0]

    def counted(*arguments: Any, **named: Any) -> Any:
        calls[0] += 1
        if calls[0] == call:
            raise Killed
        return original(*arguments, **named)

    monkeypatch.setattr(found, names[-1], counted)


@pytest.mark.parametrize("strategy", STRATEGIES, ids=lambda one: one.name)
@pytest.mark.parametrize("step", STEPS)
def test_killed_at_any_step_a_run_ends_with_the_same_bits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str, strategy: StrategySettings
) -> None:
    whole = train(tmp_path / "whole", strategy)
    with monkeypatch.context() as patch:
        kill_at(patch, step, 3)
        with pytest.raises(Killed):
            train(tmp_path / "killed", strategy)
    again = train(tmp_path / "killed", strategy)
    assert digest_arrays(again.arrays) == digest_arrays(whole.arrays)
    assert [facts.round for facts in again.rounds] == [1, 2, 3, 4]
    assert again.curve == whole.curve
    assert again.start_sums == whole.start_sums
    assert again.epsilon_spent == whole.epsilon_spent
    assert [(p.model_before, p.model_after, p.patients) for p in again.passports] == [
        (p.model_before, p.model_after, p.patients) for p in whole.passports
    ]
    chain = journal(tmp_path / "killed").home.chain()
    verify_chain(chain.path, chain.key.public)


def test_a_run_killed_many_times_ends_with_the_same_bits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    strategy = STRATEGIES[2]
    whole = train(tmp_path / "whole", strategy)
    kills = 0
    for step in STEPS:
        with monkeypatch.context() as patch:
            kill_at(patch, step, 2)
            try:
                train(tmp_path / "killed", strategy)
            except Killed:
                kills += 1
    assert kills >= 5
    assert digest_arrays(train(tmp_path / "killed", strategy).arrays) == digest_arrays(whole.arrays)


def test_a_finished_round_is_not_asked_again(tmp_path: Path) -> None:
    strategy = STRATEGIES[0]
    train(tmp_path, strategy)
    before = (tmp_path / "events.jsonl").read_text()
    train(tmp_path, strategy)
    assert (tmp_path / "events.jsonl").read_text() == before


def test_a_checkpoint_whose_model_was_changed_is_refused(tmp_path: Path) -> None:
    from shared.errors import ModelIncompatibleError

    train(tmp_path, STRATEGIES[0])
    folder = plan(tmp_path).task_folder("dxa-segmentation")
    [weights] = folder.glob("round-*.safetensors")
    raw = bytearray(weights.read_bytes())
    raw[-1] ^= 1
    weights.write_bytes(bytes(raw))
    with pytest.raises(ModelIncompatibleError):
        Checkpoint(folder, "run-1", "dxa-segmentation").read()


def test_a_checkpoint_of_an_older_version_is_refused_in_words(tmp_path: Path) -> None:
    train(tmp_path, STRATEGIES[0])
    [path] = tmp_path.rglob(HISTORY)
    written = path.read_text()
    older = json.loads(written)
    del older["checkpoint"]
    for text, reason in (
        (json.dumps(older), "older OsteoFed; finish the run with the version that began it"),
        (written.replace('"checkpoint": 2', '"checkpoint": 1'), "older OsteoFed"),
        (written.replace('"checkpoint": 2', '"checkpoint": 99'), "not a checkpoint of this"),
        ("[]", "not a checkpoint of this"),
        ("{", "not a checkpoint of this"),
    ):
        path.write_text(text)
        with pytest.raises(ModelIncompatibleError, match=reason):
            train(tmp_path, STRATEGIES[0])
