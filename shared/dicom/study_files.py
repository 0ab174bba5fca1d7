"""The files of a study as the first look found them, before their pixels are read."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from shared.dicom.ct.completeness import SliceTold
from shared.dicom.ct.geometry import SlicePlace
from shared.dicom.labels.tables import LabelRow
from shared.dicom.masks.mask_files import MaskGrid
from shared.dicom.verdicts import FileVerdict
from shared.records import Vendor, View
from shared.scan_types import ScanKind, ViewTold


@dataclass(frozen=True)
class ScannedFile:
    """One file that may be used: an image, CT slices, a mask, or a report with labels.

    Attributes
    ----------
    digest : str
        SHA-256 of the content.
    told : str
        How the view of an image was told.
    kind_of_scan : ScanKind or None
        Of an image, what it has in common with others of its scanner.
    inverted : bool or None
        Whether a person said that bone is dark as the file is read; None = nobody was asked.
    refers_to : frozenset of str
        Instance UIDs of the images that a mask was drawn on.
    series_uid : str
        SeriesInstanceUID of slices; of a mask without DICOM, that of the series it fits.
    places : tuple of SlicePlace
        Where the slices lie: one, or one for each frame.
    slices_told : SliceTold
        What the header of slices says of the series.
    grid : MaskGrid or None
        Where a mask without DICOM lies (NRRD, NIfTI); it has no UIDs.
    rows : tuple of LabelRow
        Labels of a structured report.
    made : tuple of str
        When a projection was made (`shared.dicom.repeats.made_when`).
    odd : tuple of FileVerdict
        Of its densities that are none.
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
    told: ViewTold = "named"
    kind_of_scan: ScanKind | None = None
    inverted: bool | None = None
    refers_to: frozenset[str] = frozenset()
    series_uid: str = ""
    places: tuple[SlicePlace, ...] = ()
    slices_told: SliceTold = field(default_factory=SliceTold)
    grid: MaskGrid | None = None
    rows: tuple[LabelRow, ...] = ()
    made: tuple[str, ...] = ()
    odd: tuple[FileVerdict, ...] = ()


@dataclass
class StudyGroup:
    """The files of one study, before their pixels are read.

    Of several scans of a view one is among `images` and the others in `repeats`: which is used
    shows once their pixels are read (`shared.dicom.repeats`). Of the views of `settled` a store
    has one already, which then is among `images` and stays.
    """

    study_uid: str
    images: dict[View, ScannedFile] = field(default_factory=dict)
    repeats: dict[View, list[ScannedFile]] = field(default_factory=dict)
    settled: set[View] = field(default_factory=set)
    #: Slices of CT series, by SeriesInstanceUID.
    series: dict[str, list[ScannedFile]] = field(default_factory=dict)
    masks: list[ScannedFile] = field(default_factory=list)

    @property
    def files(self) -> list[ScannedFile]:
        """Images and their repeats, slices, then masks."""
        repeats = [one for others in self.repeats.values() for one in others]
        slices = [one for series in self.series.values() for one in series]
        return [*self.images.values(), *repeats, *slices, *self.masks]

    def scans(self, view: View) -> list[ScannedFile]:
        """All scans of a view, the first the one among `images`."""
        return [self.images[view], *self.repeats.get(view, [])]


@dataclass
class Unpacked:
    """What the archives in a folder held.

    Attributes
    ----------
    files : dict of str to Path
        Where each entry was unpacked to, by its name in verdicts: ``x.zip/inner.dcm``.
    verdicts : list of FileVerdict
        Of entries and archives that were set aside.
    archives : set of str
        Names of the archives: they are no files to be looked at.
    """

    files: dict[str, Path] = field(default_factory=dict)
    verdicts: list[FileVerdict] = field(default_factory=list)
    archives: set[str] = field(default_factory=set)
