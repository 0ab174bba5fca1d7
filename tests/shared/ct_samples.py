"""Small made-up CT series and radiographs, with values that say where they are."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
from pydicom import dcmwrite
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import (
    CTImageStorage,
    DigitalXRayImageStorageForPresentation,
    ExplicitVRLittleEndian,
)

from shared.records import VolumeRecord
from shared.regions import code_of

SHAPE = (6, 20, 16)
AXIAL = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)
SPACING = (0.8, 0.7)
STEP = 2.5
Change = Callable[[Dataset, int], None]


def uid(*parts: object) -> str:
    """Make an instance UID out of numbers."""
    return "2.25." + ".".join(str(part) for part in (4711, *parts))


def save(dataset: Dataset, path: Path) -> Path:
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = dataset.SOPClassUID
    meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.file_meta = meta
    path.parent.mkdir(parents=True, exist_ok=True)
    dcmwrite(path, dataset, enforce_file_format=True)
    return path


def patient(study: int = 1) -> Dataset:
    """Attributes of patient and study."""
    dataset = Dataset()
    dataset.PatientID = f"MRN{study:04d}"
    dataset.PatientName = "Doe^Jane"
    dataset.PatientSex = "F"
    dataset.PatientAge = "067Y"
    dataset.PatientBirthDate = ""
    dataset.StudyDate = "20240301"
    dataset.StudyTime = "101500"
    dataset.StudyID = "1"
    dataset.AccessionNumber = "A1"
    dataset.ReferringPhysicianName = ""
    dataset.StudyInstanceUID = uid(study)
    return dataset


def add_pixels(dataset: Dataset, pixels: np.ndarray) -> None:
    """Add a grey image."""
    dataset.SamplesPerPixel = 1
    dataset.PhotometricInterpretation = "MONOCHROME2"
    dataset.Rows, dataset.Columns = pixels.shape
    bits = pixels.dtype.itemsize * 8
    dataset.BitsAllocated = dataset.BitsStored = bits
    dataset.HighBit = bits - 1
    dataset.PixelRepresentation = int(pixels.dtype.kind == "i")
    dataset.PixelData = pixels.tobytes()
    dataset["PixelData"].VR = "OB" if bits == 8 else "OW"


def field(seed: int = 3) -> np.ndarray:
    """HU of the sample volume, (slices, rows, columns): every voxel differs from its neighbours."""
    return np.random.default_rng(seed).integers(-900, 1500, SHAPE).astype(np.int16)


def write_ct(
    folder: Path,
    hu: np.ndarray | None = None,
    *,
    positions: np.ndarray | None = None,
    orientation: tuple[float, ...] = AXIAL,
    spacing: tuple[float, float] = SPACING,
    study: int = 1,
    series: int = 1,
    change: Change | None = None,
    order: list[int] | None = None,
) -> list[Path]:
    """Write a series; slice k lies at `positions[k]`, file names follow `order`."""
    values = field() if hu is None else hu
    if positions is None:
        positions = np.array([[-10.0, -20.0, 100.0 + STEP * k] for k in range(len(values))])
    written = []
    for number, k in enumerate(order or range(len(values))):
        dataset = patient(study)
        dataset.SOPClassUID = CTImageStorage
        dataset.SOPInstanceUID = uid(study, series, k + 1)
        dataset.SeriesInstanceUID = uid(study, series)
        dataset.SeriesNumber = series
        dataset.FrameOfReferenceUID = uid(study, 99)
        dataset.PositionReferenceIndicator = ""
        dataset.Modality = "CT"
        dataset.Manufacturer = "SIEMENS"
        dataset.ManufacturerModelName = "Biograph40"
        dataset.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
        dataset.InstanceNumber = number + 1
        dataset.KVP = "120"
        dataset.SliceThickness = "3"
        dataset.ConvolutionKernel = "Br38f"
        dataset.ImagePositionPatient = [f"{value:.6f}" for value in positions[k]]
        dataset.ImageOrientationPatient = [f"{value:.9f}" for value in orientation]
        dataset.PixelSpacing = list(spacing)
        dataset.RescaleSlope, dataset.RescaleIntercept = "1", "-1024"
        dataset.RescaleType = "HU"
        add_pixels(dataset, (values[k].astype(np.int32) + 1024).astype(np.uint16))
        if change is not None:
            change(dataset, k)
        written.append(save(dataset, folder / f"{number:03d}.dcm"))
    return written


def body_slice(seed: int, size: int = 256) -> np.ndarray:
    """HU of a noisy oval body with a vertebra, on a table in blanked air."""
    generator = np.random.default_rng(seed)
    rows, columns = np.mgrid[-1 : 1 : size * 1j, -1 : 1 : size * 1j]
    hu = np.full((size, size), -1000.0)
    hu[rows**2 / 0.5 + columns**2 / 0.8 < 1] = 40
    hu[(rows - 0.2) ** 2 / 0.02 + columns**2 / 0.03 < 1] = 500
    hu[(rows > 0.72) & (rows < 0.76)] = 200
    hu += generator.normal(0, 20, hu.shape)
    hu[rows**2 + columns**2 > 1] = -1024
    return np.rint(hu).astype(np.int16)


def write_radiograph(
    path: Path, pixels: np.ndarray | None = None, study: int = 1, **attributes: object
) -> Path:
    """Write a lumbar AP radiograph with a bright column down the middle."""
    if pixels is None:
        pixels = np.full((60, 48), 800, np.uint16)
        pixels[:, 18:30] = 3000
        pixels[5:9] += np.arange(48, dtype=np.uint16)
    dataset = patient(study)
    dataset.SOPClassUID = DigitalXRayImageStorageForPresentation
    dataset.SOPInstanceUID = uid(study, 7, 1)
    dataset.SeriesInstanceUID = uid(study, 7)
    dataset.Modality = "DX"
    dataset.Manufacturer = "Canon Inc."
    dataset.ManufacturerModelName = "CXDI"
    dataset.BodyPartExamined = "LSPINE"
    dataset.ViewPosition = "AP"
    dataset.PatientOrientation = ["L", "F"]
    dataset.PresentationIntentType = "FOR PRESENTATION"
    dataset.ImagerPixelSpacing = [0.15, 0.15]
    dataset.EstimatedRadiographicMagnificationFactor = "1.2"
    add_pixels(dataset, pixels)
    if pixels.dtype == np.uint16:
        dataset.BitsStored, dataset.HighBit = 12, 11
    for keyword, value in attributes.items():
        if value is None:
            if keyword in dataset:
                delattr(dataset, keyword)
        else:
            setattr(dataset, keyword, value)
    return save(dataset, path)


def abdomen(
    air: float = -1000, fat: float = -107, muscle: float = 43, core: float = 130, noise: float = 12
) -> tuple[np.ndarray, np.ndarray]:
    """HU and a vertebra's outline of five equal slices, 2 mm by 1.5 by 1.5 mm, one noise each.

    A body with skin, fat, kidneys, muscle beside and behind the vertebra, and gas in front, on a
    couch of a mattress that touches it and a shell.
    """
    rows, columns = (np.indices((200, 260)) + 0.5) * 1.5
    y, x = rows - 140, columns - 195

    def ellipse(middle: tuple[float, float], half: tuple[float, float]) -> np.ndarray:
        return ((y - middle[0]) / half[0]) ** 2 + ((x - middle[1]) / half[1]) ** 2 < 1

    hu = np.full(rows.shape, air)
    hu[(y > 108) & (y < 118)] = -960
    hu[(y > 118) & (y < 121)] = 220
    hu[ellipse((0, 0), (112, 165))] = 25
    hu[ellipse((0, 0), (110, 163))] = fat
    hu[ellipse((0, 0), (84, 137))] = 30
    hu[ellipse((-45, 30), (18, 30))] = -985
    for side in (-1, 1):
        hu[ellipse((25, 85 * side), (22, 18))] = 32
    hu[ellipse((0, 0), (84, 137)) & (y > 25) & (np.abs(x) < 60)] = muscle
    body = ellipse((28, 0), (16, 22))
    bone = body | ((np.abs(x) < 5) & (y > 30) & (y < 78))
    hu[bone] = 600
    hu[ellipse((28, 0), (14, 20))] = core
    stack = hu + np.random.default_rng(5).normal(0, noise, (5, *hu.shape))
    return np.rint(stack).astype(np.int16), np.broadcast_to(bone, stack.shape)


def outlined_series(**cores: float) -> VolumeRecord:
    """Blocks of 40 by 34 by 28 mm with a shell, by level from the feet up, 10 mm apart.

    `cores` are the HU inside, by level, from the feet up.
    """
    hu = np.full((19 * len(cores), 60, 60), 40, np.int16)
    regions = np.zeros(hu.shape, np.uint8)
    for place, (level, value) in enumerate(cores.items()):
        first = 19 * place + 2
        block = (slice(first, first + 14), slice(13, 47), slice(10, 50))
        hu[block], regions[block] = 700, code_of(level, "volume")
        hu[first + 1 : first + 13, 15:45, 12:48] = value
    return VolumeRecord(
        hu, (2.0, 1.0, 1.0), kvp=120.0, slice_thickness_mm=2.0, contrast=False, regions=regions
    )
