"""Attributes of a data set as plain values, whatever state the file is in.

A broken element reads as absent: the reader decides by what is left.
"""

from __future__ import annotations

import math
import re
import threading
import warnings
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from datetime import date
from functools import lru_cache
from typing import Any, Final

from pydicom import config
from pydicom.datadict import dictionary_VM, dictionary_VR, tag_for_keyword
from pydicom.dataset import Dataset

from shared.dicom.phi.deidentify import capped_age
from shared.dicom.values.character_sets import plain_text
from shared.dicom.values.dates import AmbiguousDateError, parse_day
from shared.dicom.values.numbers import WrittenNumbers, numbers_in
from shared.records import Covariates

DATES = ("StudyDate", "AcquisitionDate", "SeriesDate", "ContentDate")
#: Numbers of which it is said when they are not as the standard has them.
NUMBERS: Final = (
    "PixelSpacing", "ImagerPixelSpacing", "EstimatedRadiographicMagnificationFactor",
    "DistanceSourceToDetector", "DistanceSourceToPatient", "ImagePositionPatient",
    "ImageOrientationPatient", "SliceThickness", "KVP", "RescaleSlope", "RescaleIntercept",
    "WindowCenter", "WindowWidth", "PixelPaddingValue", "PatientSize", "PatientWeight",
)  # fmt: skip
#: Words of (0010,2160) that are kept, in lower case, and the word each is kept as. The
#: attribute is free text: whatever else somebody typed there (a name, a note) is not read.
ETHNIC_GROUPS: Final[Mapping[str, str]] = {
    "african": "african",
    "african american": "black",
    "african-american": "black",
    "afro-american": "black",
    "asian": "asian",
    "black": "black",
    "caucasian": "white",
    "european": "european",
    "hispanic": "hispanic",
    "latina": "hispanic",
    "latino": "hispanic",
    "mixed": "mixed",
    "native american": "native american",
    "other": "other",
    "pacific islander": "pacific islander",
    "white": "white",
}


class _Silence:
    """Who wants it quiet, counted: the first makes it so, the last makes it as it was.

    Warning filters and pydicom's settings are the whole process's. Were each thread to put
    back what it found, one would end the silence under another, whose warning could then
    show a patient's value.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._wanted = 0
        self._end = ExitStack()

    def begin(self) -> None:
        """Make it quiet, if nobody has yet."""
        with self._lock:
            if self._wanted == 0:
                mode = config.settings.reading_validation_mode
                self._end.callback(setattr, config.settings, "reading_validation_mode", mode)
                self._end.enter_context(warnings.catch_warnings())
                warnings.simplefilter("ignore")
                config.settings.reading_validation_mode = config.IGNORE
            self._wanted += 1

    def end(self) -> None:
        """Make it as it was, if nobody else wants it quiet."""
        with self._lock:
            self._wanted -= 1
            if self._wanted == 0:
                self._end.close()


_SILENCE: Final = _Silence()


@contextmanager
def quietly() -> Iterator[None]:
    """Silence the warnings pydicom gives about values outside the standard.

    Real exports are full of them, and each file gets its own verdict anyway. They are not
    even looked for, which is a third of what reading headers takes. Threads may do it at the
    same time.
    """
    _SILENCE.begin()
    try:
        yield
    finally:
        _SILENCE.end()


def value_of(dataset: Dataset, keyword: str) -> Any:
    """Value of an attribute, None if absent, empty or broken."""
    try:
        value = dataset.get(keyword)
    except Exception:  # pydicom raises many kinds while it converts a broken value
        return None
    return None if value is None or value == "" else value


def text_of(dataset: Dataset, keyword: str) -> str:
    """Attribute as stripped text in NFC, empty if absent; several are joined by a backslash."""
    value = value_of(dataset, keyword)
    if value is None:
        return ""
    if isinstance(value, (bytes, bytearray)):
        value = bytes(value).decode("latin-1")
    if (
        not isinstance(value, str)
        and hasattr(value, "__iter__")
        and not hasattr(value, "family_name")
    ):
        return plain_text("\\".join(str(part) for part in value).strip())
    return plain_text(str(value).strip().strip("\x00").strip())


def number_of(dataset: Dataset, keyword: str) -> float | None:
    """First value of an attribute as a finite number, None if it is none."""
    numbers = numbers_of(dataset, keyword)
    return numbers[0] if numbers else None


def numbers_of(dataset: Dataset, keyword: str) -> list[float]:
    """Values of an attribute as numbers, empty if one of them is none or not finite."""
    return list(written_numbers(dataset, keyword).numbers)


def written_numbers(dataset: Dataset, keyword: str) -> WrittenNumbers:
    """Numbers of an attribute, and what had to be understood for them or why there are none."""
    tag, vr, count = _as_the_standard_has_it(keyword)
    try:
        raw = dataset.get_item(tag) if tag in dataset else None
    except Exception:  # pydicom raises many kinds on what is no attribute
        return WrittenNumbers(problem="cannot be read")
    if raw is None:
        return WrittenNumbers()
    value = value_of(dataset, keyword)
    if value is None:
        value = getattr(raw, "value", None)  # its bytes, where pydicom cannot convert them
        value = None if value == b"" else value
    found = numbers_in(value, keyword, count)
    written = str(raw.VR or "")
    if found.numbers and not found.repair and written in FOREIGN and written != vr:
        return WrittenNumbers(found.numbers, f"VR {written} instead of {vr}")
    return found


#: VRs that hold other numbers' text or bytes; of US, SS and DS one is as good as the other.
FOREIGN: Final = frozenset(
    {"AE", "AS", "CS", "DA", "DT", "FD", "FL", "IS", "LO", "LT", "OB", "OW", "PN", "SH", "ST",
     "TM", "UC", "UI", "UR", "UT"}
)  # fmt: skip


@lru_cache(maxsize=256)
def _as_the_standard_has_it(keyword: str) -> tuple[int, str, int | None]:
    """Tag, VR and number of values of an attribute; None where their number is not fixed."""
    tag = tag_for_keyword(keyword)
    if tag is None:
        raise KeyError(keyword)
    count = dictionary_VM(tag)
    return tag, dictionary_VR(tag), int(count) if count.isdigit() else None


def date_of(dataset: Dataset, *keywords: str) -> date | None:
    """First of the attributes that is a date."""
    for keyword in keywords:
        try:
            return parse_day(text_of(dataset, keyword))
        except ValueError:
            continue
    return None


def remarks_of(
    dataset: Dataset,
    keywords: Iterable[str] = NUMBERS,
    dates: Iterable[str] = (*DATES, "PatientBirthDate"),
) -> list[str]:
    """What in a data set was read although it is not as the standard has it, or was not.

    Each names an attribute and what is odd about it, never its value.
    """
    remarks = []
    for keyword in keywords:
        if keyword not in dataset:
            continue
        found = written_numbers(dataset, keyword)
        if found.repair:
            remarks.append(f"{keyword} was repaired: {found.repair}")
        elif found.problem:
            remarks.append(f"{keyword} is not used: it {found.problem}")
    return remarks + [
        f"{keyword} is not used: {problem}"
        for keyword in dates
        if (problem := _problem_of_date(text_of(dataset, keyword)))
    ]


def _problem_of_date(text: str) -> str:
    try:
        parse_day(text)
    except AmbiguousDateError:
        return "which number is the month cannot be told"
    except ValueError:
        return "it is no date" if text else ""
    return ""


def study_date(dataset: Dataset) -> date | None:
    """Day of the scan, by the first usable date of the file."""
    return date_of(dataset, *DATES)


def age_years(dataset: Dataset) -> float | None:
    """Age in completed years on the day of the scan: (0010,1010), else by the birth date."""
    match = re.fullmatch(r"(\d{3})([DWMY])", text_of(dataset, "PatientAge").upper())
    if match:
        days_each = {"D": 1 / 365.25, "W": 7 / 365.25, "M": 1 / 12, "Y": 1.0}
        return float(math.floor(int(match[1]) * days_each[match[2]]))
    birth, day = date_of(dataset, "PatientBirthDate"), study_date(dataset)
    if birth is None or day is None or birth > day:
        return None
    return float(day.year - birth.year - ((day.month, day.day) < (birth.month, birth.day)))


def within(value: float | None, low: float, high: float) -> float | None:
    """Value if it lies in the range, else None (a zero often stands for unknown)."""
    return value if value is not None and low <= value <= high else None


def covariates_of(dataset: Dataset) -> Covariates:
    """What a data set says of the patient, implausible values left out.

    Ages are capped at 89. (0010,1020) is in metres; values that can only be
    centimetres are taken as such.
    """
    size = number_of(dataset, "PatientSize")
    metres = within(size, 0.5, 2.6)
    sex = text_of(dataset, "PatientSex").upper()
    return Covariates(
        sex=sex if sex in {"F", "M"} else None,
        age_years=capped_age(within(age_years(dataset), 0, 120)),
        height_cm=within(size, 50, 260) if metres is None else round(metres * 100, 1),
        weight_kg=within(number_of(dataset, "PatientWeight"), 20, 350),
        ethnic_group=ethnic_group(dataset),
    )


def ethnic_group(dataset: Dataset) -> str | None:
    """One of the known words for an ethnic group (`ETHNIC_GROUPS`), else None."""
    said = " ".join(text_of(dataset, "EthnicGroup").lower().split())
    return ETHNIC_GROUPS.get(said)
