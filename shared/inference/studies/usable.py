"""Which studies of a folder some task reads, and what to say where there is none."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from shared.errors import InputEmptyError, InputMissingError, InputUnreadableError, OsteofedError
from shared.phrases import counted, listed
from shared.records import Modality, modality_of
from shared.settings.files import LabelColumns
from shared.settings.pacs import ReadingSettings

if TYPE_CHECKING:
    from shared.dicom.read import ReadResult
    from shared.dicom.read_study import ReadStudy
    from shared.dicom.verdicts import FileVerdict
    from shared.tasks.base import Task


@dataclass(frozen=True)
class UsableStudies:
    """Studies that some task reads, and the files that were not taken."""

    studies: Sequence[ReadStudy]
    not_taken: Sequence[FileVerdict]

    @property
    def modalities(self) -> frozenset[Modality]:
        """Kinds of images that are among them."""
        return frozenset(one for study in self.studies for one in study.modalities)


def check_folder(study_dir: Path) -> None:
    """Refuse a folder that is not there or has no file.

    Raises
    ------
    InputMissingError, InputEmptyError
        See above.
    """
    if not study_dir.is_dir():
        raise InputMissingError(f"{study_dir}: no such folder (a folder of DICOM files expected)")
    if not any(path.is_file() for path in study_dir.rglob("*")):
        raise InputEmptyError(f"{study_dir}: holds no files (DICOM files of a study expected)")


def usable_studies(
    study_dir: Path,
    tasks: Iterable[type[Task]],
    *,
    labels: Path | None = None,
    columns: LabelColumns | None = None,
    reading: ReadingSettings | None = None,
    headers: bool = False,
) -> UsableStudies:
    """Read a folder, and keep of its studies what some task reads.

    Parameters
    ----------
    study_dir : Path
        DICOM files of one or several studies, and the hospital's tables.
    tasks : iterable of type of Task
        Those that may read.
    labels : Path, optional
        Folder of the hospital's tables, if they are not beside the images.
    columns : LabelColumns, optional
        Names of the hospital's columns.
    reading : ReadingSettings, optional
        What the hospital says of its makers and scan names.
    headers : bool
        Whether each study keeps its files' headers.

    Raises
    ------
    InputMissingError, InputEmptyError, InputUnreadableError
        If there is no folder, nothing in it that a task reads, or nothing of it can be read.
    """
    from shared.dicom.read import read_study_folder

    check_folder(study_dir)
    result = read_study_folder(study_dir, columns, reading, headers=headers)
    readable = frozenset(one for task in tasks for one in task.inputs.modalities)
    usable = _with(readable, result.studies)
    if not usable:
        raise _nothing_usable(study_dir, result, readable)
    not_taken = [verdict for verdict in result.files if verdict.verdict != "taken"]
    return UsableStudies(_with_tables(usable, labels, columns), not_taken)


def _with(readable: frozenset[Modality], studies: Sequence[ReadStudy]) -> list[ReadStudy]:
    """Keep of the studies what some task reads, for example DXA scans and no CT beside them."""
    kept = []
    for study in studies:
        images = {v: image for v, image in study.images.items() if modality_of(v) in readable}
        volumes = study.volumes if Modality.CT in readable else {}
        if images or volumes:
            kept.append(replace(study, images=images, volumes=volumes))
    return kept


def _nothing_usable(
    study_dir: Path, result: ReadResult, readable: frozenset[Modality]
) -> OsteofedError:
    """Say why no study came out of a folder: nothing of ours, or all of it damaged."""
    if result.studies:
        volumes = sum(len(study.volumes) for study in result.studies)
        images = sum(len(study.images) for study in result.studies)
        wanted = listed(sorted(readable))
        return InputEmptyError(
            f"{study_dir}: holds {volumes} CT series and {counted(images, 'radiograph')} but no "
            f"{wanted} "
            f"(the models read {wanted}; give the folder of such an export)"
        )
    reasons: dict[str, int] = {}
    for verdict in result.files:
        reasons[verdict.sentence] = reasons.get(verdict.sentence, 0) + 1
    most = sorted(reasons.items(), key=lambda item: -item[1])[:3]
    words = "; ".join(f"{count} × {sentence}" for sentence, count in most) or "no file"
    text = f"{study_dir}: no study could be read ({words})"
    damaged = any(
        verdict.verdict == "refused" and verdict.reason not in ("not_dicom", "media_index")
        for verdict in result.files
    )
    return InputUnreadableError(text) if damaged else InputEmptyError(text)


def _with_tables(
    studies: list[ReadStudy], labels: Path | None, columns: LabelColumns | None
) -> list[ReadStudy]:
    """Join the tables of a folder apart to the studies, by patient and day."""
    if labels is None:
        return studies
    from shared.dicom.read import join_labels
    from shared.dicom.scan import scan_folder

    joined, _, _ = join_labels(studies, scan_folder(labels, columns or LabelColumns()).rows)
    return joined
