"""The kinds of labels that come in by a table, one row each: columns, names and values."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Literal

from shared.regions import BMD_REGIONS, RIGHT_HIP, VERTEBRAE
from shared.settings.files import LabelColumns

from .marks import MarkedPlace, MarkKind, box_of, point_of, slice_of
from .names import GRADES, is_bmd, number_named, region_named, vertebra_named

#: Cells that say "nobody said".
BLANK: Final = frozenset({"", "-", "n/a", "na", "nan", "none", "not assessed", "not evaluable"})

Kind = Literal["bmd", "genant", "class"] | MarkKind


@dataclass(frozen=True)
class LabelKind:
    """One kind of label.

    Attributes
    ----------
    kind : str
        As the catalogue holds it; never renamed.
    columns : callable
        Columns of the hospital's table that hold the name and then the value, of its settings.
        Name and value may be in one; a box has its value in four.
    name_of : callable
        Our name of what a cell names, None if nobody needs it; ValueError if it cannot be.
    value_of : callable
        Value of a cell; ValueError if it cannot be.
    alone : bool
        Whether such a label is kept of a day without images.
    mark_of : callable or None
        Of a mark on an image or a slice: what is marked, of the cell that names the image (empty
        if none does) and those of the value; ValueError if it cannot be. Its value is 1.
    """

    kind: Kind
    columns: Callable[[LabelColumns], tuple[str, ...]]
    name_of: Callable[[str, LabelColumns], str | None]
    value_of: Callable[[str], float]
    alone: bool
    mark_of: Callable[..., MarkedPlace] | None = None

    def is_in(self, header: set[str], columns: LabelColumns) -> bool:
        """Say whether a table with these columns holds such labels."""
        if self.kind == "class" and not columns.classes:
            return False
        return {columns.patient_id, columns.scan_date, *self.columns(columns)} <= header


def _bmd(text: str) -> float:
    value = number_named(text)
    if not is_bmd(value):
        raise ValueError("value")
    return value


def _grade(text: str) -> float:
    value = number_named(text)
    if value not in GRADES:
        raise ValueError("value")
    return value


def _class(text: str, columns: LabelColumns) -> str:
    """Class that ``site.yaml`` names; other text could be anybody's name."""
    known = {name.casefold(): name for name in columns.classes}
    if text.casefold() not in known:
        raise ValueError("class that site.yaml does not name")
    return known[text.casefold()]


def _one_of(regions: tuple[str, ...]) -> Callable[[str, LabelColumns], str | None]:
    """Make the function that names one of some regions."""

    def name_of(text: str, _: LabelColumns) -> str | None:
        region = region_named(text)
        return region if region in regions else None

    return name_of


def _vertebra(text: str, _: LabelColumns) -> str:
    name = vertebra_named(text)
    if name is None:
        raise ValueError("vertebra")
    return name


def _vertebra_or_any(text: str, columns: LabelColumns) -> str:
    """Vertebra of a box; empty where nobody said which."""
    return _vertebra(text, columns) if text.lower() not in BLANK else ""


def _one(_: str) -> float:
    return 1.0


LABEL_KINDS: Final[tuple[LabelKind, ...]] = (
    LabelKind(
        "bmd", lambda c: (c.region, c.bmd), _one_of((*BMD_REGIONS, *RIGHT_HIP)), _bmd, alone=True
    ),
    LabelKind("genant", lambda c: (c.vertebra, c.genant), _one_of(VERTEBRAE), _grade, alone=True),
    LabelKind("class", lambda c: (c.image_class,) * 2, _class, _one, alone=False),
    LabelKind(
        "box", lambda c: (c.vertebra, *c.box), _vertebra_or_any, _one, alone=False, mark_of=box_of
    ),
    LabelKind(
        "point", lambda c: (c.vertebra, *c.point), _vertebra, _one, alone=False, mark_of=point_of
    ),
    LabelKind(
        "slice", lambda c: (c.vertebra, c.slice), _vertebra, _one, alone=False, mark_of=slice_of
    ),
)
BY_KIND: Final = {one.kind: one for one in LABEL_KINDS}


def kinds_of(header: set[str], columns: LabelColumns) -> list[LabelKind]:
    """Kinds of labels that a table with these columns holds; none if it is unknown.

    BMD and Genant grades are in tables of their own: one that has the columns of both
    leaves open which its rows are. Classes and marks may stand beside either.
    """
    found = [one for one in LABEL_KINDS if one.is_in(header, columns)]
    apart = [one for one in found if one.kind in ("bmd", "genant")]
    return [] if len(apart) > 1 else found
