"""Marks of a table on images and CT series, brought to the arrays as they are kept.

A table counts pixels in the image of the file as it is shown without turning it: x from its
left edge to the right, y from its upper edge down. Coordinates are those of edges: the first
pixel reaches from 0 to 1, and an image of 300 columns from 0 to 300. A kept array may be turned
(`shared.dicom.pixels.orientation`); marks are turned with it, once, when they come in.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, Literal

from shared.dicom.verdicts import SetAsideError
from shared.records import VertebraBox

from .names import number_named

#: A mark on an image, or the slice of a CT series.
MarkKind = Literal["box", "point", "slice"]
MARK_KINDS: Final[tuple[MarkKind, ...]] = ("box", "point", "slice")
#: What names a file's object rather than a position in mm.
UID: Final = re.compile(r"\d+(\.\d+){3,}")
#: More marks of one kind than this are not kept of an image or series, which shows 24 vertebrae.
MOST_MARKS: Final = 64
#: Two sources that differ by no more than this (pixels, slices) say the same.
SAME_PLACE: Final = 0.5


@dataclass(frozen=True)
class MarkedPlace:
    """What a line of a table marks.

    Attributes
    ----------
    kind : str
        ``box``, ``point`` or ``slice``.
    numbers : tuple of float
        Of a box x0, y0, x1, y1 and of a point x, y, in pixels of the file; of a slice its z in
        patient coordinates, mm, or nothing as long as only its UID is known.
    image : str
        Which image or series: what the table says, or, once its file was found
        (`shared.dicom.labels.mark_images`), view or SeriesInstanceUID. Empty = the only one.
    study_uid, content : str
        Study of that file, and the digest of an image's; empty if none was found.
    """

    kind: MarkKind
    numbers: tuple[float, ...]
    image: str = ""
    study_uid: str = ""
    content: str = ""


@dataclass(frozen=True)
class KeptImage:
    """An image as it is kept: rows and columns in pixels, and which of them were reversed.

    `turned` is None where nobody knows any more; `content` is the digest of its file.
    """

    shape: tuple[int, int]
    content: str
    turned: tuple[bool, bool] | None = (False, False)


@dataclass(frozen=True)
class KeptVolume:
    """Axis 0 of a volume as it is kept, feet to head: voxels, z of the first in mm, step in mm."""

    slices: int
    first_mm: float
    step_mm: float


@dataclass(frozen=True)
class Markable:
    """What of a study can be marked: its images by view, its volumes by series."""

    images: Mapping[str, KeptImage] = field(default_factory=dict)
    volumes: Mapping[str, KeptVolume] = field(default_factory=dict)

    def candidates(self, mark: MarkedPlace) -> list[str]:
        """Views or series that a mark can be on."""
        if mark.kind == "slice":
            return [name for name in self.volumes if mark.image in ("", name)]
        return [
            name
            for name, image in self.images.items()
            if mark.image in ("", name) and mark.content in ("", image.content)
        ]

    def place(self, mark: MarkedPlace) -> tuple[str, tuple[float, ...]]:
        """Find where a mark is in the kept array.

        Returns
        -------
        image : str
            View or series.
        numbers : tuple of float
            Of a box x0, y0, x1, y1 and of a point x, y, in pixels of the kept array, from its
            edges; of a slice its index along axis 0, from 0.

        Raises
        ------
        SetAsideError
            If it is on no image or series of the study, on one of several, or outside of it.
        """
        found = self.candidates(mark)
        if not found or not mark.numbers:
            raise SetAsideError("mark_without_image")
        if len(found) > 1:
            raise SetAsideError("mark_ambiguous")
        if mark.kind == "slice":
            return found[0], (float(slice_index(self.volumes[found[0]], mark.numbers[0])),)
        return found[0], turned_place(self.images[found[0]], mark.numbers)


def turned_place(image: KeptImage, numbers: tuple[float, ...]) -> tuple[float, ...]:
    """Bring a box (x0, y0, x1, y1) or a point (x, y) of the file to the kept image.

    Raises
    ------
    SetAsideError
        If it is not inside of the image, or nobody knows how that was turned.
    """
    rows, columns = image.shape
    xs, ys = numbers[0::2], numbers[1::2]
    if not all(0 <= x <= columns for x in xs) or not all(0 <= y <= rows for y in ys):
        raise SetAsideError("mark_outside")
    if image.turned is None:
        raise SetAsideError("mark_turn_unknown")
    rows_reversed, columns_reversed = image.turned
    if columns_reversed:
        xs = tuple(sorted(columns - x for x in xs))
    if rows_reversed:
        ys = tuple(sorted(rows - y for y in ys))
    return tuple(round(number, 3) for pair in zip(xs, ys, strict=True) for number in pair)


def slice_index(volume: KeptVolume, z_mm: float) -> int:
    """Index along axis 0 (from 0, feet to head) of the voxels nearest to a z in mm.

    Raises
    ------
    SetAsideError
        If it lies further out than half a voxel.
    """
    index = (z_mm - volume.first_mm) / volume.step_mm
    # Positions are written with few decimals: a hair beyond the half voxel is none.
    if not -0.51 <= index <= volume.slices - 0.49:
        raise SetAsideError("mark_outside")
    return min(max(round(index), 0), volume.slices - 1)


def same_place(one: tuple[float, ...], other: tuple[float, ...]) -> bool:
    """Say whether two marks of one thing are the same."""
    return all(abs(a - b) <= SAME_PLACE for a, b in zip(one, other, strict=True))


# --- cells ---------------------------------------------------------------------------


def box_of(image: str, *cells: str) -> MarkedPlace:
    """Box of the cells x0, y0, x1, y1; ValueError if it can be none of any image."""
    x0, y0, x1, y1 = numbers = _numbers(cells)
    if x0 >= x1 or y0 >= y1:
        raise ValueError("x0 or y0 is not less than x1 or y1")
    return MarkedPlace("box", numbers, image)


def point_of(image: str, *cells: str) -> MarkedPlace:
    """Point of the cells x, y; ValueError if it can be none of any image."""
    return MarkedPlace("point", _numbers(cells), image)


def slice_of(image: str, cell: str) -> MarkedPlace:
    """Slice by its SOP Instance UID, or by its z in mm."""
    if UID.fullmatch(cell):
        return MarkedPlace("slice", (), cell)
    z_mm = number_named(cell)
    if not math.isfinite(z_mm):
        raise ValueError("value")
    return MarkedPlace("slice", (z_mm,), image)


def _numbers(cells: tuple[str, ...]) -> tuple[float, ...]:
    numbers = tuple(map(number_named, cells))
    if not all(math.isfinite(number) for number in numbers):
        raise ValueError("value")
    if min(numbers) < 0:
        raise ValueError("less than 0")
    return numbers


# --- what is kept, for tasks ---------------------------------------------------------


@dataclass(frozen=True)
class KeptMark:
    """One mark as it is kept: the vertebra (empty: nobody said which) and `Markable.place`."""

    kind: MarkKind
    vertebra: str
    numbers: tuple[float, ...]


def boxes_of(marks: list[KeptMark]) -> tuple[VertebraBox, ...]:
    """Boxes among the marks of an image, in the order of the rows."""
    found = [VertebraBox(one.vertebra, *one.numbers) for one in marks if one.kind == "box"]
    return tuple(sorted(found, key=lambda box: (box.y0, box.x0, box.vertebra)))


def points_of(marks: list[KeptMark]) -> dict[str, tuple[float, float]]:
    """Points (x, y) among the marks of an image, by vertebra."""
    return {one.vertebra: (one.numbers[0], one.numbers[1]) for one in marks if one.kind == "point"}


def slices_of(marks: list[KeptMark]) -> dict[str, int]:
    """Index of the slice of each vertebra among the marks of a volume."""
    return {one.vertebra: int(one.numbers[0]) for one in marks if one.kind == "slice"}
