"""What a worker does with one study: read it, judge its images, lay its arrays down.

Arrays pass from workers to the writer as files of the store's own disk, so that they are
written once, by whoever made them, and only renamed by the writer. A job's files lie in a
folder of the job's own; names of patients or series are not in their names.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray

from client.store.arrays import levels_text, mapped, write_array
from shared.dicom.ct.earlier import EarlierSlices
from shared.dicom.read import read_group
from shared.dicom.read_study import ReadStudy
from shared.dicom.study_files import StudyGroup
from shared.dicom.verdicts import FileVerdict, judge
from shared.errors import StoreMissingError
from shared.quality import assess
from shared.records import QualityMark, View
from shared.settings.pacs import ReadingSettings

What = Literal["pixels", "regions", "hu"]
PREFIX: Final = "staging-"
OWNERS_FOLDER: Final = 0o700
OWNERS_FILE: Final = 0o600
NO_PIXELS: Final[NDArray[Any]] = np.empty((0, 0), np.float16)
NO_VOXELS: Final[NDArray[Any]] = np.empty((0, 0, 0), np.int16)


@dataclass(frozen=True)
class StagingJob:
    """One study to be read, and where its arrays are to lie."""

    group: StudyGroup
    folder: Path
    reading: ReadingSettings = field(default_factory=ReadingSettings)
    #: What is stored of its series of which more came, and where the voxels are.
    earlier: Mapping[str, EarlierSlices] = field(default_factory=dict)
    kept: Mapping[str, Path] = field(default_factory=dict)


@dataclass(frozen=True)
class VolumeExtent:
    """Rows and columns of a volume's array, and its mask's levels as in the catalogue."""

    rows: int
    columns: int
    levels: str


@dataclass(frozen=True)
class Staged:
    """One study as a worker hands it over.

    Attributes
    ----------
    study : ReadStudy or None
        Facts only: its arrays are empty, they lie in files (`staged_array`). None if no
        image and no volume could be taken.
    verdicts : list of FileVerdict
        One for each file of the study.
    marks : mapping of View to tuple of QualityMark
        What `shared.quality` found in each image.
    extents : mapping of str to VolumeExtent
        Of each volume, by SeriesInstanceUID.
    """

    study: ReadStudy | None
    verdicts: list[FileVerdict]
    marks: Mapping[View, tuple[QualityMark, ...]] = field(default_factory=dict)
    extents: Mapping[str, VolumeExtent] = field(default_factory=dict)


@contextmanager
def staging(store: Path) -> Iterator[Path]:
    """Make a folder for the arrays of one ingest, and clear what a killed one left.

    The caller is the only one who ingests into this store. The name is new each time, so
    that a worker that outlives a killed ingest for a moment finds no folder to write into.
    """
    for left in store.glob(PREFIX + "*"):
        shutil.rmtree(left, ignore_errors=True)
    folder = Path(tempfile.mkdtemp(prefix=PREFIX, dir=store))  # made with 0700
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def stage(job: StagingJob) -> Staged:
    """Read one study and lay its arrays into the job's folder.

    Raises
    ------
    OSError
        If the disk is full or may not be written to; whatever else goes wrong is one
        study's damage and never stops the batch.
    """
    try:
        return _staged(job)
    except OSError:
        raise
    except Exception as error:
        return _lost(job, type(error).__name__)


def _staged(job: StagingJob) -> Staged:
    if job.earlier:
        study, verdicts = read_group(job.group, job.reading, _opened(job))
    else:
        study, verdicts = read_group(job.group, job.reading)
    if study is None:
        return Staged(None, verdicts)
    job.folder.mkdir(mode=OWNERS_FOLDER, exist_ok=True)
    images, volumes, marks, extents = {}, {}, {}, {}
    for view, image in study.images.items():
        marks[view] = assess(image, view, study.vendor)
        _lay(job.folder, view.value, "pixels", image.pixels.astype(np.float16, copy=False))
        if image.regions is not None:
            _lay(job.folder, view.value, "regions", image.regions)
        images[view] = replace(image, pixels=NO_PIXELS, regions=None)
    for number, (uid, volume) in enumerate(study.volumes.items()):
        _lay(job.folder, f"volume{number}", "hu", volume.record.hu)
        if volume.record.regions is not None:
            _lay(job.folder, f"volume{number}", "regions", volume.record.regions)
        _, rows, columns = volume.record.hu.shape
        extents[uid] = VolumeExtent(rows, columns, levels_text(volume.record.regions))
        record = replace(volume.record, hu=NO_VOXELS, regions=None)
        volumes[uid] = replace(volume, record=record)
    return Staged(replace(study, images=images, volumes=volumes), verdicts, marks, extents)


def _opened(job: StagingJob) -> dict[str, EarlierSlices]:
    """What is stored of the study's series, with voxels where they can be had."""
    opened = dict(job.earlier)
    for series, path in job.kept.items():
        with suppress(StoreMissingError):
            opened[series] = replace(opened[series], hu=mapped(path))
    return opened


def crashed(job: StagingJob) -> Staged:
    """Result of a study whose reading ends the process that reads it."""
    return _lost(job, "its decoder crashed")


def _lost(job: StagingJob, detail: str) -> Staged:
    """Nothing of a study, and why, for each of its files."""
    return Staged(None, [judge(file.name, "damaged", detail) for file in job.group.files])


def staged_array(folder: Path, stem: str, what: What) -> Path:
    """File of one array of a job; there is none if the study has no such array."""
    return folder / f"{stem}.{what}.npy"


def _lay(folder: Path, stem: str, what: What, array: NDArray[Any]) -> None:
    write_array(staged_array(folder, stem, what), array)
