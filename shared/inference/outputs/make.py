"""From one answer to all objects that were asked for."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import datetime
from typing import Final

from shared.dicom.read_study import ReadStudy
from shared.findings.findings import Findings
from shared.inference.schema import Prediction

from .answer import StudyAnswer
from .kinds import DocumentIdentity, Kind, OutputFile
from .segmentation import segmentations

MAKERS: Final[Mapping[Kind, Callable[[StudyAnswer], list[OutputFile]]]] = {
    Kind.SEG: segmentations,
}


def make(
    study: ReadStudy,
    prediction: Prediction,
    findings: Findings,
    kinds: Collection[Kind] = tuple(Kind),
    *,
    made_at: datetime | None = None,
    predecessors: Sequence[DocumentIdentity] = (),
) -> list[OutputFile]:
    """Make what goes back of one study. See `shared.inference.outputs`."""
    answer = StudyAnswer(
        study, prediction, findings, made_at or datetime.now().astimezone(), predecessors
    )
    return [file for kind, maker in MAKERS.items() if kind in kinds for file in maker(answer)]
