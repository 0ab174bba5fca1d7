"""UIDs of what is sent back: the same again for the same answer, and recognised as ours.

A UID is ``2.25.`` and a UUID as one integer (PS3.5 B.2). The UUID is of version 8 (RFC 9562
5.8): its first 48 bits are this project's mark, so that all our UIDs begin with `ROOT`, and 74
bits come from a SHA-256 of what is named. The project has no registered root; a UUID needs none.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import Final

#: "OsteoF" in ASCII: the first 48 bits of every UUID of ours.
MARK: Final = int.from_bytes(b"OsteoF", "big")
#: What each of our UIDs begins with: the digits that all UUIDs of that mark share.
ROOT: Final = "2.25.10560848660173"
VERSION, VARIANT = 8, 0b10


def uid_of(*parts: str) -> str:
    """Make the UID of something that is named by these parts, in their order."""
    text = "\x00".join(parts)
    digest = int.from_bytes(hashlib.sha256(text.encode()).digest()[:16], "big")
    high, low = digest >> 116, digest & ((1 << 62) - 1)  # 12 and 62 bits
    number = (MARK << 80) | (VERSION << 76) | (high << 64) | (VARIANT << 62) | low
    return f"2.25.{number}"


def is_ours(uid: str) -> bool:
    """Whether this project made a UID: what a node wrote may be sent to it again."""
    arc = uid.removeprefix("2.25.")
    if arc == uid or not arc.isascii() or not arc.isdigit() or len(arc) > 39:
        return False
    number = int(arc)
    return number >> 80 == MARK and (number >> 76) & 0xF == VERSION


def joined(parts: Iterable[str]) -> str:
    """One part of several, which no other several give."""
    return "\x01".join(parts)
