"""What is kept of a scanner's free text, and the record of how a study was de-identified."""

from __future__ import annotations

import re
from typing import Final

from shared.dicom.read_study import ReadStudy

#: Free text of a scanner (its maker, model, kernel): these characters, so many, are kept.
SCANNER_TEXT: Final = re.compile(r"[^A-Za-z0-9 ._/+()-]")
LONGEST_TEXT: Final = 64


def scanner_text(text: str) -> str:
    """Text of a scanner with only the characters that such names have, at most 64."""
    return " ".join(SCANNER_TEXT.sub(" ", text).split())[:LONGEST_TEXT].strip()


def methods_of(study: ReadStudy) -> str:
    """How a study is de-identified, see `method_codes`."""
    known = study.covariates
    of_patient = (
        known.sex, known.age_years, known.height_cm, known.weight_kg, known.ethnic_group
    )  # fmt: skip
    return method_codes(
        dated=study.header.study_date is not None,
        patient=any(value is not None for value in of_patient),
        scanner=bool(scanner_text(study.maker) or scanner_text(study.model)),
    )


def method_codes(*, dated: bool, patient: bool, scanner: bool) -> str:
    """Codes of PS3.15 (PS3.16 CID 7050), comma-separated.

    113100 basic profile always; 113107 where dates were moved; 113108 where anything of the
    patient, and 113109 where anything of the scanner is kept.
    """
    kept = {"113107": dated, "113108": patient, "113109": scanner}
    return ",".join(["113100", *(code for code, is_kept in kept.items() if is_kept)])
