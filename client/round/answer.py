"""One hospital's part of a round, and training and testing that stay inside the hospital.

A round: the checks of `client.round.train_request` -> test the model received -> reserve ->
keep what later rounds need not bring -> train -> firewall out -> chain -> sign -> keep the
answer -> commit -> send it.
Asked the same again, the hospital sends the kept bytes: no second training, no second
spending. Where the kept answer is gone, a repeat is a new release: it counts again, with
other noise.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from client.privacy import firewall, policy
from client.privacy.declared import claimed_number
from client.privacy.ledger import DEFAULT_COHORT
from client.privacy.reservation import Reservation
from client.round.answer_cache import keep_answer, keep_evaluation, kept_answer, kept_evaluation
from client.round.evaluate_request import EvaluateRequest
from client.round.kept_patients import patients_of
from client.round.open_site import Site
from client.round.received_model import keep_received
from client.round.received_preparation import keep_preparations, prepared_source
from client.round.signing import (
    account_of,
    not_proven_on,
    release,
    release_again,
    spent_of,
)
from client.round.train_request import CHECKS, TrainRequest
from client.store.prepared_source import SiteSource
from shared.audit.chain import NOTHING
from shared.errors import (
    FirewallRefusedError,
    OsteofedError,
    PolicyRefusedError,
    StoreOutdatedError,
)
from shared.protocol.codec import Arrays
from shared.protocol.messages import (
    EvaluateAnswer,
    EvaluateJob,
    Job,
    TrainAnswer,
    read_job,
    read_ticket,
    request_digest,
)
from shared.protocol.signatures import Ticket
from shared.runtime.libraries import versions_of
from shared.training.weights import digest_arrays

if TYPE_CHECKING:
    from flwr.app import RecordDict
    from torch import nn

    from shared.tasks.base import Task
    from shared.training.accounting import Mechanism
    from shared.training.compute import Compute
    from shared.training.local_round import LocalRound

#: What an update's bits depend on besides the request and the patients.
LIBRARIES: Final = ("osteofed", "torch", "opacus", "monai", "numpy")


def answer_train(site: Site, content: RecordDict) -> TrainAnswer:
    """Answer a train message.

    Guarantee: see `client.privacy.ledger`. The update is the output of DP-SGD with the
    mechanism that the ledger holds; the number of patients is the declared one; the sums of
    metrics are not covered by differential privacy (`client.privacy.policy.releasable`).

    Raises
    ------
    OsteofedError
        Why the hospital refuses; nothing is spent unless training had begun.
    """
    started = time.monotonic()
    request = TrainRequest.read(site, content)
    for check in CHECKS:
        check(request)
    job, model, names = request.job, request.model, request.trained
    _write_asked(site, job, request.ticket)
    threads = site.store.config.compute.threads
    cohort = cohort_digest([request.prepared], request.declared, threads)
    digest = request_digest(job, model.digest, cohort)
    kept = kept_answer(site.store.folder, job, digest)
    if kept is not None:
        _settle(site, job, digest)
        keep_received(site.store.folder, job, model, names)
        return release_again(site, kept, request.asked, request.task.released)
    _hold_ledger(site)
    _load(request.network, model.arrays)
    may = policy.measures_round(site.ledger.measured.count_round(job.task), site.store.config)
    statistics: dict[str, float] = {}
    # What may not leave is not measured: its time would be seen.
    measured = may and site.store.config.policy.release_metrics
    if measured and not job.prepared_with:
        source = site.store.source("validation")
        statistics = _validate(site, request.task, request.network, source, started)
    reservation = _reserve(site, job, digest)
    site.chain.append(
        "reserved", **_named(job), attempt=reservation.attempt, entry=reservation.entry
    )
    # Not before: what is kept of a new run pushes out the answers of an old one.
    keep_received(site.store.folder, job, model, names)
    if measured and job.prepared_with:
        # Not before: what a version finds takes time that depends on the patients.
        validation = site.store.source("validation")
        prepared = prepared_source(validation, job.task, request.preparing)
        statistics = _validate(site, request.task, request.network, prepared, started)
    done = _train(request, digest, reservation, started)
    patients = request.declared
    update = firewall.release_update(done.arrays, model.arrays, names, job, patients)
    sums, withheld = policy.releasable(statistics, request.task.released, site.store.config)
    withheld = withheld if may else "measured_too_often"
    account = account_of(site, job, request.asked, withheld, time.monotonic() - started)
    mechanism = mechanism_of(job, done.steps)
    check_as_asked(job, reservation, mechanism)
    statement = release(
        site, account, request.asked, digest_arrays(update), patients, {"": sums},
        spent_of(mechanism), not_proven_on(_compute(site, started).device, job),
    )  # fmt: skip
    answer = TrainAnswer(update, patients, sums, account, statement)
    # Kept before it is committed: a crash in between is mended by `_settle`, and the
    # reservation counts as spent all the time.
    keep_answer(site.store.folder, job, digest, answer)
    site.ledger.commit(reservation, mechanism)
    return answer


def answer_evaluate(site: Site, content: RecordDict) -> EvaluateAnswer:
    """Answer an evaluate message: sums of metrics of each model on the validation patients.

    Raises
    ------
    OsteofedError
        Why the hospital refuses.
    """
    started = time.monotonic()
    asking = EvaluateRequest.read(site, content)
    for check in CHECKS:
        check(asking)
    job, asked, source = asking.job, asking.asked, asking.measured
    _write_asked(site, job, asking.ticket)
    request = _evaluation_request(site, asked, source)
    kept = kept_evaluation(site.store.folder, job, request)
    if kept is not None:
        site.chain.append("sent again", asked=asked)
        return kept
    results: dict[str, dict[str, float]] = {}
    withheld = ""
    for label, task in asking.tasks.items():
        policy.permit_evaluation(
            site.ledger.measured.count_evaluation(job.run, job.task),
            site.ledger.measured.recent(job.task),
            site.store.config,
        )
        _load(asking.networks[label], asking.models[label])
        statistics: dict[str, float] = {}
        if site.store.config.policy.release_metrics:  # else its time alone would be seen
            if not results:  # not before: what is kept of a version pushes out others
                keep_preparations(site.store, asking.preparing)
            statistics = _validate(site, task, asking.networks[label], source, started)
        results[label], withheld = policy.releasable(statistics, task.released, site.store.config)
    account = account_of(site, job, asked, withheld, time.monotonic() - started)
    patients = claimed_number(site.store.config, job.task, "validation")
    statement = release(site, account, asked, NOTHING, patients, results, spent_of(None))
    answer = EvaluateAnswer(patients, results, account, statement)
    keep_evaluation(site.store.folder, job, request, answer)
    return answer


def read_job_or_none(content: RecordDict) -> Job | None:
    """Read what was asked, for a refusal; None if that is not readable itself."""
    try:
        return read_job(content, FirewallRefusedError)
    except OsteofedError:
        return None


def read_ticket_or_none(content: RecordDict) -> Ticket | None:
    """Read who asked, for a refusal; None if that is not readable itself."""
    try:
        return read_ticket(content, FirewallRefusedError)
    except OsteofedError:
        return None


def mechanism_of(job: Job, steps: int) -> Mechanism | None:
    """Tell what a job spends in a number of steps; None for a round without privacy."""
    from shared.training.accounting import Mechanism

    if job.mode == "plain":
        return None
    return Mechanism(job.sample_rate, job.noise_multiplier, steps)


def check_as_asked(job: Job, reservation: Reservation, done: Mechanism | None) -> None:
    """Refuse to sign what is not the mechanism of job and ledger, to the last step.

    Raises
    ------
    PolicyRefusedError
        The update does not leave; the reservation stands.
    """
    if not spent_of(done) == spent_of(reservation.mechanism) == job.mechanism:
        raise PolicyRefusedError(
            "what was done is not the privacy mechanism that was asked and reserved; the update "
            "does not leave"
        )


def cohort_digest(
    sources: Sequence[SiteSource], declared: int | None = None, threads: int = 1
) -> str:
    """Name everything that a round's bits follow from besides the request; it never leaves.

    The patients' data as the catalogue knows them, what prepares them, the declared number by
    which their sum is divided, the versions of the programs that compute, and how many threads
    they have, where that is not one. A label that was added makes another request, with noise of
    its own.
    """
    parts = [*(source.digest() for source in sources), *versions_of(*LIBRARIES)]
    parts += [] if declared is None else [f"declared {declared}"]
    parts += [] if threads == 1 else [f"threads {threads}"]
    return hashlib.sha256("|".join(parts).encode()).hexdigest()


def _write_asked(site: Site, job: Job | EvaluateJob, ticket: Ticket) -> None:
    """Write into the chain what was asked, and by whom."""
    number = job.round if isinstance(job, Job) else 0
    site.chain.append("asked", task=job.task, round=number, ticket=ticket.model_dump(mode="json"))


def _named(job: Job) -> dict[str, Any]:
    return {"run": job.run, "round": job.round, "task": job.task, "mode": job.mode}


def _settle(site: Site, job: Job, request: str) -> None:
    """An answer that is kept, and may have left, is in the ledger once, whatever crashed."""
    site.ledger.settle(
        job.run, job.round, job.task, DEFAULT_COHORT, request, mechanism_of(job, job.steps),
        repeatable=_is_repeatable(site),
    )  # fmt: skip


def _evaluation_request(site: Site, asked: str, source: SiteSource) -> str:
    """Name an evaluation by all that its answer follows from, today's rules too."""
    rules = site.store.config.policy
    parts = [asked, source.digest(), str(rules.release_metrics), str(rules.smallest_cell)]
    return hashlib.sha256("|".join([*parts, *versions_of(*LIBRARIES)]).encode()).hexdigest()


def _load(network: nn.Module, arrays: Arrays) -> None:
    from shared.training.arrays import set_arrays

    set_arrays(network, arrays, strict=True)


def _compute(site: Site, started: float) -> Compute:
    """Where it is computed, and until when (`started` by `time.monotonic`)."""
    from shared.training.compute import Compute

    seconds = 3600.0 * site.store.config.policy.maximum_hours_per_request
    return replace(Compute.from_settings(site.store.config.compute), until=started + seconds)


def _validate(
    site: Site, task: Task, network: nn.Module, source: SiteSource, started: float
) -> dict[str, float]:
    from shared.training.local_round import evaluate

    compute = _compute(site, started)
    if not source.patients:
        return {}
    patients = patients_of(task, source, [(site.store, source)])
    return dict(evaluate(task, network, patients, compute))


def _hold_ledger(site: Site) -> None:
    """Refuse to spend from a ledger that lacks what the chain says was reserved in it.

    Whoever restores an old ledger alone would have it count too little.
    """
    line = site.chain.last("reserved")
    if line is None or "entry" not in line.facts:  # lines of an older version name none
        return
    facts = line.facts
    if not site.ledger.holds(facts["entry"], facts["run"], facts["round"], facts["task"]):
        raise StoreOutdatedError(
            f"the ledger lacks what line {line.line} of the audit chain says was reserved in it: "
            "it was restored from an older backup than the chain; restore the newest of both"
        )


def _reserve(site: Site, job: Job, request: str) -> Reservation:
    return site.ledger.reserve(
        job.run, job.round, job.task, DEFAULT_COHORT, request, mechanism_of(job, job.steps),
        repeatable=_is_repeatable(site),
    )  # fmt: skip


def _is_repeatable(site: Site) -> bool:
    """Only the CPU gives the same bits again."""
    from shared.training.compute import Compute

    return str(Compute.from_settings(site.store.config.compute).device) == "cpu"


def _train(
    request: TrainRequest, digest: str, reservation: Reservation, started: float
) -> LocalRound:
    from shared.training.local_round import RoundKey, train_plain, train_private

    site, job = request.site, request.job
    compute = _compute(site, started)
    patients = patients_of(request.task, request.prepared, [(site.store, request.prepared)])
    key = RoundKey(
        site.store.secret, job.run, job.round, digest, reservation.attempt, str(compute.device),
        reservation.noise_key,
    )  # fmt: skip
    if job.mode == "plain":
        return train_plain(
            request.task, request.network, patients, job.settings.plain, key, compute,
            rounds=job.rounds, proximal_mu=job.proximal_mu,
        )  # fmt: skip
    return train_private(
        request.task, request.network, patients, job.settings.private,
        job.noise_multiplier, key, compute, rounds=job.rounds, proximal_mu=job.proximal_mu,
        declared=request.declared,
    )  # fmt: skip
