"""What a file says, apart from how it is written: by this the door knows it again.

An object that comes from a PACS is not the file that the scanner wrote: the file meta
group is new, and a sender may write the data set in explicit VR where it was implicit.
Only the lengths and tags are walked here, once, at a tenth of what parsing costs.
"""

from __future__ import annotations

import hashlib
import struct
from functools import lru_cache
from typing import Any, Final

from pydicom.datadict import dictionary_VR
from pydicom.uid import (
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
)

from .elements import (
    LONG_VRS,
    META_GROUP,
    META_PLACE,
    VRS,
    begins_with_meta,
    has_too_many_elements,
    is_bare,
    is_preambled,
)

TRANSFER_SYNTAX: Final = (0x0002, 0x0010)
#: Trailing padding says nothing (PS3.10, 7.2).
PADDING: Final = (0xFFFC, 0xFFFC)
ITEM: Final = (0xFFFE, 0xE000)
ENDS: Final = ((0xFFFE, 0xE00D), (0xFFFE, 0xE0DD))
OPEN_LENGTH: Final = 0xFFFFFFFF
DEEPEST: Final = 32
TAG = struct.Struct("<HH")
SHORT = struct.Struct("<H")
LONG = struct.Struct("<L")


def content_digest(data: bytes) -> str:
    """SHA-256 of what a file holds, 64 hex digits.

    The same for one DICOM object in implicit and explicit VR (little endian), with any
    file meta group or none, with preamble or without, and with sequences of given or open
    length. Pixels in another compression are other content: whether they are the same cannot
    be told without decoding them. So are private sequences in another VR: implicit VR does
    not say that they are sequences. Of what is no DICOM file, a damaged one, or one of more
    elements than are read, it is the SHA-256 of the bytes.

    Parameters
    ----------
    data : bytes
        The whole file.
    """
    if _may_be_dicom(data) and not has_too_many_elements(data):
        digest = hashlib.sha256(b"DICM")
        try:
            start, syntax = _beginning(data)
            if syntax not in (ExplicitVRBigEndian, DeflatedExplicitVRLittleEndian):
                digest.update(syntax.encode() if syntax.is_compressed else b"")
                explicit = syntax != ImplicitVRLittleEndian
                _Walk(data, digest).elements(start, len(data), explicit, 0)
                return digest.hexdigest()
        except (ValueError, struct.error, IndexError):
            pass  # damaged: judged by whoever reads it
    return hashlib.sha256(data).hexdigest()


def _may_be_dicom(data: bytes) -> bool:
    """Tell by the first bytes whether a file may hold a data set."""
    return is_preambled(data) or begins_with_meta(data) or is_bare(data)


def _beginning(data: bytes) -> tuple[int, UID]:
    """Where the data set begins, and its transfer syntax."""
    if is_bare(data):
        return 0, ExplicitVRLittleEndian if data[4:6] in VRS else ImplicitVRLittleEndian
    place, syntax = META_PLACE if is_preambled(data) else 0, UID("")
    while data[place : place + 2] == META_GROUP:
        tag, _, start, length = header_at(data, place, explicit=True)
        if length == OPEN_LENGTH:
            raise ValueError("an open length in the file meta group")
        place = start + length
        if tag == TRANSFER_SYNTAX:
            syntax = UID(data[start:place].decode("ascii").strip("\x00 "))
    if not syntax.is_transfer_syntax:
        raise ValueError("no transfer syntax")
    return place, syntax


def header_at(
    data: bytes, place: int, *, explicit: bool
) -> tuple[tuple[int, int], bytes, int, int]:
    """Tag, VR, where the value begins and how long it is."""
    tag = TAG.unpack_from(data, place)
    if not explicit or tag[0] == ITEM[0]:
        return tag, _known_vr(tag), place + 8, LONG.unpack_from(data, place + 4)[0]
    vr = data[place + 4 : place + 6]
    if vr not in VRS:
        raise ValueError("no VR where one must be")
    if vr in LONG_VRS:
        return tag, vr, place + 12, LONG.unpack_from(data, place + 8)[0]
    return tag, vr, place + 8, SHORT.unpack_from(data, place + 6)[0]


class _Walk:
    """One walk over a data set, which feeds a digest with tags and values, never with VRs."""

    def __init__(self, data: bytes, digest: Any) -> None:
        self.data = data
        self.view = memoryview(data)
        self.digest = digest

    def elements(self, place: int, end: int, explicit: bool, depth: int) -> int:
        """Walk elements up to `end` or to a delimiter; return where they ended."""
        if depth > DEEPEST:
            raise ValueError("sequences nested deeper than any scanner writes")
        while place < end:
            tag, vr, start, length = header_at(self.data, place, explicit=explicit)
            if tag in ENDS:
                return start
            if length == OPEN_LENGTH:
                self.digest.update(self.view[place : place + 4])
                # What is written as UN of open length is in implicit VR (PS3.5, 6.2.2).
                inner = explicit and vr != b"UN"
                place = self.items(start, end, inner, depth, fragments=vr in (b"OB", b"OW"))
                continue
            stop = start + length
            if stop > end:
                raise ValueError("a value that ends behind the file")
            if tag[1] != 0 and tag != PADDING:
                self.digest.update(self.view[place : place + 4])
                if vr == b"SQ":
                    self.items(start, stop, explicit, depth)
                else:
                    self.digest.update(LONG.pack(length))
                    self.digest.update(self.view[start:stop])
            place = stop
        return place

    def items(
        self, place: int, end: int, explicit: bool, depth: int, *, fragments: bool = False
    ) -> int:
        """Walk the items of a sequence, or the fragments of compressed pixels."""
        while place < end:
            tag, _, start, length = header_at(self.data, place, explicit=False)
            if tag in ENDS:
                place = start
                break
            if tag != ITEM:
                raise ValueError("something between the items of a sequence")
            self.digest.update(b"item")
            stop = end if length == OPEN_LENGTH else start + length
            if stop > end:
                raise ValueError("an item that ends behind its sequence")
            if fragments:
                self.digest.update(LONG.pack(length))
                self.digest.update(self.view[start:stop])
                place = stop
            else:
                place = self.elements(start, stop, explicit, depth + 1)
        self.digest.update(b"end")
        return place


@lru_cache(maxsize=4096)
def _known_vr(tag: tuple[int, int]) -> bytes:
    """VR of an element that is written without one."""
    if tag[0] % 2:
        return b"UN"  # private: no dictionary of the standard has it
    try:
        return dictionary_VR(tag)[:2].encode()
    except KeyError:
        return b"UN"
