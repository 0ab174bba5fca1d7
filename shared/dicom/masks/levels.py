"""Lumbar levels in masks: by name, by code, or by the numbers of a known scheme."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

from pydicom.dataset import Dataset

from shared.dicom.attributes import text_of, value_of
from shared.regions import CT_LEVELS, code_of

#: Code of each level in `VolumeRecord.regions`.
LEVELS: Final[dict[str, int]] = {name: code_of(name, "volume") for name in CT_LEVELS}
#: SNOMED CT (design/clinical.md) and the SNOMED RT codes of the same (PS3.16 annex).
SNOMED: Final[dict[str, str]] = {
    "66794005": "L1", "14293000": "L2", "36470004": "L3", "11994002": "L4", "49668003": "L5",
    "T-11910": "L1", "T-11920": "L2", "T-11930": "L3", "T-11940": "L4", "T-11950": "L5",
}  # fmt: skip
ORDINALS: Final[dict[str, str]] = {
    "first": "L1", "second": "L2", "third": "L3", "fourth": "L4", "fifth": "L5",
}  # fmt: skip
SHORT: Final = re.compile(r"(?<![A-Za-z0-9])L([1-5])(?![A-Za-z0-9])", re.I)
LONG: Final = re.compile(r"\blumbar[\s_]+vertebra[\s_]+L?([1-5])\b", re.I)
ORDINAL: Final = re.compile(r"\b(first|second|third|fourth|fifth)[\s_]+lumbar\b", re.I)
#: What lies at or between levels and is no vertebra.
NO_VERTEBRA: Final = re.compile(
    r"dis[ck]|interver|nerve|root|muscle|L[1-6]\s*[/\-–]\s*(L|S)?\d", re.I
)
#: Numbers that the VerSe scheme has (C1 = 1 .. T13 = 28).
VERSE: Final = range(1, 29)


def level_named(text: str) -> int | None:
    """Code of the one lumbar level that a name says, None if it says none or several."""
    words = text.replace("_", " ")
    if NO_VERTEBRA.search(words):
        return None
    found = {f"L{digit}" for digit in SHORT.findall(words) + LONG.findall(words)}
    found |= {ORDINALS[word.lower()] for word in ORDINAL.findall(words)}
    return LEVELS[found.pop()] if len(found) == 1 else None


def level_of_segment(segment: Dataset) -> int | None:
    """Code of the level that a segment of a DICOM Segmentation is, None if of none.

    Its coded type counts first, then its label. Where both name a level and they differ,
    it is of none.
    """
    by_code = None
    for item in value_of(segment, "SegmentedPropertyTypeCodeSequence") or []:
        level = SNOMED.get(text_of(item, "CodeValue"))
        by_code = LEVELS[level] if level else level_named(text_of(item, "CodeMeaning"))
    by_name = level_named(text_of(segment, "SegmentLabel"))
    if by_code is not None and by_name is not None and by_code != by_name:
        return None
    return by_code if by_code is not None else by_name


def codes_of_values(values: Iterable[int], names: dict[int, str], file_name: str) -> dict[int, int]:
    """Level code of each value of a mask without codes.

    Names that the file gives count alone. A mask of one value is the level that its file
    is named by. Otherwise the values must be those of the VerSe scheme, at least one of
    them lumbar: a value beyond it says that another scheme is meant.

    Parameters
    ----------
    values : iterable of int
        Values in the mask besides 0.
    names : dict of int to str
        Names of values, empty if the file gives none.
    file_name : str
        Last part of the mask's path.

    Returns
    -------
    dict of int to int
        Empty if no level can be told.
    """
    present = set(values)
    if names:
        named = {value: level_named(names.get(value, "")) for value in present}
        codes = {value: code for value, code in named.items() if code is not None}
        return codes if len(set(codes.values())) == len(codes) else {}
    if len(present) == 1:
        code = level_named(file_name)
        if code is not None:
            return {present.pop(): code}
    lumbar = {value: value for value in present if value in LEVELS.values()}
    return lumbar if lumbar and all(value in VERSE for value in present) else {}
