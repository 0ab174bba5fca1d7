"""One study as it was read: images or volumes, masks, labels, and who it is of."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date
from typing import Final

from pydicom.dataset import Dataset

from shared.dicom.attributes import study_date, text_of
from shared.dicom.ct.volume import ReadVolume
from shared.dicom.phi.identifiers import SeenIdentifier
from shared.dicom.pixels.orientation import Facing
from shared.records import (
    Covariates,
    ImageRecord,
    Modality,
    ScanChoice,
    StudyLabels,
    Vendor,
    View,
    modalities_of,
)
from shared.scan_types import ViewTold


@dataclass(frozen=True)
class StudyHeader:
    """Who and when. It identifies, and never leaves the process that read it.

    `patient_id` and the names are empty and `study_date` is None where the files
    do not say.
    """

    patient_id: str
    patient_name: str
    study_uid: str
    study_date: date | None
    accession: str

    def __repr__(self) -> str:
        """Hide everything, so that no log or traceback shows a patient."""
        return "StudyHeader(***)"


def header_of(dataset: Dataset, study_uid: str) -> StudyHeader:
    """Identifiers of a study, as one of its files has them."""
    return StudyHeader(
        patient_id=text_of(dataset, "PatientID"),
        patient_name=text_of(dataset, "PatientName"),
        study_uid=study_uid,
        study_date=study_date(dataset),
        accession=text_of(dataset, "AccessionNumber"),
    )


#: Pixel data, whole, as floats and as doubles.
PIXELS: Final = (0x7FE00010, 0x7FE00008, 0x7FE00009)


def without_pixels(dataset: Dataset) -> Dataset:
    """Give a data set of its own with the same attributes but for the pixels."""
    kept = Dataset()
    items = {tag: dataset.get_item(tag) for tag in dataset.keys() if tag not in PIXELS}  # noqa: SIM118
    kept.update(items)
    kept.file_meta = dataset.file_meta
    return kept


@dataclass(frozen=True)
class ReadStudy:
    """One study as read.

    Attributes
    ----------
    header : StudyHeader
        Identifiers.
    vendor : Vendor
        The scanner family.
    images : mapping of View to ImageRecord
        Pixels float32; a study without any has a volume.
    labels : StudyLabels
        From the files, and from tables once joined (`join_labels`).
    covariates : Covariates
        Ages capped at 89.
    digests : mapping of View to str
        SHA-256 of the file each image came from.
    mask_digests : mapping of View to str
        Likewise for the masks.
    volumes : mapping of str to ReadVolume
        CT series by SeriesInstanceUID.
    lossy : mapping of View to bool
        Whether an image was compressed with loss at any time.
    turned : mapping of View to (bool, bool)
        Whether the rows and the columns of an image are in the reverse order of its file's;
        absent = they are not.
    choices : mapping of View to ScanChoice
        Of views with more than one scan.
    set_aside : mapping of View to str
        Why there is no image of a view though there are files of it, as part of a sentence.
    told : mapping of View to str
        How it was told what an image shows.
    facing : mapping of View to Facing
        Which way a lateral image faces in its file.
    maker, model : str
        Manufacturer and model as the files say.
    identifiers : frozenset of SeenIdentifier
        Everything in the files that names the patient, for `client.phi.identifier_index`.
    identified : frozenset of str
        Names of the files that were read for `identifiers`: not of every file of the study.
    headers : mapping of str to Dataset
        Attributes without pixels of every file that was read, by the SHA-256 of the file: what
        is sent back refers to them. Empty unless they were asked for. They identify.
    """

    header: StudyHeader
    vendor: Vendor
    images: Mapping[View, ImageRecord]
    labels: StudyLabels
    covariates: Covariates
    digests: Mapping[View, str]
    mask_digests: Mapping[View, str]
    volumes: Mapping[str, ReadVolume] = field(default_factory=dict)
    lossy: Mapping[View, bool] = field(default_factory=dict)
    turned: Mapping[View, tuple[bool, bool]] = field(default_factory=dict)
    choices: Mapping[View, ScanChoice] = field(default_factory=dict)
    set_aside: Mapping[View, str] = field(default_factory=dict)
    told: Mapping[View, ViewTold] = field(default_factory=dict)
    facing: Mapping[View, Facing] = field(default_factory=dict)
    maker: str = ""
    model: str = ""
    identifiers: frozenset[SeenIdentifier] = frozenset()
    identified: frozenset[str] = frozenset()
    headers: Mapping[str, Dataset] = field(default_factory=dict, repr=False)

    @property
    def modalities(self) -> frozenset[Modality]:
        """Kinds of images that the study has."""
        return modalities_of(self.images, series=bool(self.volumes))
