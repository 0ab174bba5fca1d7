"""Patients of a site as a task learns from them, with the samples that its store keeps."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from client.contract.data_contract import versions_named
from client.store.kept_samples import SampleShelf, SampleShelves
from client.store.prepared_room import keep_samples_in_room

if TYPE_CHECKING:
    from client.store.prepared_source import SiteSource
    from client.store.site_store import SiteStore
    from shared.records import PatientSource
    from shared.tasks.base import Task
    from shared.training.batches import Patients


def patients_of(
    task: Task, source: PatientSource, parts: Sequence[tuple[SiteStore, SiteSource]]
) -> Patients:
    """Give patients whose samples are made once, where that takes long and there is room.

    Parameters
    ----------
    task : Task
        Whose samples.
    source : PatientSource
        The patients.
    parts : sequence of (SiteStore, SiteSource)
        The stores that they are of, and their patients in each.
    """
    from shared.training.batches import Patients

    shelves: dict[str, SampleShelf] = {}
    for store, own in parts:
        shelf = keep_samples_in_room(store, task, own, versions_named(store.folder))
        if shelf is not None:
            shelves |= dict.fromkeys(own.patients, shelf)
    return Patients(task, source, SampleShelves(shelves) if shelves else None)
