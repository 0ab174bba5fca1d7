"""Today's numbers of patients beside the declared ones, for the hospital's own eyes.

Nothing here is sent, and nothing is refused by it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator

from client.store.patient_source import StoreSource
from client.store.prepared_source import PreparedSource, SiteSource
from client.store.preparing_version import PreparingVersion
from client.store.site_store import SiteStore
from shared.phrases import counted
from shared.protocol.preparation import Preparation
from shared.settings.declared import (
    LEAST_UNDER,
    MOST_OVER,
    PLACES,
    DeclaredNumbers,
    rung_below,
)
from shared.settings.task import TaskSettings
from shared.tasks import make_task


def holds(today: int, declared: int) -> bool:
    """Say whether a declared number is near enough to today's, from 0.7 to 1.5 times it."""
    return LEAST_UNDER * declared <= today <= MOST_OVER * declared


def warnings(store: SiteStore, task: str, prepared_with: Collection[str]) -> list[str]:
    """Say which declared numbers of a task are far from today's; for the hospital's own eyes.

    From 0.7 to 1.5 times a number nothing is said, nor where it is the rung that would be
    proposed today (30 of 49). Nothing is refused by it, and nothing of it is sent.
    """
    return list(_warnings(store, task, prepared_with))


def _warnings(store: SiteStore, task: str, prepared_with: Collection[str]) -> Iterator[str]:
    numbers = store.config.declared.get(task, DeclaredNumbers())
    words = {"train": "train", "validation": "validate"}
    for place in PLACES:
        declared = numbers.of(place)
        if declared is None:
            continue
        today = usable_patients_here(store, task, store.source(place), prepared_with)
        # Where no rung below is nearer there is nothing to do about it.
        if not holds(today, declared) and rung_below(today) != declared:
            what = "steps go further than they should" if today > declared else "noise weighs more"
            yield (
                f"{counted(today, 'patient')} can {words[place]} {task} today, and "
                f"{declared} are declared"
                + (f" ({what})" if place == "train" else "")
                + ": declare anew with `osteofed site declare`; nothing is refused by it and "
                "nobody outside is told"
            )


def usable_patients_here(
    store: SiteStore, task: str, source: StoreSource, prepared_with: Collection[str]
) -> int:
    """Count the patients of a source that a task can use; no version runs for it."""
    from shared.training.batches import Patients
    from shared.training.compute import Compute

    made = make_task(TaskSettings(task=task))
    compute = Compute.from_settings(store.config.compute)
    versions = tuple(
        # Enough to count: no weights are read.
        PreparingVersion(
            store.arrays.parent,
            Preparation(settings=TaskSettings(task=name), digest="0" * 64),
            compute,
            {},
        )
        for name in prepared_with
    )
    of: SiteSource = source
    if versions:
        of = PreparedSource(source, made.inputs, versions, only_counts=True)
    return len(Patients(made, of))
