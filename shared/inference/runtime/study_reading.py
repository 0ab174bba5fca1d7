"""One study, given as a folder or as DICOM in memory, read with the versions that are held."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Final

from shared.errors import SeveralStudiesError
from shared.findings.findings import Findings
from shared.inference.predict import read_study
from shared.inference.runtime.held import HeldVersions, ReadingManner
from shared.inference.schema import Prediction
from shared.inference.studies.usable import usable_studies

if TYPE_CHECKING:
    from shared.dicom.read_study import ReadStudy
    from shared.dicom.verdicts import FileVerdict

#: Called with what is done next.
Progress = Callable[[str], None]
FILES: Final = "reading files"
NETWORKS: Final = "running networks"


@dataclass(frozen=True)
class ReadStudyAnswer:
    """What was found in one study, and by which versions; it holds identities."""

    prediction: Prediction
    report: str
    findings: Findings
    study: ReadStudy
    not_taken: tuple[FileVerdict, ...]
    versions: HeldVersions


@contextlib.contextmanager
def spooled(files: Iterable[bytes]) -> Iterator[Path]:
    """Put DICOM that is in memory into a folder of the owner's alone, as long as it is needed."""
    with TemporaryDirectory(prefix="osteofed-") as room:
        for number, content in enumerate(files, start=1):
            (Path(room) / f"{number:06d}.dcm").write_bytes(content)
        yield Path(room)


def answer_study(
    folder: Path, versions: HeldVersions, manner: ReadingManner, progress: Progress | None = None
) -> ReadStudyAnswer:
    """Read the one study of a folder.

    Parameters
    ----------
    folder : Path
        Its DICOM files (`spooled` for what is in memory).
    versions : HeldVersions
        What reads.
    manner : ReadingManner
        How.
    progress : callable, optional
        Called before each stage; what it raises ends the reading.

    Raises
    ------
    InputMissingError, InputEmptyError, InputUnreadableError
        See `usable_studies`.
    SeveralStudiesError
        If the files are of more than one study or patient.
    NoChampionError
        If no version that is held reads such a study.
    """
    told = progress or (lambda stage: None)
    told(FILES)
    usable = usable_studies(
        folder,
        versions.tasks.values(),
        columns=manner.columns,
        reading=manner.reading,
        headers=manner.headers,
    )
    if len(usable.studies) != 1:
        raise SeveralStudiesError(
            f"the files are of {len(usable.studies)} studies (must be one; send each by itself, so "
            "that no result can be taken for another patient's)"
        )
    wanted = [
        name for name, task in versions.tasks.items() if task.inputs.concern(usable.modalities)
    ]
    ready = [versions.ready[name] for name in wanted if name in versions.ready]
    if not ready:
        raise versions.missing[wanted[0]]
    absent = [versions.tasks[name] for name in wanted if name not in versions.ready]
    told(NETWORKS)
    [study] = usable.studies
    prediction, report, findings = read_study(study, ready, manner.device, absent, manner.hip)
    return ReadStudyAnswer(prediction, report, findings, study, tuple(usable.not_taken), versions)
