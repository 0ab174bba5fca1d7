"""One hospital's part of a round, and training and testing that stay inside the hospital.

A round: policy -> firewall in -> test the model received -> reserve -> train ->
commit -> firewall out -> keep the answer -> send it. Asked the same again, the
hospital sends the kept bytes: no second training, no second spending. Where the
kept answer is gone, a repeat is a new release: it counts again, with other noise.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Final

from client import firewall, policy
from client.answers import keep_answer, kept_answer
from client.ledger import DEFAULT_COHORT, Ledger, Reservation
from client.store import SiteStore, StoreSource
from shared.errors import FirewallRefusedError, OsteofedError, PolicyRefusedError
from shared.protocol import (
    Account,
    EvaluateAnswer,
    Job,
    TrainAnswer,
    read_evaluate_job,
    read_job,
    request_digest,
    rounded_count,
)
from shared.tasks import make_task
from shared.weights import digest_arrays
from shared.wire import Arrays, Shapes

if TYPE_CHECKING:
    from flwr.app import RecordDict
    from torch import nn

    from shared.records import PatientSource
    from shared.tasks.base import Task
    from shared.training.accounting import Mechanism
    from shared.training.local import LocalRound

#: What an update's bits depend on besides the request and the patients.
LIBRARIES: Final = ("osteofed", "torch", "opacus", "monai", "numpy")


@dataclass(frozen=True)
class Site:
    """A hospital's open store and ledger, for as long as one message is answered."""

    store: SiteStore
    ledger: Ledger

    @property
    def name(self) -> str:
        """The hospital's name."""
        return self.store.config.site

    def close(self) -> None:
        """Let go of the store and the ledger."""
        self.ledger.close()
        self.store.close()


def open_site(folder: Path) -> Site:
    """Open a site folder: its store (the secret is checked) and its ledger.

    Raises
    ------
    StoreMissingError, StoreSecretMismatchError
        If the folder is no site, its store was made with another secret, or its
        ledger is missing or another store's.
    """
    store = SiteStore.open(folder)
    try:
        return Site(store, store.open_ledger())
    except BaseException:
        store.close()
        raise


def answer_train(site: Site, content: RecordDict) -> TrainAnswer:
    """Answer a train message.

    Guarantee: see `client.ledger`. The update is the output of DP-SGD with the
    mechanism that the ledger holds; the sums of metrics and the rounded count are
    not covered by differential privacy (`client.policy.releasable`).

    Raises
    ------
    OsteofedError
        Why the hospital refuses; nothing is spent unless training had begun.
    """
    started = time.monotonic()
    job = read_job(content, FirewallRefusedError)
    source = site.store.source("train")
    _permit(site, job, source)
    task = make_task(job.settings)
    network = task.network()
    received = firewall.admit_model(content, "model", shapes_of(network))
    policy.permit_cohort(site.store.config, usable_patients(task, source))
    request = request_digest(job, digest_arrays(received), cohort_digest([source]))
    kept = kept_answer(site.store.folder, job, request)
    if kept is not None:
        return _permitted_again(site, kept)
    _load(network, received)
    statistics = _validate(site, task, network)
    reservation = _reserve(site, job, request)
    done = _train(site, task, network, source, job, request, reservation)
    site.ledger.commit(reservation, mechanism_of(job, done.steps))
    names = _trained_names(task, network, job)
    update = firewall.release_update(done.arrays, received, names, job, done.patients)
    sums, withheld = policy.releasable(statistics, site.store.config)
    account = _account(site, job, request, withheld, time.monotonic() - started)
    answer = TrainAnswer(update, rounded_count(done.patients), sums, account)
    keep_answer(site.store.folder, job, request, answer)
    return answer


def answer_evaluate(site: Site, content: RecordDict) -> EvaluateAnswer:
    """Answer an evaluate message: sums of metrics of each model on the validation patients.

    Raises
    ------
    OsteofedError
        Why the hospital refuses.
    """
    started = time.monotonic()
    job = read_evaluate_job(content, FirewallRefusedError)
    policy.permit_task(job.task, site.store.config)
    results: dict[str, dict[str, float]] = {}
    withheld, digests = "", []
    for label in sorted(job.models):
        task = make_task(job.models[label])
        network = task.network()
        arrays = firewall.admit_model(content, f"model:{label}", shapes_of(network))
        digests.append(digest_arrays(arrays))
        policy.permit_evaluation(site.ledger.count_evaluation(job.run, job.task), site.store.config)
        _load(network, arrays)
        statistics = _validate(site, task, network)
        results[label], withheld = policy.releasable(statistics, site.store.config)
    account = Account(
        site=site.name,
        run=job.run,
        round=0,
        task=job.task,
        mode="evaluate",
        request=hashlib.sha256("|".join(digests).encode()).hexdigest(),
        epsilon_spent=site.ledger.epsilon(),
        epsilon_budget=site.store.config.privacy.epsilon_budget,
        delta=site.store.config.privacy.delta,
        plain_rounds=site.ledger.plain_rounds(),
        seconds=time.monotonic() - started,
        metrics_withheld=withheld,
    )
    patients = len(site.store.source("validation").patients)
    return EvaluateAnswer(rounded_count(patients), results, account)


def read_job_or_none(content: RecordDict) -> Job | None:
    """Read what was asked, for a refusal; None if that is not readable itself."""
    try:
        return read_job(content, FirewallRefusedError)
    except OsteofedError:
        return None


def mechanism_of(job: Job, steps: int) -> Mechanism | None:
    """Tell what a job spends in a number of steps; None for a round without privacy."""
    from shared.training.accounting import Mechanism

    if job.mode == "plain":
        return None
    return Mechanism(job.sample_rate, job.noise_multiplier, steps)


def shapes_of(network: nn.Module) -> Shapes:
    """Names and shapes of all tensors of a network."""
    return {name: tuple(value.shape) for name, value in network.state_dict().items()}


def usable_patients(task: Task, source: PatientSource) -> int:
    """Count the patients that a task can train on."""
    from shared.training.batches import Patients

    return len(Patients(task, source))


def cohort_digest(sources: Sequence[StoreSource]) -> str:
    """Name everything that a round's bits follow from besides the request.

    The patients' data as the catalogue knows them, and the versions of the programs
    that compute. A label that was added makes another request, with noise of its own.
    """
    parts = [*(source.digest() for source in sources), *_versions()]
    return hashlib.sha256("|".join(parts).encode()).hexdigest()


@cache
def _versions() -> tuple[str, ...]:
    return tuple(f"{name} {version(name)}" for name in LIBRARIES)


def _permit(site: Site, job: Job, source: StoreSource) -> None:
    """Check a job against the hospital's rules; what is said of delta names no count."""
    config, patients = site.store.config, len(source.patients)
    policy.permit_task(job.task, config)
    try:
        if job.mode == "private":
            policy.permit_delta(config, patients)
    except PolicyRefusedError as error:
        raise PolicyRefusedError(
            "site.yaml: privacy.delta is larger than 1/(10·patients)"
        ) from error
    policy.permit_job(job, config, patients)


def _permitted_again(site: Site, kept: TrainAnswer) -> TrainAnswer:
    """Take out of a kept answer what the hospital's rules of today withhold."""
    sums, withheld = policy.releasable(kept.statistics, site.store.config)
    if len(sums) == len(kept.statistics):
        return kept
    account = kept.account.model_copy(update={"metrics_withheld": withheld})
    return replace(kept, statistics=sums, account=account)


def _load(network: nn.Module, arrays: Arrays) -> None:
    from shared.training.arrays import set_arrays

    set_arrays(network, arrays, strict=True)


def _validate(site: Site, task: Task, network: nn.Module) -> dict[str, float]:
    from shared.training.compute import Compute
    from shared.training.local import evaluate

    compute = Compute.from_settings(site.store.config.compute)
    source = site.store.source("validation")
    return dict(evaluate(task, network, source, compute)) if source.patients else {}


def _reserve(site: Site, job: Job, request: str) -> Reservation:
    from shared.training.compute import Compute

    # Only the CPU gives the same bits again.
    compute = Compute.from_settings(site.store.config.compute)
    return site.ledger.reserve(
        job.run, job.round, job.task, DEFAULT_COHORT, request, mechanism_of(job, job.steps),
        repeatable=str(compute.device) == "cpu",
    )  # fmt: skip


def _train(
    site: Site,
    task: Task,
    network: nn.Module,
    source: PatientSource,
    job: Job,
    request: str,
    reservation: Reservation,
) -> LocalRound:
    from shared.training.compute import Compute
    from shared.training.local import RoundKey, train_plain, train_private

    compute = Compute.from_settings(site.store.config.compute)
    key = RoundKey(
        site.store.secret, job.run, job.round, request, reservation.attempt, str(compute.device)
    )
    if job.mode == "plain":
        return train_plain(
            task, network, source, job.settings.plain, key, compute, proximal_mu=job.proximal_mu
        )
    return train_private(
        task, network, source, job.settings.private, job.noise_multiplier, key, compute,
        proximal_mu=job.proximal_mu,
    )  # fmt: skip


def _trained_names(task: Task, network: nn.Module, job: Job) -> tuple[str, ...]:
    from shared.training.arrays import trainable_names

    chosen = job.settings.private if job.mode == "private" else job.settings.plain
    return tuple(trainable_names(task, network, chosen.trainable))


def _account(site: Site, job: Job, request: str, withheld: str, seconds: float) -> Account:
    privacy = site.store.config.privacy
    return Account(
        site=site.name,
        run=job.run,
        round=job.round,
        task=job.task,
        mode=job.mode,
        request=request,
        epsilon_run=site.ledger.epsilon(run=job.run, task=job.task),
        epsilon_spent=site.ledger.epsilon(),
        epsilon_budget=privacy.epsilon_budget,
        delta=privacy.delta,
        plain_rounds=site.ledger.plain_rounds(),
        seconds=round(seconds, 3),
        metrics_withheld=withheld,
    )
