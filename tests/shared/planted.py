"""Digital patients whose files are full of identifiers, in every place where files hold any."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pydicom
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from pydicom.dataset import Dataset

from shared.phantom.make import make_hospital
from shared.phantom.rendered import RenderedStudy
from tests.shared.rendered_samples import sample_study

BURNED_IN = "HIP"
STREET = "Lindenallee {number}, 97531 Ostheim"
HISTORY = "Daughter Swantje brought {name} after a fall"


def quiet_study(number: int, seed: int, scanner: str, population: str) -> RenderedStudy:
    """The sample study with the noise of a real scanner instead of half its range."""
    study = sample_study(number, seed, scanner, population)
    images = {}
    for view, image in study.images.items():
        block = 0.5 * (image.regions > 0)
        display = (block + 0.1 * (image.display - block)).astype(np.float32)
        images[view] = replace(image, display=display)
    return replace(study, images=images)


def write_text(
    pixels: NDArray[np.generic], text: str, size: int, value: float, row: int = 4, column: int = 20
) -> NDArray[np.generic]:
    """Write text into pixels as a scanner's console does: one value, no smoothing."""
    mask = Image.new("1", (pixels.shape[1], pixels.shape[0]))
    font = ImageFont.load_default(size=size)
    ImageDraw.Draw(mask).text((column, row), text, fill=1, font=font)
    return np.where(np.asarray(mask), np.asarray(value, pixels.dtype), pixels)


def plant(folder: Path, patients: int, scanner: str) -> set[str]:
    """Write a hospital's export with identifiers everywhere; return all that were planted."""
    made = folder.with_name(f".{folder.name}.made")
    make_hospital(made, scanner, patients, 11, render=quiet_study)
    planted: set[str] = set()
    for number, path in enumerate(sorted(made.rglob("*.dcm"))):
        planted |= _plant_in(path, number)
    for path in sorted(made.rglob("*.dcm")):
        dataset = pydicom.dcmread(path, stop_before_pixels=True)
        family = dataset.PatientName.family_name
        path.rename(path.with_name(f"{family}_{dataset.PatientBirthDate}_{path.name}"))
    stray = made / "DICOM" / "Abendschein_Gunhild_MRN5550123.dcm"
    stray.write_bytes(b"no DICOM at all")
    made.rename(folder)
    return planted | {"Abendschein", "Gunhild", "MRN5550123"}


def _plant_in(path: Path, number: int) -> set[str]:
    """Plant in one file, and tell what is in it now."""
    dataset = pydicom.dcmread(path)
    who = dataset.PatientName
    name = f"{who.given_name} {who.family_name}"
    street = STREET.format(number=number % 89 + 10)
    dataset.PatientAddress = street
    dataset.PatientTelephoneNumbers = "+49 9777 5550199"
    dataset.PatientComments = HISTORY.format(name=name)
    dataset.ReferringPhysicianName = "Oberhauser^Roswitha"
    inner = Dataset()
    inner.PatientID = f"OLD-{number:05d}-X"
    inner.OtherPatientNames = "Wendelstein^Irmgard"
    outer = Dataset()
    outer.OtherPatientIDsSequence = [inner]
    dataset.RequestAttributesSequence = [outer]
    block = dataset.private_block(0x0011, "ACME BONE", create=True)
    block.add_new(0x10, "LO", f"{who.family_name}, born {dataset.PatientBirthDate}")
    dataset.add_new(0x50000022, "LO", f"Curve of {name}")
    dataset.add_new(0x50002500, "LO", f"{who.family_name} {dataset.PatientID}")
    dataset.add_new(0x60004000, "LT", f"Overlay drawn for {name}")
    if BURNED_IN in path.name or "FEMUR" in path.name:
        _burn_in(dataset, f"{who.family_name}")
    dataset.save_as(path)
    born, day = str(dataset.PatientBirthDate), str(dataset.StudyDate)
    return {
        str(dataset.PatientID), str(who.family_name), str(who.given_name), born,
        f"{born[:4]}-{born[4:6]}-{born[6:]}", f"{born[6:]}.{born[4:6]}.{born[:4]}", day,
        f"{day[:4]}-{day[4:6]}-{day[6:]}", str(dataset.AccessionNumber), street, "Swantje",
        "9777 5550199", "Oberhauser", "Roswitha", "Wendelstein", "Irmgard", str(inner.PatientID),
        str(dataset.StudyInstanceUID), str(dataset.SOPInstanceUID), "ACME BONE",
    }  # fmt: skip


def _burn_in(dataset: Dataset, text: str) -> None:
    if dataset.get("BitsAllocated") not in (8, 16) or "SegmentSequence" in dataset:
        return
    pixels = dataset.pixel_array
    value = 250 if dataset.BitsAllocated == 8 else 65_000
    dataset.PixelData = write_text(pixels, text, 13, value).tobytes()
