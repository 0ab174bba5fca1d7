"""Sequences that hold nothing of a patient but UIDs, told from their bytes.

A mask has some ten sequences for each of its frames, with codes, numbers and references to
the image that it was drawn on. To make data sets of them costs more than to read its pixels.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from shared.dicom.content import ITEM, OPEN_LENGTH, header_at

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
    data: bytes, kind_of: KindOf, *, explicit: bool, deepest: int, most: int
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
    most : int
        How many elements and items are looked at.

    Returns
    -------
    PlainSequence or None
        None if an element is of any other kind, or something is damaged, unknown or of open
        length: whoever asks has to make data sets of it.
    """
    walk = _Walk(data, kind_of, explicit, most)
    try:
        walk.items(0, len(data), deepest)
    except (ValueError, struct.error, IndexError):
        return None
    return walk.found


@dataclass
class _Walk:
    """One walk over the bytes of a sequence."""

    data: bytes
    kind_of: KindOf
    explicit: bool
    left: int
    found: PlainSequence = field(default_factory=PlainSequence)

    def items(self, place: int, end: int, deepest: int) -> None:
        """Walk over items from a place to an end."""
        while place < end:
            tag, _, start, length = header_at(self.data, place, explicit=False)
            place = start + length
            if tag != ITEM or length == OPEN_LENGTH or place > end:
                raise _NotPlainError
            self.spend()
            self.elements(start, place, deepest)

    def elements(self, place: int, end: int, deepest: int) -> None:
        """Walk over the elements of one item."""
        before = (-1, -1)
        while place < end:
            tag, vr, start, length = header_at(self.data, place, explicit=self.explicit)
            place = start + length
            # Of a tag that comes twice a data set keeps the last.
            if not before < tag or tag[0] == DELIMITERS or length == OPEN_LENGTH or place > end:
                raise _NotPlainError
            before = tag
            self.spend()
            self.found.elements += 1
            kind = self.kind_of(tag, vr)
            if kind == "sequence" and vr == b"SQ":
                if deepest > 1:
                    self.items(start, place, deepest - 1)
            elif kind == "uid" and vr == b"UI":
                self.found.uids.append(self.data[start:place].decode("latin-1"))
            elif kind:
                raise _NotPlainError

    def spend(self) -> None:
        """Count one more of what may be looked at."""
        self.left -= 1
        if self.left < 0:
            raise _NotPlainError
