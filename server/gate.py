"""Whether a candidate becomes champion: judged on the hospitals' validation patients."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from server.result import Measured, Verdict
from shared.tasks.base import add_statistics

if TYPE_CHECKING:
    from shared.tasks.base import Task

#: Sums by site.
BySite = Mapping[str, Mapping[str, float]]


def measure(task: Task, statistics: Mapping[str, float]) -> Measured:
    """Turn sums into metrics; a site that withheld its sums has no patients here."""
    patients = int(statistics.get("patients", 0))
    if patients == 0:
        return Measured(patients=0, loss=None, metrics={})
    loss = statistics.get("loss_sum")
    return Measured(
        patients=patients,
        loss=None if loss is None else loss / patients,
        metrics=task.metrics(statistics),
    )


def pool(by_site: BySite) -> dict[str, float]:
    """Add the sums of several sites, in the order of their names."""
    total: dict[str, float] = {}
    for site in sorted(by_site):
        total = add_statistics(total, by_site[site])
    return total


def judge(task: Task, candidate: BySite, reference: BySite, *, against: str) -> Verdict:
    """Compare two models on the sites that measured both.

    The task's headline metric decides if the sites released enough for it on
    both sides, else the validation loss. A tie does not promote: a new version
    must be worth its change.

    Parameters
    ----------
    task : Task
        Says which metric, and whether more is better.
    candidate, reference : mapping of str to mapping
        Sums by site.
    against : str
        What the reference is, for the sentence: ``the champion, version 3``.

    Returns
    -------
    Verdict
        With the reason.
    """
    sites = [s for s in sorted(candidate) if candidate[s] and reference.get(s)]
    if not sites:
        return Verdict(
            promoted=False,
            reason=f"no hospital released what is needed to compare it with {against}",
        )
    new = measure(task, pool({site: candidate[site] for site in sites}))
    old = measure(task, pool({site: reference[site] for site in sites}))
    metric, more_is_better = task.headline
    if metric in new.metrics and metric in old.metrics:
        left, right = new.metrics[metric], old.metrics[metric]
    elif new.loss is not None and old.loss is not None:
        metric, more_is_better, left, right = "loss", False, new.loss, old.loss
    else:
        return Verdict(promoted=False, reason=f"neither {metric} nor a loss was released")
    promoted = left > right if more_is_better else left < right
    word = "better than" if promoted else "not better than"
    return Verdict(
        promoted=promoted,
        reason=f"{metric} {left:.4g} is {word} {right:.4g} of {against} "
        f"on {new.patients} validation patients of {len(sites)} sites",
        metric=metric,
        candidate=left,
        reference=right,
    )


def first_version(verdict: Verdict) -> Verdict:
    """Promote a first version that hospitals have measured: there is no champion to beat.

    How it compares with the weights it started from stays in the reason. One that
    nobody measured is not promoted.
    """
    if verdict.metric is None:
        return verdict
    reason = f"it is the first version; {verdict.reason}"
    return verdict.model_copy(update={"promoted": True, "reason": reason})
