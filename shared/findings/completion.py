"""Puts regions that one task found where nobody drew any, for a task that needs them."""

from __future__ import annotations

from dataclasses import replace

from shared.findings.findings import Findings
from shared.records import StudyRecord


def completed(study: StudyRecord, found: Findings) -> StudyRecord:
    """Give a study its regions: those that somebody drew, otherwise those that were found.

    Parameters
    ----------
    study : StudyRecord
        Left alone.
    found : Findings
        Of the tasks that prepare the input; their maps are on the grids of the study's images
        and series.

    Returns
    -------
    StudyRecord
        Images and volumes without drawn regions have the found ones, if there are any.
    """
    images = {
        view: image if image.regions is not None else replace(image, regions=regions)
        for view, regions in found.region_maps.items()
        if (image := study.images.get(view)) is not None
    }
    volumes = {
        uid: volume if volume.regions is not None else replace(volume, regions=regions)
        for uid, regions in found.volume_maps.items()
        if (volume := study.volumes.get(uid)) is not None
    }
    return replace(study, images={**study.images, **images}, volumes={**study.volumes, **volumes})
