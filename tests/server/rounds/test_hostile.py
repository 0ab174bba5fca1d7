"""Hostile answers: each is rejected with a reason of its own, and stands in the audit chain."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from flwr.app import Array, ArrayRecord, ConfigRecord, MetricRecord, RecordDict
from hypothesis import given, settings
from hypothesis import strategies as st

from server.rounds.plan import RunPlan
from server.rounds.roster import Roster
from server.rounds.train import Trained, train_rounds
from server.state.result import RoundFacts
from shared.audit.chain import Head, verify_chain
from shared.errors import AggregationRefusedError, ConfigError
from shared.protocol import messages as protocol
from shared.protocol.codec import Arrays, read_arrays, read_metrics
from shared.protocol.messages import TrainAnswer
from shared.settings.files import StrategySettings
from tests.server.fake_grid import FakeGrid, Node, make
from tests.server.jobs import account, arrays, asked_in, member, signed
from tests.server.rounds.test_train import ERROR, NAMES, START, honest, journal, plan

Sums = dict[str, float]
GOOD: Sums = {"patients": 12.0, "loss_sum": 12.0}


def update(**changes: Any) -> Arrays:
    return {**{name: arrays(0.5)[name] for name in NAMES}, **changes}


def sends(make_answer: Callable[[RecordDict], RecordDict]) -> Node:
    return lambda content, times: make_answer(content)


def answered(
    content: RecordDict,
    *,
    tensors: Arrays | None = None,
    patients: int = 20,
    site: str = "evil",
    **more: Any,
) -> TrainAnswer:
    number = protocol.read_job(content, ERROR).round
    return signed(
        update() if tensors is None else tensors, patients, GOOD, account(site, round=number),
        **({"asked": asked_in(content)} | more),
    )  # fmt: skip


def raw(content: RecordDict, record: str, change: Callable[[RecordDict], None]) -> RecordDict:
    reply = protocol.train_answer(answered(content))
    change(reply)
    return reply


def set_statement(reply: RecordDict, **values: Any) -> None:
    record = reply["statement"]
    assert isinstance(record, ConfigRecord)
    for key, value in values.items():
        record[key] = value


def integer_buffer(reply: RecordDict) -> None:
    record = reply["update"]
    assert isinstance(record, ArrayRecord)
    [manifest] = record
    record[manifest] = Array(np.zeros(9, np.int64))


#: Each ends NumPy's own reading of a header with another error than ValueError.
HEADERS = [
    b"(", b"'''", b"{'descr': (), 'fortran_order': False, 'shape': (9,)}", b"-" * 3000,
    b"{'descr': ('<f2',), 'fortran_order': False, 'shape': (9,)}", b"\x00", b"",
]  # fmt: skip


def packed(header: bytes, numbers: int = 9) -> Array:
    """A packed tensor with a header of one's own, of the length that is right if it can be."""
    length = max(118, len(header) + 1)
    begin = b"\x93NUMPY\x01\x00" + length.to_bytes(2, "little")
    body = header.ljust(length - 1) + b"\n" + bytes(2 * numbers)
    return Array("float16", (numbers,), "numpy.ndarray", begin + body)


def sends_header(header: bytes) -> Node:
    def change(reply: RecordDict) -> None:
        record = reply["update"]
        assert isinstance(record, ArrayRecord)
        [manifest] = record
        record[manifest] = packed(header)

    return sends(lambda content: raw(content, "update", change))


HOSTILE: dict[str, tuple[Callable[[RecordDict], RecordDict], str]] = {
    "NaN": (
        lambda c: protocol.train_answer(
            answered(c, tensors=update(**{"layer.bias": np.full(3, np.nan, np.float32)}))
        ),
        "NaN or infinity",
    ),
    "infinity": (
        lambda c: protocol.train_answer(
            answered(c, tensors=update(**{"layer.bias": np.full(3, np.inf, np.float32)}))
        ),
        "NaN or infinity",
    ),
    "norm of ten thousand": (
        lambda c: protocol.train_answer(
            answered(c, tensors=update(**{"layer.bias": np.full(3, 6e3, np.float32)}))
        ),
        "maximum_update_norm: 100",
    ),
    "a change that no training makes": (
        lambda c: protocol.train_answer(
            answered(c, tensors=update(**{"layer.bias": np.full(3, 6e5, np.float32)}))
        ),
        "changes a weight by more than 10000",
    ),
    "wrong shape": (
        lambda c: protocol.train_answer(
            answered(c, tensors=update(**{"layer.bias": np.zeros(4, np.float32)}))
        ),
        "shape (4,)",
    ),
    "extra tensor": (
        lambda c: protocol.train_answer(answered(c, tensors=update(more=np.zeros(2, np.float32)))),
        "not known: more",
    ),
    "missing tensor": (
        lambda c: protocol.train_answer(
            answered(c, tensors={"layer.bias": arrays()["layer.bias"]})
        ),
        "missing: layer.weight",
    ),
    "integer buffer": (lambda c: raw(c, "update", integer_buffer), "int64"),
    "a billion patients": (
        lambda c: protocol.train_answer(answered(c, patients=10**9)),
        "claims 1000000000 patients",
    ),
    "replayed": (
        lambda c: protocol.train_answer(answered(c, asked="e" * 64)),
        "another request (a replay",
    ),
    "signed by another site": (
        lambda c: protocol.train_answer(answered(c, signer="alpha")),
        "another key than the admitted one",
    ),
    "not admitted": (
        lambda c: protocol.train_answer(answered(c, site="mallory")),
        "mallory is not admitted",
    ),
    "statement changed": (
        lambda c: raw(c, "statement", lambda r: set_statement(r, noise_multiplier=9.0)),
        "not that of the statement",
    ),
    "a lie about its noise": (
        lambda c: protocol.train_answer(answered(c, mechanism=(1.0, 1e-4, 2))),
        "privacy mechanism (rate 1, noise 0.0001, 2 steps) than was asked",
    ),
    "a lie about its steps": (
        lambda c: protocol.train_answer(answered(c, mechanism=(1.0, 2.0, 1))),
        "another privacy mechanism",
    ),
    "no statement": (lambda c: raw(c, "statement", lambda r: r.pop("statement")), "records"),
    "update swapped after signing": (
        lambda c: protocol.train_answer(
            TrainAnswer(update(**{"layer.bias": np.ones(3, np.float32)}), 20, GOOD,
                        answered(c).account, answered(c).statement)
        ),
        "the update that came is not the one that was signed",
    ),
    "metrics swapped after signing": (
        lambda c: protocol.train_answer(
            TrainAnswer(update(), 20, GOOD | {"loss_sum": 0.0}, answered(c).account,
                        answered(c).statement)
        ),
        "the metrics that came is not the one that was signed",
    ),
    "extra record": (
        lambda c: raw(c, "x", lambda r: r.__setitem__("x", ConfigRecord({"patient": "Doe"}))),
        "records",
    ),
}  # fmt: skip


def run(folder: Path, *nodes: Node, **quorum: Any) -> tuple[Trained, RunPlan]:
    base = plan(folder, **({"maximum_patients_per_site": 1000} | quorum))
    task = base.tasks[0].model_copy(
        update={"strategy": StrategySettings(maximum_update_norm=100.0), "rounds": 1}
    )
    work = base.model_copy(update={"tasks": (task,)})
    members = tuple(member(name) for name in ("alpha", "beta", "evil"))
    trained = train_rounds(
        FakeGrid(dict(enumerate(nodes, start=1))), Roster(members), work, task, START, make,
        journal(folder), lambda facts, point: None,
    )  # fmt: skip
    return trained, work


@pytest.mark.parametrize("what", HOSTILE)
def test_each_hostile_answer_is_rejected_for_its_own_reason(tmp_path: Path, what: str) -> None:
    make_answer, reason = HOSTILE[what]
    sites = honest("alpha", 1.0), honest("beta", 1.0)
    trained, work = run(tmp_path, *sites, sends(make_answer))
    [absent] = trained.rounds[0].absent
    assert absent.kind == "rejected"
    assert reason in absent.reason
    assert trained.rounds[0].patients == {"alpha": 20, "beta": 20}
    np.testing.assert_allclose(trained.arrays["layer.weight"], 1.0)
    chain = journal(tmp_path).home.chain()
    rejected = [
        line for line in verify_chain(chain.path, chain.key.public) if line.event == "rejected"
    ]
    assert [reason in line.facts["reason"] for line in rejected] == [True]
    assert not list((work.task_folder("dxa-segmentation")).rglob("evil.safetensors"))


@pytest.mark.parametrize("header", HEADERS, ids=range(len(HEADERS)))
def test_a_broken_npy_header_is_that_sites_fault_alone(tmp_path: Path, header: bytes) -> None:
    sites = honest("alpha", 1.0), honest("beta", 1.0)
    trained, _ = run(tmp_path, *sites, sends_header(header))
    [absent] = trained.rounds[0].absent
    assert absent.kind == "rejected"
    assert "is not in npy format" in absent.reason or "bytes (must be" in absent.reason


def test_no_error_of_reading_an_answer_ends_a_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever was not thought of: the site's answer is rejected, and its text not repeated."""
    real = read_metrics

    def unforeseen(content: RecordDict, record: str, error: Any) -> Any:
        if content["account"]["site"] == "evil":
            raise RecursionError("Doe^John")
        return real(content, record, error)

    monkeypatch.setattr("shared.protocol.messages.read_metrics", unforeseen)
    sites = honest("alpha", 1.0), honest("beta", 1.0), honest("evil", 1.0)
    trained, _ = run(tmp_path, *sites)
    [absent] = trained.rounds[0].absent
    assert (absent.kind, absent.reason) == (
        "rejected", "its answer could not be read (RecursionError)",
    )  # fmt: skip


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), ConfigError("heads")])
def test_the_coordinators_own_troubles_are_no_fault_of_the_sites(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def broken(*_: Any) -> None:
        raise error

    monkeypatch.setattr("server.rounds.aggregation.update_store.Spool.keep", broken)
    with pytest.raises(type(error)):
        run(tmp_path, honest("alpha", 1.0), honest("beta", 1.0))


def test_a_node_with_a_stolen_signing_key_answers_for_nobody_but_itself(tmp_path: Path) -> None:
    """On real nodes a site is who its node's key says, whatever it signs with."""
    members = tuple(
        member(name).model_copy(update={"node_key": name.encode().hex()})
        for name in ("alpha", "beta", "evil")
    )
    grid = FakeGrid(
        {1: honest("alpha", 1.0), 2: honest("beta", 1.0), 4: honest("alpha", 1.0),
         3: sends(lambda c: protocol.train_answer(answered(c, site="alpha", signer="alpha")))},
        {1: b"alpha", 2: b"beta", 3: b"evil", 4: b"nobody"},
    )  # fmt: skip
    base = plan(tmp_path, maximum_patients_per_site=1000)
    task = base.tasks[0].model_copy(update={"rounds": 1})
    trained = train_rounds(
        grid, Roster(members), base, task, START, make, journal(tmp_path),
        lambda facts, point: None,
    )  # fmt: skip
    [absent] = trained.rounds[0].absent
    assert (absent.site, absent.kind) == ("evil", "rejected")
    assert "evil answers as alpha, which it was not admitted as" in absent.reason
    assert {node for node, _ in grid.asked} == {1, 2, 3}  # an unknown node is not even asked
    np.testing.assert_allclose(trained.arrays["layer.weight"], 1.0)


def test_the_reasons_are_all_different() -> None:
    reasons = [reason for _, reason in HOSTILE.values()]
    shared = {"NaN or infinity", "records"}
    assert len({r for r in reasons if r not in shared}) == len(
        [r for r in reasons if r not in shared]
    )


def test_a_second_copy_of_a_site_is_noticed(tmp_path: Path) -> None:
    """It tells another line of the chain than the first did."""

    def copy(content: RecordDict, times: int) -> RecordDict:
        head = Head(line=5, digest=f"{times:064x}")
        return protocol.train_answer(answered(content, head=head))

    base = plan(tmp_path, maximum_patients_per_site=1000)
    members = tuple(member(name) for name in ("alpha", "beta", "evil"))
    trained = train_rounds(
        FakeGrid({1: honest("alpha", 1.0), 2: honest("beta", 1.0), 3: copy}), Roster(members),
        base, base.tasks[0], START, make, journal(tmp_path), lambda facts, point: None,
    )  # fmt: skip
    assert [sorted(one.patients) for one in trained.rounds] == [
        ["alpha", "beta", "evil"], ["alpha", "beta"],
    ]  # fmt: skip
    assert "two copies of the site" in trained.rounds[1].absent[0].reason


def test_a_site_that_keeps_failing_rests_and_is_asked_again(tmp_path: Path) -> None:
    asked: list[int] = []

    def broken(content: RecordDict, times: int) -> RecordDict:
        asked.append(protocol.read_job(content, ERROR).round)
        return protocol.train_answer(answered(content, patients=10**9))

    base = plan(tmp_path, maximum_patients_per_site=1000, quarantine_after=2, quarantine_rounds=2)
    task = base.tasks[0].model_copy(update={"rounds": 7})
    members = tuple(member(name) for name in ("alpha", "beta", "evil"))
    trained = train_rounds(
        FakeGrid({1: honest("alpha", 1.0), 2: honest("beta", 1.0), 3: broken}), Roster(members),
        base, task, START, make, journal(tmp_path), lambda facts, point: None,
    )  # fmt: skip
    kinds = [facts.absent[0].kind for facts in trained.rounds]
    assert kinds == ["rejected", "rejected", "quarantined", "quarantined", "rejected",
                     "quarantined", "quarantined"]  # fmt: skip
    assert asked == [1, 2, 5]
    assert "asked again in round 5" in trained.rounds[2].absent[0].reason
    assert isinstance(trained.rounds[0], RoundFacts)


SCALARS = st.one_of(
    st.booleans(), st.integers(-(2**62), 2**62), st.floats(), st.text(max_size=30),
    st.binary(max_size=30),
)  # fmt: skip


@given(
    record=st.sampled_from(["account", "statement", "metrics"]),
    key=st.sampled_from(
        ["site", "run", "round", "mode", "key", "asked", "signature", "patients", "protocol",
         "num-examples", "loss_sum", "more"]
    ),
    value=SCALARS,
)  # fmt: skip
@settings(max_examples=200, deadline=None)
def test_no_changed_answer_breaks_the_server(record: str, key: str, value: Any) -> None:
    """It reads, or it is refused; nothing else happens."""
    reply = protocol.train_answer(signed(update(), 20, GOOD, account("evil")))
    held = reply[record]
    try:
        held[key] = value
    except (TypeError, ValueError, KeyError):
        return  # Flower itself does not carry such a value
    shapes = {name: arrays()[name].shape for name in NAMES}
    try:
        read = protocol.read_train_answer(reply, shapes, AggregationRefusedError)
    except AggregationRefusedError:
        return
    assert isinstance(read, TrainAnswer)
    assert isinstance(held, ConfigRecord | MetricRecord)


@given(header=st.one_of(st.sampled_from(HEADERS), st.binary(max_size=200), st.text().map(
    lambda text: text.encode("latin-1", "replace"))))  # fmt: skip
@settings(max_examples=200, deadline=None)
def test_no_npy_header_is_parsed(header: bytes) -> None:
    content = RecordDict({"update": ArrayRecord({'[["bias",[9],0]]': packed(header)})})
    with pytest.raises(AggregationRefusedError, match=r"npy format|bytes"):
        read_arrays(content, "update", {"bias": (9,)}, AggregationRefusedError)
