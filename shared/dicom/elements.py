"""How many elements a file is made of, counted before a parser holds each of them."""

from __future__ import annotations

import struct
from typing import Final

from pydicom.valuerep import EXPLICIT_VR_LENGTH_32, VR

#: Value representations, and those whose length has four bytes, as they are written.
VRS: Final = frozenset(vr.value.encode() for vr in VR if len(vr.value) == 2)
LONG_VRS: Final = frozenset(vr.value.encode() for vr in EXPLICIT_VR_LENGTH_32)
#: An image has hundreds of elements; a mask of a large volume some ten thousand frames of
#: dozens each. A file that is nothing but elements would take a parser half a minute.
MOST_ELEMENTS: Final = 500_000
#: No element is shorter than its tag and its length.
SHORTEST_ELEMENT: Final = 8
#: Where the file meta group begins, behind the preamble and ``DICM``.
META_PLACE: Final = 132
META_GROUP: Final = b"\x02\x00"
#: A group that begins a file without preamble begins with its length, version or first names.
META_FIRST: Final = frozenset({0x0000, 0x0001, 0x0002, 0x0003, 0x0010})
#: Media without file meta group begin with an element of group 0008 in little endian.
BARE_GROUP: Final = b"\x08\x00"
ITEM: Final = b"\xfe\xff\x00\xe0"
ITEM_GROUP: Final = 0xFFFE
PIXEL_DATA: Final = (0x7FE0, 0x0010)
#: Bytes of the first element of a file meta group: four, two, or a UID.
LONGEST_FIRST: Final = 64
OPEN_LENGTH: Final = 0xFFFFFFFF
SHORT_HEAD: Final = struct.Struct("<HH2sH")
LENGTH: Final = struct.Struct("<L")


def is_preambled(data: bytes) -> bool:
    """Tell whether a file begins as PS3.10 has it: a preamble, then ``DICM``."""
    return data[128:META_PLACE] == b"DICM"


def begins_with_meta(data: bytes) -> bool:
    """Tell whether a file begins with its file meta group, as old archives wrote them."""
    if data[:2] != META_GROUP or is_preambled(data) or len(data) < SHORTEST_ELEMENT:
        return False
    _, element, vr, _ = SHORT_HEAD.unpack_from(data)
    return element in META_FIRST and (vr in VRS or LENGTH.unpack_from(data, 4)[0] <= LONGEST_FIRST)


def is_bare(data: bytes) -> bool:
    """Tell whether a file may be a data set without preamble and file meta group."""
    return data[:2] == BARE_GROUP and not is_preambled(data)


def has_too_many_elements(data: bytes, most: int | None = None) -> bool:
    """Tell whether a DICOM file has more elements than any image, in or outside of sequences.

    Everything that begins as an item does is looked into, so that a sequence costs no more
    when a parser takes it apart later. Damage ends the count: it is the parser's to judge.

    Parameters
    ----------
    data : bytes
        The whole file, in little endian; preamble or not.
    most : int or None
        Elements that are allowed; None = `MOST_ELEMENTS`.
    """
    most = MOST_ELEMENTS if most is None else most
    if len(data) < most * SHORTEST_ELEMENT:
        return False
    place = META_PLACE if is_preambled(data) else 0
    end, count, meta, explicit = len(data) - SHORTEST_ELEMENT, 0, True, True
    while place <= end:
        if meta and data[place : place + 2] != META_GROUP:
            # As the parser does: the first element after the file meta group tells.
            meta, explicit = False, data[place + 4 : place + 6] in VRS
        group, element, vr, length = SHORT_HEAD.unpack_from(data, place)
        start = place + SHORTEST_ELEMENT
        if not explicit or group == ITEM_GROUP or vr not in VRS:
            (length,) = LENGTH.unpack_from(data, place + 4)
        elif vr in LONG_VRS:
            if start + 4 > len(data):
                return False
            (length,) = LENGTH.unpack_from(data, start)
            start += 4
        if not group and not element and not length:
            return False  # zeros: lost in what is no element
        count += 1
        if count > most:
            return True
        if (group, element) == PIXEL_DATA:
            open_end = length == OPEN_LENGTH
            place = _behind_fragments(data, start) if open_end else start + length
        elif length == OPEN_LENGTH or group == ITEM_GROUP or data[start : start + 4] == ITEM:
            place = start
        else:
            place = start + length
    return False


def _behind_fragments(data: bytes, place: int) -> int:
    """Where compressed pixels end; their fragments hold no elements."""
    while data[place : place + 4] == ITEM and place + SHORTEST_ELEMENT <= len(data):
        place += SHORTEST_ELEMENT + LENGTH.unpack_from(data, place + 4)[0]
    return place
