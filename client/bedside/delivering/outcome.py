"""What became of one result at a destination."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Outcome:
    """Whether a destination keeps a result, does not now, or does not at all; and what it said."""

    became: Literal["kept", "later", "no"]
    said: str = ""


def kept(said: str = "") -> Outcome:
    """Say that it has it."""
    return Outcome("kept", said)


def later(said: str) -> Outcome:
    """Say that it may take it another time."""
    return Outcome("later", said)


def no(said: str) -> Outcome:
    """Say that it refuses it."""
    return Outcome("no", said)
