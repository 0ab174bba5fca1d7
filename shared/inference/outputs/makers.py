"""From one answer to all objects that were asked for."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Final

from .answer import StudyAnswer
from .fhir import fhir_bundles
from .hl7 import hl7_messages
from .kinds import Kind, OutputFile
from .pdf import encapsulated_pdfs
from .secondary_capture import secondary_captures
from .segmentation import segmentations
from .structured_report import structured_reports

#: Makers of kinds that need nothing of the others.
MAKERS: Final[Mapping[Kind, Callable[[StudyAnswer], list[OutputFile]]]] = {
    Kind.SC: secondary_captures,
    Kind.PDF: encapsulated_pdfs,
    Kind.FHIR: fhir_bundles,
    Kind.HL7: hl7_messages,
}


def made_of(answer: StudyAnswer, kinds: Collection[Kind]) -> list[OutputFile]:
    """Make the objects of some kinds; regions of the report refer to the segments beside it."""
    outlines = segmentations(answer) if Kind.SEG in kinds else []
    files = list(outlines)
    if Kind.SR in kinds:
        files += structured_reports(answer, outlines)
    return files + [
        file for kind, maker in MAKERS.items() if kind in kinds for file in maker(answer)
    ]
