"""The two signatures of an exchange: over what is asked, and over what is answered.

See docs/decisions/0007-trust-and-survival.md. Both are flat settings that travel as
one record each and go whole into the audit chains, so that either side can be shown
later, offline, what the other side said.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from operator import not_
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal

from pydantic import Field

from shared.audit.chain import NOTHING, Head
from shared.audit.keys import SigningKey, digest_of, verify
from shared.errors import OsteofedError
from shared.phrases import counted
from shared.protocol.codec import PROTOCOL_VERSION
from shared.settings.base import Settings
from shared.settings.patterns import SiteName

if TYPE_CHECKING:
    from shared.protocol.account import Account

TICKET: Final = "ticket"
#: Whom a ticket addresses while nobody knows whose the node is; no site takes it.
ANY_SITE: Final = "any-site"
#: The address in the invitation of a simulation, which gives one to each of its sites.
SIMULATION: Final = "simulation"
STATEMENT: Final = "statement"
ENROLMENT: Final = "enrolment"

#: Chains hold what was signed under older protocols too; `shared.protocol.codec.read_config` lets
#: only the newest in from a line.
Spoken = Literal[2, 3, 4]
#: Sample rate, noise multiplier and steps; zeros for nothing.
MechanismNumbers = tuple[float, float, int]
NOTHING_SPENT: Final[MechanismNumbers] = (0.0, 0.0, 0)
#: A patient's gradient is the same to the last bit on a CPU (docs/decisions/0028).
NOT_PROVEN_ON_GPU: Final = "not proven on a GPU"
Digest = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Signature = Annotated[str, Field(pattern=r"^[0-9a-f]{128}$")]
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,79}$")]
LineNumber = Annotated[int, Field(ge=0)]
Nonnegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class Ticket(Settings):
    """What the coordinator signs in every request.

    `asked` is `asked_digest` of the request; `own_*` is the head of the coordinator's
    chain; `seen_*` the last head of the addressed site's chain that the coordinator
    was told in a signed answer (0 and zeros: none yet).
    """

    protocol: Spoken = PROTOCOL_VERSION
    coordinator: Digest
    site: Name
    run: Name
    asked: Digest
    own_line: LineNumber
    own_digest: Digest
    seen_line: LineNumber = 0
    seen_digest: Digest = NOTHING
    signature: Signature

    @property
    def own(self) -> Head:
        """Head of the coordinator's chain when it asked."""
        return Head(line=self.own_line, digest=self.own_digest)

    @property
    def seen(self) -> Head:
        """Head of the site's chain that the coordinator has seen."""
        return Head(line=self.seen_line, digest=self.seen_digest)

    def is_signed(self) -> bool:
        """Tell whether the key it names signed it. Whose key that is, the caller must know."""
        content = self.model_dump(exclude={"signature"})
        return verify(self.coordinator, TICKET, content, self.signature)


class Statement(Settings):
    """What a site signs in every answer that is no refusal.

    `update` is `shared.training.weights.digest_arrays` of the change as it is read from what
    travels (zeros in an evaluation), `metrics` `metrics_digest`, `account` the digest of the
    account's canonical JSON.
    `sample_rate`, `noise_multiplier` and `steps` are the mechanism that was committed to
    the ledger (zeros: none). `not_proven` says what of the guarantee is not proven for this
    answer (`NOT_PROVEN_ON_GPU`, or nothing). `head_*` is the site's chain when the answer was
    made.
    """

    protocol: Spoken = PROTOCOL_VERSION
    site: Name
    key: Digest
    run: Name
    round: Annotated[int, Field(ge=0)]
    task: Name
    mode: Literal["private", "plain", "evaluate"]
    asked: Digest
    update: Digest = NOTHING
    metrics: Digest
    account: Digest
    patients: Annotated[int, Field(ge=1)]
    sample_rate: Nonnegative = 0.0
    noise_multiplier: Nonnegative = 0.0
    steps: Annotated[int, Field(ge=0)] = 0
    not_proven: Annotated[str, Field(pattern=r"^[A-Za-z ]{0,80}$")] = Field("", exclude_if=not_)
    head_line: LineNumber
    head_digest: Digest
    signature: Signature

    @property
    def mechanism(self) -> MechanismNumbers:
        """What it says was spent; zeros for nothing."""
        return (self.sample_rate, self.noise_multiplier, self.steps)

    @property
    def head(self) -> Head:
        """Head of the site's chain when the answer was made."""
        return Head(line=self.head_line, digest=self.head_digest)

    def is_signed(self) -> bool:
        """Tell whether the key it names signed it. Whose key that is, the caller must know."""
        content = self.model_dump(exclude={"signature"})
        return verify(self.key, STATEMENT, content, self.signature)


class Invitation(Settings):
    """What the coordinator gives every hospital: where it is, and how to know it.

    `address` is HOST:PORT (`SIMULATION` where there is none), `ca` the PEM certificate that its
    TLS hangs on, `coordinator` the public key that signs its requests.
    """

    address: str
    ca: str
    coordinator: Digest


class Enrolment(Settings):
    """What a hospital gives the coordinator; nothing here is secret.

    `node_key` is the hex of the PEM public key of its Flower node; `most_patients` the
    largest number that it may claim in its answers.
    """

    site: SiteName
    signing_key: Digest
    node_key: Annotated[str, Field(pattern=r"^[0-9a-f]+$", max_length=4096)]
    most_patients: Annotated[int, Field(ge=1)]
    signature: Signature

    def is_signed(self) -> bool:
        """Tell whether the signing key it names signed it."""
        content = self.model_dump(exclude={"signature"})
        return verify(self.signing_key, ENROLMENT, content, self.signature)


def asked_digest(job: Settings, models: Mapping[str, str]) -> str:
    """Name a request: what is asked, and the digest of every model by its record's name.

    Parameters
    ----------
    job : Job or EvaluateJob
        What is asked.
    models : mapping of str to str
        Record name (``model``, ``model:LABEL``) to `shared.training.weights.digest_arrays`.
    """
    return digest_of({"job": job.model_dump(mode="json"), "models": dict(models)})


def other_mechanism(statement: Statement, mechanism: MechanismNumbers) -> str:
    """Say that a site signed another mechanism than it was asked for."""
    said, asked = (
        f"rate {rate:g}, noise {noise:g}, {counted(steps, 'step')}"
        for rate, noise, steps in (statement.mechanism, mechanism)
    )
    return f"its statement is over another privacy mechanism ({said}) than was asked ({asked})"


def metrics_digest(patients: int, statistics: Mapping[str, Mapping[str, float]]) -> str:
    """Name what was measured: claimed patients, and sums by label (``""`` in training)."""
    sums = {label: {k: float(v).hex() for k, v in one.items()} for label, one in statistics.items()}
    return digest_of({"patients": patients, "sums": sums})


def account_digest(account: Account) -> str:
    """Name an account."""
    return hashlib.sha256(account.model_dump_json().encode()).hexdigest()


def sign_ticket(
    key: SigningKey, *, site: str, run: str, asked: str, own: Head, seen: Head
) -> Ticket:
    """Sign a request to one site."""
    content = {
        "protocol": PROTOCOL_VERSION,
        "coordinator": key.public,
        "site": site,
        "run": run,
        "asked": asked,
        "own_line": own.line,
        "own_digest": own.digest,
        "seen_line": seen.line,
        "seen_digest": seen.digest,
    }
    return Ticket.model_validate(content | {"signature": key.sign(TICKET, content)})


def sign_statement(
    key: SigningKey,
    account: Account,
    *,
    asked: str,
    update: str,
    patients: int,
    statistics: Mapping[str, Mapping[str, float]],
    mechanism: MechanismNumbers,
    head: Head,
    not_proven: str = "",
) -> Statement:
    """Sign an answer.

    Parameters
    ----------
    key : SigningKey
        The site's.
    account : Account
        What the site says about it.
    asked, update : str
        Digests of the request and of the update (`NOTHING` for an evaluation).
    patients : int
        The declared number that is sent.
    statistics : mapping
        Sums by label; the label of training is ``""``.
    mechanism : tuple of float, float, int
        Sample rate, noise multiplier and steps as committed; zeros without privacy.
    head : Head
        The site's chain, whose last line says that this was released.
    not_proven : str
        What of the guarantee is not proven for this answer.
    """
    rate, noise, steps = mechanism
    content: dict[str, Any] = {
        "protocol": PROTOCOL_VERSION,
        "site": account.site,
        "key": key.public,
        "run": account.run,
        "round": account.round,
        "task": account.task,
        "mode": account.mode,
        "asked": asked,
        "update": update,
        "metrics": metrics_digest(patients, statistics),
        "account": account_digest(account),
        "patients": patients,
        "sample_rate": float(rate),
        "noise_multiplier": float(noise),
        "steps": steps,
        "head_line": head.line,
        "head_digest": head.digest,
    }
    if not_proven:
        content["not_proven"] = not_proven
    return Statement.model_validate(content | {"signature": key.sign(STATEMENT, content)})


def check_statement(
    statement: Statement,
    account: Account,
    *,
    key: str,
    asked: str,
    update: str,
    statistics: Mapping[str, Mapping[str, float]],
    patients: int,
    mechanism: MechanismNumbers,
    error: type[OsteofedError],
) -> None:
    """Hold a statement against what came and against what was asked.

    Parameters
    ----------
    statement : Statement
        As it was received.
    account : Account
        As it was received.
    key : str
        The admitted signing key of the site that the answering node belongs to.
    asked, update, statistics, patients, mechanism
        As asked and as received; see `sign_statement`.
    error : type of OsteofedError
        What to raise.

    Raises
    ------
    OsteofedError
        `error`, with a reason of its own for each thing that can be wrong.
    """
    if statement.key != key:
        raise error(f"{account.site}: the answer is signed by another key than the admitted one")
    if not statement.is_signed():
        raise error(f"{account.site}: the signature is not that of the statement")
    said = (statement.site, statement.run, statement.round, statement.task, statement.mode)
    if said != (account.site, account.run, account.round, account.task, account.mode):
        raise error(f"{account.site}: the statement is about another answer than its account")
    if statement.asked != asked:
        raise error(
            f"{account.site}: the answer is to another request (a replay, or another round's)"
        )
    if statement.mechanism != mechanism:
        raise error(f"{account.site}: {other_mechanism(statement, mechanism)}")
    held = {
        "update": (statement.update, update),
        "metrics": (statement.metrics, metrics_digest(patients, statistics)),
        "account": (statement.account, account_digest(account)),
        "number of patients": (statement.patients, patients),
    }
    for what, (stated, found) in held.items():
        if stated != found:
            raise error(f"{account.site}: the {what} that came is not the one that was signed")
