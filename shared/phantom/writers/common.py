"""What the files of every vendor share: patient, study, image attributes and how they are saved."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray
from pydicom import dcmwrite
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian

from shared.phantom.rendered import RenderedStudy
from shared.records import Covariates, VertebraBox

from .identity import Identity

#: UTF-8: one character set for every spelling of a name.
CHARACTER_SET: Final = "ISO_IR 192"
IMPLEMENTATION_UID: Final = "2.25.301785331960371263044218365702498061327"
IMPLEMENTATION_NAME: Final = "OSTEOFED_PHANTOM"


@dataclass(frozen=True)
class WrittenCt:
    """What was written of a patient's CT.

    Attributes
    ----------
    identity : Identity
        As the files carry it.
    files : int
        Number of DICOM files.
    levels : dict of str to float
        Height of the slice through the middle of each lumbar vertebra, DICOM's z, mm.
    """

    identity: Identity
    files: int
    levels: dict[str, float]


@dataclass(frozen=True)
class WrittenFilm:
    """What was written of a patient's films.

    Attributes
    ----------
    identity : Identity
        As the files carry it.
    files : int
        Number of DICOM files.
    boxes : tuple of VertebraBox
        What somebody drew on the frontal film, in its pixels; empty where nobody did.
    """

    identity: Identity
    files: int
    boxes: tuple[VertebraBox, ...] = ()


@dataclass(frozen=True)
class WrittenStudy:
    """What was written for one digital patient.

    Attributes
    ----------
    folder : Path
        Folder of the study's files, relative to the DICOM folder.
    identity : Identity
        The made-up identity that the files carry.
    files : int
        Number of DICOM files.
    bmd : dict of str to float
        BMD for the CSV export (empty where the files themselves hold it), g/cm².
    genant : dict of str to int
        Grades for the CSV export.
    ct : WrittenCt or None
        Of the same patient, a study of another day.
    film : WrittenFilm or None
        Likewise.
    """

    folder: Path
    identity: Identity
    files: int
    bmd: dict[str, float]
    genant: dict[str, int]
    ct: WrittenCt | None = None
    film: WrittenFilm | None = None


def patient_and_study(study: RenderedStudy, identity: Identity) -> Dataset:
    """Attributes of patient and study, the same in each of a study's files."""
    return describe_patient(study.covariates, identity)


def describe_patient(known: Covariates, identity: Identity) -> Dataset:
    """Attributes of patient and study of whom so much is known."""
    dataset = Dataset()
    dataset.SpecificCharacterSet = CHARACTER_SET
    dataset.PatientName = identity.name
    dataset.PatientID = identity.patient_id
    dataset.PatientBirthDate = f"{identity.birth_date:%Y%m%d}"
    dataset.PatientSex = known.sex or ""
    dataset.PatientAge = f"{identity.age_years:03d}Y"
    if known.height_cm is not None:
        dataset.PatientSize = f"{known.height_cm / 100:.3f}"
    if known.weight_kg is not None:
        dataset.PatientWeight = f"{known.weight_kg:.1f}"
    if known.ethnic_group is not None:
        dataset.EthnicGroup = known.ethnic_group[:16]
    dataset.StudyInstanceUID = identity.uid("study")
    dataset.StudyID = identity.accession[-6:]
    dataset.StudyDate = f"{identity.study_date:%Y%m%d}"
    dataset.StudyTime = identity.study_time
    dataset.AccessionNumber = identity.accession
    dataset.ReferringPhysicianName = "Referring^Physician"
    dataset.InstitutionName = "St. Apollonia General Hospital"
    dataset.OperatorsName = "Radiographer^Duty"
    return dataset


def add_pixels(dataset: Dataset, pixels: NDArray[np.uint8] | NDArray[np.uint16]) -> None:
    """Add a grey image, shape (H, W), dense bone bright."""
    bits = pixels.dtype.itemsize * 8
    dataset.SamplesPerPixel = 1
    dataset.PhotometricInterpretation = "MONOCHROME2"
    dataset.Rows, dataset.Columns = pixels.shape
    dataset.BitsAllocated = bits
    dataset.BitsStored = bits
    dataset.HighBit = bits - 1
    dataset.PixelRepresentation = 0
    data = pixels.astype(pixels.dtype.newbyteorder("<")).tobytes()
    dataset.PixelData = data + b"\x00" * (len(data) % 2)
    dataset["PixelData"].VR = "OB" if bits == 8 else "OW"


def save(dataset: Dataset, path: Path, *, implicit: bool) -> None:
    """Write one DICOM file; the same data set gives the same bytes."""
    dataset.file_meta = file_meta(dataset.SOPClassUID, dataset.SOPInstanceUID, implicit=implicit)
    dataset["PixelData"].VR = "OW" if implicit else dataset["PixelData"].VR
    dcmwrite(path, dataset, enforce_file_format=True)


def file_meta(class_uid: str, instance_uid: str, *, implicit: bool) -> FileMetaDataset:
    """Make the meta information of a file."""
    meta = FileMetaDataset()
    meta.FileMetaInformationVersion = b"\x00\x01"
    meta.MediaStorageSOPClassUID = class_uid
    meta.MediaStorageSOPInstanceUID = instance_uid
    meta.TransferSyntaxUID = ImplicitVRLittleEndian if implicit else ExplicitVRLittleEndian
    meta.ImplementationClassUID = IMPLEMENTATION_UID
    meta.ImplementationVersionName = IMPLEMENTATION_NAME
    return meta
