"""The rounds of one task: ask, aggregate, write down; repeat."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from server.aggregation import Aggregator
from server.checkpoint import Checkpoint
from server.exchange import Asked, MessageMaker, Roster, ask
from server.gate import BySite, check_sums, measure, pool
from server.plan import PlannedTask, RunPlan
from server.result import CurvePoint, RoundFacts
from shared.config import TaskSettings
from shared.errors import AggregationRefusedError
from shared.protocol import (
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
from shared.weights import Weights
from shared.wire import Arrays, Shapes

if TYPE_CHECKING:
    from flwr.app import RecordDict
    from flwr.serverapp import Grid

    from shared.tasks.base import Task

#: Told after every round.
Report = Callable[[RoundFacts, CurvePoint], None]


@dataclass(frozen=True)
class Start:
    """What a task begins with. `names` are the tensors that sites train."""

    task: Task
    arrays: Arrays
    names: tuple[str, ...]
    noise_multiplier: float


@dataclass(frozen=True)
class Trained:
    """What the rounds gave; `start_sums` are the sites' sums for the model they began with."""

    arrays: Arrays
    rounds: list[RoundFacts]
    curve: list[CurvePoint]
    start_sums: dict[str, dict[str, float]]
    epsilon_spent: dict[str, float]


def train_rounds(
    grid: Grid,
    roster: Roster,
    plan: RunPlan,
    planned: PlannedTask,
    start: Start,
    make: MessageMaker,
    report: Report,
) -> Trained:
    """Train one task over all its rounds.

    Raises
    ------
    RunFailedError, QuorumError
        If a round has no quorum after all attempts.
    AggregationRefusedError
        If the strategy cannot make a model of the updates.
    """
    settings = planned.settings
    aggregator = Aggregator(planned.strategy, start.names, plan.quorum.maximum_patients_per_site)
    checkpoint = Checkpoint(plan.task_folder(planned.name), plan.run, planned.name)
    arrays = start.arrays
    rounds: list[RoundFacts] = []
    curve: list[CurvePoint] = []
    start_sums: dict[str, dict[str, float]] = {}
    spent: dict[str, float] = {}
    for number in range(1, planned.rounds + 1):
        job = make_job(plan, planned, number, start.noise_multiplier, aggregator.proximal_mu)
        asked = ask(
            grid, roster, plan.quorum, train_message(arrays, job), "train",
            _train_reader(
                job, start.task, {name: arrays[name].shape for name in start.names},
                plan.quorum.maximum_patients_per_site,
            ),
            make,
        )  # fmt: skip
        arrays, patients = aggregator.combine(number, arrays, asked.answers)
        sums = {site: answer.statistics for site, answer in asked.answers.items()}
        start_sums = start_sums or sums
        spent |= {site: a.account.epsilon_spent for site, a in asked.answers.items()}
        curve.append(curve_point(start.task, number - 1, sums))
        rounds.append(_facts(number, asked, patients, plan.privacy.mode))
        weights = Weights(settings, arrays, f"federated run {plan.run}, round {number}")
        checkpoint.write(weights, aggregator.state(), rounds, curve)
        report(rounds[-1], curve[-1])
    return Trained(arrays, rounds, curve, start_sums, spent)


def evaluate_models(
    grid: Grid,
    roster: Roster,
    plan: RunPlan,
    task: str,
    models: Mapping[str, tuple[TaskSettings, Arrays]],
    make: MessageMaker,
) -> Asked[EvaluateAnswer]:
    """Have every site measure some models on its validation patients, in one exchange.

    Raises
    ------
    RunFailedError, QuorumError
        If too few sites answer.
    """
    job = EvaluateJob(run=plan.run, task=task, models={k: s for k, (s, _) in models.items()})
    content = evaluate_message({label: arrays for label, (_, arrays) in models.items()}, job)
    read = _evaluate_reader(job, plan.quorum.maximum_patients_per_site)
    return ask(grid, roster, plan.quorum, content, "evaluate", read, make)


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
    )


def curve_point(task: Task, after_round: int, sums: BySite) -> CurvePoint:
    """Measure a model by the sums that the sites released."""
    return CurvePoint(
        after_round=after_round,
        pooled=measure(task, pool(sums)),
        sites={site: measure(task, sums[site]) for site in sorted(sums)},
    )


def _train_reader(
    job: Job, task: Task, shapes: Shapes, most_patients: int
) -> Callable[[RecordDict], TrainAnswer | Refusal]:
    def read(reply: RecordDict) -> TrainAnswer | Refusal:
        refusal = read_refusal(reply, AggregationRefusedError)
        if refusal is not None:
            return refusal
        answer = read_train_answer(reply, shapes, AggregationRefusedError)
        account = answer.account
        answered = (account.run, account.round, account.task, account.mode)
        if answered != (job.run, job.round, job.task, job.mode):
            raise AggregationRefusedError(
                f"the answer is to run {account.run}, round {account.round} of {account.task}"
            )
        check_sums(task, answer.statistics, most_patients)
        return answer

    return read


def _evaluate_reader(
    job: EvaluateJob, most_patients: int
) -> Callable[[RecordDict], EvaluateAnswer | Refusal]:
    from shared.tasks import make_task

    tasks = {label: make_task(settings) for label, settings in job.models.items()}

    def read(reply: RecordDict) -> EvaluateAnswer | Refusal:
        refusal = read_refusal(reply, AggregationRefusedError)
        if refusal is not None:
            return refusal
        answer = read_evaluate_answer(reply, set(tasks), AggregationRefusedError)
        account = answer.account
        if (account.run, account.task, account.mode) != (job.run, job.task, "evaluate"):
            raise AggregationRefusedError(
                f"the answer is to run {account.run}, {account.mode} of {account.task}"
            )
        for label, statistics in answer.statistics.items():
            check_sums(tasks[label], statistics, most_patients)
        return answer

    return read


def _facts(
    number: int, asked: Asked[TrainAnswer], patients: dict[str, int], mode: str
) -> RoundFacts:
    accounts = {site: answer.account for site, answer in asked.answers.items()}
    return RoundFacts(
        round=number,
        attempts=asked.attempts,
        seconds=asked.seconds,
        bytes_down=asked.bytes_down,
        bytes_up=asked.bytes_up,
        patients=patients,
        site_seconds={site: account.seconds for site, account in accounts.items()},
        epsilon=(
            {site: account.epsilon_run for site, account in accounts.items()}
            if mode == "private"
            else {}
        ),
        plain_rounds={site: account.plain_rounds for site, account in accounts.items()},
        absent=asked.absent,
    )
