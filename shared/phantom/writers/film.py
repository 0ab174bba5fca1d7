"""Lumbar films as three makers' systems write them: CR or DX, with each maker's habits."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.uid import (
    ComputedRadiographyImageStorage,
    DigitalXRayImageStorageForPresentation,
)

from shared.phantom.imaging.film.examination import TakenFilm, boxes_of, draw_films
from shared.phantom.imaging.film.geometry import FilmView
from shared.phantom.imaging.film.makers import FilmMaker
from shared.records import Covariates, VertebraBox

from .common import WrittenFilm, add_pixels, describe_patient, save
from .identity import Identity, seen_later

#: View position and series description.
FILM_VIEWS: Final[dict[FilmView, tuple[str, str]]] = {
    "ap": ("AP", "L-Spine AP"),
    "lateral": ("LL", "L-Spine Lateral"),
}
#: How far the middle of the body is taken to be above the table by who corrects for it, mm.
HALF_BODY: Final = 100.0


def write_films(
    number: int, seed: int, population: str, generator: str, who: Identity, out: Path
) -> tuple[WrittenFilm, dict[str, Any]]:
    """Take and write a person's frontal and lateral film as a study of its own.

    Somebody drew boxes around the vertebrae of every second patient's frontal film.

    Parameters
    ----------
    number, seed, population, generator
        Of the person.
    who : Identity
        As on the day of the DXA.
    out : Path
        The DICOM folder; the study gets ``<patient id>/<study date>_XR/`` in it.

    Returns
    -------
    WrittenFilm, dict
        What was written, and what only a phantom knows: ``days_later``, ``maker``, ``kvp``,
        ``lumbar``, and ``boxes`` of the frontal film, columns and rows from the upper left.
    """
    one = draw_films(number, seed, population, generator)
    identity = seen_later(who, one.days_later, "XR")
    folder = out / identity.patient_id / f"{identity.study_date:%Y%m%d}_XR"
    folder.mkdir(parents=True)
    covariates = one.anatomy.person.covariates
    boxes: tuple[VertebraBox, ...] = ()
    kvp = {}
    for view in FILM_VIEWS:
        taken = one.take(view)
        dataset = film_dataset(taken, one.maker, identity, covariates)
        save(dataset, folder / f"{FILM_VIEWS[view][0]}.dcm", implicit=not one.maker.digital)
        kvp[view] = taken.kvp
        if view == "ap":
            boxes = boxes_of(taken.shot.levels)
    told = {
        "days_later": one.days_later,
        "maker": one.maker.model,
        "kvp": kvp,
        "lumbar": one.anatomy.person.variants.lumbar,
        "boxes": {box.vertebra: [box.x0, box.y0, box.x1, box.y1] for box in boxes},
    }
    return WrittenFilm(identity, len(FILM_VIEWS), boxes if number % 2 == 0 else ()), told


def film_dataset(
    taken: TakenFilm, maker: FilmMaker, identity: Identity, covariates: Covariates
) -> Dataset:
    """Make the data set of one film."""
    position, description = FILM_VIEWS[taken.view]
    dataset = describe_patient(covariates, identity)
    dataset.SOPClassUID = (
        DigitalXRayImageStorageForPresentation if maker.digital else ComputedRadiographyImageStorage
    )
    dataset.SOPInstanceUID = identity.uid("film", taken.view)
    dataset.SeriesInstanceUID = identity.uid("film series", taken.view)
    dataset.SeriesNumber = list(FILM_VIEWS).index(taken.view) + 1
    dataset.InstanceNumber = 1
    dataset.Modality = "DX" if maker.digital else "CR"
    dataset.Manufacturer, dataset.ManufacturerModelName = maker.manufacturer, maker.model
    dataset.BodyPartExamined, dataset.ViewPosition = "LSPINE", position
    dataset.SeriesDescription = description
    dataset.StudyDescription = "Lumbar spine"
    dataset.ImageLaterality = "U"
    dataset.PatientOrientation = ["L" if taken.view == "ap" else "P", "F"]
    dataset.KVP = str(taken.kvp)
    dataset.SeriesDate = dataset.AcquisitionDate = dataset.ContentDate = dataset.StudyDate
    dataset.SeriesTime = dataset.AcquisitionTime = dataset.ContentTime = dataset.StudyTime
    if maker.digital:
        dataset.AnatomicRegionSequence = Sequence([_code("122496007", "SCT", "Lumbar spine")])
        dataset.RescaleIntercept, dataset.RescaleSlope, dataset.RescaleType = "0", "1", "US"
        dataset.DetectorType, dataset.PositionerType = "SCINTILLATOR", "NONE"
        dataset.ImageType = ["DERIVED", "PRIMARY"]
        dataset.PresentationIntentType = "FOR PRESENTATION"
        dataset.PixelIntensityRelationship = "LOG"
        dataset.PixelIntensityRelationshipSign = 1 if maker.inverted else -1
        dataset.BurnedInAnnotation = "NO"
        dataset.LossyImageCompression = "00"
        dataset.AcquisitionContextSequence = Sequence()
    dataset.PresentationLUTShape = "INVERSE" if maker.inverted else "IDENTITY"
    _tell_size(dataset, taken, maker)
    add_pixels(dataset, stored(taken, maker))
    dataset.PhotometricInterpretation = "MONOCHROME1" if maker.inverted else "MONOCHROME2"
    dataset.BitsStored, dataset.HighBit = maker.bits, maker.bits - 1
    dataset.WindowCenter, dataset.WindowWidth = str(2 ** (maker.bits - 1)), str(2**maker.bits)
    return dataset


def _code(value: str, scheme: str, meaning: str) -> Dataset:
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = value, scheme, meaning
    return item


def _tell_size(dataset: Dataset, taken: TakenFilm, maker: FilmMaker) -> None:
    """Say how large a pixel is, at the detector or in the patient."""
    geometry = taken.shot.geometry
    side = geometry.frame.spacing[0]
    dataset.ImagerPixelSpacing = [f"{side:.6g}"] * 2
    patient = geometry.distance - geometry.gap - HALF_BODY
    if maker.spacing != "detector":
        dataset.DistanceSourceToDetector = f"{geometry.distance:.0f}"
        dataset.DistanceSourceToPatient = f"{patient:.0f}"
    if maker.spacing == "patient":
        dataset.PixelSpacing = [f"{side * patient / geometry.distance:.6g}"] * 2
        dataset.PixelSpacingCalibrationType = "GEOMETRY"
        dataset.PixelSpacingCalibrationDescription = "Middle of the body"


def stored(taken: TakenFilm, maker: FilmMaker) -> NDArray[np.uint16]:
    """Values as a file stores them, (H, W)."""
    most = 2**maker.bits - 1
    grey = np.rint(np.clip(taken.shown, 0, 1) * most).astype(np.uint16)
    return np.asarray(most - grey if maker.inverted else grey, np.uint16)
