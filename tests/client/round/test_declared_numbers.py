"""What leaves follows from declared numbers: of one patient more or fewer nothing is seen."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import sqlalchemy as sa
import torch
from flwr.app import RecordDict

from client.contract.data_contract import check
from client.contract.declaring import Proposal, declare
from client.node.enrol import enrol
from client.round import answer as training
from client.round.open_site import open_site
from client.store.catalogue import Patient
from client.store.site_store import SiteStore
from shared.protocol.codec import Arrays
from shared.protocol.half_precision import halved
from shared.protocol.messages import EvaluateJob
from shared.protocol.signatures import Invitation
from shared.settings.files import SiteConfig, SitePolicy, load_settings, save_settings
from shared.training.arrays import get_arrays
from shared.training.initial_weights import start_network
from shared.training.whole_sum import WholeSum
from tests.server.jobs import COORDINATOR, evaluate_message, job, train_message
from tests.server.real_sites import node_of
from tests.server.tiny_sites import TINY_TASK, tiny_site

TASK = TINY_TASK.task
MODEL: Arrays = halved(get_arrays(start_network(TINY_TASK, None)[0]))
POLICY = SitePolicy(minimum_patients=15, release_metrics=False)


def change(folder: Path, **parts: dict[str, Any]) -> None:
    config = load_settings(folder / "site.yaml", SiteConfig)
    changed = {k: getattr(config, k).model_copy(update=one) for k, one in parts.items()}
    save_settings(config.model_copy(update=changed), folder / "site.yaml")


def leave(folder: Path, split: str, most: int = 1) -> None:
    """Take patients out of a split, as if they had never come."""
    store = SiteStore.open(folder)
    with store.engine.begin() as connection:
        mine = sa.select(Patient.pseudonym).where(Patient.split == split)
        gone = connection.scalars(mine.order_by(Patient.pseudonym).limit(most)).all()
        named = sa.update(Patient).where(Patient.pseudonym.in_(gone))
        connection.execute(named.values(split=None))
    store.close()


@pytest.fixture
def twins(tmp_path: Path) -> tuple[Path, Path]:
    """Two copies of a hospital, of which one lacks a training and a validation patient."""
    first = tiny_site(tmp_path / "alpha", "alpha", policy=POLICY)
    second = tmp_path / "other" / "alpha"
    shutil.copytree(first, second)
    leave(second, "train")
    leave(second, "validation")
    return first, second


class FixedTime:
    """A clock that stands still, for the lines of a chain."""

    @staticmethod
    def now(_: object = None) -> Any:
        return datetime(2026, 1, 1, 12, tzinfo=UTC)


@pytest.fixture(autouse=True)
def the_rest_is_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    """The noised vector is a fixed one, and the clock stands still."""

    def fixed(total: WholeSum, _: object) -> Any:
        return torch.full(total.total.shape, 0.25, dtype=torch.float64)

    monkeypatch.setattr(WholeSum, "release", fixed)
    monkeypatch.setattr("shared.audit.chain.datetime", FixedTime)
    monkeypatch.setattr(training, "time", SimpleNamespace(monotonic=lambda: 0.0))


def asked(folder: Path, content: RecordDict) -> bytes:
    """Give the bytes with which a hospital's program answers."""
    given = node_of(folder)(content, 1)
    return b"".join(_bytes_of(given))


def _bytes_of(content: RecordDict) -> Iterator[bytes]:
    for name in sorted(content):
        record: Any = content[name]
        for key in sorted(record):
            value = record[key]
            yield f"{name}|{key}|".encode() + getattr(value, "data", repr(value).encode())


def questions() -> list[RecordDict]:
    """What a coordinator may ask: rounds, repeats, measurements, and what is refused."""
    measure = EvaluateJob(run="run-1", task=TASK, models={"final": TINY_TASK})
    first = train_message(MODEL, job())
    wrong = {**MODEL, "more": next(iter(MODEL.values()))}
    return [
        first,
        first,
        train_message(MODEL, job(round=2)),
        evaluate_message({"final": MODEL}, measure),
        train_message(MODEL, job(mode="plain")),  # not allowed
        train_message(wrong, job(round=3)),
        train_message(MODEL, job(round=3, noise_multiplier=0.15)),  # over the budget
    ]


def test_of_one_patient_more_or_fewer_no_byte_that_leaves_is_another(
    twins: tuple[Path, Path],
) -> None:
    agreement = twins[0].parent / "federation.yaml"
    save_settings(TINY_TASK, twins[0].parent / "task.yaml")
    contract = "{counts: [{at_least: 10}, {of: 'mask:spine_pa', at_least: 3}]}"
    agreement.write_text(
        f"name: north\nworkspace: w\ntasks: [{{settings: task.yaml, contract: {contract}}}]\n"
    )
    for folder in twins:
        assert not check(folder, TASK, agreement).failed
    answers = [[asked(folder, one) for one in questions()] for folder in twins]
    for number, (with_one, without) in enumerate(zip(*answers, strict=True)):
        assert with_one == without, f"question {number}"
    [answered, again, *_, plain, crafted, poor] = answers[0]
    assert answered == again
    assert all(b"refusal|" in one for one in (plain, crafted, poor))
    assert b"BudgetExceededError" in poor


def test_nothing_is_refused_because_patients_have_left(twins: tuple[Path, Path]) -> None:
    """Nobody at all is left to train, far below the policy's minimum: noise alone leaves."""
    whole, empty = twins
    leave(empty, "train", most=100)
    leave(empty, "validation", most=100)
    for one in questions()[1:]:
        assert asked(whole, one) == asked(empty, one)


def test_without_noise_the_patients_who_are_there_are_counted(twins: tuple[Path, Path]) -> None:
    """No noise hides one who trains alone: the policy's minimum is held against today's."""
    for folder in twins:
        change(folder, privacy={"allow_plain_runs": True})
    leave(twins[1], "train", most=100)
    plain = train_message(MODEL, job(mode="plain"))
    assert b"refusal|" not in asked(twins[0], plain)
    assert b"CohortTooSmallError" in asked(twins[1], plain)


def test_enrolment_tells_no_count(twins: tuple[Path, Path]) -> None:
    invitation = twins[0].parent / "invitation.json"
    told = Invitation(address="localhost:1", ca="x", coordinator=COORDINATOR.public)
    invitation.write_text(told.model_dump_json())
    for folder in twins:
        enrol(folder, invitation)
        if folder == twins[0]:  # the key is random
            shutil.copy(folder / "node.key", twins[1] / "node.key")
    said = [(one / "enrolment.json").read_bytes() for one in twins]
    assert b'"most_patients": 30' in said[0]
    assert said[0] == said[1]


def test_the_declared_number_divides_the_sum_and_is_what_is_claimed(tmp_path: Path) -> None:
    folder = tiny_site(tmp_path / "alpha", "alpha", policy=SitePolicy(minimum_patients=5))
    updates = {}
    for run, number in (("run-1", 15), ("run-2", 10)):
        declare(folder, [Proposal(TASK, "train", 16, None, number)])
        site = open_site(folder)
        answer = training.answer_train(site, train_message(MODEL, job(run=run)))
        site.close()
        assert (answer.patients, answer.statement.patients) == (number, number)
        updates[number] = answer.update
    for name, of_more in updates[15].items():
        torch.testing.assert_close(
            torch.from_numpy(updates[10][name]), 1.5 * torch.from_numpy(of_more), rtol=2e-3, atol=0
        )


def test_another_declared_number_is_another_request_with_other_noise(tmp_path: Path) -> None:
    """The same noise under two numbers would be two releases that differ by no noise."""
    source = open_site(tiny_site(tmp_path / "alpha", "alpha")).store.source("train")
    digests = {training.cohort_digest([source], number) for number in (10, 15, None)}
    assert len(digests) == 3


def test_a_site_that_never_declared_is_asked_to_in_one_sentence(tmp_path: Path) -> None:
    folder = tiny_site(tmp_path / "alpha", "alpha")
    config = load_settings(folder / "site.yaml", SiteConfig)
    save_settings(config.model_copy(update={"declared": {}}), folder / "site.yaml")
    refused: Any = node_of(folder)(train_message(MODEL, job()), 1)
    said: Any = refused["refusal"]
    assert said["code"] == 42
    assert "its engineer runs `osteofed site declare`" in said["reason"]
    measure = EvaluateJob(run="run-1", task=TASK, models={"final": TINY_TASK})
    measured: Any = node_of(folder)(evaluate_message({"final": MODEL}, measure), 1)
    assert measured["refusal"]["reason"] == said["reason"]  # who trains nothing measures nothing
    site = open_site(folder)
    assert site.ledger.entries() == []
    site.close()


@pytest.mark.parametrize(
    ("parts", "kind"),
    [
        ({"policy": {"minimum_patients": 17}}, "CohortTooSmallError"),
        ({"privacy": {"delta": 0.0067}}, "PolicyRefusedError"),
    ],
)
def test_minimum_cohort_and_delta_are_held_against_declared_numbers(
    twins: tuple[Path, Path], parts: dict[str, Any], kind: str
) -> None:
    """15 are declared; 16 and 15 are there."""
    said = []
    for folder in twins:
        change(folder, **parts)
        said.append(asked(folder, train_message(MODEL, job())))
    assert said[0] == said[1]
    assert f"{kind}" in said[0].decode()
