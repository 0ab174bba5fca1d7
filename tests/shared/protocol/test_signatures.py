"""The signatures of an exchange: what was changed after signing, or is about something else."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from shared.audit.chain import NOTHING, Head
from shared.audit.keys import SigningKey, make_key
from shared.errors import AggregationRefusedError
from shared.protocol.account import Account
from shared.protocol.signatures import (
    ENROLMENT,
    STATEMENT,
    TICKET,
    Enrolment,
    Statement,
    Ticket,
    check_statement,
    sign_statement,
    sign_ticket,
)

ASKED, OTHER = "a" * 64, "b" * 64
SUMS = {"": {"patients": 12.0, "loss_sum": 3.5}}
ACCOUNT = Account(site="alpha", run="run-1", round=2, task="dxa-bmd", mode="private", request=ASKED)
#: What a statement is held against where all is well.
GOOD: dict[str, Any] = {
    "asked": ASKED, "update": OTHER, "statistics": SUMS, "patients": 10,
    "mechanism": (0.5, 1.2, 8),
}  # fmt: skip


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> tuple[SigningKey, SigningKey]:
    folder: Path = tmp_path_factory.mktemp("keys")
    return make_key(folder / "one"), make_key(folder / "other")


def ticket(key: SigningKey) -> Ticket:
    head = Head(line=3, digest=OTHER)
    return sign_ticket(key, site="alpha", run="run-1", asked=ASKED, own=head, seen=Head())


def statement(key: SigningKey) -> Statement:
    head = Head(line=7, digest=OTHER)
    return sign_statement(key, ACCOUNT, **GOOD, head=head)


def enrolment(key: SigningKey) -> Enrolment:
    content = {
        "site": "alpha", "signing_key": key.public, "node_key": "ab", "most_patients": 100,
    }  # fmt: skip
    return Enrolment.model_validate(content | {"signature": key.sign(ENROLMENT, content)})


SIGNED: dict[str, Callable[[SigningKey], Ticket | Statement | Enrolment]] = {
    TICKET: ticket,
    STATEMENT: statement,
    ENROLMENT: enrolment,
}
CHANGED: dict[str, dict[str, Any]] = {
    TICKET: {
        "site": "beta", "run": "run-2", "asked": OTHER, "own_line": 4, "own_digest": ASKED,
        "seen_line": 1, "seen_digest": ASKED, "protocol": 3,
    },
    STATEMENT: {
        "site": "beta", "run": "run-2", "round": 3, "task": "vfa-fracture", "mode": "plain",
        "asked": OTHER, "update": NOTHING, "metrics": NOTHING, "account": NOTHING, "patients": 20,
        "sample_rate": 0.25, "noise_multiplier": 2.4, "steps": 7, "head_line": 8,
        "not_proven": "not proven on a GPU",
        "head_digest": ASKED, "protocol": 3,
    },
    ENROLMENT: {"site": "beta", "node_key": "ac", "most_patients": 1000},
}  # fmt: skip


@pytest.mark.parametrize("kind", SIGNED)
def test_what_was_signed_is_signed_until_anything_in_it_is_changed(
    kind: str, keys: tuple[SigningKey, SigningKey]
) -> None:
    good = SIGNED[kind](keys[0])
    assert good.is_signed()
    changes = CHANGED[kind]
    keyed = {"coordinator", "key", "signing_key", "signature"}
    assert set(changes) == set(type(good).model_fields) - keyed
    for name, value in changes.items():
        assert not good.model_copy(update={name: value}).is_signed(), name


@pytest.mark.parametrize("kind", SIGNED)
def test_a_signature_is_that_of_the_key_it_names(
    kind: str, keys: tuple[SigningKey, SigningKey]
) -> None:
    one, other = (SIGNED[kind](key) for key in keys)
    assert not one.model_copy(update={"signature": other.signature}).is_signed()


@pytest.mark.parametrize("kind", SIGNED)
def test_a_signature_of_one_kind_serves_for_no_other(
    kind: str, keys: tuple[SigningKey, SigningKey]
) -> None:
    good = SIGNED[kind](keys[0])
    content = good.model_dump(exclude={"signature"})
    for other in set(SIGNED) - {kind}:
        forged = good.model_copy(update={"signature": keys[0].sign(other, content)})
        assert not forged.is_signed(), other


def test_a_statement_about_what_came_is_taken(keys: tuple[SigningKey, SigningKey]) -> None:
    check_statement(
        statement(keys[0]), ACCOUNT, key=keys[0].public, error=AggregationRefusedError, **GOOD
    )


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({"asked": OTHER}, "another request"),
        ({"update": ASKED}, "the update that came"),
        ({"statistics": {"": {"patients": 13.0, "loss_sum": 3.5}}}, "the metrics that came"),
        ({"statistics": {"x": SUMS[""]}}, "the metrics that came"),
        ({"patients": 20}, "the metrics that came"),
        ({"mechanism": (0.5, 1e-4, 8)}, "another privacy mechanism"),
        ({"mechanism": (0.0, 0.0, 0)}, "another privacy mechanism"),
    ],
)
def test_a_statement_about_anything_else_is_refused(
    changed: dict[str, Any], says: str, keys: tuple[SigningKey, SigningKey]
) -> None:
    with pytest.raises(AggregationRefusedError, match=says):
        check_statement(
            statement(keys[0]), ACCOUNT, key=keys[0].public, error=AggregationRefusedError,
            **GOOD | changed,
        )  # fmt: skip


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({"round": 3}, "another answer"),
        ({"site": "beta"}, "another answer"),
        ({"epsilon_spent": 0.1}, "the account that came"),
    ],
)
def test_a_statement_with_another_account_is_refused(
    changed: dict[str, Any], says: str, keys: tuple[SigningKey, SigningKey]
) -> None:
    with pytest.raises(AggregationRefusedError, match=says):
        check_statement(
            statement(keys[0]), ACCOUNT.model_copy(update=changed), key=keys[0].public,
            error=AggregationRefusedError, **GOOD,
        )  # fmt: skip


def test_a_statement_of_another_key_or_with_a_broken_signature_is_refused(
    keys: tuple[SigningKey, SigningKey],
) -> None:
    good, key = statement(keys[0]), keys[0].public
    for wrong, admitted, says in (
        (good, keys[1].public, "another key"),
        (good.model_copy(update={"steps": 9}), key, "the signature is not that"),
    ):
        with pytest.raises(AggregationRefusedError, match=says):
            check_statement(wrong, ACCOUNT, key=admitted, error=AggregationRefusedError, **GOOD)
