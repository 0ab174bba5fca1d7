r"""Numbers as files hold them, where a comma, a blank or another VR stands in the way too.

A number is used if it can be read in one way only. ``0,5\0,5`` is two halves in any VR, and so
is ``0,5,0,5`` where two numbers belong; ``1,200`` may be 1.2 or 1,200 and is used only where
no more than one of them can be what the attribute says.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import combinations
from typing import Any, Final

#: Smallest and largest value that an attribute can have: what decides between two readings.
POSSIBLE: Final[Mapping[str, tuple[float, float]]] = {
    **dict.fromkeys(
        ("PixelSpacing", "ImagerPixelSpacing", "NominalScannedPixelSpacing"), (0.005, 20)
    ),
    "SliceThickness": (0.01, 100),
    "ImagePositionPatient": (-5000, 5000),
    "ImageOrientationPatient": (-1.01, 1.01),
    "DistanceSourceToDetector": (50, 20_000),
    "DistanceSourceToPatient": (50, 20_000),
    "EstimatedRadiographicMagnificationFactor": (0.1, 20),
    "KVP": (10, 500),
    "RescaleSlope": (1e-6, 500),
    "PatientSize": (0.3, 260),
    "PatientWeight": (1, 500),
}
#: Units that are written behind a number although the attribute says them itself.
UNITS: Final[Mapping[str, str]] = {
    **dict.fromkeys(
        (
            "PixelSpacing", "ImagerPixelSpacing", "SliceThickness", "DistanceSourceToDetector",
            "DistanceSourceToPatient",
        ),
        "mm",
    ),
    "PatientSize": "m",
    "PatientWeight": "kg",
    "KVP": "kV",
}  # fmt: skip
#: Characters of a text of numbers; longer ones of other attributes are no repair's business.
LONGEST: Final = 512
MOST_COMMAS: Final = 12
PLAIN: Final = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")
#: A comma before the decimals, and points between thousands.
DECIMAL_COMMA: Final = re.compile(r"[+-]?(\d*,\d+|[1-9]\d{0,2}(\.\d{3})+,\d*|\d+,)([eE][+-]?\d+)?")
THOUSANDS: Final = re.compile(r"[+-]?[1-9]\d{0,2}(,\d{3})+(\.\d*)?")
SEPARATORS: Final = re.compile(r"\s*[\\;]\s*|,\s+|\s+")


@dataclass(frozen=True)
class WrittenNumbers:
    """Numbers of an attribute, and how they were had.

    Attributes
    ----------
    numbers : tuple of float
        Finite; empty if there are none, or none that can be told.
    repair : str
        What is not as the standard has it and was understood; empty if nothing.
    problem : str
        Why nothing is read although something is written; empty if nothing is wrong.
    """

    numbers: tuple[float, ...] = ()
    repair: str = ""
    problem: str = ""


def numbers_in(
    value: Any,
    keyword: str = "",
    count: int | None = None,
    possible: tuple[float, float] | None = None,
) -> WrittenNumbers:
    """Read the numbers of a value, in whatever form it came.

    Parameters
    ----------
    value : object
        As pydicom gives it, or the bytes that it could not convert; None = absent.
    keyword : str
        Of the attribute: tells what its values can be.
    count : int or None
        How many numbers belong there; None = any.
    possible : (float, float) or None
        Smallest and largest value that decide between two readings; None = those of the keyword.
    """
    limits = possible or POSSIBLE.get(keyword, (-math.inf, math.inf))
    if value is None:
        return WrittenNumbers()
    parts = [value] if isinstance(value, (str, bytes, int, float)) else _listed(value)
    if all(isinstance(part, (int, float)) for part in parts):
        numbers = tuple(float(part) for part in parts)
        if all(map(math.isfinite, numbers)):
            return WrittenNumbers(numbers)
        return WrittenNumbers(problem="is not finite")
    texts = [_text(part) for part in parts]
    if any(text is None for text in texts):
        return WrittenNumbers(problem="holds no number")
    return _in_text("\\".join(text or "" for text in texts), keyword, count, limits)


def _listed(value: Any) -> list[Any]:
    if hasattr(value, "family_name") or not hasattr(value, "__iter__"):
        return [str(value)]
    return list(value)


def _text(part: Any) -> str | None:
    """Part of a value as text, None if it is none."""
    if isinstance(part, (bytes, bytearray)):
        try:
            part = bytes(part).decode("ascii")
        except UnicodeDecodeError:
            return None
    return str(part).strip(" \x00\t\r\n")


def _in_text(
    text: str, keyword: str, count: int | None, limits: tuple[float, float]
) -> WrittenNumbers:
    text = text.strip("\\; ")
    if not text:
        return WrittenNumbers()
    unit = UNITS.get(keyword)
    bare = re.sub(rf"(?<=[\d.,])\s*{unit}(?![A-Za-z])", "", text) if unit else text
    tokens = SEPARATORS.split(bare.strip())
    if len(bare) > LONGEST or not all(tokens):
        return WrittenNumbers(problem="holds no number")
    if "," not in bare:
        if not all(PLAIN.fullmatch(token) for token in tokens):
            return WrittenNumbers(problem="holds no number")
        repair = "a unit behind it" if bare != text else ""
        repair = repair or ("" if bare == "\\".join(tokens) else "other separators")
        return _checked([tuple(map(float, tokens))], repair, limits, count)
    return _checked(_readings(tokens, count), "a decimal comma", limits, count)


def _checked(
    readings: Iterable[tuple[float, ...]],
    repair: str,
    limits: tuple[float, float],
    count: int | None,
) -> WrittenNumbers:
    """Take the one reading that there can be."""
    finite = {one for one in readings if all(map(math.isfinite, one))}
    low, high = limits
    if len(finite) > 1:
        finite = {one for one in finite if all(low <= number <= high for number in one)}
    if len(finite) != 1:
        many = "can be read in more than one way" if finite else "holds no number that can be"
        return WrittenNumbers(problem=many)
    numbers = finite.pop()
    if repair and count is not None and len(numbers) != count:
        return WrittenNumbers(problem=f"holds {len(numbers)} instead of {count} numbers")
    return WrittenNumbers(numbers, repair)


def _readings(tokens: list[str], count: int | None) -> set[tuple[float, ...]]:
    """Everything that text with commas can mean."""
    found = set()
    if all(PLAIN.fullmatch(token) or DECIMAL_COMMA.fullmatch(token) for token in tokens):
        found.add(tuple(_with_comma(token) for token in tokens))
    if all(PLAIN.fullmatch(token) or THOUSANDS.fullmatch(token) for token in tokens):
        found.add(tuple(float(token.replace(",", "")) for token in tokens))
    if len(tokens) == 1 and count is not None and count > 1:
        found |= set(_split(tokens[0], count))
    return found


def _with_comma(token: str) -> float:
    if "," in token:
        token = token.replace(".", "").replace(",", ".")
    return float(token)


def _split(token: str, count: int) -> Iterable[tuple[float, ...]]:
    """Divide text at some of its commas into so many numbers, in every way that there is."""
    places = [index for index, sign in enumerate(token) if sign == ","]
    if len(places) > MOST_COMMAS or len(places) < count - 1:
        return
    for chosen in combinations(places, count - 1):
        ends = zip((-1, *chosen), (*chosen, len(token)), strict=True)
        parts = [token[first + 1 : last] for first, last in ends]
        if all(PLAIN.fullmatch(part) or DECIMAL_COMMA.fullmatch(part) for part in parts):
            yield tuple(_with_comma(part) for part in parts)
