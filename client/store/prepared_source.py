"""Patients of one split whose studies are completed by versions of other tasks.

What somebody drew is used where it exists, otherwise what the versions find.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from client.store.patient_source import StoreSource
from client.store.preparing_version import PreparingVersion, undrawn
from shared.findings.completion import completed
from shared.findings.findings import Findings, join
from shared.records import StudyRecord, View
from shared.tasks.inputs import TaskInputs


@dataclass(frozen=True)
class PreparedSource:
    """A `shared.records.PatientSource` over the patients of another, none more and none fewer.

    Guarantee
    ---------
    What it gives of a patient is a fixed function of that patient's own studies: the versions,
    the programs and the device are named by `digest`, nothing is random, and no other
    patient's data are read. An image in which nothing was found gets an empty map: who is
    counted follows from what the store holds, and not from what was found. So whatever is
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
        wanted = undrawn(study, self.inputs).keys()
        if not any(wanted & undrawn(study, one.task.inputs).keys() for one in self.versions):
            return study
        if self.only_counts:
            return completed(study, _empty_maps(study, self.inputs, self.versions))
        found: dict[str, Findings] = {}
        for version in self.versions:
            before = join(found[name] for name in version.task.after if name in found)
            found[version.task.name] = version.maps(study, before)
        maps = join(found.values())
        images = {view: one for view, one in maps.region_maps.items() if view.value in wanted}
        volumes = {uid: one for uid, one in maps.volume_maps.items() if uid in wanted}
        return completed(study, Findings(region_maps=images, volume_maps=volumes))


def _empty_maps(
    study: StudyRecord, inputs: TaskInputs, versions: tuple[PreparingVersion, ...]
) -> Findings:
    """Give an empty map wherever a version would give one."""
    wanted = undrawn(study, inputs)
    made = {name for one in versions for name in undrawn(study, one.task.inputs)}
    empty = {
        name: np.broadcast_to(np.uint8(0), shape) for name, shape in wanted.items() if name in made
    }
    return Findings(
        region_maps={View(name): one for name, one in empty.items() if name in study.images},
        volume_maps={name: one for name, one in empty.items() if name in study.volumes},
    )


#: What a hospital trains and measures on.
SiteSource = StoreSource | PreparedSource
