"""Studies are read by the runtime's verified champions, and answers made into what is sent."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from client.bedside.work.sendings import ResultEntry
from shared.inference.outputs import DocumentIdentity, Kind, OutputFile, make
from shared.inference.runtime.runtime import InferenceRuntime
from shared.records import Modality

from .answering import AnswerObject


@dataclass(frozen=True)
class ChampionReader:
    """Reads studies by the versions that a runtime holds.

    Attributes
    ----------
    runtime : InferenceRuntime
        Started, with a manner that keeps headers.
    kinds : tuple of Kind
        What is made of an answer; those that are no DICOM objects are not sent.
    """

    runtime: InferenceRuntime
    kinds: tuple[Kind, ...]

    def modalities(self) -> frozenset[Modality]:
        """Kinds of images that one of the versions of now reads."""
        ready = self.runtime.current.ready.values()
        return frozenset(kind for one in ready for kind in one.task.inputs.modalities)

    def answer(self, folder: Path, earlier: Sequence[ResultEntry]) -> list[AnswerObject]:
        """Read the study in a folder; see `client.bedside.answering.answering.StudyReader`.

        Raises
        ------
        OsteofedError
            See `shared.inference.runtime.study_reading.answer_study`.
        """
        found = self.runtime.submit(folder).result()
        study = found.study.header.study_uid
        predecessors = [
            DocumentIdentity(
                one.kind, one.part, one.sop_uid, one.sop_class_uid, one.series_uid, study
            )
            for one in earlier
        ]
        files = make(
            found.study, found.prediction, found.findings, self.kinds, predecessors=predecessors
        )
        return [_object(file) for file in files if not isinstance(file.content, bytes)]


def _object(file: OutputFile) -> AnswerObject:
    one = file.identity
    return AnswerObject(
        one.kind, one.part, one.identifier, one.sop_class_uid, one.series_uid, file.encoded()
    )
