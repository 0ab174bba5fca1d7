"""What a scan's name says of its view, whatever the language; never what it does not say.

A name is understood as a whole or not at all: with one word that the vocabulary
(`shared.dicom.vendors.scan_vocabulary`) does not know, it says nothing certain.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache, lru_cache
from typing import Final

from shared.scan_types import ScanType, folded

from .scan_vocabulary import VOCABULARY

#: Pieces of a word written together ("DualFemur") have so many letters, but for AP and PA.
SHORTEST_PIECE: Final = 3
SHORT_PIECES: Final = frozenset({"ap", "pa"})
#: A number, a vertebra, or the letters that stand where a name was removed.
OTHER_FILLER: Final = re.compile(r"\d+|[lt]\d{1,2}(?:[lt]\d{1,2})?|x+")
#: Parts of the body that are one scan each.
UNUSED_PARTS: Final[dict[str, ScanType]] = {
    "femur": ScanType.FEMUR_WHOLE,
    "forearm": ScanType.FOREARM,
    "body": ScanType.TOTAL_BODY,
    "knee": ScanType.KNEE,
    "hand": ScanType.HAND,
    "foot": ScanType.FOOT,
    "elsewhere": ScanType.OTHER_PART,
}
SPINE: Final = frozenset({"spine", "lumbar", "thoracic", "cervical", "whole"})
SILENT: Final = frozenset({"filler", "nothing"})


@dataclass(frozen=True)
class NameMeaning:
    """What a name's words mean (keys of the vocabulary), and whether all are understood."""

    concepts: frozenset[str]
    understood: bool

    @property
    def silent(self) -> bool:
        """Whether the name says nothing at all: empty, or a word in the place of a name."""
        return self.understood and not self.concepts


@cache
def _table() -> tuple[dict[tuple[str, ...], frozenset[str]], list[tuple[str, frozenset[str]]]]:
    """Phrases by their words; and beginnings of words, the longest first."""
    phrases: dict[tuple[str, ...], frozenset[str]] = {}
    starts: dict[str, frozenset[str]] = {}
    for key, words in VOCABULARY.items():
        for entry in words.split(","):
            parts = entry.split()
            whole = tuple(f"{folded(part)}{'*' * part.endswith('*')}" for part in parts)
            if len(whole) == 1 and whole[0].endswith("*"):
                start = whole[0][:-1]
                starts[start] = starts.get(start, frozenset()) | set(key.split("+"))
            elif whole:
                phrases[whole] = phrases.get(whole, frozenset()) | set(key.split("+"))
    return phrases, sorted(starts.items(), key=lambda item: -len(item[0]))


@cache
def _phrases_of_several() -> list[tuple[tuple[str, ...], frozenset[str]]]:
    """Phrases of more than one word, the longest first."""
    several = [(words, means) for words, means in _table()[0].items() if len(words) > 1]
    return sorted(several, key=lambda item: (-len(item[0]), -len("".join(item[0]))))


def _word(word: str) -> frozenset[str] | None:
    """Meaning of one word, None if it has none that is known."""
    phrases, starts = _table()
    if (word,) in phrases:
        return phrases[word,]
    if OTHER_FILLER.fullmatch(word):
        return frozenset({"filler"})
    return next((means for start, means in starts if word.startswith(start)), None)


def _pieces(word: str) -> frozenset[str] | None:
    """Meaning of words that are written together, None unless all of it has one."""
    if not word:
        return frozenset()
    for end in range(len(word), 0, -1):
        piece = word[:end]
        if piece.isascii() and len(piece) < SHORTEST_PIECE and piece not in SHORT_PIECES:
            continue
        means = _table()[0].get((piece,))
        if means is None and end == len(word):
            means = _word(piece)
        rest = None if means is None else _pieces(word[end:])
        if means is not None and rest is not None:
            return means | rest
    return None


def _meanings(words: list[str]) -> Iterator[frozenset[str] | None]:
    """Meaning of each phrase, else each word, in turn; None of what is not known."""
    place = 0
    while place < len(words):
        for phrase, means in _phrases_of_several():
            here = words[place : place + len(phrase)]
            if len(here) == len(phrase) and all(map(_fits, here, phrase)):
                yield means
                place += len(phrase)
                break
        else:
            means_one = _word(words[place])
            yield _pieces(words[place]) if means_one is None else means_one
            place += 1


def _fits(word: str, pattern: str) -> bool:
    """Whether a word is the one of a phrase, or begins as it does."""
    return word.startswith(pattern[:-1]) if pattern.endswith("*") else word == pattern


@lru_cache(maxsize=4096)
def meaning_of(text: str) -> NameMeaning:
    """What the words of a name mean."""
    found: set[str] = set()
    understood = True
    for means in _meanings(folded(text).split()):
        understood &= means is not None
        found |= means or set()
    return NameMeaning(frozenset(found - SILENT), understood)


def type_named(text: str) -> ScanType | None:
    """Scan type that a name says, None if it says none, two, or has words that are not known."""
    meaning = meaning_of(text)
    said = meaning.concepts
    if not meaning.understood or not said:
        return None
    if "phantom" in said:
        return ScanType.PHANTOM
    if "orthopaedic" in said:
        return ScanType.ORTHOPAEDIC
    parts = {"spine" if one in SPINE else one for one in said & {*SPINE, "hip", *UNUSED_PARTS}}
    if "vfa" in said:
        parts.add("spine")
    if len(parts) != 1:
        return None
    part = parts.pop()
    if part == "spine":
        return _spine(said)
    if part == "hip":
        return _hip(said)
    return UNUSED_PARTS[part]


def _spine(said: frozenset[str]) -> ScanType | None:
    """Which scan of the spine."""
    frontal, lateral = "frontal" in said, "lateral" in said
    if (frontal and lateral) or "special" in said:
        return None
    if "vfa" in said or "assessment" in said:
        if frontal:
            return ScanType.SPINE_FRONTAL_ASSESSMENT
        return ScanType.SPINE_LATERAL if lateral or "vfa" in said else None
    if said & {"thoracic", "cervical", "whole"}:
        return ScanType.SPINE_OTHER
    if frontal == lateral:
        return None
    return ScanType.SPINE_PA if frontal else ScanType.SPINE_LATERAL_DENSITY


def _hip(said: frozenset[str]) -> ScanType | None:
    """Which scan of the hip."""
    if said & {"lateral", "special", "assessment"}:
        return None
    if "both" in said or {"left", "right"} <= said:
        return ScanType.HIPS
    if "left" in said:
        return ScanType.HIP_LEFT
    return ScanType.HIP_RIGHT if "right" in said else ScanType.HIP
