"""The last step before something leaves: accounted for, written into the chain, signed."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Literal

from client.privacy import policy
from shared.protocol.account import Account
from shared.protocol.messages import EvaluateJob, Job, TrainAnswer
from shared.protocol.signatures import (
    NOT_PROVEN_ON_GPU,
    NOTHING_SPENT,
    MechanismNumbers,
    Statement,
    account_digest,
    metrics_digest,
    sign_statement,
)

if TYPE_CHECKING:
    from client.round.open_site import Site
    from shared.metrics.released import ReleasedSums
    from shared.training.accounting import Mechanism


def spent_of(mechanism: Mechanism | None) -> MechanismNumbers:
    """Tell a statement's numbers of a mechanism; zeros without privacy."""
    if mechanism is None:
        return NOTHING_SPENT
    return (mechanism.sample_rate, mechanism.noise_multiplier, mechanism.steps)


def not_proven_on(device: str, job: Job) -> str:
    """What of a round's guarantee is not proven on a device; nothing on a CPU."""
    return NOT_PROVEN_ON_GPU if job.mode == "private" and device != "cpu" else ""


def account_of(
    site: Site, job: Job | EvaluateJob, asked: str, withheld: str, seconds: float
) -> Account:
    """Make the site's account of an answer. Nothing in it is about a patient.

    The request is named by `asked`, which follows from what the coordinator sent alone.
    `seconds` that the answer took are rounded up to whole ones: what is finer tells more of
    how many patients a step drew than of how long to wait.
    """
    privacy, spending = site.store.config.privacy, site.ledger.spending()
    number, epsilon_run = 0, 0.0
    mode: Literal["private", "plain", "evaluate"] = "evaluate"
    if isinstance(job, Job):
        number, mode = job.round, job.mode
        epsilon_run = spending.epsilon(run=job.run, task=job.task)
    return Account(
        site=site.name,
        run=job.run,
        round=number,
        task=job.task,
        mode=mode,
        request=asked,
        epsilon_run=epsilon_run,
        epsilon_spent=spending.epsilon(),
        epsilon_budget=privacy.epsilon_budget,
        delta=privacy.delta,
        plain_rounds=spending.plain_rounds(),
        seconds=float(math.ceil(seconds)),
        metrics_withheld=withheld,
    )


def release(
    site: Site,
    account: Account,
    asked: str,
    update: str,
    patients: int,
    statistics: Mapping[str, Mapping[str, float]],
    spent: MechanismNumbers,
    not_proven: str = "",
) -> Statement:
    """Write into the chain what is about to leave, then sign it with the chain's new head.

    Parameters
    ----------
    site : Site
        Whose chain and key.
    account : Account
        What the site says about the answer.
    asked, update : str
        Digests of the request and of the update.
    patients : int
        The declared number that is sent.
    statistics : mapping
        Sums by label; the label of training is ``""``.
    spent : tuple of float, float, int
        Of the mechanism.
    not_proven : str
        What of the guarantee is not proven for this answer (`not_proven_on`).
    """
    rate, noise, steps = spent
    head = site.chain.append(
        "released",
        run=account.run,
        round=account.round,
        task=account.task,
        mode=account.mode,
        asked=asked,
        update=update,
        metrics=metrics_digest(patients, statistics),
        account=account_digest(account),
        patients=patients,
        sample_rate=rate,
        noise_multiplier=noise,
        steps=steps,
        epsilon_spent=account.epsilon_spent,
    )
    return sign_statement(
        site.chain.key, account, asked=asked, update=update, patients=patients,
        statistics=statistics, mechanism=spent, head=head, not_proven=not_proven,
    )  # fmt: skip


def release_again(site: Site, kept: TrainAnswer, asked: str, released: ReleasedSums) -> TrainAnswer:
    """Send a kept answer again, without what the hospital's rules of today withhold."""
    sums, withheld = policy.releasable(kept.statistics, released, site.store.config)
    if len(sums) == len(kept.statistics) and kept.statement.asked == asked:
        site.chain.append("sent again", asked=asked)
        return kept
    account = kept.account.model_copy(update={"metrics_withheld": withheld})
    said = kept.statement
    statement = release(
        site, account, asked, said.update, kept.patients, {"": sums}, said.mechanism,
        said.not_proven,
    )  # fmt: skip
    return TrainAnswer(kept.update, kept.patients, sums, account, statement)
