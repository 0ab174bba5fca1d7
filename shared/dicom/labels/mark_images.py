"""Which image a mark is on: found by the file that a table names, and joined in studies as read."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Final

import numpy as np

from shared.dicom.verdicts import FileVerdict, SetAsideError, judge
from shared.records import View

from .marks import (
    MOST_MARKS,
    KeptImage,
    KeptMark,
    KeptVolume,
    Markable,
    MarkedPlace,
    boxes_of,
    points_of,
    same_place,
    slices_of,
)

if TYPE_CHECKING:
    from shared.dicom.ct.geometry import SlicePlace
    from shared.dicom.read_study import ReadStudy
    from shared.dicom.study_files import ScannedFile

    from .tables import LabelRow

#: A slice whose normal leans further from the body's axis than this cosine has no one z.
AXIAL: Final = 0.7


def find_images(rows: Sequence[LabelRow], files: Iterable[ScannedFile]) -> list[LabelRow]:
    """Turn what marks say of their image into view or series, where its file is in the folder.

    Parameters
    ----------
    rows : sequence of LabelRow
        Of all tables of a folder; those that mark nothing stay as they are.
    files : iterable of ScannedFile
        Of the same folder. A table names one by its path, its name, its SOP or
        SeriesInstanceUID; it must be of the patient that the line is of.
    """
    if not any(row.mark is not None and row.mark.image for row in rows):
        return list(rows)
    called: dict[tuple[str, str], list[ScannedFile]] = defaultdict(list)
    for file in files:
        names = {file.name, PurePosixPath(file.name).name, file.instance_uid, file.series_uid}
        for name in names - {""}:
            called[file.patient_id.strip(), name].append(file)
    return [
        row if row.mark is None else replace(row, mark=_found(row.mark, row.patient_id, called))
        for row in rows
    ]


def _found(
    mark: MarkedPlace, patient_id: str, called: Mapping[tuple[str, str], list[ScannedFile]]
) -> MarkedPlace:
    """Give a mark its study, image and z; it stays as it is where they are not found."""
    view = mark.image.lower()
    if view in set(View):
        return replace(mark, image=view)
    files = called.get((patient_id, mark.image), [])
    if mark.kind == "slice":
        found = {(file.study_uid, file.series_uid, "") for file in files if file.kind == "slice"}
    else:
        found = {
            (file.study_uid, file.view.value, file.digest)
            for file in files
            if file.view is not None
        }
    if len(found) != 1:
        return mark
    study, image, content = found.pop()
    numbers = mark.numbers
    if mark.kind == "slice" and not numbers:
        numbers = _middle_z([place for file in files for place in file.places])
    return MarkedPlace(mark.kind, numbers, image, study, content)


def _middle_z(places: Sequence[SlicePlace]) -> tuple[float, ...]:
    """Patient z in mm of the middle of one slice; nothing of several, or if it is not axial."""
    if len(places) != 1:
        return ()
    [place] = places
    across, down = np.array(place.orientation[:3]), np.array(place.orientation[3:])
    if abs(np.cross(across, down)[2]) < AXIAL:
        return ()
    (rows, columns), (row_mm, column_mm) = place.shape, place.spacing
    middle = np.array(place.position) + across * column_mm * (columns - 1) / 2
    return (float((middle + down * row_mm * (rows - 1) / 2)[2]),)


# --- studies as read -----------------------------------------------------------------


#: A line of a table with what it marks.
MarkedRow = tuple["LabelRow", MarkedPlace]


def mark_study(study: ReadStudy, rows: Iterable[MarkedRow]) -> tuple[ReadStudy, list[FileVerdict]]:
    """Lay marks on the images and volumes of one study; where two sources differ, neither counts.

    Returns
    -------
    study : ReadStudy
        With boxes, points and marked slices.
    verdicts : list of FileVerdict
        Of marks that are on none of its images, outside of one, contradicted, or too many.
    """
    markable, verdicts = markable_of(study), []
    told: dict[MarkKey, list[tuple[LabelRow, KeptMark]]] = defaultdict(list)
    for row, mark in rows:
        try:
            key, kept = placed(row.name, mark, markable)
        except SetAsideError as aside:
            verdicts.append(judge(row.path, aside.reason))
            continue
        told[key].append((row, kept))
    on: dict[str, list[KeptMark]] = defaultdict(list)
    taken: Counter[tuple[str, str]] = Counter()
    for key, mine in told.items():
        first = mine[0][1]
        taken[key.image, key.kind] += 1
        if taken[key.image, key.kind] > MOST_MARKS:
            verdicts += [judge(row.path, "marks_too_many") for row, _ in mine]
        elif all(same_place(first.numbers, kept.numbers) for _, kept in mine):
            on[key.image].append(first)
        else:
            verdicts += [judge(row.path, "label_conflict") for row, _ in mine]
    images = {
        view: replace(image, boxes=boxes_of(on[view]), points=points_of(on[view]))
        for view, image in study.images.items()
    }
    volumes = {
        uid: replace(volume, record=replace(volume.record, marked_slices=slices_of(on[uid])))
        for uid, volume in study.volumes.items()
    }
    return replace(study, images=images, volumes=volumes), verdicts


def markable_of(study: ReadStudy) -> Markable:
    """What of a study as read can be marked."""
    images = {}
    for view, image in study.images.items():
        rows, columns = image.pixels.shape
        turned = study.turned.get(view, (False, False))
        images[view.value] = KeptImage((rows, columns), study.digests.get(view, ""), turned)
    volumes = {
        uid: KeptVolume(
            len(volume.record.hu), volume.record.origin_mm[2], volume.record.spacing_mm[0]
        )
        for uid, volume in study.volumes.items()
    }
    return Markable(images, volumes)


@dataclass(frozen=True)
class MarkKey:
    """What two marks have in common that say the same thing; an unnamed box is only itself."""

    image: str
    kind: str
    vertebra: str
    itself: tuple[float, ...] = ()


def placed(vertebra: str, mark: MarkedPlace, markable: Markable) -> tuple[MarkKey, KeptMark]:
    """Place the mark of a vertebra (empty: nobody said which) in one study.

    Raises
    ------
    SetAsideError
        If it cannot be (`Markable.place`).
    """
    image, numbers = markable.place(mark)
    itself = () if vertebra else numbers
    return MarkKey(image, mark.kind, vertebra, itself), KeptMark(mark.kind, vertebra, numbers)
