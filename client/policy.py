"""What may run inside this hospital: the site engineer's rules, checked before anything else."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

from shared.config import SiteConfig
from shared.errors import CohortTooSmallError, PolicyRefusedError
from shared.protocol import Job

#: Bins of a histogram of scores (`shared.metrics.ranking`): positives and negatives.
HISTOGRAM_BIN: Final = re.compile(r"[pn]\d+")


def permit_task(task: str, config: SiteConfig) -> None:
    """Refuse a task that the hospital does not take part in.

    Raises
    ------
    PolicyRefusedError
        If the task is not among ``policy.tasks``.
    """
    if task not in config.policy.tasks:
        raise PolicyRefusedError(
            f"this hospital does not take part in task {task!r} "
            f"(site.yaml: policy.tasks: {', '.join(config.policy.tasks)})"
        )


def permit_job(job: Job, config: SiteConfig, patients: int) -> None:
    """Refuse a round that breaks a rule of the hospital.

    Parameters
    ----------
    job : Job
        What the coordinator asks.
    config : SiteConfig
        The hospital's own settings.
    patients : int
        Patients of the hospital's training split.

    Raises
    ------
    PolicyRefusedError
        If the task, the mode, the number of steps or the delta is not permitted.
    CohortTooSmallError
        If there are fewer patients than the hospital demands.
    """
    permit_task(job.task, config)
    if job.mode == "plain":
        permit_plain(config)
    permit_steps(job.steps, config)
    permit_cohort(config, patients)
    if job.mode == "private":
        permit_delta(config, patients)


def permit_plain(config: SiteConfig) -> None:
    """Refuse training without privacy unless the hospital allows it."""
    if not config.privacy.allow_plain_runs:
        raise PolicyRefusedError(
            "this hospital does not train without privacy "
            "(site.yaml: privacy.allow_plain_runs is false)"
        )


def permit_steps(steps: int, config: SiteConfig) -> None:
    """Refuse more steps in one round than the hospital allows."""
    most = config.policy.maximum_steps_per_round
    if steps > most:
        raise PolicyRefusedError(
            f"{steps} steps were asked in one round (site.yaml: "
            f"policy.maximum_steps_per_round: {most})"
        )


def permit_cohort(config: SiteConfig, patients: int) -> None:
    """Refuse to train on so few patients that one of them would stand out."""
    least = config.policy.minimum_patients
    if patients < least:
        raise CohortTooSmallError(
            f"there are {patients} patients to train on (site.yaml: policy.minimum_patients: "
            f"{least}); take in more studies first"
        )


def permit_delta(config: SiteConfig, patients: int) -> None:
    """Refuse a delta at which losing one patient's data entirely could be allowed.

    The rule is ``delta <= 1 / (10 · patients)``.
    """
    most = 1.0 / (10 * max(patients, 1))
    if config.privacy.delta > most:
        raise PolicyRefusedError(
            f"site.yaml: privacy.delta: {config.privacy.delta:g} is too large for {patients} "
            f"patients (must be <= {most:.2g}, that is 1/(10·patients))"
        )


def releasable(statistics: Mapping[str, float], config: SiteConfig) -> tuple[dict[str, float], str]:
    """Keep of the sums of metrics what the hospital lets out.

    Sums over patients are not covered by differential privacy. They are withheld
    as a whole when the hospital releases no metrics or when they are over fewer
    patients than its smallest cell, and one by one where a single sum is (few
    patients with a region drawn, few fractured vertebrae).

    Parameters
    ----------
    statistics : mapping of str to float
        Sums over the validation patients (`shared.tasks.base.Statistics`).
    config : SiteConfig
        The hospital's settings (``policy.release_metrics``, ``policy.smallest_cell``).

    Returns
    -------
    tuple of dict and str
        What may leave, and why something was withheld (empty: nothing was).
    """
    least = config.policy.smallest_cell
    if not config.policy.release_metrics:
        return {}, "release_metrics_off"
    if statistics.get("patients", 0.0) < least:
        return {}, "too_few_patients"
    cells = cell_sizes(statistics)
    small = {cell for cell, size in cells.items() if size < least}
    kept = {key: value for key, value in statistics.items() if cell_of(key) not in small}
    return kept, "small_cells_withheld" if len(kept) < len(statistics) else ""


def cell_of(key: str) -> str:
    """Name the cell that a sum belongs to: ``NAME:sum`` or ``NAME_sum``/``NAME_n``."""
    if ":" in key:
        return key.partition(":")[0]
    return key.removesuffix("_n").removesuffix("_sum")


def cell_sizes(statistics: Mapping[str, float]) -> dict[str, float]:
    """Count what is behind each cell: its ``n``, or the rarer class of a histogram.

    A histogram of scores (``NAME:p<bin>`` and ``NAME:n<bin>``) is one cell of each
    class; its single bins are not looked at.
    """
    sizes: dict[str, float] = {}
    classes: dict[str, dict[str, float]] = {}
    for key, value in statistics.items():
        name, colon, rest = key.partition(":")
        if key.endswith("_n") or (colon and rest == "n"):
            sizes[cell_of(key)] = value
        elif colon and HISTOGRAM_BIN.fullmatch(rest):
            counts = classes.setdefault(name, {"p": 0.0, "n": 0.0})
            counts[rest[0]] += value
    return sizes | {name: min(counts.values()) for name, counts in classes.items()}
