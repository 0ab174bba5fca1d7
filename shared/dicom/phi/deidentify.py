"""Pseudonyms and replaced identifiers (design/privacy.md, "Names of things").

Everything is derived by HMAC from the site's secret: stable inside a site, so
that follow-ups stay linked; unlinkable across sites and without the secret.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping
from datetime import date
from typing import Final

#: Ages above are given as this (HIPAA Safe Harbor: 90 and over is one class).
OLDEST_AGE: Final = 89
#: Range of the per-patient shift of days, one century.
SHIFT_DAYS: Final = 36_525
PSEUDONYM_DIGITS: Final = 32
#: What was done to every study (PS3.16, context group 7050), as (0012,0064) would say it.
METHODS: Final[Mapping[str, str]] = {
    "113100": "Basic Application Confidentiality Profile",
    "113107": "Retain Longitudinal Temporal Information Modified Dates Option",
    "113108": "Retain Patient Characteristics Option",
    "113109": "Retain Device Identity Option",
}


def keyed_digest(secret: bytes, *purpose: str) -> bytes:
    """HMAC-SHA256 of a purpose and its values, 32 bytes."""
    return hmac.new(secret, "\x1f".join(purpose).encode(), hashlib.sha256).digest()


def pseudonym(secret: bytes, patient_id: str) -> str:
    """Pseudonym of a patient: 128 bits of HMAC-SHA256(secret, patient id), 32 hex digits.

    Parameters
    ----------
    secret : bytes
        The site's secret.
    patient_id : str
        (0010,0020); surrounding white space does not count.
    """
    digest = hmac.new(secret, patient_id.strip().encode(), hashlib.sha256).hexdigest()
    return digest[:PSEUDONYM_DIGITS]


def replaced_uid(secret: bytes, uid: str) -> str:
    """UID under ``2.25.`` (a UUID as one integer, PS3.5 B.2) that stands for another."""
    return f"2.25.{int.from_bytes(keyed_digest(secret, 'uid', uid)[:16], 'big')}"


def shifted_day(secret: bytes, patient_id: str, day: date) -> int:
    """Day number moved by up to a century, by the same amount for all of a patient's dates.

    Differences between the days of one patient are true, which is all that day
    offsets from the first study need; the date itself cannot be told without the secret.
    """
    digest = keyed_digest(secret, "days", patient_id.strip())
    return day.toordinal() + int.from_bytes(digest[:8], "big") % SHIFT_DAYS


def capped_age(years: float | None) -> float | None:
    """Age with everything above 89 given as 89."""
    return None if years is None else min(years, float(OLDEST_AGE))
