"""The rounds of one task: ask, aggregate, write down; repeat, from wherever it stands."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from server.rounds.aggregation.aggregator import Aggregator
from server.rounds.aggregation.update_store import Spool, SpooledUpdate
from server.rounds.exchange import ask
from server.rounds.plan import PlannedTask, RunPlan
from server.rounds.promotion import BySite, check_sums, measure, pool
from server.rounds.request import Asked, Check, MessageMaker, Question
from server.rounds.roster import Roster
from server.rounds.site_backoff import resting_sites
from server.state.checkpoint import Checkpoint, Progress
from server.state.journal import Journal
from server.state.result import CurvePoint, RoundFacts
from shared.audit.chain import NOTHING
from shared.errors import AggregationRefusedError
from shared.protocol.account import Account
from shared.protocol.codec import Arrays, array_record, check_finite
from shared.protocol.half_precision import halved
from shared.protocol.messages import (
    EvaluateAnswer,
    EvaluateJob,
    Job,
    Refusal,
    TrainAnswer,
    evaluate_message,
    read_evaluate_answer,
    read_refusal,
    read_train_answer,
    train_message,
)
from shared.protocol.passport import RoundPassport
from shared.protocol.preparation import Preparation
from shared.protocol.signatures import (
    NOTHING_SPENT,
    MechanismNumbers,
    Statement,
    Ticket,
    asked_digest,
    check_statement,
)
from shared.settings.task import TaskSettings
from shared.training.weights import Weights, digest_arrays

if TYPE_CHECKING:
    from flwr.app import ArrayRecord, RecordDict

    from server.rounds.grid import Grid
    from shared.tasks.base import Task

#: Folder of the rounds' updates inside a task's folder.
UPDATES: Final = "updates"
#: Told after every round.
Report = Callable[[RoundFacts, CurvePoint], None]


@dataclass(frozen=True)
class Start:
    """What a task begins with.

    `names` are the tensors that sites train; `preparing` the weights, as they travel, of the
    versions that prepare its input, by task.
    """

    task: Task
    arrays: Arrays
    names: tuple[str, ...]
    noise_multiplier: float
    preparing: Mapping[str, Arrays] = field(default_factory=dict)


@dataclass(frozen=True)
class Trained:
    """What the rounds gave; `start_sums` are the sites' sums for the model they began with.

    `arrays` are as they would be sent: what is measured and registered is what travels.
    """

    arrays: Arrays
    rounds: list[RoundFacts]
    curve: list[CurvePoint]
    start_sums: dict[str, dict[str, float]]
    epsilon_spent: dict[str, float]
    passports: list[RoundPassport]


@dataclass(frozen=True)
class Received:
    """An accepted answer to training, without its update, which lies on disk."""

    account: Account
    statement: Statement
    statistics: dict[str, float]
    patients: int
    update: SpooledUpdate


@dataclass(frozen=True)
class _Task:
    """What all rounds of one task share."""

    plan: RunPlan
    planned: PlannedTask
    start: Start
    roster: Roster
    aggregator: Aggregator


def train_rounds(
    grid: Grid,
    roster: Roster,
    plan: RunPlan,
    planned: PlannedTask,
    start: Start,
    make: MessageMaker,
    journal: Journal,
    report: Report,
) -> Trained:
    """Train one task over all its rounds, from its last finished one.

    Raises
    ------
    RunFailedError, QuorumError
        If a round has no quorum after all attempts.
    AggregationRefusedError
        If the strategy cannot make a model of the updates.
    """
    aggregator = Aggregator(planned.strategy, start.names, plan.quorum.maximum_patients_per_site)
    one = _Task(plan, planned, start, roster, aggregator)
    checkpoint = Checkpoint(plan.task_folder(planned.name), plan.run, planned.name)
    arrays, done = start.arrays, Progress()
    found = checkpoint.read()
    if found is not None:
        done, arrays = found.progress, found.weights.arrays
        aggregator.restore(found.state)
    sent = as_sent(arrays)
    before = digest_arrays(sent)
    for number in range(len(done.rounds) + 1, planned.rounds + 1):
        job = make_job(plan, planned, number, start.noise_multiplier, aggregator.proximal_mu)
        spool = Spool(plan.task_folder(planned.name) / UPDATES / f"round-{number:04d}")
        question = _train_question(one, job, sent, before, spool, done.rounds)
        resting = resting_sites(done.rounds, number, plan.quorum)
        asked = ask(grid, roster, plan.quorum, question, make, journal, resting)
        updates = {site: received.update for site, received in asked.answers.items()}
        arrays, patients = aggregator.combine(number, arrays, updates)
        sent = as_sent(arrays)
        after = digest_arrays(sent)
        journal.note(
            "aggregated", task=planned.name, round=number, asked=question.asked,
            sites=sorted(patients), before=before, after=after,
        )  # fmt: skip
        done = _with_round(one, done, job, asked, patients, before, after)
        weights = Weights(planned.settings, arrays, f"federated run {plan.run}, round {number}")
        checkpoint.write(weights, aggregator.state(), done)
        if not plan.keep_updates:
            spool.clear()
        report(done.rounds[-1], done.curve[-1])
        before = after
    return Trained(
        sent, done.rounds, done.curve, done.start_sums, done.epsilon_spent, done.passports
    )


def as_sent(arrays: Arrays) -> Arrays:
    """Round a model to what travels.

    Raises
    ------
    AggregationRefusedError
        If a number is too large for it.
    """
    sent = halved(arrays)
    check_finite(sent, "the model in half precision", AggregationRefusedError)
    return sent


def _with_round(
    one: _Task,
    done: Progress,
    job: Job,
    asked: Asked[Received],
    patients: dict[str, int],
    before: str,
    after: str,
) -> Progress:
    sums = {site: answer.statistics for site, answer in asked.answers.items()}
    spent = {site: answer.account.epsilon_spent for site, answer in asked.answers.items()}
    passport = RoundPassport(
        round=job.round,
        job=job,
        model_before=before,
        model_after=after,
        patients=patients,
        statements=[answer.statement for answer in asked.answers.values()],
    )
    return Progress(
        rounds=[*done.rounds, _facts(job.round, asked, patients, one.plan.privacy.mode)],
        curve=[*done.curve, curve_point(one.start.task, job.round - 1, sums)],
        start_sums=done.start_sums or sums,
        epsilon_spent=done.epsilon_spent | spent,
        passports=[*done.passports, passport],
    )


def evaluate_models(
    grid: Grid,
    roster: Roster,
    plan: RunPlan,
    task: str,
    models: Mapping[str, tuple[TaskSettings, Arrays]],
    make: MessageMaker,
    journal: Journal,
    prepared_with: Mapping[str, Preparation] | None = None,
    preparing: Mapping[str, Arrays] | None = None,
) -> Asked[EvaluateAnswer]:
    """Have every site measure some models on its validation patients, in one exchange.

    They are measured as they are sent, rounded; a model of a run's end is so already. All of
    them read what the versions `prepared_with`, whose weights are `preparing`, prepared.

    Raises
    ------
    RunFailedError, QuorumError
        If too few sites answer.
    """
    from shared.tasks import make_task

    job = EvaluateJob(
        run=plan.run, task=task, models={k: s for k, (s, _) in models.items()},
        prepared_with=dict(prepared_with or {}),
    )  # fmt: skip
    brought = _records(preparing or {})
    sent = {label: as_sent(arrays) for label, (_, arrays) in models.items()}
    contents = {label: array_record(arrays) for label, arrays in sent.items()}
    digests = {f"model:{label}": digest_arrays(arrays) for label, arrays in sent.items()}
    asked = asked_digest(job, digests)
    tasks = {label: make_task(settings) for label, settings in job.models.items()}

    def read(reply: RecordDict, check: Check) -> EvaluateAnswer | Refusal:
        refusal = read_refusal(reply, AggregationRefusedError)
        if refusal is not None:
            return refusal
        answer = read_evaluate_answer(reply, set(tasks), AggregationRefusedError)
        account = answer.account
        if (account.run, account.task, account.mode) != (job.run, job.task, "evaluate"):
            raise AggregationRefusedError(
                f"the answer is to run {account.run}, {account.mode} of {account.task}"
            )
        _check_signed(roster, answer.statement, account, asked, NOTHING, answer.statistics,
                      answer.patients, NOTHING_SPENT)  # fmt: skip
        check(answer)
        for label, statistics in answer.statistics.items():
            check_sums(tasks[label], statistics, plan.quorum.maximum_patients_per_site)
        return answer

    question: Question[EvaluateAnswer] = Question(
        "evaluate", plan.run, task, 0, asked,
        lambda ticket, _: evaluate_message(contents, job, ticket, brought), read,
    )  # fmt: skip
    return ask(grid, roster, plan.quorum, question, make, journal)


def make_job(
    plan: RunPlan, planned: PlannedTask, number: int, noise_multiplier: float, proximal_mu: float
) -> Job:
    """Make what the sites are asked in one round."""
    private, plain = planned.settings.private, planned.settings.plain
    is_private = plan.privacy.mode == "private"
    return Job(
        run=plan.run,
        round=number,
        rounds=planned.rounds,
        task=planned.name,
        settings=planned.settings,
        mode=plan.privacy.mode,
        epsilon=plan.privacy.epsilon_per_run,
        delta=plan.privacy.delta,
        steps=private.steps_per_round if is_private else plain.steps_per_round,
        sample_rate=private.sample_rate,
        max_grad_norm=private.max_grad_norm,
        noise_multiplier=noise_multiplier if is_private else 0.0,
        proximal_mu=proximal_mu,
        prepared_with=planned.prepared_with,
    )


def curve_point(task: Task, after_round: int, sums: BySite) -> CurvePoint:
    """Measure a model by the sums that the sites released."""
    return CurvePoint(
        after_round=after_round,
        pooled=measure(task, pool(sums)),
        sites={site: measure(task, sums[site]) for site in sorted(sums)},
    )


def _train_question(
    one: _Task, job: Job, arrays: Arrays, model: str, spool: Spool, done: list[RoundFacts]
) -> Question[Received]:
    """Make the question of a round, and the reader that accepts its answers.

    `arrays` are those sent, `model` their digest. Sites that answered a round that is done
    keep what no round trains and what prepares the input, and are sent the rest alone.
    """
    holders = frozenset(site for facts in done for site in facts.patients)
    # A site rounds its seconds up: it took longer than one less.
    expected = max(min(done[-1].site_seconds.values(), default=0.0) - 1.0, 0.0) if done else 0.0
    whole = array_record(arrays)
    part = array_record({name: arrays[name] for name in one.start.names})
    preparing = _records(one.start.preparing)
    asked = asked_digest(job, {"model": model})
    shapes = {name: arrays[name].shape for name in one.start.names}
    most = one.plan.quorum.maximum_patients_per_site

    def read(reply: RecordDict, check: Check) -> Received | Refusal:
        refusal = read_refusal(reply, AggregationRefusedError)
        if refusal is not None:
            return refusal
        answer = read_train_answer(reply, shapes, AggregationRefusedError)
        _check_about(answer, job)
        _check_signed(
            one.roster, answer.statement, answer.account, asked, digest_arrays(answer.update),
            {"": answer.statistics}, answer.patients, job.mechanism,
        )  # fmt: skip
        check(answer)
        check_sums(one.start.task, answer.statistics, most)
        site, patients = answer.account.site, answer.patients
        one.aggregator.check(site, answer.update, arrays)
        update = spool.keep(site, answer.update, patients)
        return Received(answer.account, answer.statement, answer.statistics, patients, update)

    def build(ticket: Ticket, all_of_it: bool) -> RecordDict:
        if all_of_it:
            return train_message(whole, job, ticket, preparing)
        return train_message(part, job, ticket)

    return Question(
        "train", one.plan.run, one.planned.name, job.round, asked, build, read, holders, expected
    )


def _records(preparing: Mapping[str, Arrays]) -> dict[str, ArrayRecord]:
    return {name: array_record(arrays) for name, arrays in preparing.items()}


def _check_about(answer: TrainAnswer, job: Job) -> None:
    account = answer.account
    answered = (account.run, account.round, account.task, account.mode)
    if answered != (job.run, job.round, job.task, job.mode):
        raise AggregationRefusedError(
            f"the answer is to run {account.run}, round {account.round} of {account.task}"
        )


def _check_signed(
    roster: Roster,
    statement: Statement,
    account: Account,
    asked: str,
    update: str,
    statistics: Mapping[str, Mapping[str, float]],
    patients: int,
    mechanism: MechanismNumbers,
) -> None:
    """Hold a statement against what came, with the key that the site was admitted with."""
    member = roster.member(account.site)
    if member is None:
        raise AggregationRefusedError(f"{account.site} is not admitted to this consortium")
    check_statement(
        statement, account, key=member.signing_key, asked=asked, update=update,
        statistics=statistics, patients=patients, mechanism=mechanism,
        error=AggregationRefusedError,
    )  # fmt: skip


def _facts(number: int, asked: Asked[Received], patients: dict[str, int], mode: str) -> RoundFacts:
    accounts = {site: answer.account for site, answer in asked.answers.items()}
    private = accounts if mode == "private" else {}
    return RoundFacts(
        round=number,
        attempts=asked.attempts,
        seconds=asked.seconds,
        bytes_down=asked.bytes_down,
        bytes_up=asked.bytes_up,
        patients=patients,
        site_seconds={site: account.seconds for site, account in accounts.items()},
        epsilon={site: account.epsilon_run for site, account in private.items()},
        delta={site: account.delta for site, account in private.items()},
        plain_rounds={site: account.plain_rounds for site, account in accounts.items()},
        absent=asked.absent,
    )
