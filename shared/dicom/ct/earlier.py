"""Slices of a series that came before, so that those which come now make one volume with them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from shared.dicom.verdicts import SetAsideError

from .completeness import SliceTold
from .eligibility import SAME_PLACE_MM, find_stack
from .geometry import SlicePlace


@dataclass(frozen=True)
class SliceSource:
    """A slice that a volume was made of.

    Attributes
    ----------
    place : SlicePlace
        Where it lies.
    told : SliceTold
        What its header says of the series.
    digest : str
        SHA-256 of its file; empty of one that came before.
    known : str
        What the one who kept it calls a slice that came before.
    """

    place: SlicePlace
    told: SliceTold
    digest: str = ""
    known: str = ""


@dataclass(frozen=True)
class EarlierSlices:
    """What was kept of a series.

    Attributes
    ----------
    sources : sequence of SliceSource
        All its slices.
    missing : frozenset of int
        Indices of those that are not among the files that come now.
    hu : ndarray of int16, shape (Z, Y, X), or None
        Their volume; None if it was resampled, so that the slices cannot be had again.
    """

    sources: Sequence[SliceSource]
    missing: frozenset[int]
    hu: NDArray[np.int16] | None = field(default=None, repr=False)

    def beside(self, places: Sequence[SlicePlace]) -> BesideNew:
        """Match the slices that are missing from the new files with where the new ones lie.

        Raises
        ------
        SetAsideError
            If slices are missing and cannot be had again.
        """
        if not self.missing:
            return BesideNew()
        if self.hu is None:
            raise SetAsideError("series_part")
        stack = find_stack([one.place for one in self.sources])
        if stack.resampled or self.hu.shape != stack.box[1]:
            raise SetAsideError("series_part")
        native = stack.native_view(self.hu)
        number_in = {place: number for number, place in enumerate(stack.order)}
        asked = sorted(self.missing)
        tree = cKDTree([place.position for place in places])
        away, nearest = tree.query([self.sources[index].place.position for index in asked])
        found = BesideNew()
        for index, distance, new in zip(asked, away, nearest, strict=True):
            one = (self.sources[index], native[number_in[index]])
            if distance < SAME_PLACE_MM:
                found.again[int(new)] = one
            else:
                found.more.append(one)
        return found


@dataclass
class BesideNew:
    """Slices that came before: `more` at other places than new ones, `again` at the same."""

    more: list[tuple[SliceSource, NDArray[Any]]] = field(default_factory=list)
    again: dict[int, tuple[SliceSource, NDArray[Any]]] = field(default_factory=dict)
