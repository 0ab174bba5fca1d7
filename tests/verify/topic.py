"""What a full-size check is: runs that are made one by one, and limits on what they found."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from tests.learning.scores import Figure
from tests.verify.stored import RESULTS, ROOT, Shelf, Stored

#: Told what is being done and how far it is, from 0 to 1.
Tell = Callable[[str, float], None]
#: Stored runs of a topic by their keys, in the order of its plan.
Runs = Mapping[str, Stored]
PAGE: Final = ROOT / "docs" / "verified.md"


@dataclass(frozen=True)
class Planned:
    """A run that can be made.

    Attributes
    ----------
    key : str
        Names it and its file; may hold slashes.
    digest : str
        Of what its figures follow from, besides the code (`tests.verify.stored.digest_of`).
    make : callable
        Makes it, seeded, and gives figures that are ready for the topic's shelf.
    """

    key: str
    digest: str
    make: Callable[[Tell], Any]


@dataclass(frozen=True)
class Line:
    """One thing that must hold: what was found, what the limit is, whether it holds."""

    what: str
    found: str
    limit: str
    holds: bool


@dataclass(frozen=True)
class Topic:
    """A full-size check.

    Attributes
    ----------
    name : str
        What is typed: ``make verify ONLY=name``.
    about : str
        One sentence.
    plan : callable
        Lists its runs; cheap, nothing is computed before `Planned.make`.
    judge : callable
        Holds stored runs against the limits.
    tables : callable, optional
        Makes text for the page of stored runs; the table of `judge` by default.
    page : Path
        Where that stands, between the two marks of `tests.verify.pages`.
    """

    name: str
    about: str
    plan: Callable[[], Iterable[Planned]]
    judge: Callable[[Runs], list[Line]]
    tables: Callable[[Runs], str] | None = None
    page: Path = PAGE
    shelf: Shelf | None = None

    @property
    def kept(self) -> Shelf:
        """Where its runs are."""
        return self.shelf or Shelf(RESULTS / self.name)

    def stored(self) -> dict[str, Stored]:
        """All its stored runs, also of other settings than today's, in the order of the plan."""
        found = {planned.key: self.kept.find(planned.key) for planned in self.plan()}
        return {key: one for key, one in found.items() if one is not None}


def within(found: float, low: float, high: float, what: str, digits: int = 3) -> Line:
    """Hold a figure against a range."""
    limit = f"{low:.{digits}f} to {high:.{digits}f}"
    return Line(what, f"{found:.{digits}f}", limit, low <= found <= high)


def at_most(found: float, most: float, what: str, digits: int = 3) -> Line:
    """Hold a figure against what it may be at most."""
    return Line(what, f"{found:.{digits}f}", f"at most {most:.{digits}f}", found <= most)


def above_zero(found: Figure, what: str) -> Line:
    """Hold a figure's interval against zero."""
    return Line(what, str(found), "interval > 0", found.low > 0)


def at_least(found: float, least: float, what: str, digits: int = 3) -> Line:
    """Hold a figure against what it must be at least."""
    return Line(what, f"{found:.{digits}f}", f"at least {least:.{digits}f}", found >= least)
