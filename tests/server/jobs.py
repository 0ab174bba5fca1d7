"""Jobs and answers for tests."""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from flwr.app import RecordDict

from server.state.home import Member
from shared.audit.chain import NOTHING, Head
from shared.audit.keys import SigningKey
from shared.errors import FirewallRefusedError
from shared.protocol import messages as protocol
from shared.protocol.account import Account
from shared.protocol.codec import Arrays, array_record
from shared.protocol.half_precision import halved
from shared.protocol.messages import EvaluateAnswer, EvaluateJob, Job, TrainAnswer
from shared.protocol.signatures import (
    NOTHING_SPENT,
    MechanismNumbers,
    Ticket,
    asked_digest,
    sign_statement,
    sign_ticket,
)
from shared.settings.task import TaskSettings
from shared.training.weights import digest_arrays
from tests.server.tiny_sites import TINY_TASK

DIGEST = "0" * 64


def job(settings: TaskSettings = TINY_TASK, **changes: Any) -> Job:
    """A valid job of the tiny task, private unless said otherwise."""
    plain = changes.get("mode") == "plain"
    values: dict[str, Any] = {
        "run": "run-1", "round": 1, "rounds": 3, "task": settings.task, "settings": settings,
        "mode": "private", "epsilon": 4.0, "delta": 1e-4,
        "steps": settings.plain.steps_per_round if plain else settings.private.steps_per_round,
        "sample_rate": settings.private.sample_rate,
        "max_grad_norm": settings.private.max_grad_norm,
        "noise_multiplier": 0.0 if plain else 2.0,
    }  # fmt: skip
    return Job(**(values | changes))


def account(site: str = "alpha", **changes: Any) -> Account:
    """A valid account of an answer to `job`."""
    values: dict[str, Any] = {
        "site": site, "run": "run-1", "round": 1, "task": TINY_TASK.task, "mode": "private",
        "request": DIGEST,
    }  # fmt: skip
    return Account(**(values | changes))


def arrays(value: float = 0.0) -> Arrays:
    """A model of three tensors."""
    return {
        "layer.weight": np.full((3, 2), value, np.float32),
        "layer.bias": np.full((3,), value + 1, np.float32),
        "scale": np.full((), value - 1, np.float32),
    }


def signing_key(name: str) -> SigningKey:
    """A key that is the same whenever it is asked for by the same name."""
    private = Ed25519PrivateKey.from_private_bytes(hashlib.sha256(name.encode()).digest())
    return SigningKey(private.public_key().public_bytes_raw().hex(), private)


COORDINATOR = signing_key("coordinator")


def member(name: str, most: int | None = None) -> Member:
    """An admitted site whose key is `signing_key` of its name."""
    return Member(site=name, signing_key=signing_key(name).public, most_patients=most)


def ticket(asked: str = DIGEST, site: str = "alpha", run: str = "run-1", **heads: Any) -> Ticket:
    """A ticket of the tests' coordinator."""
    found = {"own": Head(), "seen": Head()} | heads
    return sign_ticket(COORDINATOR, site=site, run=run, asked=asked, **found)


def ticket_for(asked: Job | EvaluateJob, models: dict[str, Arrays], **changes: Any) -> Ticket:
    """A ticket that fits a request; `models` by record name."""
    digests = {name: digest_arrays(one) for name, one in models.items()}
    return ticket(asked_digest(asked, digests), run=asked.run, **changes)


def train_message(model: Arrays, asked: Job, **changes: Any) -> RecordDict:
    """A train message with a ticket that fits it; the model is rounded first."""
    sent = halved(model)
    fitting = ticket_for(asked, {"model": sent}, **changes)
    return protocol.train_message(array_record(sent), asked, fitting)


def evaluate_message(models: dict[str, Arrays], asked: EvaluateJob, **changes: Any) -> RecordDict:
    """An evaluate message with a ticket that fits it; the models are rounded first."""
    sent = {label: halved(one) for label, one in models.items()}
    named = {f"model:{label}": one for label, one in sent.items()}
    records = {label: array_record(one) for label, one in sent.items()}
    return protocol.evaluate_message(records, asked, ticket_for(asked, named, **changes))


def signed(
    update: Arrays,
    patients: int,
    statistics: dict[str, float],
    given: Account,
    *,
    asked: str = DIGEST,
    signer: str | None = None,
    head: Head | None = None,
    mechanism: MechanismNumbers | None = None,
) -> TrainAnswer:
    """An answer signed by its site, or by another; the update is rounded first."""
    update = halved(update)
    statement = sign_statement(
        signing_key(signer or given.site), given, asked=asked, update=digest_arrays(update),
        patients=patients, statistics={"": statistics},
        mechanism=(NOTHING_SPENT if given.mode != "private" else mechanism or job().mechanism),
        head=head or Head(),
    )  # fmt: skip
    return TrainAnswer(update, patients, statistics, given, statement)


def signed_evaluation(
    patients: int, statistics: dict[str, dict[str, float]], given: Account, asked: str = DIGEST
) -> EvaluateAnswer:
    """The answer to an evaluation, signed by its site."""
    statement = sign_statement(
        signing_key(given.site), given, asked=asked, update=NOTHING, patients=patients,
        statistics=statistics, mechanism=(0.0, 0.0, 0), head=Head(),
    )  # fmt: skip
    return EvaluateAnswer(patients, statistics, given, statement)


def asked_in(content: RecordDict) -> str:
    """What the ticket of a message says was asked."""
    return protocol.read_ticket(content, FirewallRefusedError).asked


def answer(value: float, patients: int, site: str = "alpha", **changes: Any) -> TrainAnswer:
    """An answer whose update is `arrays`."""
    return signed(arrays(value), patients, {"patients": 12.0}, account(site, **changes))
