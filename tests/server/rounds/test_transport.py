"""What travels is half of what it was or less, and nothing is lost by it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Literal

import pytest
from flwr.app import RecordDict

from client.identity.chain import IDENTITY, site_chain
from client.node.ledger_summary import ledger_statement
from server.rounds.roster import Roster
from server.rounds.train import Trained, train_rounds
from shared.audit.chain import ChainLine, verify_chain
from shared.audit.keys import read_key
from shared.protocol import messages as protocol
from shared.protocol.messages import Refusal
from shared.settings.task import OptimiserSettings
from shared.tasks import make_task
from shared.training.weights import digest_arrays
from tests.poisoning import RULES, fresh_start, small_trial
from tests.server.fake_grid import FakeGrid, make
from tests.server.real_sites import NAMES, node_of, plan_of, real_sites, start_of, train
from tests.server.rounds.test_train import MEMBERS, START, honest, journal, plan
from tests.server.tiny_sites import TINY_TASK, tiny_site

NOT_KEPT = Refusal(site="gamma", code=35, kind="ModelNotKeptError", reason="it is not kept")


def chain_of(site: Path) -> list[ChainLine]:
    chain = site_chain(site, site.name)
    return verify_chain(chain.path, read_key(site / IDENTITY).public)


def float32_bytes() -> int:
    """The small U-Net, 135 thousand numbers, as it travelled before."""
    return sum(value.nbytes for value in start_of(TINY_TASK, "plain").arrays.values())


def test_plain_rounds_take_half_of_float32_each_way(tmp_path: Path) -> None:
    sites = real_sites(tmp_path)
    trained, _ = train(tmp_path, [node_of(s) for s in sites], plan_of(tmp_path, sites, "plain", 2))
    for facts in trained.rounds:
        assert sorted(facts.patients) == list(NAMES)
        for moved in (facts.bytes_down, facts.bytes_up):
            assert 0.5 < moved / len(sites) / float32_bytes() <= 0.55


@pytest.mark.parametrize("trainable", ["head", "all"])
def test_metrics_are_those_of_float32(
    monkeypatch: pytest.MonkeyPatch, trainable: Literal["head", "all"]
) -> None:
    """Four rounds of five hospitals, with and without rounding anything.

    Batches are drawn by a key that the model's digest is part of: here they are the same,
    or their difference would be all that is seen.
    """
    small = TINY_TASK.model_copy(update={"task": "dxa-bmd"})
    task = make_task(small)
    settings = OptimiserSettings(
        trainable=trainable, optimiser="sgd", learning_rate=0.02, steps_per_round=6,
        batch_patients=6, augment=False,
    )  # fmt: skip
    trial = replace(
        small_trial(), task=task, start=fresh_start(task, 1), settings=settings, rounds=4
    )
    monkeypatch.setattr("tests.poisoning.digest_arrays", lambda _: "a" * 64)
    halves, _ = trial.run(RULES["FedAvg"], "none")
    monkeypatch.setattr("tests.poisoning.halved", dict)
    whole, _ = trial.run(RULES["FedAvg"], "none")
    assert halves != whole
    assert halves["mae_lumbar"] == pytest.approx(whole["mae_lumbar"], abs=1e-3)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Trained]:
    """A private run of three rounds, and copies of its two hospitals as they were before."""
    folder = tmp_path_factory.mktemp("whole")
    sites = real_sites(folder)
    for site in sites:
        shutil.copytree(site, folder / "before" / site.name)
    trained, _ = train(folder, [node_of(s) for s in sites], plan_of(folder, sites, "private", 3))
    return folder / "before", trained


def copies(before: Path, folder: Path) -> list[Path]:
    return [Path(shutil.copytree(before / name, folder / name)) for name in NAMES]


def test_private_rounds_take_a_tenth_each_way_once_the_model_was_sent(
    whole: tuple[Path, Trained],
) -> None:
    ratios = [
        tuple(moved / len(NAMES) / float32_bytes() for moved in (facts.bytes_down, facts.bytes_up))
        for facts in whole[1].rounds
    ]
    assert 0.5 < ratios[0][0] <= 0.55
    assert all(down < 0.1 for down, _ in ratios[1:])
    assert all(up < 0.1 for _, up in ratios)


def forgets(folder: Path) -> None:
    shutil.rmtree(folder / "answers")


def damages(folder: Path) -> None:
    [kept] = (folder / "answers").rglob("*-model.safetensors")
    kept.write_bytes(kept.read_bytes()[:-100])


def changes(folder: Path) -> None:
    [kept] = (folder / "answers").rglob("*-model.safetensors")
    raw = bytearray(kept.read_bytes())
    raw[-1] ^= 1
    kept.write_bytes(bytes(raw))


@pytest.mark.parametrize("what", [forgets, damages, changes])
def test_a_site_that_lacks_the_rest_is_sent_the_whole_in_the_same_round(
    whole: tuple[Path, Trained], tmp_path: Path, what: Callable[[Path], None]
) -> None:
    sites = copies(whole[0], tmp_path)
    answers = node_of(sites[0])

    def lacking(content: RecordDict, times: int) -> RecordDict:
        if times == 2:
            what(sites[0])
        return answers(content, times)

    work = plan_of(tmp_path, sites, "private", 3)
    trained, grid = train(tmp_path, [lacking, node_of(sites[1])], work)
    assert digest_arrays(trained.arrays) == digest_arrays(whole[1].arrays)
    assert [(facts.absent, facts.attempts) for facts in trained.rounds] == [([], 1)] * 3
    assert [node for node, _ in grid.asked] == [1, 2, 1, 2, 1, 1, 2]
    assert ledger_statement(sites[0])["lines"][0]["rounds"] == 3
    refused = [line for line in chain_of(sites[0]) if line.event == "refused"]
    assert [line.facts["kind"] for line in refused] == ["ModelNotKeptError"]


def test_a_resumed_coordinator_ends_with_the_same_bits(
    whole: tuple[Path, Trained], tmp_path: Path
) -> None:
    sites = copies(whole[0], tmp_path)
    work = plan_of(tmp_path, sites, "private", 3)
    nodes = [node_of(site) for site in sites]

    def killed(content: RecordDict, times: int) -> RecordDict:
        if times == 2:
            raise KeyboardInterrupt
        return nodes[1](content, times)

    with pytest.raises(KeyboardInterrupt):
        train(tmp_path, [nodes[0], killed], work)
    trained, _ = train(tmp_path, nodes, work)
    assert digest_arrays(trained.arrays) == digest_arrays(whole[1].arrays)
    # Whose node is whose is known before it answers, so nobody was sent the whole again.
    assert max(one.bytes_down for one in trained.rounds[1:]) < float32_bytes()


def test_a_site_that_comes_later_is_sent_the_whole(tmp_path: Path) -> None:
    sites = [*real_sites(tmp_path), tiny_site(tmp_path / "gamma", "gamma", seed=3)]
    shapes: list[int] = []

    def late(content: RecordDict, times: int) -> RecordDict | None:
        [manifest] = content["model"]
        shapes.append(len(json.loads(str(manifest))))
        return node_of(sites[2])(content, times) if times > 1 else None

    work = plan_of(tmp_path, sites, "private", 3)
    quorum = work.quorum.model_copy(update={"deadline_seconds": 8.0})
    work = work.model_copy(update={"quorum": quorum})
    trained, _ = train(tmp_path, [*map(node_of, sites[:2]), late], work)
    start = start_of(TINY_TASK, "private")
    assert [sorted(facts.patients) for facts in trained.rounds] == [
        ["alpha", "beta"], ["alpha", "beta", "gamma"], ["alpha", "beta", "gamma"],
    ]  # fmt: skip
    assert shapes == [len(start.arrays), len(start.arrays), len(start.names)]


def test_a_site_that_always_says_it_lacks_the_model_is_refused_once_and_never_rests(
    tmp_path: Path,
) -> None:
    def lazy(content: RecordDict, times: int) -> RecordDict:
        if times == 1:
            return honest("gamma", 1.0)(content, times)
        return protocol.refusal_answer(NOT_KEPT)

    nodes = dict(enumerate([honest("alpha", 1.0), honest("beta", 1.0), lazy], start=1))
    work = plan(tmp_path)
    grid = FakeGrid(nodes)
    task = work.tasks[0].model_copy(update={"rounds": 6})
    trained = train_rounds(
        grid, Roster(MEMBERS), work, task, START, make, journal(tmp_path),
        lambda facts, point: None,
    )  # fmt: skip
    kinds = [[(one.site, one.kind) for one in facts.absent] for facts in trained.rounds]
    assert kinds == [[], *[[("gamma", "refused")]] * 5]
    assert [node for node, _ in grid.asked].count(3) == 1 + 5 * 2
