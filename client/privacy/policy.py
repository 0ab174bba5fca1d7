"""What may run inside this hospital: the site engineer's rules, checked before anything else."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, time

from shared.errors import CohortTooSmallError, PolicyRefusedError
from shared.metrics.released import WHOLE, ReleasedSums
from shared.phrases import counted
from shared.protocol.messages import Job
from shared.settings.files import SiteConfig


def permit_task(task: str, config: SiteConfig) -> None:
    """Refuse a task that the hospital does not take part in.

    Raises
    ------
    PolicyRefusedError
        If the task is not among ``policy.tasks``.
    """
    permitted = config.policy.tasks or ()
    if task not in permitted:
        raise PolicyRefusedError(
            f"this hospital does not take part in task {task!r} "
            f"(site.yaml: policy.tasks: {', '.join(permitted) or 'none'})"
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
        Declared number of patients who train the task (`client.privacy.declared`).

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
            f"{counted(steps, 'step was', 'steps were')} asked in one round (site.yaml: "
            f"policy.maximum_steps_per_round: {most})"
        )


def permit_mechanism(job: Job, config: SiteConfig) -> None:
    """Refuse noise or a sample rate outside the hospital's range.

    Beyond it a round is no training: it asks the accountant for what takes long to compute, or
    asks for next to nothing very often.
    """
    rules = config.policy
    least, most = rules.least_noise_multiplier, rules.largest_noise_multiplier
    if not least <= job.noise_multiplier <= most:
        raise PolicyRefusedError(
            f"a noise multiplier of {job.noise_multiplier:g} was asked (site.yaml: policy: from "
            f"least_noise_multiplier {least:g} to largest_noise_multiplier {most:g})"
        )
    if job.sample_rate < rules.least_sample_rate:
        raise PolicyRefusedError(
            f"a sample rate of {job.sample_rate:g} was asked (site.yaml: "
            f"policy.least_sample_rate: {rules.least_sample_rate:g})"
        )


def permit_memory(needed: int, config: SiteConfig) -> None:
    """Refuse what would take more memory than the hospital gives.

    Parameters
    ----------
    needed : int
        Bytes (`client.round.request_size`).
    config : SiteConfig
        ``policy.maximum_memory_gigabytes``, in 10⁹ bytes.
    """
    most = config.policy.maximum_memory_gigabytes
    if needed > most * 1e9:
        raise PolicyRefusedError(
            f"what is asked would take {needed / 1e9:.1f} GB of memory (site.yaml: "
            f"policy.maximum_memory_gigabytes: {most:g}); ask for smaller images or networks"
        )


def permit_cohort(config: SiteConfig, patients: int) -> None:
    """Refuse to train on so few patients that one of them would stand out.

    Held against the declared number where anything leaves, so that the refusal tells nothing
    of today's patients.
    """
    least = config.policy.minimum_patients
    if patients < least:
        raise CohortTooSmallError(
            f"{counted(patients, 'patient is', 'patients are')} there to train on (site.yaml: "
            f"policy.minimum_patients: {least}); take in more studies first"
        )


def permit_delta(config: SiteConfig, patients: int) -> None:
    """Refuse a delta at which losing one patient's data entirely could be allowed.

    The rule is ``delta <= 1 / (10 · patients)``, of declared patients.
    """
    most = largest_delta(patients)
    if config.privacy.delta > most:
        raise PolicyRefusedError(
            f"site.yaml: privacy.delta: {config.privacy.delta:g} is too large for "
            f"{counted(patients, 'patient')} (must be <= {most:.2g}, that is 1/(10·patients))"
        )


def largest_delta(patients: int) -> float:
    """The largest delta that `permit_delta` permits."""
    return 1.0 / (10 * max(patients, 1))


def permit_hours(config: SiteConfig, now: datetime | None = None) -> None:
    """Refuse work outside the hours that the hospital gives, by its own clock.

    Parameters
    ----------
    config : SiteConfig
        ``policy.hours``: ``"18:00-06:00"``, or None for any time.
    now : datetime, optional
        Local time; the clock's by default.

    Raises
    ------
    PolicyRefusedError
        Outside the hours; the sentence says when to ask again.
    """
    if config.policy.hours is None:
        return
    begins, ends = (time.fromisoformat(part) for part in config.policy.hours.split("-"))
    at = (now or datetime.now()).time()
    inside = begins <= at < ends if begins <= ends else at >= begins or at < ends
    if not inside:
        raise PolicyRefusedError(
            f"this hospital trains only at {config.policy.hours} of its own time (site.yaml: "
            "policy.hours); ask again then"
        )


def permit_evaluation(count_so_far: int, recent: int, config: SiteConfig) -> None:
    """Refuse to measure one more model on the validation patients.

    Sums of metrics are covered by no epsilon: a coordinator that may have crafted
    models measured without end learns each validation patient's value.

    Parameters
    ----------
    count_so_far : int
        Models that were measured for this task and run, over all messages and
        restarts: whoever counts must keep the count durably, and count a model
        before it is measured.
    recent : int
        Models measured for this task in the last 30 days, whatever run they were for: the
        coordinator chooses the names of runs.
    config : SiteConfig
        The hospital's own settings (``policy.maximum_evaluations_per_run`` and
        ``policy.maximum_evaluations_per_month``).

    Raises
    ------
    PolicyRefusedError
        If there were as many as the hospital allows.
    """
    most = config.policy.maximum_evaluations_per_run
    if count_so_far >= most:
        raise PolicyRefusedError(
            f"{counted(count_so_far, 'model was', 'models were')} measured for this task and "
            f"run already (site.yaml: policy.maximum_evaluations_per_run: {most})"
        )
    most = config.policy.maximum_evaluations_per_month
    if recent > most:
        raise PolicyRefusedError(
            f"{counted(recent - 1, 'model was', 'models were')} measured for this task in "
            f"30 days (site.yaml: policy.maximum_evaluations_per_month: {most})"
        )


def measures_round(recent: int, config: SiteConfig) -> bool:
    """Say whether the model of a round may be measured: rounds count like evaluations.

    A round can be made to cost next to nothing (few steps, much noise), so that epsilon
    alone does not bound how many models are measured. Past the limit a site goes on to
    train, and its sums stay.

    Parameters
    ----------
    recent : int
        Models measured for this task in the last 30 days, this one too.
    config : SiteConfig
        The hospital's own settings (``policy.maximum_evaluations_per_month``).
    """
    return recent <= config.policy.maximum_evaluations_per_month


def releasable(
    statistics: Mapping[str, float], released: ReleasedSums, config: SiteConfig
) -> tuple[dict[str, float], str]:
    """Keep of the sums of metrics what the hospital lets out.

    Sums over patients are not covered by differential privacy. Only those of the
    kinds of `shared.metrics.released` leave: the count of patients and their loss, and
    by cell a mean or a regression that the task names, over at least the smallest cell of
    *patients*. Everything else stays.

    Parameters
    ----------
    statistics : mapping of str to float
        Sums over the validation patients (`shared.tasks.base.Statistics`).
    released : ReleasedSums
        What the task may release.
    config : SiteConfig
        The hospital's settings (``policy.release_metrics``, ``policy.smallest_cell``).

    Returns
    -------
    tuple of dict and str
        What may leave, and why something of the list was withheld (empty: nothing
        was; what is not on the list never leaves and has no reason).
    """
    least = config.policy.smallest_cell
    if not config.policy.release_metrics:
        return {}, "release_metrics_off"
    patients = statistics.get("patients", 0.0)
    if patients < least:
        return {}, "too_few_patients"
    kept = {key: statistics[key] for key in WHOLE if key in statistics}
    withheld = ""
    for count, cell in released.cells_in(statistics).items():
        if released.is_whole(count, cell, patients) and cell[count] >= least:
            kept |= cell
        else:
            withheld = "small_cells_withheld"
    return kept, withheld
