"""Sequences that hold nothing of a patient but UIDs, told from their bytes.

A mask has some ten sequences for each of its frames, with codes, numbers and references to
the image that it was drawn on. To make data sets of them costs more than to read its pixels.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from .content import ITEM, OPEN_LENGTH, header_at

#: Kind of identifier by tag and VR; ``sequence``, or empty if it names nobody.
KindOf = Callable[[tuple[int, int], bytes], str]
DELIMITERS: Final = 0xFFFE


@dataclass
class PlainSequence:
    """What a sequence holds: how many elements, nested ones too, and its UIDs."""

    elements: int = 0
    uids: list[str] = field(default_factory=list)


class _NotPlainError(ValueError):
    """Something else stands in a sequence, or it is written in another way."""


def plain_sequence(
    data: bytes, kind_of: KindOf, *, explicit: bool, deepest: int
) -> PlainSequence | None:
    """Find the UIDs of a sequence that has no other identifiers.

    Parameters
    ----------
    data : bytes
        Value of the sequence, of given length, in little endian.
    kind_of : callable
        Called for every element.
    explicit : bool
        Whether VRs are written.
    deepest : int
        How many levels of sequences are looked at.

    Returns
    -------
    PlainSequence or None
        None if an element is of any other kind, or something is damaged, unknown or of open
        length: whoever asks has to make data sets of it.
    """
    found = PlainSequence()
    try:
        _items(data, 0, len(data), found, kind_of, explicit, deepest)
    except (ValueError, struct.error, IndexError):
        return None
    return found


def _items(
    data: bytes,
    place: int,
    end: int,
    found: PlainSequence,
    kind_of: KindOf,
    explicit: bool,
    deepest: int,
) -> None:
    while place < end:
        tag, _, start, length = header_at(data, place, explicit=False)
        place = start + length
        if tag != ITEM or length == OPEN_LENGTH or place > end:
            raise _NotPlainError
        while start < place:
            start = _element(data, start, place, found, kind_of, explicit, deepest)


def _element(
    data: bytes,
    place: int,
    end: int,
    found: PlainSequence,
    kind_of: KindOf,
    explicit: bool,
    deepest: int,
) -> int:
    """Look at one element; return where the next one begins."""
    tag, vr, start, length = header_at(data, place, explicit=explicit)
    stop = start + length
    if tag[0] == DELIMITERS or length == OPEN_LENGTH or stop > end:
        raise _NotPlainError
    found.elements += 1
    kind = kind_of(tag, vr)
    if kind == "sequence":
        if vr != b"SQ":
            raise _NotPlainError
        if deepest > 1:
            _items(data, start, stop, found, kind_of, explicit, deepest - 1)
    elif kind == "uid":
        found.uids.append(data[start:stop].decode("latin-1"))
    elif kind:
        raise _NotPlainError
    return stop
