"""What may run inside this hospital: the site engineer's rules, checked before anything else."""

from __future__ import annotations

from shared.config import SiteConfig
from shared.errors import CohortTooSmallError, PolicyRefusedError
from shared.protocol import Job


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


def releasable(
    statistics: dict[str, float], config: SiteConfig, patients: int
) -> tuple[dict[str, float], str]:
    """Keep of the sums of metrics what the hospital lets out.

    Sums over patients are not covered by differential privacy. They are withheld
    as a whole when the hospital releases no metrics or when they are over fewer
    patients than its smallest cell.

    Parameters
    ----------
    statistics : dict of str to float
        Sums over the validation patients.
    config : SiteConfig
        The hospital's settings (``policy.release_metrics``, ``policy.smallest_cell``).
    patients : int
        Patients the sums are over.

    Returns
    -------
    tuple of dict and str
        What may leave, and why something was withheld (empty: nothing was).
    """
    if not config.policy.release_metrics:
        return {}, "release_metrics_off"
    if patients < config.policy.smallest_cell:
        return {}, "cell_too_small"
    return dict(statistics), ""
