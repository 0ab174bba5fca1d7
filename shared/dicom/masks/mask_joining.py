"""Masks that say of no study to whom they belong, joined by where they lie."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from shared.dicom.ct.eligibility import find_stack
from shared.dicom.ct.geometry import Stack
from shared.dicom.verdicts import FileVerdict, SetAsideError, judge

if TYPE_CHECKING:
    from shared.dicom.study_files import ScannedFile, StudyGroup


def join_loose(
    masks: list[ScannedFile], groups: list[StudyGroup], verdicts: list[FileVerdict]
) -> None:
    """Join masks without UIDs to the one series that lies on the same grid beside them.

    Beside is: under the folder that the mask lies in, else under the one above it. A mask
    that fits none or several of those is set aside.
    """
    everything = [(group, uid, slices) for group in groups for uid, slices in group.series.items()]
    stacks: dict[str, Stack | None] = {}
    for mask in masks:
        near: list[tuple[StudyGroup, str, list[ScannedFile]]] = []
        for folder in (mask.path.parent, mask.path.parent.parent):
            near = near or [one for one in everything if folder in one[2][0].path.parents]
        for _, uid, slices in near:
            if uid not in stacks:
                stacks[uid] = _stack_or_none(slices)
        fits = [one for one in near if mask.grid is not None and mask.grid.fits(stacks[one[1]])]
        if len(fits) == 1:
            group, uid, slices = fits[0]
            first = slices[0]
            group.masks.append(
                replace(
                    mask,
                    study_uid=group.study_uid,
                    patient_id=first.patient_id,
                    series_uid=uid,
                )
            )
        elif fits:
            verdicts.append(judge(mask.name, "mask_ambiguous"))
        else:
            verdicts.append(judge(mask.name, "mask_other_grid" if near else "mask_without_image"))


def _stack_or_none(slices: list[ScannedFile]) -> Stack | None:
    """Grid of a series, None if it makes none (the reader says why)."""
    try:
        return find_stack([place for file in slices for place in file.places])
    except SetAsideError:
        return None
