"""Marks on images and volumes, and what of a store can be marked, as its catalogue says them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from sqlalchemy import select
from sqlalchemy.orm import Session

from client.store.arrays import array_path, check_whole
from client.store.catalogue import Image, Marking, Volume
from shared.dicom.labels.marks import (
    MARK_KINDS,
    KeptImage,
    KeptMark,
    KeptVolume,
    Markable,
)

#: Of the axes of an image's array, in order.
AXES: Final = ("rows", "columns")

#: Marks by study, and there by view or series.
Marks = dict[str, dict[str, list[KeptMark]]]


def turned_text(turned: tuple[bool, bool]) -> str:
    """Which axes are reversed, as the catalogue holds it."""
    return " ".join(axis for axis, is_so in zip(AXES, turned, strict=True) if is_so)


def numbers_text(numbers: Sequence[float]) -> str:
    """Numbers of a mark as the catalogue holds them."""
    return " ".join(f"{number:.10g}" for number in numbers)


def read_marks(session: Session, study_uids: Any) -> Marks:
    """Marks that are not disputed.

    Parameters
    ----------
    session : Session
        Of the catalogue.
    study_uids : select or sequence of str
        Which studies.
    """
    found: Marks = defaultdict(lambda: defaultdict(list))
    query = (
        select(Marking)
        .where(Marking.study.in_(study_uids), Marking.disputed.is_(False))
        .order_by(Marking.study, Marking.image, Marking.kind, Marking.vertebra, Marking.numbers)
    )
    for row in session.scalars(query):
        [kind] = [one for one in MARK_KINDS if one == row.kind]
        numbers = tuple(map(float, row.numbers.split()))
        found[row.study][row.image].append(KeptMark(kind, row.vertebra, numbers))
    return {study: dict(some) for study, some in found.items()}


def marks_on(marks: Marks, study: str, image: str) -> list[KeptMark]:
    """Marks on one image or volume of a study, by its view or series."""
    return marks.get(study, {}).get(image, [])


def read_markable(session: Session, arrays: Path, study: str) -> Markable:
    """What of one study in the store can be marked.

    Parameters
    ----------
    session : Session
        Of the catalogue, in which the study is written.
    arrays : Path
        The store's folder of arrays.
    study : str
        Its uid.

    Raises
    ------
    StoreMissingError
        If an array is not whole.
    """
    images, volumes = {}, {}
    for image in session.scalars(select(Image).where(Image.study == study)):
        rows, columns = check_whole(array_path(arrays, study, image.view, "pixels"))
        turned = None
        if image.turned is not None:
            turned = ("rows" in image.turned.split(), "columns" in image.turned.split())
        images[image.view] = KeptImage((rows, columns), image.digest, turned)
    for volume in session.scalars(select(Volume).where(Volume.study == study)):
        shape = check_whole(array_path(arrays, study, volume.series, "hu"))
        first_mm = float(volume.origin.split()[2])
        volumes[volume.series] = KeptVolume(shape[0], first_mm, volume.slice_mm)
    return Markable(images, volumes)
