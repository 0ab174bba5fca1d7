"""The places of ``mutations.toml``."""

from __future__ import annotations

import tomllib
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path

from tests.verify.stored import digest_of


@dataclass(frozen=True)
class Place:
    """A change of the source that breaks something.

    `before` stands exactly once in `file`, and `after` in its stead is the change.
    """

    area: str
    key: str
    file: str
    before: str
    after: str
    breaks: str

    @property
    def digest(self) -> str:
        """Of the change itself, not of what is said about it."""
        told = asdict(self)
        return digest_of([told[name] for name in ("file", "before", "after")])


@cache
def places() -> tuple[Place, ...]:
    """All of them, in the order of the file."""
    path = Path(__file__).with_name("mutations.toml")
    held = tomllib.loads(path.read_text(encoding="utf-8"))
    return tuple(Place(**one) for one in held["place"])
