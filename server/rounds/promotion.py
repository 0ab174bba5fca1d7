"""Whether a candidate becomes champion: judged on the hospitals' validation patients.

The pooled metric alone would let one hospital with a lie, or with most of the patients,
promote what is worse for all others. A candidate must also be no worse at more than half
of the sites: what one site says counts once there, whatever number it says.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

from server.state.result import Measured, Verdict
from shared.errors import AggregationRefusedError
from shared.metrics.released import NEVER_NEGATIVE, ReleasedSums
from shared.metrics.statistics import add_statistics
from shared.phrases import counted

if TYPE_CHECKING:
    from shared.tasks.base import Task

#: Sums by site.
BySite = Mapping[str, Mapping[str, float]]
#: No honest sum, and no metric of honest sums, is beyond this.
LARGEST: Final = 1e12


def check_sums(task: Task, statistics: Mapping[str, float], most_patients: int) -> None:
    """Refuse sums of one site that would break or distort what is made of all sites' sums.

    A site may send nothing (withheld) or the sums that the task may release
    (`shared.metrics.released`): each cell whole, its count a whole number within the
    patients, squares and sizes not negative, and the metrics made of them finite. What
    passes here can be added to any other site's that passed, and measured.

    Parameters
    ----------
    task : Task
        Whose metrics are made of them.
    statistics : mapping of str to float
        One site's sums.
    most_patients : int
        Most patients that a site may say it measured.

    Raises
    ------
    AggregationRefusedError
        Naming the sum that is wrong.
    """
    if not statistics:
        return
    for key, value in statistics.items():
        if key not in task.released.keys:
            raise AggregationRefusedError(f"sum {key[:60]!r} is none that a site may send")
        if not abs(value) <= LARGEST:
            raise AggregationRefusedError(f"{key} is {value:g} (must be within {LARGEST:g})")
    patients = statistics.get("patients", 0.0)
    if not 1 <= patients <= most_patients or patients != int(patients):
        raise AggregationRefusedError(
            f"patients in the sums: {patients:g} (must be a whole number up to "
            f"quorum.maximum_patients_per_site: {most_patients})"
        )
    for count, cell in task.released.cells_in(statistics).items():
        _check_cell(task.released, count, cell, patients)
    try:
        measured = measure(task, statistics)
    except (ArithmeticError, KeyError, ValueError, TypeError, IndexError) as error:
        raise AggregationRefusedError(
            f"no metrics follow from the sums ({type(error).__name__}: {str(error)[:60]})"
        ) from None
    for name, value in measured.metrics.items():
        if not abs(value) <= LARGEST:
            raise AggregationRefusedError(f"{name} would be {value:g} (must be finite)")


def _check_cell(
    released: ReleasedSums, count: str, cell: Mapping[str, float], patients: float
) -> None:
    if not released.is_whole(count, cell, patients):
        whole = ", ".join(released.cells[count])
        raise AggregationRefusedError(
            f"the sums of {count} are not whole (must be {whole}, over no more patients than "
            f"{patients:g})"
        )
    if cell[count] < 1 or cell[count] != int(cell[count]):
        raise AggregationRefusedError(f"{count} is {cell[count]:g} (must be a count of patients)")
    for key, value in cell.items():
        if key.partition(":")[2] in NEVER_NEGATIVE and value < 0:
            raise AggregationRefusedError(f"{key} is {value:g} (must not be negative)")


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
    must be worth its change. One that is better over all patients must be no worse
    at more than half of the sites besides.

    Parameters
    ----------
    task : Task
        Says which metric, and whether more is better.
    candidate, reference : mapping of str to mapping
        Sums by site.
    against : str
        What the reference is, for the sentence: ``the champion (version 3)``.

    Returns
    -------
    Verdict
        With the reason.
    """
    sites = [s for s in sorted(candidate) if candidate[s] and reference.get(s)]
    if not sites:
        return Verdict(
            promoted=False,
            reason=f"no hospital released what is needed to compare it with {against} (each "
            "releases sums over at least policy.smallest_cell validation patients, 10 by default)",
        )
    new = measure(task, pool({site: candidate[site] for site in sites}))
    old = measure(task, pool({site: reference[site] for site in sites}))
    metric, more_is_better = task.headline.metric, task.headline.more_is_better
    if metric in new.metrics and metric in old.metrics:
        left, right = new.metrics[metric], old.metrics[metric]
    elif new.loss is not None and old.loss is not None:
        metric, more_is_better, left, right = "loss", False, new.loss, old.loss
    else:
        return Verdict(promoted=False, reason=f"neither {metric} nor a loss was released")
    better = left > right if more_is_better else left < right
    word = "better than" if better else "not better than"
    many = counted(len(sites), "site")
    reason = (
        f"its {metric} of {left:.4g} is {word} the {right:.4g} of {against}, "
        f"on {counted(new.patients, 'validation patient')} of {many}"
    )
    worse = [s for s in sites if _is_worse(task, metric, candidate[s], reference[s])]
    most_agree = 2 * len(worse) < len(sites)
    if better and not most_agree:
        reason += (
            f", but it is worse at {len(worse)} of them ({', '.join(worse)}; "
            "more than half must find it no worse)"
        )
    return Verdict(
        promoted=better and most_agree,
        reason=reason,
        metric=metric,
        candidate=left,
        reference=right,
    )


def _is_worse(
    task: Task, metric: str, candidate: Mapping[str, float], reference: Mapping[str, float]
) -> bool:
    """Compare two models at one site; by the loss where it did not release the metric."""
    new, old = measure(task, candidate), measure(task, reference)
    if metric in new.metrics and metric in old.metrics:
        left, right = new.metrics[metric], old.metrics[metric]
        headline = task.headline
        more_is_better = headline.metric == metric and headline.more_is_better
        return left < right if more_is_better else left > right
    return new.loss is not None and old.loss is not None and new.loss > old.loss


def first_version(verdict: Verdict) -> Verdict:
    """Promote a first version that hospitals have measured: there is no champion to beat.

    How it compares with the weights it started from stays in the reason. One that
    nobody measured is not promoted.
    """
    if verdict.metric is None:
        return verdict
    reason = (
        f"it is the first version, and became champion because there was none; {verdict.reason}"
    )
    return verdict.model_copy(update={"promoted": True, "reason": reason})
