"""What a catalogue knows of the slices of a CT series, and whether all of them are there."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict
from typing import Any

from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from client.store.catalogue import Slice, Volume
from shared.dicom.ct.completeness import (
    INCOMPLETE,
    UNKNOWN,
    WHOLE,
    SeriesCompleteness,
    SliceTold,
    judge_completeness,
)
from shared.dicom.ct.earlier import SliceSource
from shared.dicom.ct.eligibility import line_of
from shared.dicom.ct.geometry import SlicePlace
from shared.phrases import counted


def grid_text(place: SlicePlace) -> str:
    """How slices lie, besides where, as the catalogue holds it."""
    # Of so many decimals no part looks like somebody's number to `osteofed site audit phi`.
    return " ".join(f"{one:.17f}" for one in (*place.orientation, *place.spacing, *place.shape))


def _position(one: Slice) -> tuple[float, float, float]:
    return one.x_mm, one.y_mm, one.z_mm


def slices_of_volume(session: Session, row: Volume) -> list[SliceSource]:
    """Slices that a stored volume was made of, in an order of their own."""
    *cosines, down, across, rows, columns = map(float, (row.grid or "").split())
    orientation: Any = tuple(cosines)
    query = select(Slice).filter_by(study=row.study, series=row.series, kept=True)
    found = []
    for one in session.scalars(query.order_by(Slice.digest, Slice.frame)):
        shape = (int(rows), int(columns))
        place = SlicePlace(_position(one), orientation, (down, across), shape, one.frame)
        told = SliceTold(one.number, one.acquisition, one.said, one.apart_mm)
        found.append(SliceSource(place, told, known=one.digest))
    return found


def slice_rows(
    key: Mapping[str, str], sources: Iterable[tuple[str, SliceSource]], *, kept: bool
) -> list[dict[str, Any]]:
    """Rows of slices, each with the keyed digest of its content.

    Parameters
    ----------
    key : mapping
        Study and series.
    sources : iterable of (str, SliceSource)
    kept : bool
        Whether they are in the volume; false if they were set aside.
    """
    return [
        {
            **key,
            "digest": digest,
            "frame": one.place.frame,
            "kept": kept,
            **dict(zip(("x_mm", "y_mm", "z_mm"), map(float, one.place.position), strict=True)),
            **asdict(one.told),
        }
        for digest, one in sources
    ]


def no_longer_aside(
    session: Session, key: Mapping[str, str], rows: Iterable[Mapping[str, Any]]
) -> None:
    """Forget that slices were set aside which are kept now."""
    aside = set(session.scalars(select(Slice.digest).filter_by(**key, kept=False)))
    mine = {row["digest"] for row in rows} & aside
    for digest in sorted(mine):
        session.execute(delete(Slice).filter_by(**key, kept=False, digest=digest))


def judged(session: Session, row: Volume) -> SeriesCompleteness:
    """Say whether a stored volume is whole, by all that is known of its slices, and why."""
    if row.grid is None:
        return SeriesCompleteness(row.completeness or UNKNOWN)  # type: ignore[arg-type]
    slices = session.scalars(select(Slice).filter_by(study=row.study, series=row.series)).all()
    kept = {_position(one) for one in slices if one.kept}
    aside = {_position(one) for one in slices if not one.kept} - kept
    if aside:
        said = f"{counted(len(aside), 'slice')} more came and could not be added"
        return SeriesCompleteness(INCOMPLETE, said)
    sources = slices_of_volume(session, row)
    told, along = [one.told for one in sources], line_of([one.place for one in sources])
    found = judge_completeness(told, along.offsets.tolist(), row.thickness_mm)
    if row.short and found.completeness != WHOLE:
        return SeriesCompleteness(
            INCOMPLETE, "the archive gave fewer files of its study than it said"
        )
    return found


def grade(session: Session, study: str, series: str) -> None:
    """Write down whether a stored volume is whole, by all that is known now."""
    row = session.get(Volume, (study, series), populate_existing=True)
    if row is not None:
        row.completeness = judged(session, row).completeness
        session.flush()
