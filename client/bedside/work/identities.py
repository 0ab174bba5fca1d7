"""Whose an object is: what must be the same in all of a study, and in what is said of it."""

from __future__ import annotations

from dataclasses import dataclass, fields

from pydicom.dataset import Dataset

from shared.dicom.attributes import text_of
from shared.phrases import listed

#: What each field is called, for a sentence.
CALLED = {
    "patient_id": "patient id",
    "issuer": "issuer of the patient id",
    "birth_date": "birth date",
    "sex": "sex",
    "accession": "accession number",
}
#: Fields of which an empty one contradicts no other: a scanner may not have been told.
MAY_BE_UNSAID = ("issuer", "birth_date", "sex", "accession")


@dataclass(frozen=True)
class WhoseObject:
    """The patient and the order of an object, as its header has them."""

    patient_id: str
    issuer: str
    birth_date: str
    sex: str
    accession: str

    def __repr__(self) -> str:
        """Hide everything, so that no log or traceback shows a patient."""
        return "WhoseObject(***)"

    def contradicts(self, other: WhoseObject) -> list[str]:
        """Name the fields in which two objects of one study cannot both be right.

        The patient id must be equal, also where one has none. Of the others an empty one
        contradicts nothing.
        """
        differing = []
        for field in fields(self):
            one, two = getattr(self, field.name), getattr(other, field.name)
            unsaid = field.name in MAY_BE_UNSAID and not (one and two)
            if one != two and not unsaid:
                differing.append(CALLED[field.name])
        return differing

    def joined(self, other: WhoseObject) -> WhoseObject:
        """What two objects that do not contradict each other say together."""
        return WhoseObject(
            **{f.name: getattr(self, f.name) or getattr(other, f.name) for f in fields(self)}
        )


def whose(dataset: Dataset) -> WhoseObject:
    """Read whose an object is."""
    return WhoseObject(
        patient_id=text_of(dataset, "PatientID"),
        issuer=text_of(dataset, "IssuerOfPatientID"),
        birth_date=text_of(dataset, "PatientBirthDate"),
        sex=text_of(dataset, "PatientSex"),
        accession=text_of(dataset, "AccessionNumber"),
    )


def two_of(fields_that_differ: list[str]) -> str:
    """Say which fields have two values: ``two birth dates and two sexes``."""
    plural = {"sex": "sexes", "issuer of the patient id": "issuers of the patient id"}
    return listed([f"two {plural.get(one, f'{one}s')}" for one in fields_that_differ])
