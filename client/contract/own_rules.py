"""What of a site's own settings would make it refuse a task, whatever its data contract says."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

from client.privacy import policy
from client.privacy.declared import largest_number, training_number
from client.store.site_store import SiteStore
from shared.errors import CohortTooSmallError, PolicyRefusedError
from shared.phrases import counted
from shared.settings.task import TaskSettings


@dataclass(frozen=True)
class AgreedTask:
    """What is known of how a task would be trained.

    Attributes
    ----------
    settings : TaskSettings
        The agreement's, where they were given, otherwise the task's own.
    steps : int or None
        Steps of one round; None where the agreement's settings were not given.
    mode : str or None
        None where no agreement was given.
    prepared_with : mapping of str to str
        Digests of the versions that prepare its input, by task.
    """

    settings: TaskSettings
    steps: int | None
    mode: Literal["private", "plain"] | None
    prepared_with: Mapping[str, str]


def own_refusals(store: SiteStore, agreed: AgreedTask) -> list[str]:
    """Say why the site would refuse a round by its own settings, and what to do.

    They follow from ``site.yaml`` and the agreement alone, not from today's patients. The
    sentences are for the site's engineer and are not sent. The refusals themselves are those of
    `client.privacy.policy`.
    """
    return [*_of_tasks(store, agreed), *_of_training(store, agreed), *_of_patients(store, agreed)]


def _of_tasks(store: SiteStore, agreed: AgreedTask) -> Iterator[str]:
    for task in (agreed.settings.task, *sorted(agreed.prepared_with)):
        if _refuses(policy.permit_task, task, store.config):
            yield (
                f"policy.tasks in site.yaml does not name {task}: add it there if this hospital "
                "takes part in it"
            )


def _of_training(store: SiteStore, agreed: AgreedTask) -> Iterator[str]:
    config = store.config
    if agreed.mode == "plain" and _refuses(policy.permit_plain, config):
        yield (
            "the agreement trains without privacy, and privacy.allow_plain_runs in site.yaml is "
            "false: ask the consortium for private training"
        )
    if agreed.steps is not None and _refuses(policy.permit_steps, agreed.steps, config):
        yield (
            f"the agreement asks for {counted(agreed.steps, 'step')} in a round, and "
            "policy.maximum_steps_per_round in site.yaml is "
            f"{config.policy.maximum_steps_per_round}: ask the consortium for fewer, or raise it"
        )


def _of_patients(store: SiteStore, agreed: AgreedTask) -> Iterator[str]:
    config, task = store.config, agreed.settings.task
    if _refuses(training_number, config, task):
        yield (
            f"this hospital has not declared how many patients train {task} (declared in "
            "site.yaml): run `osteofed site declare`"
        )
        return
    declared, largest = training_number(config, task), largest_number(config)
    if _refuses(policy.permit_cohort, config, declared):
        yield (
            f"{counted(declared, 'patient')} are declared to train {task}, and "
            f"policy.minimum_patients in site.yaml is {config.policy.minimum_patients}: take in "
            "more studies, with what the task needs of each, and run `osteofed site declare`"
        )
    if agreed.mode != "plain" and _refuses(policy.permit_delta, config, largest):
        yield (
            f"privacy.delta in site.yaml is {config.privacy.delta:g}, too large for "
            f"{largest} declared patients: set it to at most {policy.largest_delta(largest):.2g}"
        )


def _refuses(rule: Callable[..., object], *facts: object) -> bool:
    """Say whether a rule of `client.privacy.policy` refuses."""
    try:
        rule(*facts)
    except (PolicyRefusedError, CohortTooSmallError):
        return True
    return False
