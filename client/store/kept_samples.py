"""Samples of studies that take long to make, kept in the store from round to round.

<site>/store/prepared/<task>/<key>/<study>.<facts>.sample    safetensors, 0600

A sample follows from its study, the network's settings, the versions that prepare the input,
and the programs: these are the folder's key. The study's facts stand in the file, and the
beginning of their digest in its name, so that names alone say which samples nobody can use any
more. What does not fit is made anew. Losing any of it costs time only.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from client.store.prepared_source import PreparedSource, SiteSource
from client.store.preparing_version import FOLDER, HOLDING
from shared.audit.keys import digest_of
from shared.runtime.files import OWNER_ONLY, appearing, leaves_room
from shared.runtime.libraries import code_digest, versions_of

if TYPE_CHECKING:
    from client.store.patient_source import StoreSource
    from client.store.site_store import SiteStore
    from shared.tasks.base import Task
    from shared.tasks.sample import Sample

#: Programs that a sample's bits follow from, besides our own.
LIBRARIES: Final = ("torch", "numpy", "scipy")
ENDING: Final = ".sample"
#: Entry of a file's metadata that holds the digest of its study's facts.
FACTS: Final = "facts"
#: What the header of a sample's file takes at most.
HEADER_BYTES: Final = 4096
#: Hexadecimal digits of the digest of a study's facts that stand in a file's name.
DIGITS: Final = 16


def is_kept(task: Task) -> bool:
    """Say whether samples of a task are kept: a CT series takes half a second, an image none."""
    return task.inputs.series


def sample_key(task: Task, source: SiteSource) -> str:
    """Digest of all that samples of a task follow from besides their studies."""
    settings = task.settings
    network = settings.network.model_dump(mode="json")
    named = digest_of({"task": settings.task, "network": network})
    versions = source.versions if isinstance(source, PreparedSource) else ()
    parts = [named, code_digest(), *versions_of(*LIBRARIES), *(one.key for one in versions)]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def sample_folder(store: SiteStore, task: Task, key: str) -> Path:
    """Where a store keeps samples of a task."""
    return store.arrays.parent / FOLDER / task.settings.task / key


def sample_bytes(task: Task) -> int:
    """What the file of a sample takes at most: every study's has the shapes of the example's."""
    from shared.tasks.sample import bytes_of

    return HEADER_BYTES + bytes_of(task.sample(task.example()))


@dataclass(frozen=True)
class SampleShelf:
    """Samples of the patients of one source; a `shared.training.batches.KeptSamples`.

    Parameters
    ----------
    folder : Path
        Of `sample_folder`. Nothing is kept once it is gone, as it had to make room.
    source : StoreSource
        Whose studies they are.
    """

    folder: Path
    source: StoreSource

    def find(self, patient: str, study: int) -> Sample | None:
        """Give a sample that was kept; None if it is not there, not whole or of other facts."""
        from safetensors import SafetensorError, safe_open

        try:
            with safe_open(self._path(patient, study), framework="pt") as file:
                if (file.metadata() or {}).get(FACTS) != self.source.facts_digest(patient, study):
                    return None
                return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        except (OSError, SafetensorError):
            return None

    def keep(self, patient: str, study: int, sample: Sample) -> None:
        """Keep a sample, whole or not at all."""
        from safetensors import SafetensorError
        from safetensors.torch import save_file

        from shared.tasks.sample import bytes_of

        facts = {FACTS: self.source.facts_digest(patient, study)}
        whole = {name: value.contiguous() for name, value in sample.items()}
        size = HEADER_BYTES + bytes_of(sample)
        path = self._path(patient, study)
        # A folder that was removed meanwhile, or a full disk: it is made again next time.
        with suppress(OSError, SafetensorError):
            if not (self.folder / HOLDING).exists() or not leaves_room(self.folder, size):
                return
            with appearing(path, durably=False) as part:
                part.touch(mode=OWNER_ONLY)
                save_file(whole, part, metadata=facts)
                part.chmod(OWNER_ONLY)

    def _path(self, patient: str, study: int) -> Path:
        return self.folder / _name(self.source, patient, study)


@dataclass(frozen=True)
class SampleShelves:
    """Samples of patients of several sources; a `shared.training.batches.KeptSamples`."""

    by_patient: Mapping[str, SampleShelf]

    def find(self, patient: str, study: int) -> Sample | None:
        """Give a sample that was kept, or None."""
        shelf = self.by_patient.get(patient)
        return None if shelf is None else shelf.find(patient, study)

    def keep(self, patient: str, study: int, sample: Sample) -> None:
        """Keep a sample, where there is room."""
        shelf = self.by_patient.get(patient)
        if shelf is not None:
            shelf.keep(patient, study, sample)


def names_of_samples(source: StoreSource) -> Iterator[str]:
    """Give the name of a sample's file for each study with a series, as its facts are now."""
    for patient, studies in source.studies_by_patient.items():
        for number, study in enumerate(studies):
            if source.volumes.get(study.uid):
                yield _name(source, patient, number)


def _name(source: StoreSource, patient: str, study: int) -> str:
    facts = source.facts_digest(patient, study)[:DIGITS]
    return f"{source.studies_by_patient[patient][study].uid}.{facts}{ENDING}"


def remove_other_samples(root: Path, names: Collection[str]) -> None:
    """Remove samples of all tasks whose names are not among these, and parts of samples.

    Their studies were taken out of the store, left out, or are not what they were. A part that
    another process writes at this moment goes too: its sample is made again next time.

    Parameters
    ----------
    root : Path
        Where a store keeps what was made of its studies.
    names : collection of str
        Of `names_of_samples`, over all splits.
    """
    for path in root.glob(f"*/*/*{ENDING}*"):
        if path.name not in names:
            with suppress(OSError):
                path.unlink(missing_ok=True)
