"""One complete study after another is read; its answer is on the disk before it is sent."""

from __future__ import annotations

import errno
from collections.abc import Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Final, Protocol

from pydicom import dcmread

from client.bedside.work.identities import WhoseObject, two_of, whose
from client.bedside.work.rooms import BedsideRooms
from client.bedside.work.sendings import ResultEntry, sent_before, store_results
from client.bedside.work.states import StudyEvent
from client.bedside.work.work_list import ToRead, WorkList
from shared.dicom.attributes import quietly, text_of
from shared.dicom.parsing import parse
from shared.dicom.verdicts import SetAsideError
from shared.errors import (
    DiskFullError,
    ModelIncompatibleError,
    NoChampionError,
    OsteofedError,
    ReadersBusyError,
    RegistryUnavailableError,
)
from shared.records import Modality
from shared.runtime.files import is_disk_full

#: What is of the node or the models, and not of the study: it is read again later.
OF_THE_NODE: Final = (
    DiskFullError,
    NoChampionError,
    ModelIncompatibleError,
    ReadersBusyError,
    RegistryUnavailableError,
)
LATER_SECONDS: Final = 30.0
WRONG_RESULT: Final = "an answer was made that is not of this patient and study; it is not sent"


@dataclass(frozen=True)
class AnswerObject:
    """One DICOM object of an answer, as bytes of a file (PS3.10).

    `kind` and `part` together are one of an answer's: ``sr`` and nothing, ``seg`` and a view.
    """

    kind: str
    part: str
    sop_uid: str
    sop_class_uid: str
    series_uid: str
    data: bytes

    def __repr__(self) -> str:
        """Leave the content out: it names a patient."""
        return f"AnswerObject({self.kind})"


class StudyReader(Protocol):
    """Reads one study."""

    def modalities(self) -> frozenset[Modality]:
        """Kinds of images that it reads now."""

    def answer(self, folder: Path, earlier: Sequence[ResultEntry]) -> Sequence[AnswerObject]:
        """Read the study in a folder.

        Parameters
        ----------
        folder : Path
            Its wanted instances.
        earlier : sequence of ResultEntry
            What was sent of it before, which this answer corrects.

        Raises
        ------
        OsteofedError
            If it cannot be read; the sentence holds nothing of the patient.
        """


@dataclass
class Answering:
    """Reads what is ready.

    Attributes
    ----------
    work_list : WorkList
    rooms : BedsideRooms
    reader : StudyReader
    destinations : tuple of str
        Names of those that results are sent to.
    """

    work_list: WorkList
    rooms: BedsideRooms
    reader: StudyReader
    destinations: tuple[str, ...]

    def answer_next(self) -> bool:
        """Read the study that has waited longest; False if none waits."""
        work = self.work_list.begin()
        if work is None:
            return False
        try:
            self._answer(work)
        except OF_THE_NODE as error:
            self.work_list.end(work, StudyEvent.AGAIN, str(error), LATER_SECONDS)
        except OsteofedError as error:
            said = str(error).replace(str(self.rooms.source_of(work.name)), "the study")
            self.work_list.end(work, StudyEvent.UNREADABLE, said)
        except OSError as error:
            why = "the disk is full" if is_disk_full(error, self.rooms.folder) else _named(error)
            self.work_list.end(work, StudyEvent.AGAIN, why, LATER_SECONDS)
        except Exception as error:
            # The type only: a message might hold something of the patient.
            self.work_list.end(work, StudyEvent.UNREADABLE, f"reading failed: {_named(error)}")
        return True

    def _answer(self, work: ToRead) -> None:
        conflict = self._conflict(work)
        if conflict:
            self.work_list.end(work, StudyEvent.CONFLICT, conflict)
            return
        earlier = sent_before(self.work_list, work.id)
        objects = self.reader.answer(self.rooms.source_of(work.name), earlier)
        if not objects:
            self.work_list.end(work, StudyEvent.UNREADABLE, "reading it gave no answer")
            return
        if not all(is_of(one.data, work.study_uid, work.who) for one in objects):
            self.work_list.end(work, StudyEvent.CONFLICT, WRONG_RESULT)
            return
        entries = [self._put_down(work, number, one) for number, one in enumerate(objects)]
        store_results(self.work_list, work, entries, self.destinations)

    def _conflict(self, work: ToRead) -> str:
        """In what the files contradict each other or the list; empty if in nothing.

        Looked at in the files themselves, and each time, whatever was found when they came.
        """
        for path in sorted(self.rooms.source_of(work.name).glob("*.dcm")):
            try:
                with quietly():
                    header = parse(path.read_bytes(), pixels=False)
            except SetAsideError:
                continue  # what cannot be read gets its verdict from the reader
            differing = work.who.contradicts(whose(header))
            if differing:
                return f"the study has {two_of(differing)}"
        return ""

    def _put_down(self, work: ToRead, number: int, one: AnswerObject) -> ResultEntry:
        file = f"{work.revision}-{number}-{one.kind}.dcm"
        path = self.rooms.put_down(one.data)
        self.rooms.move_in(path, self.rooms.results, work.name, file)
        return ResultEntry(one.kind, one.part, one.sop_uid, one.sop_class_uid, one.series_uid, file)


def is_of(data: bytes, study_uid: str, who: WhoseObject) -> bool:
    """Whether a result names the patient, the order and the study that it is of.

    Patient id, birth date, sex and accession number must be what the source says; where it says
    nothing, so must the result.
    """
    with quietly():
        header = dcmread(BytesIO(data), stop_before_pixels=True)
    theirs = whose(header)
    return (
        text_of(header, "StudyInstanceUID") == study_uid
        and theirs.patient_id == who.patient_id
        and theirs.birth_date == who.birth_date
        and theirs.sex == who.sex
        and theirs.accession == who.accession
    )


def _named(error: Exception) -> str:
    """A fault by its kind alone."""
    if isinstance(error, OSError) and error.errno is not None:
        return errno.errorcode.get(error.errno, "OSError")
    return type(error).__name__
