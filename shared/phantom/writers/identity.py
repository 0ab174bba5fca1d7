"""Made-up identities: what a hospital would know of a digital patient besides the images.

Nobody here exists. The identifiers look like real ones (national spellings,
hospital numbers, accession numbers) so that ingest has something to remove.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from datetime import date, timedelta
from typing import Final

from shared.phantom.rendered import RenderedStudy
from shared.seeds import numpy_generator

GIVEN: Final[dict[str, tuple[str, ...]]] = {
    "F": (
        "Aurélie", "Beatrix", "Carmela", "Dagmar", "Edeltraud", "Françoise", "Gudrun", "Henriette",
        "Ingeborg", "Josephine", "Katarina", "Liselotte", "Margarethe", "Natalia", "Ottilie",
        "Philippa", "Rosalind", "Solveig", "Theodora", "Ursula", "Valentina", "Wilhelmina",
    ),
    "M": (
        "Alistair", "Bartholomew", "Cornelius", "Dietmar", "Emmanuel", "François", "Gottfried",
        "Hartmut", "Ignatius", "Jürgen", "Konstantin", "Lorenzo", "Maximilian", "Nikolaus",
        "Osvaldo", "Percival", "Reinhard", "Sebastián", "Thaddeus", "Umberto", "Vincenzo",
    ),
}  # fmt: skip
SURNAMES: Final[tuple[str, ...]] = (
    "Ackerknecht", "Bergström", "Castellanos", "Dampierre", "Eichelberger", "Fitzwilliam",
    "Grünewald", "Hallgrímsson", "Iturralde", "Jankowska", "Kellermann", "Lindqvist",
    "Montgomery", "Nakashima", "Oosterhuis", "Petropoulos", "Quesnelle", "Rasmussen",
    "Schönberg", "Thorvaldsen", "Underhill", "Vasconcelos", "Wójcikowska", "Zimmermann",
)  # fmt: skip

FIRST_SCAN_DAY: Final = date(2019, 1, 7)
SCAN_DAYS: Final = 6 * 365
#: Coprime with the number of identifiers, so that numbering never collides.
STRIDE: Final = 7919
NUMBERS: Final = 9_000_000
#: What tells an examination's UIDs from those of the DXA, by how its accession number begins.
UID_KEYS: Final = {"CT": "ct", "XR": "film"}


@dataclass(frozen=True)
class Identity:
    """Who a digital patient would be in the hospital's files.

    `name` is a DICOM person name (``Family^Given``); `age_years` is completed
    years on `study_date`.
    """

    patient_id: str
    name: str
    birth_date: date
    study_date: date
    study_time: str
    accession: str
    age_years: int
    uid_key: str

    def uid(self, *purpose: str | int) -> str:
        """UID under 2.25 that depends only on the patient and what it is for."""
        text = "|".join([self.uid_key, *(str(part) for part in purpose)])
        digest = hashlib.sha256(text.encode()).digest()
        return f"2.25.{int.from_bytes(digest[:16], 'big')}"


def completed_years(birth: date, day: date) -> int:
    """Age in completed years."""
    return day.year - birth.year - ((day.month, day.day) < (birth.month, birth.day))


def seen_later(who: Identity, days_later: int, kind: str) -> Identity:
    """The same patient on the day of another examination, with its own numbers.

    Parameters
    ----------
    who : Identity
        On the day of the DXA.
    days_later : int
        Of the other examination.
    kind : str
        Two letters: what its accession number begins with.
    """
    day = who.study_date + timedelta(days=days_later)
    return replace(
        who,
        study_date=day,
        accession=f"{kind}{day:%y}{who.accession[-7:]}",
        age_years=completed_years(who.birth_date, day),
        uid_key=f"{who.uid_key}|{UID_KEYS[kind]}",
    )


def make_identity(study: RenderedStudy) -> Identity:
    """Make up the identity of a digital patient from its seed and number."""
    generator = numpy_generator(study.seed, "identity", study.patient_number)
    sex = study.covariates.sex or "F"
    given = GIVEN[sex][generator.integers(len(GIVEN[sex]))]
    family = SURNAMES[generator.integers(len(SURNAMES))]
    study_date = FIRST_SCAN_DAY + timedelta(days=int(generator.integers(SCAN_DAYS)))
    age = 60.0 if study.covariates.age_years is None else study.covariates.age_years
    birth = study_date - timedelta(days=round(age * 365.25))
    offset = int(numpy_generator(study.seed, "hospital numbers").integers(NUMBERS))
    serial = (study.patient_number * STRIDE + offset) % NUMBERS
    seconds = 8 * 3600 + int(generator.integers(9 * 3600))
    clock = f"{seconds // 3600:02d}{seconds // 60 % 60:02d}{seconds % 60:02d}"
    return Identity(
        patient_id=f"MRN{1_000_000 + serial}",
        name=f"{family}^{given}",
        birth_date=birth,
        study_date=study_date,
        study_time=clock,
        accession=f"ACC{study_date:%y}{(serial * 31) % NUMBERS:07d}",
        age_years=completed_years(birth, study_date),
        uid_key=f"{study.vendor.value}|{study.seed}|{study.patient_number}",
    )
