"""What a task reads of a study, as data from which everything else about it follows."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from shared.records import (
    Covariates,
    ImageRecord,
    Modality,
    StudyLabels,
    StudyRecord,
    Vendor,
    View,
    VolumeRecord,
    modalities_of,
)

#: Sizes of the empty study of `example_study`.
BLANK_IMAGE = (256, 256)
BLANK_VOLUME = (32, 64, 64)
BLANK_SPACING_MM = 1.0


@dataclass(frozen=True)
class TaskInputs:
    """What a task reads: views of a study, or its CT series.

    Parameters
    ----------
    views : tuple of View
        Two-dimensional images.
    every_view : bool
        Whether a study without one of them is of no use; otherwise any one will do.
    series : bool
        Whether the task reads CT series, three-dimensional.
    """

    views: tuple[View, ...] = ()
    every_view: bool = True
    series: bool = False

    @property
    def modalities(self) -> frozenset[Modality]:
        """Kinds of images that the task looks at."""
        return modalities_of(self.views, series=self.series)

    def missing(self, study: StudyRecord) -> tuple[View, ...]:
        """Name the views without which the task can do nothing with a study."""
        absent = tuple(view for view in self.views if view not in study.images)
        return absent if self.every_view or len(absent) == len(self.views) else ()

    def are_in(self, study: StudyRecord) -> bool:
        """Say whether a study has what the task reads, labels apart."""
        return not self.missing(study) and (bool(study.volumes) or not self.series)

    def concern(self, modalities: frozenset[Modality]) -> bool:
        """Say whether the task has anything to say of a study with such images."""
        return bool(self.modalities & modalities)


def example_study(inputs: TaskInputs) -> StudyRecord:
    """Make a study without a patient that has what a task reads: grey, without any label."""
    blank = ImageRecord(
        np.full(BLANK_IMAGE, 0.5, np.float32), (BLANK_SPACING_MM, BLANK_SPACING_MM), "none"
    )
    empty = VolumeRecord(np.zeros(BLANK_VOLUME, np.int16), (BLANK_SPACING_MM,) * 3)
    return StudyRecord(
        patient="none",
        study="none",
        vendor=Vendor.GENERIC,
        images=dict.fromkeys(inputs.views, blank),
        labels=StudyLabels(),
        covariates=Covariates(),
        volumes={"none": empty} if inputs.series else {},
    )
