"""Which of several scans of one view is used: the newest complete one.

A technologist repeats a scan because something was wrong with the first, so of one visit the
newest counts, unless it covers clearly less than another or is cut off. Newer is what the first
of `CLOCKS` says that all of them give, and so on where that is the same; two scans that nothing
tells apart are set aside both.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from pydicom.dataset import Dataset

from shared.quality import assess
from shared.records import ImageRecord, Vendor, View

from .attributes import text_of
from .study_files import ScannedFile

#: When a scan was made, by attributes that hold date and time or by pairs of them; the most
#: exact first, and what its words are. A series' and an image's number come last.
CLOCKS: Final[Mapping[str, tuple[tuple[str, ...], ...]]] = {
    "time of acquisition": (("AcquisitionDateTime",), ("AcquisitionDate", "AcquisitionTime")),
    "time of its content": (("ContentDate", "ContentTime"),),
    "time of its series": (("SeriesDate", "SeriesTime"),),
    "time of its file": (("InstanceCreationDate", "InstanceCreationTime"),),
}
NUMBERS: Final[Mapping[str, str]] = {
    "number of its series": "SeriesNumber",
    "number of its image": "InstanceNumber",
}
WORDS: Final = (*CLOCKS, *NUMBERS)
#: Why a scan is used that a store has: what rounds have learnt of stays.
STORED: Final = "the one that the store had already"
#: A day, an hour, and what is known of the rest.
MOMENT: Final = re.compile(r"(\d{10,14})(?:\.(\d{1,6})\d*)?")
NOT_DIGITS: Final = re.compile(r"\D")
OFFSET: Final = re.compile(r"[&+-].*")
#: A scan of less than this share of the largest one's scanned area is not complete.
LEAST_COMPLETE: Final = 0.75
#: Strength of a flag from which one would object (`shared.records.QualityMark`).
OBJECTION: Final = 0.5


def made_when(dataset: Dataset) -> tuple[str, ...]:
    """Say when a scan was made: a text that sorts by age for each of `WORDS`, empty = not given.

    A date without a time says nothing here: scans of one visit have one day.
    """
    clocks = (
        next(filter(None, (_moment(dataset, keywords) for keywords in of)), "")
        for of in CLOCKS.values()
    )
    numbers = (text_of(dataset, keyword).strip() for keyword in NUMBERS.values())
    return (*clocks, *(text.zfill(12) if text.isdecimal() else "" for text in numbers))


def _moment(dataset: Dataset, keywords: Sequence[str]) -> str:
    """Year to fraction of a second in digits; empty unless there are a day and an hour."""
    first, *rest = (text_of(dataset, keyword).strip() for keyword in keywords)
    # Behind a sign stands the offset from UTC, which is the same for all scans of a visit.
    text = NOT_DIGITS.sub("", first) + rest[0].replace(":", "") if rest else OFFSET.sub("", first)
    found = MOMENT.fullmatch(text)
    return f"{found[1]:0<14}.{found[2] or '':0<6}" if found else ""


@dataclass(frozen=True)
class Coverage:
    """How much one scan of a view shows.

    Attributes
    ----------
    file : ScannedFile
        Where it is.
    area : float
        What was scanned, cm²; nominal where no spacing is known.
    cut_off : bool
        Whether its field ends in the anatomy that it is of.
    """

    file: ScannedFile
    area: float
    cut_off: bool


def coverage_of(file: ScannedFile, view: View, image: ImageRecord) -> Coverage:
    """Look at how much a scan shows."""
    row_mm, column_mm = image.spacing_mm
    area = float(np.isfinite(image.pixels).sum()) * row_mm * column_mm / 100.0
    marks = assess(image, view, file.vendor or Vendor.OTHER)
    cut_off = any(mark.flag == "cut_off" and mark.strength >= OBJECTION for mark in marks)
    return Coverage(file, area, cut_off)


def choose(scans: Sequence[Coverage]) -> tuple[ScannedFile | None, str]:
    """Choose the newest complete one of the scans of a view.

    Returns
    -------
    file : ScannedFile or None
        None if nothing says which of several complete ones is the newest.
    why : str
        As part of a sentence.
    """
    if len(scans) == 1:
        return scans[0].file, "the only one that can be read"
    most = max(one.area for one in scans)
    large = [one for one in scans if one.area >= LEAST_COMPLETE * most]
    complete = [one for one in large if not one.cut_off] or large
    if len(complete) == 1:
        return complete[0].file, "the only complete one"
    files = [one.file for one in complete]
    order = newest_first(files)
    if order is None:
        return None, ""
    whole = "" if len(complete) == len(scans) else " complete one"
    return order[0], f"the newest{whole} by the {told_by(files)}"


def newest_first(files: Sequence[ScannedFile]) -> list[ScannedFile] | None:
    """Sort scans by age; None if nothing tells two of them apart."""
    told = [place for place in range(len(WORDS)) if all(one.made[place] for one in files)]
    ages = {one.name: tuple(one.made[place] for place in told) for one in files}
    if len(set(ages.values())) < len(files):
        return None
    return sorted(files, key=lambda one: ages[one.name], reverse=True)


def told_by(files: Sequence[ScannedFile]) -> str:
    """Words of the first attribute that tells scans apart; empty if none does."""
    for place, words in enumerate(WORDS):
        given = [one.made[place] for one in files]
        if all(given) and len(set(given)) > 1:
            return words
    return ""
