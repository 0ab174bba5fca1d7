"""Which hip of a study is read, and how a right one lies.

Networks learn of left hips. An image of a right hip is therefore kept mirrored, column 0 medial
as in a left one, under a view of its own, and whoever reads a hip is given it in the left one's
place. Training takes the left hip of a study that has both; a prediction reads either by itself.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import Final, TypeVar

from shared.records import StudyLabels, View
from shared.regions import HIP_REPORTED, RIGHT_HIP

#: The hips that a study can have; of both the first is taken.
HIPS: Final = (View.HIP_LEFT, View.HIP_RIGHT)
Kept = TypeVar("Kept")


def hip_of(views: Collection[View]) -> View | None:
    """Choose the hip that is read where one is asked for; None without any."""
    return next((hip for hip in HIPS if hip in views), None)


def as_left(images: Mapping[View, Kept], hip: View | None = None) -> dict[View, Kept]:
    """Put one hip of a study in the place of the left one, and leave the other out.

    Parameters
    ----------
    images : mapping of View to anything
        Of one study.
    hip : View or None
        Which hip; None = the one that `hip_of` chooses.
    """
    hip = hip or hip_of(images)
    return {
        View.HIP_LEFT if view is hip else view: one
        for view, one in images.items()
        if view is hip or view not in HIPS
    }


def labels_as_left(labels: StudyLabels, hip: View | None) -> StudyLabels:
    """Give what the hospital says of one hip as if it were the left one, and not of the other.

    A name without a side is the left hip's, so it never stands beside a right one's image.
    """
    if hip is not View.HIP_RIGHT and not RIGHT_HIP.keys() & {*labels.bmd, *labels.quality}:
        return labels
    return replace(labels, bmd=_as_left(labels.bmd, hip), quality=_as_left(labels.quality, hip))


def _as_left(values: Mapping[str, Kept], hip: View | None) -> dict[str, Kept]:
    if hip is not View.HIP_RIGHT:
        return {name: value for name, value in values.items() if name not in RIGHT_HIP}
    return {
        RIGHT_HIP.get(name, name): value
        for name, value in values.items()
        if name not in HIP_REPORTED
    }
