"""Every message reads back as it was written, and nothing else is read at all."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pytest
from flwr.app import Array, ArrayRecord, ConfigRecord, MetricRecord, RecordDict
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes
from hypothesis.extra.numpy import arrays as hypothesis_arrays

from shared.errors import AggregationRefusedError, FirewallRefusedError
from shared.protocol import messages as protocol
from shared.protocol.codec import PROTOCOL_VERSION, Arrays, array_record, count_bytes, read_arrays
from shared.protocol.half_precision import LEAST_EXPONENT, MOST_EXPONENT, halved
from shared.protocol.messages import EvaluateJob, Refusal
from shared.training.weights import digest_arrays
from tests.server.jobs import (
    account,
    answer,
    arrays,
    evaluate_message,
    job,
    signed,
    signed_evaluation,
    train_message,
)
from tests.server.tiny_sites import TINY_TASK

SHAPES = {name: value.shape for name, value in arrays().items()}
REFUSED = AggregationRefusedError


def test_a_train_message_reads_back_as_written() -> None:
    content = train_message(arrays(3.0), job())
    assert protocol.read_job(content, FirewallRefusedError) == job()
    read = read_arrays(content, "model", SHAPES, FirewallRefusedError)
    assert all(np.array_equal(read[name], value) for name, value in arrays(3.0).items())


TENSORS = st.dictionaries(
    st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=8),
    hypothesis_arrays(np.float32, array_shapes(min_dims=0, min_side=0, max_side=5),
                      elements=st.floats(width=32, max_value=2.0**127, min_value=-(2.0**127))),
    max_size=5,
)  # fmt: skip


@given(model=TENSORS)
@settings(max_examples=200, deadline=None)
def test_what_is_rounded_reads_back_to_the_bit(model: Arrays) -> None:
    sent = halved(model)
    content = RecordDict({"model": array_record(sent)})
    shapes = {name: value.shape for name, value in sent.items()}
    read = read_arrays(content, "model", shapes, FirewallRefusedError)
    assert list(read) == sorted(sent)
    assert digest_arrays(read) == digest_arrays(sent)
    assert all(value.dtype == np.float32 for value in read.values())


def test_what_was_not_rounded_is_not_sent() -> None:
    with pytest.raises(ValueError, match="'b' was not rounded"):
        array_record({"a": np.ones(2, np.float32), "b": np.full(2, 0.1, np.float32)})


def test_a_message_takes_half_of_what_its_numbers_take() -> None:
    model = halved({"w": np.random.default_rng(1).normal(size=5000).astype(np.float32)})
    assert count_bytes(RecordDict({"model": array_record(model)})) < 2 * 5000 + 200


def test_an_answer_reads_back_as_written() -> None:
    written = answer(2.5, 120)
    read = protocol.read_train_answer(protocol.train_answer(written), SHAPES, REFUSED)
    assert (read.patients, read.statistics, read.account, read.statement) == (
        120,
        {"patients": 12.0},
        written.account,
        written.statement,
    )
    assert all(np.array_equal(read.update[n], v) for n, v in written.update.items())


def test_an_evaluation_reads_back_as_written() -> None:
    asked = EvaluateJob(run="r", task=TINY_TASK.task, models={"final": TINY_TASK})
    content = evaluate_message({"final": arrays()}, asked)
    assert protocol.read_evaluate_job(content, FirewallRefusedError) == asked
    given_back = signed_evaluation(20, {"final": {"patients": 20.0}}, account(mode="evaluate"))
    read = protocol.read_evaluate_answer(protocol.evaluate_answer(given_back), {"final"}, REFUSED)
    assert read == given_back


def test_a_refusal_reads_back_as_written_and_an_answer_is_none() -> None:
    refusal = Refusal(site="alpha", code=40, kind="BudgetExceededError", reason="no", spent=3.0)
    assert protocol.read_refusal(protocol.refusal_answer(refusal), REFUSED) == refusal
    assert protocol.read_refusal(protocol.train_answer(answer(1, 10)), REFUSED) is None


@pytest.mark.parametrize(
    "changes",
    [
        {"round": 4},
        {"noise_multiplier": 0.0},
        {"steps": 7},
        {"sample_rate": 0.1},
        {"task": "dxa-bmd"},
        {"noise_multiplier": float("nan")},
        {"noise_multiplier": float("inf")},
        {"noise_multiplier": 9e-4},
        {"max_grad_norm": float("inf")},
        {"run": "../../etc"},
        {"protocol": 2},
        {"protocol": True},
    ],
)
def test_a_job_that_contradicts_itself_is_refused(changes: dict[str, Any]) -> None:
    content = train_message(arrays(), job())
    config = content["job"]
    assert isinstance(config, ConfigRecord)
    for key, value in changes.items():
        config[key] = value
    with pytest.raises(FirewallRefusedError, match="'job'"):
        protocol.read_job(content, FirewallRefusedError)


@pytest.mark.parametrize("record", ["job", "ticket"])
def test_a_request_of_the_older_protocol_is_refused_in_words(record: str) -> None:
    content = train_message(arrays(), job())
    config = content[record]
    assert isinstance(config, ConfigRecord)
    config["protocol"] = 3
    read = {"job": protocol.read_job, "ticket": protocol.read_ticket}[record]
    with pytest.raises(FirewallRefusedError, match=r"protocol 3, and this side speaks 4: .* same"):
        read(content, FirewallRefusedError)


@pytest.mark.parametrize("record", ["account", "statement", "refusal"])
def test_an_answer_of_the_older_protocol_is_refused_in_words(record: str) -> None:
    refusal = Refusal(site="alpha", code=40, kind="BudgetExceededError", reason="no")
    refuses = record == "refusal"
    content = protocol.refusal_answer(refusal) if refuses else protocol.train_answer(answer(1, 10))
    config = content[record]
    assert isinstance(config, ConfigRecord)
    config["protocol"] = 3
    read: Callable[[], object] = partial(protocol.read_refusal, content, REFUSED)
    if not refuses:
        read = partial(protocol.read_train_answer, content, SHAPES, REFUSED)
    with pytest.raises(REFUSED, match="protocol 3, and this side speaks 4"):
        read()


def test_two_requests_that_differ_in_anything_have_different_names() -> None:
    names = {
        protocol.request_digest(job(), "model", "cohort"),
        protocol.request_digest(job(round=2), "model", "cohort"),
        protocol.request_digest(job(noise_multiplier=2.1), "model", "cohort"),
        protocol.request_digest(job(proximal_mu=0.1), "model", "cohort"),
        protocol.request_digest(job(), "model2", "cohort"),
        protocol.request_digest(job(), "model", "cohort2"),
    }
    assert len(names) == 6
    assert protocol.request_digest(job(), "model", "cohort") in names


def test_half_a_character_in_settings_is_refused_in_plain_words() -> None:
    """JSON can say it; a digest, a chain and a log cannot."""
    for text in ('{"task":"a\\ud800"}', '{"\\ud800":1}'):
        content = train_message(arrays(), job())
        content["job"]["settings"] = text
        with pytest.raises(REFUSED) as said:
            protocol.read_job(content, REFUSED)
        assert str(said.value).isprintable()


@pytest.mark.parametrize("claim", [0, -5, float("nan"), float("inf"), 2.5])
def test_a_claim_that_is_no_count_is_refused(claim: float) -> None:
    content = protocol.train_answer(answer(1, 10))
    content["metrics"] = MetricRecord({"num-examples": claim})
    with pytest.raises(REFUSED, match="num-examples"):
        protocol.read_train_answer(content, SHAPES, REFUSED)


def test_an_extra_record_is_refused() -> None:
    content = protocol.train_answer(answer(1, 10))
    content["more"] = ConfigRecord({"patient": "x"})
    with pytest.raises(REFUSED, match="more"):
        protocol.read_train_answer(content, SHAPES, REFUSED)


def _npy(array: np.ndarray[Any, Any], **changes: Any) -> bytes:
    stream = io.BytesIO()
    np.save(stream, array, **changes)
    return stream.getvalue()


@pytest.mark.parametrize(
    ("crafted", "reason"),
    [
        (Array("float16", (3,), "numpy.ndarray", _npy(np.zeros(3, np.float64))), "takes 152"),
        (Array("float16", (3,), "numpy.ndarray", _npy(np.zeros(3, ">f2"))), "not in npy"),
        (Array("float16", (3,), "numpy.ndarray", _npy(np.zeros(4, np.float16))), "takes 136"),
        (Array("float16", (4,), "numpy.ndarray", _npy(np.zeros(4, np.float16))), r"\(4,\)"),
        (Array("float32", (3,), "numpy.ndarray", _npy(np.zeros(3, np.float32))), "is float32"),
        (Array("float16", (3,), "numpy.ndarray", b"\x93NUMPY" + b"\x00" * 20), "takes 26"),
        (Array("float16", (3,), "numpy.ndarray", _npy(np.zeros(3, np.float16))[:-1]), "takes 133"),
        (Array("float16", (3,), "numpy.ndarray", _npy(np.zeros(3, np.float16)) + b"more"),
         "takes 138"),
        (Array("float16", (3,), "numpy.ndarray", b"PK\x03\x04" + b"\x00" * 100), "takes 104"),
        (Array("float16", (3,), "numpy.ndarray", b"PK\x03\x04" + b"\x00" * 130), "not in npy"),
        (Array("float16", (3,), "pickle", _npy(np.zeros(3, np.float16))), "as pickle"),
        (Array("float16", (3,), "numpy.ndarray", b"x" * 10_000_000), "takes 10000000"),
        (Array(np.array([0, np.inf, 0], np.float16)), "NaN or infinity"),
        (Array(np.array([0, np.nan, 0], np.float16)), "NaN or infinity"),
    ],
)  # fmt: skip
def test_crafted_tensors_are_refused_without_being_believed(crafted: Array, reason: str) -> None:
    content = RecordDict({"update": ArrayRecord({'[["bias",[3],0]]': crafted})})
    with pytest.raises(REFUSED, match=f"update.*{reason}"):
        read_arrays(content, "update", {"bias": (3,)}, REFUSED)


def test_half_precision_that_overflows_float32_is_refused() -> None:
    content = RecordDict({"update": ArrayRecord({
        f'[["bias",[1],{MOST_EXPONENT}]]': Array(np.array([65504], np.float16))
    })})  # fmt: skip
    with pytest.raises(REFUSED, match="NaN or infinity"):
        read_arrays(content, "update", {"bias": (1,)}, REFUSED)


SCALARS = st.one_of(
    st.booleans(), st.integers(-(2**62), 2**62), st.floats(), st.text(max_size=30),
    st.binary(max_size=30),
)  # fmt: skip


@given(
    values=st.dictionaries(
        st.sampled_from(["protocol", "run", "round", "task", "settings", "mode", "noise", "x"]),
        SCALARS,
        max_size=8,
    )
)
@settings(max_examples=150, deadline=None)
def test_no_job_record_breaks_the_parser(values: dict[str, Any]) -> None:
    content = RecordDict(
        {"job": ConfigRecord(values), "model": ArrayRecord(), "ticket": ConfigRecord()}
    )
    with pytest.raises(FirewallRefusedError):
        protocol.read_job(content, FirewallRefusedError)


@given(
    data=st.binary(max_size=400),
    dtype=st.sampled_from(["float16", "float32", "object", "int64"]),
    shape=st.lists(st.integers(-1, 2**40), max_size=3),
)
@settings(max_examples=150, deadline=None)
def test_no_bytes_break_the_tensor_reader(data: bytes, dtype: str, shape: list[int]) -> None:
    crafted = Array(dtype, tuple(shape), "numpy.ndarray", b"\x93NUMPY\x01\x00" + data)
    content = RecordDict({"update": ArrayRecord({'[["bias",[3],0]]': crafted})})
    with pytest.raises(REFUSED):
        read_arrays(content, "update", {"bias": (3,)}, REFUSED)


@given(
    manifest=st.one_of(
        st.text(max_size=60),
        st.sampled_from(
            ["[]", "{}", "null", '[["bias"]]', '[["bias",3,0]]', '[["bias",[-3],0]]', "[" * 9000,
             '[["bias",[1e400],0]]', '[["bias",[3],0],["bias",[3],0]]', '[[["x"],[3],0]]',
             '[["b",[1],0],["a",[2],0]]', '[["bias",[3,1],0]]', '[["bias",[NaN],0]]',
             '[["bias",[3]]]', '[["bias",[3],0,0]]', '[["bias",[3],0.0]]', '[["bias",[3],true]]',
             '[["bias",[3],null]]', '[["bias",[3],"0"]]', '[["bias",[3],NaN]]',
             f'[["bias",[3],{MOST_EXPONENT + 1}]]', f'[["bias",[3],{LEAST_EXPONENT - 1}]]',
             '[["bias",[3],1' + "0" * 5000 + "]]"]
        ),
    )
)  # fmt: skip
@settings(max_examples=150, deadline=None)
def test_no_manifest_breaks_the_tensor_reader(manifest: str) -> None:
    whole = Array(np.zeros(3, np.float16))
    content = RecordDict({"update": ArrayRecord({manifest: whole})})
    with pytest.raises(REFUSED):
        read_arrays(content, "update", {"bias": (3,)}, REFUSED)


def test_a_model_is_one_object_on_the_wire() -> None:
    assert len(train_message(arrays(), job())["model"]) == 1


@given(settings_text=st.one_of(st.text(max_size=60), st.just("[" * 5000), st.just("{}")))
@settings(max_examples=40, deadline=None)
def test_no_settings_text_breaks_the_parser(settings_text: str) -> None:
    content = train_message(arrays(), job())
    config = content["job"]
    assert isinstance(config, ConfigRecord)
    config["settings"] = settings_text
    with pytest.raises(FirewallRefusedError):
        protocol.read_job(content, FirewallRefusedError)


@given(
    values=st.dictionaries(
        st.sampled_from(["site", "code", "kind", "reason", "spent"]), SCALARS, max_size=5
    )
)
@settings(max_examples=100, deadline=None)
def test_no_refusal_breaks_the_server(values: dict[str, Any]) -> None:
    content = RecordDict({"refusal": ConfigRecord(values)})
    assert count_bytes(content) >= 0
    try:
        read = protocol.read_refusal(content, REFUSED)
    except AggregationRefusedError:
        return
    assert read is not None
    assert json.loads(read.model_dump_json())["protocol"] == PROTOCOL_VERSION


def test_an_answer_has_nothing_but_the_update_and_its_account() -> None:
    content = protocol.train_answer(signed(arrays(), 10, {}, account()))
    assert set(content) == {"update", "metrics", "account", "statement"}
    assert set(content["metrics"]) == {"num-examples"}
