"""Studies as a GE Lunar scanner exports them (design: 8-bit CR, no spacing, no BMD).

BMD and Genant grades leave such a scanner by CSV export, so `write` hands them
back for the hospital's tables.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.uid import ComputedRadiographyImageStorage

from shared.phantom.rendered import RenderedImage, RenderedStudy
from shared.records import View

from .common import WrittenStudy, add_pixels, patient_and_study, save
from .identity import Identity, make_identity
from .segmentation import make_segmentation

PROTOCOLS: Final[dict[View, str]] = {
    View.SPINE_PA: "AP Spine",
    View.HIP_LEFT: "Left Femur",
    View.SPINE_LATERAL: "LVA",
}
UNSCANNED: Final = 255
BRIGHTEST: Final = 254


def quantise(display: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Turn display values in [0, 1] into 8 bits; the unscanned margin is saturated white.

    What was scanned stays one grey value below, so that a margin is recognisable.
    """
    grey = np.rint(np.nan_to_num(display, nan=0.0) * 255)
    scanned = np.clip(grey, 0, BRIGHTEST)
    return np.where(np.isnan(display), UNSCANNED, scanned).astype(np.uint8)


def _image(
    study: RenderedStudy, identity: Identity, view: View, image: RenderedImage, model: str
) -> Dataset:
    """Data set of one projection."""
    number = list(PROTOCOLS).index(view) + 1
    rows, columns = image.display.shape
    dataset = patient_and_study(study, identity)
    dataset.SOPClassUID = ComputedRadiographyImageStorage
    dataset.SOPInstanceUID = identity.uid("image", view)
    dataset.SeriesInstanceUID = identity.uid("series", view)
    dataset.SeriesNumber = number
    dataset.InstanceNumber = 1
    dataset.Modality = "CR"
    dataset.Manufacturer = "GE Healthcare"
    dataset.ManufacturerModelName = model
    dataset.DeviceSerialNumber = "PA+31415"
    dataset.StationName = "DXAROOM1"
    dataset.SoftwareVersions = "16.20.059"
    dataset.ProtocolName = PROTOCOLS[view]
    dataset.BodyPartExamined = ""
    dataset.ViewPosition = ""
    dataset.Laterality = ""
    dataset.PatientOrientation = ["L", "F"]
    dataset.SeriesDate = dataset.AcquisitionDate = dataset.ContentDate = dataset.StudyDate
    dataset.SeriesTime = dataset.AcquisitionTime = dataset.ContentTime = dataset.StudyTime
    # Width over Columns, height over Rows: all that is left of the pixel size.
    row_mm, column_mm = image.spacing_mm
    dataset.ExposedArea = [round(columns * column_mm), round(rows * row_mm)]
    add_pixels(dataset, quantise(image.display))
    return dataset


def write(study: RenderedStudy, out: Path, model: str) -> WrittenStudy:
    """Write one study under `out` and return what belongs into the hospital's tables."""
    identity = make_identity(study)
    folder = Path(identity.patient_id) / f"{identity.study_date:%Y%m%d}"
    (out / folder).mkdir(parents=True)
    files = 0
    for view, image in study.images.items():
        dataset = _image(study, identity, view, image, model)
        stem = PROTOCOLS[view].replace(" ", "_").upper()
        save(dataset, out / folder / f"{stem}.dcm", implicit=True)
        files += 1
        if image.regions.any():
            mask = make_segmentation(dataset, image.regions, identity)
            mask.save_as(out / folder / f"{stem}_SEG.dcm")
            files += 1
    return WrittenStudy(folder, identity, files, dict(study.labels.bmd), dict(study.labels.genant))
