"""Takes what somebody drew or marked off a study, and puts on it what a task found instead."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from shared.findings.findings import Findings, RegionMap
from shared.records import StudyLabels, StudyRecord, VolumeRecord


def completed(study: StudyRecord, found: Findings) -> StudyRecord:
    """Give a study its regions and marked slices: somebody's, otherwise those that were found.

    Parameters
    ----------
    study : StudyRecord
        Left alone.
    found : Findings
        Of the tasks that prepare the input; their maps and marks are on the grids of the
        study's images and series.

    Returns
    -------
    StudyRecord
        Images and volumes without drawn regions have the found ones, if there are any; volumes
        without any marked slice the found marks. Where vertebrae were drawn on some slices only
        (`VolumeRecord.is_partly_drawn`), the found ones stand on all others.
    """
    images = {
        view: image if image.regions is not None else replace(image, regions=regions)
        for view, regions in found.region_maps.items()
        if (image := study.images.get(view)) is not None
    }
    volumes = {
        uid: replace(
            volume,
            regions=filled_regions(volume, found.volume_maps.get(uid)),
            marked_slices=volume.marked_slices or found.marked_slices.get(uid, {}),
        )
        for uid in {*found.volume_maps, *found.marked_slices}
        if (volume := study.volumes.get(uid)) is not None
    }
    return replace(study, images={**study.images, **images}, volumes={**study.volumes, **volumes})


def filled_regions(volume: VolumeRecord, found: RegionMap | None) -> NDArray[np.uint8] | None:
    """Give a volume's regions: what was drawn, and what was found where nobody drew."""
    if volume.regions is None or found is None or not volume.is_partly_drawn:
        return found if volume.regions is None else volume.regions
    drawn = np.asarray(volume.regions)
    return np.where(drawn.any((1, 2), keepdims=True), drawn, found).astype(np.uint8)


def findings_of(study: StudyRecord, maps: Mapping[str, RegionMap]) -> Findings:
    """Make findings of maps by their names (`Findings.maps`); of what the study has not, none."""
    return Findings(
        region_maps={view: maps[view.value] for view in study.images if view.value in maps},
        volume_maps={uid: maps[uid] for uid in study.volumes if uid in maps},
    )


def blind(study: StudyRecord) -> StudyRecord:
    """Give a study as a network sees it: without any label, mark, drawn regions and pseudonyms."""
    images = {
        view: replace(image, regions=None, boxes=(), points={})
        for view, image in study.images.items()
    }
    volumes = {
        uid: replace(volume, regions=None, marked_slices={})
        for uid, volume in study.volumes.items()
    }
    return replace(
        study,
        patient="",
        study="",
        images=images,
        labels=StudyLabels(),
        paired=None,
        volumes=volumes,
    )
