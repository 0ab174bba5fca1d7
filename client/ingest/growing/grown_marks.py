"""Masks and marks of a series follow it onto the grid of a volume that replaces it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from sqlalchemy import delete, insert, select
from sqlalchemy.orm import Session

from client.store.arrays import levels_text, mapped, write_array
from client.store.catalogue import Marking, Volume
from client.store.marks import numbers_text
from client.store.site_store import SiteStore
from shared.dicom.ct.eligibility import ROUNDING_MM
from shared.dicom.labels.marks import KeptVolume, slice_index
from shared.dicom.verdicts import SetAsideError
from shared.errors import StoreMissingError


@dataclass(frozen=True)
class Followed:
    """What of a series' mask or marks fits the new volume: its `levels`, and how many do not."""

    levels: str | None = None
    lost: int = 0


def follow_mask(
    store: SiteStore,
    before: Volume,
    facts: Mapping[str, Any],
    shape: tuple[int, ...],
    target: Path,
) -> Followed:
    """Lay the stored mask onto the new grid, if its voxels are those of the new volume.

    It is, where slices were added at the ends; not, where they came between others. `target` is
    where its array goes, of `shape`.
    """
    try:
        regions = mapped(store.array_path(before.study, before.series, "regions"))
    except StoreMissingError:
        return Followed(lost=1)
    corner = _corner_in(before, facts)
    if corner is None or any(
        low < 0 or low + size > whole
        for low, size, whole in zip(corner, regions.shape, shape, strict=True)
    ):
        return Followed(lost=1)
    grown = np.zeros(shape, np.uint8)
    z, y, x = corner
    depth, height, width = regions.shape
    grown[z : z + depth, y : y + height, x : x + width] = regions
    write_array(target, grown)
    return Followed(levels_text(grown))


def _corner_in(before: Volume, facts: Mapping[str, Any]) -> tuple[int, int, int] | None:
    """Voxel of the new volume that is the first of the stored one; None if none is."""
    old = np.array([before.slice_mm, before.row_mm, before.column_mm])
    new = np.array([facts["slice_mm"], facts["row_mm"], facts["column_mm"]])
    if before.resampled or facts["resampled"] or np.abs(old / new - 1).max() > 1e-3:
        return None
    first, other = (np.array([float(word) for word in text.split()][::-1])
                    for text in (before.origin, facts["origin"]))  # fmt: skip
    away = (first - other) / new
    if np.abs(away - np.rint(away)).max() > ROUNDING_MM / new.min():
        return None
    z, y, x = (int(one) for one in np.rint(away))
    return z, y, x


def follow_marks(
    session: Session, before: Volume, facts: Mapping[str, Any], depth: int
) -> Followed:
    """Give marked slices their index in the new volume; those outside of it go."""
    old_first, new_first = (float(text.split()[2]) for text in (before.origin, facts["origin"]))
    mine = {"study": before.study, "image": before.series, "kind": "slice"}
    rows = list(session.scalars(select(Marking).filter_by(**mine)))
    kept, lost = [], 0
    volume = KeptVolume(depth, new_first, float(facts["slice_mm"]))
    for row in rows:
        z_mm = old_first + float(row.numbers.split()[0]) * before.slice_mm
        try:
            index = float(slice_index(volume, z_mm))
        except SetAsideError:
            lost += 1
            continue
        kept.append(
            mine
            | {
                "vertebra": row.vertebra,
                "numbers": numbers_text([index]),
                "disputed": row.disputed,
            }
        )
    for row in rows:
        session.expunge(row)
    session.execute(delete(Marking).filter_by(**mine))
    if kept:
        session.execute(insert(Marking), kept)
    return Followed(lost=lost)
