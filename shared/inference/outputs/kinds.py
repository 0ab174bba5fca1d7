"""What can be sent back of a study, and how one such thing is handed on."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from io import BytesIO
from typing import Final

from pydicom import dcmwrite
from pydicom.dataset import Dataset


class Kind(StrEnum):
    """Objects that are made of an answer; the value is the word of ``--format``."""

    SEG = "seg"
    SR = "sr"
    SC = "sc"
    PDF = "pdf"
    FHIR = "fhir"
    HL7 = "hl7"


#: Of them those that are DICOM objects.
DICOM_KINDS: Final = (Kind.SEG, Kind.SR, Kind.SC, Kind.PDF)


@dataclass(frozen=True)
class DocumentIdentity:
    """What a later correction says of the document that it replaces; strings, so a table keeps it.

    Attributes
    ----------
    kind : str
        A value of `Kind`.
    part : str
        Which of several of a kind: the view or the series; empty of the only one.
    identifier : str
        SOP Instance UID; of a FHIR bundle its id, of an HL7 message its control id.
    sop_class_uid, series_uid, study_uid : str
        Empty of what is no DICOM object, but for the study.
    """

    kind: str
    part: str
    identifier: str
    sop_class_uid: str = ""
    series_uid: str = ""
    study_uid: str = ""


@dataclass(frozen=True)
class OutputFile:
    """One object of an answer.

    Attributes
    ----------
    kind : Kind
    name : str
        Of its file: nothing of the patient stands in it.
    content : Dataset or bytes
        A DICOM data set with its file meta information, ready for C-STORE or STOW-RS; else the
        bytes of a FHIR bundle (JSON) or of an HL7 message (segments end with a carriage return).
        **It holds the patient's identity**: whoever writes it makes it readable by its owner only.
    identity : DocumentIdentity
    """

    kind: Kind
    name: str
    content: Dataset | bytes
    identity: DocumentIdentity

    def __repr__(self) -> str:
        """Leave the content out: it names a patient."""
        return f"OutputFile({self.kind.value}, {self.name})"

    @property
    def dataset(self) -> Dataset:
        """The content of what is DICOM.

        Raises
        ------
        TypeError
            If it is not.
        """
        if isinstance(self.content, bytes):
            raise TypeError(f"{self.kind.value}: is no DICOM object (one of {DICOM_KINDS})")
        return self.content

    def encoded(self) -> bytes:
        """Give the bytes of the file, a DICOM Part 10 file where it is DICOM."""
        if isinstance(self.content, bytes):
            return self.content
        buffer = BytesIO()
        dcmwrite(buffer, self.content, enforce_file_format=True)
        return buffer.getvalue()
