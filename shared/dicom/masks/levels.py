"""Lumbar levels in masks: by name, by code, or by the numbers of a scheme that is named."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from pydicom.dataset import Dataset

from shared.dicom.attributes import text_of, value_of
from shared.dicom.verdicts import SetAsideError
from shared.regions import CT_LEVELS, code_of
from shared.settings.pacs import MaskScheme

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


@dataclass(frozen=True)
class NumberedLevels:
    """One numbering of structures in masks.

    Attributes
    ----------
    numbers : range
        All that it has: another number says that another one is meant.
    lumbar : mapping of int to str
        Level of each number that is a lumbar vertebra.
    words : re.Pattern
        What in a file's name or header names it.
    """

    numbers: range
    lumbar: Mapping[int, str]
    words: re.Pattern[str]


def _downwards(first: int, step: int) -> dict[int, str]:
    return {first + step * place: level for place, level in enumerate(CT_LEVELS)}


#: Sekuboyina et al. 2021 (C1 = 1 to T13 = 28); class maps of TotalSegmentator's task "total",
#: Wasserthal et al. 2023, which files without a version do not tell apart.
SCHEMES: Final[Mapping[MaskScheme, NumberedLevels]] = {
    "verse": NumberedLevels(
        range(1, 29), _downwards(20, 1), re.compile(r"(?<![a-z])verse(?![a-z])", re.I)
    ),
    "totalsegmentator": NumberedLevels(
        range(1, 118), _downwards(31, -1), re.compile(r"total[ _-]?segmentator[ _-]*v?2", re.I)
    ),
    "totalsegmentator_v1": NumberedLevels(
        range(1, 105), _downwards(22, -1), re.compile(r"total[ _-]?segmentator[ _-]*v?1", re.I)
    ),
}


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


def scheme_named(*texts: str) -> MaskScheme | None:
    """Numbering that a mask's own name or header says, None if none or several."""
    found = [
        name
        for name, scheme in SCHEMES.items()
        if any(scheme.words.search(text.replace("\x00", " ")) for text in texts)
    ]
    return found[0] if len(found) == 1 else None


def codes_of_values(
    values: Iterable[int], names: Mapping[int, str], file_name: str, scheme: MaskScheme | None
) -> dict[int, int]:
    """Level code of each value of a mask without codes.

    Names that the file gives count alone. A mask of one value is the level that its file
    is named by. Otherwise the values must be those of a scheme that somebody named, at least
    one of them lumbar: a number alone is a vertebra in one scheme and the colon in another.

    Parameters
    ----------
    values : iterable of int
        Values in the mask besides 0.
    names : mapping of int to str
        Names of values, empty if the file gives none.
    file_name : str
        Last part of the mask's path.
    scheme : str or None
        Key of `SCHEMES` that the file or the hospital names; None = nobody did.

    Returns
    -------
    dict of int to int
        Value to level code; a level is there once.

    Raises
    ------
    SetAsideError
        If no level can be told.
    """
    present = set(values)
    if names:
        named = {value: level_named(names.get(value, "")) for value in present}
        codes = {value: code for value, code in named.items() if code is not None}
        if not codes or len(set(codes.values())) < len(codes):
            raise SetAsideError("mask_unknown_regions")
        return codes
    if len(present) == 1:
        code = level_named(file_name)
        if code is not None:
            return {present.pop(): code}
    if scheme is None:
        # One structure drawn as 1 has no number that could be of a scheme.
        raise SetAsideError("mask_unknown_regions" if present == {1} else "mask_scheme_unknown")
    if not all(value in SCHEMES[scheme].numbers for value in present):
        raise SetAsideError("mask_unknown_regions", f"numbers that {scheme} does not have")
    lumbar = {v: LEVELS[level] for v, level in SCHEMES[scheme].lumbar.items() if v in present}
    if not lumbar:
        raise SetAsideError("mask_unknown_regions", f"no lumbar vertebra of {scheme}")
    return lumbar
