"""Patients of one split whose studies are completed by versions of other tasks.

What somebody drew is used where it exists, otherwise what the versions find.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from client.store.patient_source import StoreSource
from client.store.preparing_version import PreparingVersion, undrawn, without_map
from shared.findings.completion import completed, findings_of
from shared.findings.findings import Findings, RegionMap, found_in_order, join
from shared.records import StudyRecord
from shared.tasks import task_class
from shared.tasks.inputs import TaskInputs

if TYPE_CHECKING:
    from shared.tasks.base import Task


@dataclass(frozen=True)
class PreparedSource:
    """A `shared.records.PatientSource` over the patients of another, none more and none fewer.

    Guarantee
    ---------
    What it gives of a patient is a fixed function of that patient's own studies: the versions,
    the programs and the device are named by `digest`, nothing is random, and no other
    patient's data are read. An image in which nothing was found gets an empty map: who is
    counted follows from what the store holds, and not from what was found. Slices that a version
    marks are given to the versions after it and to no study, for the same reason. So whatever is
    promised per patient of training on it (`shared.training.local_round.train_private`) is
    promised of the source below as well, and costs the same. Nothing is promised of who
    chooses the versions: a coordinator that chooses their weights chooses that function, as it
    chooses the weights that training starts from.

    Parameters
    ----------
    source : StoreSource
        Patients of one split.
    inputs : TaskInputs
        Of the task that is prepared: only the images and series that it reads are completed.
    versions : tuple of PreparingVersion
        Each after those whose findings it needs.
    only_counts : bool
        Give empty maps and run no version: enough to count patients, and all that may be done
        before privacy is reserved. How long a network takes, or whether it fails, tells of the
        patients whom it reads.
    """

    source: StoreSource
    inputs: TaskInputs
    versions: tuple[PreparingVersion, ...]
    only_counts: bool = False

    @property
    def patients(self) -> Sequence[str]:
        """Pseudonyms, sorted."""
        return self.source.patients

    def studies(self, patient: str) -> Sequence[StudyRecord]:
        """Return a patient's completed studies, oldest first; an unknown one is a KeyError."""
        return [self._completed(study) for study in self.source.studies(patient)]

    def digest(self) -> str:
        """SHA-256 over everything that training reads of these patients, and what prepares it."""
        parts = [self.source.digest(), *(version.key for version in self.versions)]
        return hashlib.sha256("|".join(parts).encode()).hexdigest()

    def _completed(self, study: StudyRecord) -> StudyRecord:
        # Counting asks only whether there is a map, which needs no array.
        lacking = without_map if self.only_counts else undrawn
        outlining = [one for one in self.versions if one.task.outlines]
        reached = {name for one in outlining for name in lacking(study, one.task.inputs)}
        grids = lacking(study, self.inputs)
        wanted = {name: shape for name, shape in grids.items() if name in reached}
        if not wanted:
            return study
        if self.only_counts:
            maps = _empty_maps(wanted)
        else:
            found = self._found(study).maps
            maps = {name: found[name] for name in wanted if name in found}
        return completed(study, findings_of(study, maps))

    def _found(self, study: StudyRecord) -> Findings:
        """What all versions find, each given what those before it found."""
        found = found_in_order(
            (one.task.name, one.task.after, partial(one.findings, study)) for one in self.versions
        )
        return join(found.values())


def lacks_findings(task: Task, source: StoreSource) -> bool:
    """Say whether a patient could be used if somebody had drawn, or a version found, regions."""
    if not any(task_class(name).outlines for name in task.after):
        return False
    studies = (study for patient in source.patients for study in source.studies(patient))
    unused = (study for study in studies if not task.uses(study))
    return any(task.uses(_with_empty_maps(study, task)) for study in unused)


def _with_empty_maps(study: StudyRecord, task: Task) -> StudyRecord:
    return completed(study, findings_of(study, _empty_maps(without_map(study, task.inputs))))


def _empty_maps(grids: Mapping[str, tuple[int, ...]]) -> dict[str, RegionMap]:
    return {name: np.broadcast_to(np.uint8(0), shape) for name, shape in grids.items()}


#: What a hospital trains and measures on.
SiteSource = StoreSource | PreparedSource
