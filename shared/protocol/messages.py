"""The records of every message between the server and the hospitals: names, types, shapes.

========  =====================  ====================================================
message   record                 what it holds
========  =====================  ====================================================
train     ``model`` (arrays)     every tensor of the task's network, or exactly those that
                               the round trains, where the site keeps the others
train     ``job`` (config)       a `Job`
train     ``ticket`` (config)    the coordinator's signature, `shared.protocol.signatures.Ticket`
train     ``prepare:TASK``       every tensor of each version that the job names as preparing
                               the input; all of them or, where the site keeps them, none
evaluate  ``model:LABEL``        every tensor of one model, one record per model
evaluate  ``job`` (config)       an `EvaluateJob`
evaluate  ``ticket`` (config)    as above
evaluate  ``prepare:TASK``       as above, always there
answer    ``update`` (arrays)    what training changed in the trained tensors (train only)
answer    ``metrics`` (metrics)  ``num-examples`` (declared), sums of the model received
answer    ``metrics:LABEL``      the same, one record per model (evaluate only)
answer    ``account`` (config)   an `Account`
answer    ``statement`` (config) the site's signature, `shared.protocol.signatures.Statement`
answer    ``refusal`` (config)   a `Refusal`, and then nothing else
========  =====================  ====================================================

Tensors travel in half precision, both ways (`shared.protocol.half_precision`). A message that is
not exactly this is refused with its reason (`shared.protocol.codec`).
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from operator import not_
from typing import TYPE_CHECKING, Annotated, Final, Literal, Self

from pydantic import Field, model_validator

from shared.errors import OsteofedError
from shared.protocol.account import Account, Name, Nonnegative
from shared.protocol.codec import (
    PROTOCOL_VERSION,
    Arrays,
    Shapes,
    array_record,
    check_records,
    config_record,
    metric_record,
    read_arrays,
    read_config,
    read_metrics,
)
from shared.protocol.preparation import RECORD, Preparations, record_of
from shared.protocol.signatures import NOTHING_SPENT, MechanismNumbers, Statement, Ticket
from shared.settings.base import Count, Moderate, Positive, SampleRate, Settings
from shared.settings.task import TaskSettings

if TYPE_CHECKING:
    from flwr.app import ArrayRecord, RecordDict

#: Less noise than this is none: no accountant gives a meaningful epsilon for it.
LEAST_NOISE: Final = 1e-3


class Job(Settings):
    """What a site is asked to do in one round.

    The privacy plan is the whole run's, so that a site can see before the first
    round what all of them would cost. In plain mode `noise_multiplier` is 0.
    `prepared_with` are the versions of other tasks that prepare the input.
    """

    protocol: Literal[4] = PROTOCOL_VERSION
    run: Name
    round: Count
    rounds: Count
    task: Name
    settings: TaskSettings
    mode: Literal["private", "plain"]
    epsilon: Positive
    delta: Annotated[float, Field(gt=0, lt=1)]
    steps: Count
    sample_rate: SampleRate
    max_grad_norm: Moderate
    noise_multiplier: Nonnegative
    proximal_mu: Nonnegative = 0.0
    prepared_with: Preparations = Field(default_factory=dict, exclude_if=not_)

    @model_validator(mode="after")
    def _plan_agrees_with_settings(self) -> Self:
        if self.task != self.settings.task:
            raise ValueError(f"task {self.task} with settings of {self.settings.task}")
        if self.round > self.rounds:
            raise ValueError(f"round {self.round} of {self.rounds}")
        if self.mode == "private":
            if self.noise_multiplier < LEAST_NOISE:
                raise ValueError("a private round without noise")
            private = self.settings.private
            planned = (self.steps, self.sample_rate, self.max_grad_norm)
            if planned != (private.steps_per_round, private.sample_rate, private.max_grad_norm):
                raise ValueError("the privacy plan differs from the task's settings")
        elif self.steps != self.settings.plain.steps_per_round:
            raise ValueError("the number of steps differs from the task's settings")
        return self

    @property
    def mechanism(self) -> MechanismNumbers:
        """What it asks to be spent, as a statement must say it; zeros without privacy."""
        if self.mode == "plain":
            return NOTHING_SPENT
        return (self.sample_rate, self.noise_multiplier, self.steps)

    def digest(self) -> str:
        """SHA-256 over everything that was asked."""
        return hashlib.sha256(self.model_dump_json().encode()).hexdigest()


class EvaluateJob(Settings):
    """What a site is asked to measure on its validation patients.

    `models` maps a label (``final``, ``champion``) to the settings of the network
    its tensors belong to. All of them read what `prepared_with` prepared.
    """

    protocol: Literal[4] = PROTOCOL_VERSION
    run: Name
    task: Name
    models: dict[Name, TaskSettings] = Field(min_length=1, max_length=4)
    prepared_with: Preparations = Field(default_factory=dict, exclude_if=not_)

    @model_validator(mode="after")
    def _one_task(self) -> Self:
        wrong = [label for label, settings in self.models.items() if settings.task != self.task]
        if wrong:
            raise ValueError(f"model {wrong[0]} is not of task {self.task}")
        return self


class Refusal(Settings):
    """Why a site did not do what it was asked; a sentence, never a traceback."""

    protocol: Literal[4] = PROTOCOL_VERSION
    site: Name
    code: Annotated[int, Field(ge=0, le=255)]
    kind: Annotated[str, Field(max_length=80)]
    reason: Annotated[str, Field(max_length=2000)]
    spent: Nonnegative = 0.0
    asked: Nonnegative = 0.0
    left: Nonnegative = 0.0


@dataclass(frozen=True)
class TrainAnswer:
    """A site's answer to a `Job`; `update` is what training changed, as it travels."""

    update: Arrays
    patients: int
    statistics: dict[str, float]
    account: Account
    statement: Statement


@dataclass(frozen=True)
class EvaluateAnswer:
    """A site's answer to an `EvaluateJob`: sums by label of the model."""

    patients: int
    statistics: dict[str, dict[str, float]]
    account: Account
    statement: Statement


def request_digest(job: Job, model_digest: str, cohort: str) -> str:
    """Name one request by everything that its answer follows from.

    A site keys its reservation, its randomness and its kept answer by this. Two
    requests that differ in anything (the model, a learning rate, the patients)
    never share noise, or their difference would be a release without noise.

    Parameters
    ----------
    job : Job
        What is asked.
    model_digest : str
        `shared.training.weights.digest_arrays` of the model received.
    cohort : str
        Digest of the patients that would be trained on.

    Returns
    -------
    str
        SHA-256, 64 hexadecimal digits.
    """
    return hashlib.sha256(f"{job.digest()}|{model_digest}|{cohort}".encode()).hexdigest()


# --- writing -----------------------------------------------------------------


def train_message(
    model: ArrayRecord,
    job: Job,
    ticket: Ticket,
    preparing: Mapping[str, ArrayRecord] | None = None,
) -> RecordDict:
    """Build the content of a train message to one site.

    Parameters
    ----------
    model : ArrayRecord
        Of `shared.protocol.codec.array_record`: made once for all sites.
    job : Job
        What is asked.
    ticket : Ticket
        The site's own.
    preparing : mapping of str to ArrayRecord, optional
        Weights of the versions that prepare the input, by task; none where the site keeps
        them.
    """
    from flwr.app import RecordDict

    content = RecordDict(
        {
            "model": model,
            "job": config_record(job),
            "ticket": config_record(ticket),
        }
    )
    for name, weights in (preparing or {}).items():
        content[record_of(name)] = weights
    return content


def evaluate_message(
    models: Mapping[str, ArrayRecord],
    job: EvaluateJob,
    ticket: Ticket,
    preparing: Mapping[str, ArrayRecord] | None = None,
) -> RecordDict:
    """Build the content of an evaluate message; `models` by the labels of the job.

    `preparing` are the weights of the versions that prepare the input, by task.
    """
    from flwr.app import RecordDict

    content = RecordDict({"job": config_record(job), "ticket": config_record(ticket)})
    for label, model in models.items():
        content[f"model:{label}"] = model
    for name, weights in (preparing or {}).items():
        content[record_of(name)] = weights
    return content


def train_answer(answer: TrainAnswer) -> RecordDict:
    """Build the content of an answer to a train message."""
    from flwr.app import RecordDict

    return RecordDict(
        {
            "update": array_record(answer.update),
            "metrics": metric_record(answer.patients, answer.statistics),
            "account": config_record(answer.account),
            "statement": config_record(answer.statement),
        }
    )


def evaluate_answer(answer: EvaluateAnswer) -> RecordDict:
    """Build the content of an answer to an evaluate message."""
    from flwr.app import RecordDict

    content = RecordDict(
        {
            "account": config_record(answer.account),
            "statement": config_record(answer.statement),
        }
    )
    for label, statistics in answer.statistics.items():
        content[f"metrics:{label}"] = metric_record(answer.patients, statistics)
    return content


def refusal_answer(refusal: Refusal) -> RecordDict:
    """Build the content of a refusal."""
    from flwr.app import RecordDict

    return RecordDict({"refusal": config_record(refusal)})


# --- reading -----------------------------------------------------------------


def read_job(content: RecordDict, error: type[OsteofedError]) -> Job:
    """Read what a train message asks; its tensors are read by `shared.protocol.codec.read_arrays`.

    Raises
    ------
    OsteofedError
        `error`, if the message holds other records than it must or the job is wrong.
    """
    always = {"model", "job", "ticket"}
    brought = {name for name in content if name.startswith(RECORD)}
    check_records(content, always | brought, error)
    job = read_config(content, "job", Job, ("settings",), error, ("prepared_with",))
    if brought:
        check_records(content, always | {record_of(name) for name in job.prepared_with}, error)
    return job


def read_evaluate_job(content: RecordDict, error: type[OsteofedError]) -> EvaluateJob:
    """Read what an evaluate message asks; see `read_job`."""
    job = read_config(content, "job", EvaluateJob, ("models",), error, ("prepared_with",))
    models = {f"model:{label}" for label in job.models}
    preparing = {record_of(name) for name in job.prepared_with}
    check_records(content, {"job", "ticket", *models, *preparing}, error)
    return job


def read_ticket(content: RecordDict, error: type[OsteofedError]) -> Ticket:
    """Read the coordinator's signature; whether it is good, `client` must check."""
    return read_config(content, "ticket", Ticket, (), error)


def read_refusal(content: RecordDict, error: type[OsteofedError]) -> Refusal | None:
    """Read a refusal, or None if the answer is none."""
    if "refusal" not in content:
        return None
    check_records(content, {"refusal"}, error)
    return read_config(content, "refusal", Refusal, (), error)


def read_train_answer(
    content: RecordDict, shapes: Shapes, error: type[OsteofedError]
) -> TrainAnswer:
    """Read an answer to a train message.

    Parameters
    ----------
    content : RecordDict
        What a site sent.
    shapes : mapping of str to tuple of int
        Names and shapes of the tensors that the update must have, exactly.
    error : type of OsteofedError
        What to raise.
    """
    check_records(content, {"update", "metrics", "account", "statement"}, error)
    account = read_config(content, "account", Account, (), error)
    statement = read_config(content, "statement", Statement, (), error)
    patients, statistics = read_metrics(content, "metrics", error)
    update = read_arrays(content, "update", shapes, error)
    return TrainAnswer(update, patients, statistics, account, statement)


def read_evaluate_answer(
    content: RecordDict, labels: set[str], error: type[OsteofedError]
) -> EvaluateAnswer:
    """Read an answer to an evaluate message; see `read_train_answer`."""
    metrics = {f"metrics:{label}" for label in labels}
    check_records(content, {"account", "statement", *metrics}, error)
    account = read_config(content, "account", Account, (), error)
    statement = read_config(content, "statement", Statement, (), error)
    read = {label: read_metrics(content, f"metrics:{label}", error) for label in sorted(labels)}
    patients = max(count for count, _ in read.values())
    sums = {label: found for label, (_, found) in read.items()}
    return EvaluateAnswer(patients, sums, account, statement)
