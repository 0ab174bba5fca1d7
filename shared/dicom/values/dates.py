"""Dates as files and tables write them; one that can be two days is neither."""

from __future__ import annotations

import re
from datetime import date
from typing import Final

YEAR_FIRST: Final = re.compile(r"(\d{4})([-./])(\d{1,2})\2(\d{1,2})")
#: As the standard has it, alone or before a time of day (DT).
COMPACT: Final = re.compile(r"(\d{4})(\d{2})(\d{2})(\d{2,6}(\.\d{0,6})?([+-]\d{4})?)?")
#: With points the day comes first, everywhere; with slashes or dashes it depends on where.
DAY_FIRST: Final = re.compile(r"(\d{1,2})\.(\d{1,2})\.(\d{4})")
EITHER: Final = re.compile(r"(\d{1,2})([-/])(\d{1,2})\2(\d{4})")


class AmbiguousDateError(ValueError):
    """A date of which the day and the month cannot be told apart."""


def parse_day(text: str) -> date:
    """Read a date where only one reading is.

    2024-03-01, 2024.03.01, 2024/03/01, 20240301 and 01.03.2024 are read; with slashes or dashes
    and the year last, only where one of two numbers can be no month. A time behind it is left.

    Raises
    ------
    AmbiguousDateError
        If 03/04/2024 leaves open which is the month.
    ValueError
        If it is none.
    """
    text = re.split(r"[T ]", text.strip(), maxsplit=1)[0]
    if match := COMPACT.fullmatch(text):
        return _day(match[1], match[2], match[3])
    if match := YEAR_FIRST.fullmatch(text):
        return _day(match[1], match[3], match[4])
    if match := DAY_FIRST.fullmatch(text):
        return _day(match[3], match[2], match[1])
    if match := EITHER.fullmatch(text):
        first, second, year = match[1], match[3], match[4]
        if int(first) > 12 or int(first) == int(second):
            return _day(year, second, first)
        if int(second) > 12:
            return _day(year, first, second)
        _day(year, first, second)
        raise AmbiguousDateError("scan date")
    raise ValueError("scan date")


def _day(year: str, month: str, day: str) -> date:
    """Make a date; say only that it is none, not what it was."""
    try:
        return date(int(year), int(month), int(day))
    except ValueError:
        raise ValueError("scan date") from None
