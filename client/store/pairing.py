"""A BMD that belongs to another visit of the same patient, paired with a study that has none.

The rule: of the patient's other visits that have a BMD whose scanner is known, the nearest in
time, the earlier of two that are equally near, at most so many months away (``site.yaml``:
``pairing.months``). What stays unpaired is told with its reason.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass
from typing import Any, Final, Literal

from shared.records import DAYS_PER_MONTH, DXA_VENDORS, PairedLabels, StudyLabels, Vendor

Reason = Literal["day_unknown", "no_other_visit", "too_far", "vendor_unknown"]
#: Why a study stays unpaired, for people, and what to do.
SENTENCES: Final[Mapping[Reason, str]] = {
    "no_other_visit": "no other visit of the patient has a BMD: take in the table that has it",
    "too_far": "the nearest BMD is too long before or after: pairing.months of site.yaml says how "
    "far is allowed",
    "vendor_unknown": "the BMD near it has no scale, its scanner is unknown: take in the table "
    "with a column that names the manufacturer",
    "day_unknown": "its day is unknown: export it with its study date",
}


@dataclass(frozen=True)
class Visit:
    """One study of a patient: its `day` on the patient's own scale, and what is known of it."""

    study: str
    day: int | None
    vendor: Vendor
    labels: StudyLabels

    @property
    def has_value(self) -> bool:
        """Whether it has a BMD, and a scanner on whose scale it is."""
        return bool(self.labels.bmd) and self.vendor in DXA_VENDORS


@dataclass(frozen=True)
class Unpaired:
    """A study without a BMD that none was found for.

    `months` from the study to the visit that would have been paired, negative if that was
    earlier; None where there is none.
    """

    reason: Reason
    months: float | None = None


@dataclass(frozen=True)
class Pairing:
    """What became of the studies without a BMD of their own, by study."""

    paired: Mapping[str, PairedLabels]
    unpaired: Mapping[str, Unpaired]

    def as_dict(self) -> dict[str, Any]:
        """Counts and every study, ready for JSON; months to two decimals."""
        reasons = Counter(one.reason for one in self.unpaired.values())
        return {
            "paired": len(self.paired),
            "unpaired": [
                {"reason": reason, "studies": reasons[reason], "sentence": SENTENCES[reason]}
                for reason in SENTENCES
                if reasons[reason]
            ],
            "studies": [
                {"study": study, "months": round(one.months, 2), "reason": None}
                for study, one in sorted(self.paired.items())
            ]
            + [
                {
                    "study": study,
                    "months": None if one.months is None else round(one.months, 2),
                    "reason": one.reason,
                }
                for study, one in sorted(self.unpaired.items())
            ],
        }


def pair_all(patients: Iterable[Sequence[Visit]], wanted: Set[str], months: float) -> Pairing:
    """Pair the studies of patients; see `pair`.

    Parameters
    ----------
    patients : iterable of sequences of Visit
        The visits of each patient.
    wanted : set of str
        Studies that are asked about.
    months : float
        Farthest that a visit may be away, 0 or more.
    """
    paired, unpaired = {}, {}
    for visits in patients:
        for one in visits:
            if one.study in wanted and not one.has_value:
                found = pair(one, visits, months)
                if isinstance(found, PairedLabels):
                    paired[one.study] = found
                else:
                    unpaired[one.study] = found
    return Pairing(paired, unpaired)


def pair(study: Visit, visits: Iterable[Visit], months: float) -> PairedLabels | Unpaired:
    """Find the BMD of another visit for a study that has none.

    Parameters
    ----------
    study : Visit
        Without a value of its own.
    visits : iterable of Visit
        All visits of the patient, this one too.
    months : float
        Farthest that a visit may be away; rounded up to whole days, so that 12 months
        reach the same day of the next year in leap years as well.
    """
    with_bmd = [one for one in visits if one.labels.bmd]
    if not with_bmd:
        return Unpaired("no_other_visit")
    if study.day is None:
        return Unpaired("day_unknown")
    dated = [(one.day - study.day, one) for one in with_bmd if one.day is not None]
    if not dated:
        return Unpaired("day_unknown")
    farthest = math.ceil(months * DAYS_PER_MONTH)
    near = [(days, one) for days, one in dated if abs(days) <= farthest]
    usable = [(days, one) for days, one in near if one.has_value]
    if usable:
        days, one = min(usable, key=_nearness)
        labels = StudyLabels(bmd=one.labels.bmd, genant=one.labels.genant)
        return PairedLabels(labels, one.vendor, days / DAYS_PER_MONTH)
    days, _ = min(near or dated, key=_nearness)
    return Unpaired("vendor_unknown" if near else "too_far", days / DAYS_PER_MONTH)


def _nearness(dated: tuple[int, Visit]) -> tuple[int, int, str]:
    """Order of visits: the nearest first, of equally near ones the earlier."""
    days, visit = dated
    return abs(days), days, visit.study
