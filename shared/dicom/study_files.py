"""The files of a study as the first look found them, before their pixels are read."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from shared.dicom.ct.completeness import SliceTold
from shared.dicom.ct.geometry import SlicePlace
from shared.dicom.labels.tables import LabelRow
from shared.dicom.masks.mask_files import MaskGrid
from shared.records import Vendor, View


@dataclass(frozen=True)
class ScannedFile:
    """One file that may be used: an image, CT slices, a mask, or a report with labels.

    Attributes
    ----------
    digest : str
        SHA-256 of the content.
    refers_to : frozenset of str
        Instance UIDs of the images that a mask was drawn on.
    series_uid : str
        SeriesInstanceUID of slices; of a mask without DICOM, that of the series it fits.
    places : tuple of SlicePlace
        Where the slices lie: one, or one for each frame.
    told : SliceTold
        What the header of slices says of the series.
    grid : MaskGrid or None
        Where a mask without DICOM lies (NRRD, NIfTI); it has no UIDs.
    rows : tuple of LabelRow
        Labels of a structured report.
    """

    path: Path
    name: str
    digest: str
    kind: Literal["image", "slice", "mask", "labels"]
    study_uid: str
    instance_uid: str
    patient_id: str
    vendor: Vendor | None = None
    view: View | None = None
    refers_to: frozenset[str] = frozenset()
    series_uid: str = ""
    places: tuple[SlicePlace, ...] = ()
    told: SliceTold = field(default_factory=SliceTold)
    grid: MaskGrid | None = None
    rows: tuple[LabelRow, ...] = ()


@dataclass
class StudyGroup:
    """The files of one study, before their pixels are read."""

    study_uid: str
    images: dict[View, ScannedFile] = field(default_factory=dict)
    #: Slices of CT series, by SeriesInstanceUID.
    series: dict[str, list[ScannedFile]] = field(default_factory=dict)
    masks: list[ScannedFile] = field(default_factory=list)

    @property
    def files(self) -> list[ScannedFile]:
        """Images, slices, then masks."""
        slices = [one for series in self.series.values() for one in series]
        return [*self.images.values(), *slices, *self.masks]
