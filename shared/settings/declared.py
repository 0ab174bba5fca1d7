"""Declared numbers of patients: public, written by a person, rungs of one ladder.

What leaves a hospital follows from these and never from today's counts
(docs/decisions/0031-declared-numbers.md).
"""

from __future__ import annotations

from typing import Annotated, Final, Literal

from pydantic import AfterValidator

from shared.settings.base import Count, Settings

#: Groups of patients that have a number of their own; each is one split of the store.
Place = Literal["train", "validation"]
PLACES: Final[tuple[Place, ...]] = ("train", "validation")
#: The rungs between two powers of ten, in tenths of the lower one.
_TENTHS: Final = (10, 15, 20, 30, 50, 70)
#: Below 20 the rungs stand so close that one nearly tells the number of its day; they serve
#: where `SitePolicy.minimum_patients` was lowered on purpose (demonstrations, tests).
_SMALL: Final = (1, 2, 3, 5, 7)
#: True numbers outside these shares of the declared one are warned of, inside the hospital.
LEAST_UNDER: Final = 0.7
MOST_OVER: Final = 1.5
#: Every number that may be declared, ascending: ... 20, 30, 50, 70, 100, 150, 200, ...
LADDER: Final[tuple[int, ...]] = (
    *_SMALL,
    *(tenths * 10**power for power in range(6) for tenths in _TENTHS),
)


def rung_below(patients: int) -> int | None:
    """Round a count down to a rung; None where there is nobody."""
    return max((rung for rung in LADDER if rung <= patients), default=None)


def check_rung(number: int) -> int:
    """Give a number back if it is a rung.

    Raises
    ------
    ValueError
        Naming the rungs next to it.
    """
    if number not in LADDER:
        below, above = rung_below(number), min((r for r in LADDER if r > number), default=None)
        near = " or ".join(str(one) for one in (below, above) if one is not None)
        raise ValueError(
            f"must be a rung of the ladder 20, 30, 50, 70, 100, 150, 200, …: {near}; "
            "`osteofed site declare` proposes one"
        )
    return number


Rung = Annotated[Count, AfterValidator(check_rung)]


class DeclaredNumbers(Settings):
    """How many patients a hospital says train and validate one task; None: not declared."""

    train: Rung | None = None
    validation: Rung | None = None

    def of(self, place: Place) -> int | None:
        """Give the number of one place."""
        return self.train if place == "train" else self.validation
