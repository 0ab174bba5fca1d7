"""Studies as a Hologic scanner exports them (design: 16-bit secondary capture).

The BMD stands in a private block of XML with JavaScript, together with
identifiers; a lateral study has a results page with identifiers burned into its
pixels. Written from what conformance statements and public parsers say, since no
real file was at hand.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from pydicom.dataset import Dataset
from pydicom.uid import SecondaryCaptureImageStorage

from shared.phantom.rendered import RenderedImage, RenderedStudy
from shared.records import View
from shared.regions import codes_of

from .common import WrittenStudy, add_pixels, patient_and_study, save
from .identity import Identity, make_identity
from .segmentation import make_segmentation

#: Body part, laterality, view position, series description and scan mode by view.
VIEWS: Final[dict[View, tuple[str, str, str, str, str]]] = {
    View.SPINE_PA: ("LSPINE", "", "AP", "AP Lumbar Spine", "Fast Array"),
    View.HIP_LEFT: ("HIP", "L", "", "Left Hip", "Fast Array"),
    View.SPINE_LATERAL: ("LSPINE", "", "LL", "IVA Lateral", "SE Lateral IVA"),
}
#: Rows of the results tables: the vendor's word, our region.
TABLES: Final[dict[View, dict[str, str]]] = {
    View.SPINE_PA: {"L1": "L1", "L2": "L2", "L3": "L3", "L4": "L4", "Total": "L1-L4"},
    View.HIP_LEFT: {"Neck": "femoral_neck", "Troch": "trochanter", "Total": "total_hip"},
}
#: The vendor's headers carry mark-up and units.
HEADERS: Final = ("Region", "Area<br>(cm&sup2;)", "BMC<br>(g)", "BMD<br>(g/cm&sup2;)")
GREY_LEVELS: Final = 65535
PRIVATE_CREATOR: Final = "HOLOGIC"


def quantise(display: NDArray[np.float32]) -> NDArray[np.uint16]:
    """Turn display values in [0, 1] into 16 bits; 0 is kept for what was not scanned."""
    grey = np.rint(np.nan_to_num(display, nan=0.0) * GREY_LEVELS)
    scanned = np.clip(grey, 1, GREY_LEVELS)
    return np.where(np.isnan(display), 0, scanned).astype(np.uint16)


def _escape(text: str) -> str:
    """Escape for a JavaScript string."""
    return text.replace("\\", "\\\\").replace('"', '\\"')


def results_block(study: RenderedStudy, identity: Identity, view: View) -> str:
    """Make the text of (0019,1000): scalars with identifiers and, where measured, the results."""
    known = study.covariates
    scalars = {
        "PatientName": identity.name.replace("^", ", "),
        "PatientID": identity.patient_id,
        "DOB": f"{identity.birth_date:%d %B %Y}",
        "Sex": {"F": "Female", "M": "Male"}.get(known.sex or "", ""),
        "Height": "" if known.height_cm is None else f"{known.height_cm:.1f} cm",
        "Weight": "" if known.weight_kg is None else f"{known.weight_kg:.1f} kg",
        "Age": str(identity.age_years),
        "ScanMode": VIEWS[view][4],
        "ScanDate": f"{identity.study_date:%d %B %Y}",
    }
    lines = [f'var {key} = "{_escape(value)}";' for key, value in scalars.items()]
    for row, cells in enumerate(_table(study, view)):
        for column, cell in enumerate(cells):
            lines.append(f'ResultsTable1[ {row}][ {column}] = "{_escape(cell)}";')
    script = "\n".join(lines)
    return (
        '<?xml version="1.0"?>\n<ScanResults version="5.6"><Script language="JavaScript">'
        f"<![CDATA[\n{script}\n]]></Script></ScanResults>\n"
    )


def _table(study: RenderedStudy, view: View) -> list[tuple[str, ...]]:
    """Rows of a results table, header first; empty where nothing is measured."""
    rows = []
    image = study.images[view]
    pixel_cm2 = image.spacing_mm[0] * image.spacing_mm[1] / 100
    for word, region in TABLES.get(view, {}).items():
        if region in study.labels.bmd:
            bmd = study.labels.bmd[region]
            area = float(np.isin(image.regions, codes_of(region)).sum()) * pixel_cm2
            rows.append((word, f"{area:.2f}", f"{area * bmd:.2f}", f"{bmd:.3f}"))
    return [HEADERS, *rows] if rows else []


def _image(
    study: RenderedStudy, identity: Identity, view: View, image: RenderedImage, model: str
) -> Dataset:
    """Data set of one projection."""
    dataset = _secondary_capture(study, identity, view, model, "image")
    dataset.SeriesNumber = list(VIEWS).index(view) + 1
    dataset.InstanceNumber = 1
    row_mm, column_mm = image.spacing_mm
    dataset.PixelSpacing = [f"{row_mm:.6g}", f"{column_mm:.6g}"]
    dataset.PixelPaddingValue = 0
    dataset.WindowCenter = "32768"
    dataset.WindowWidth = "65536"
    add_pixels(dataset, quantise(image.display))
    block = dataset.private_block(0x0019, PRIVATE_CREATOR, create=True)
    block.add_new(0x00, "UT", results_block(study, identity, view))
    return dataset


def _secondary_capture(
    study: RenderedStudy, identity: Identity, view: View, model: str, what: str
) -> Dataset:
    """Attributes that images and results pages share."""
    body_part, laterality, position, description, _ = VIEWS[view]
    dataset = patient_and_study(study, identity)
    dataset.SOPClassUID = SecondaryCaptureImageStorage
    dataset.SOPInstanceUID = identity.uid(what, view)
    dataset.SeriesInstanceUID = identity.uid("series", view, what)
    dataset.Modality = "OT"
    dataset.ConversionType = "WSD"
    dataset.Manufacturer = "HOLOGIC"
    dataset.ManufacturerModelName = model
    dataset.DeviceSerialNumber = "303041M"
    dataset.StationName = "BONEDENS2"
    dataset.SoftwareVersions = "13.6.0.5"
    dataset.BodyPartExamined = body_part
    if laterality:  # said of a paired part alone (PS3.3 C.7.3.1)
        dataset.Laterality = laterality
    dataset.ViewPosition = position
    dataset.SeriesDescription = description
    dataset.PatientOrientation = ["P" if view is View.SPINE_LATERAL else "L", "F"]
    dataset.SeriesDate = dataset.AcquisitionDate = dataset.ContentDate = dataset.StudyDate
    dataset.SeriesTime = dataset.AcquisitionTime = dataset.ContentTime = dataset.StudyTime
    return dataset


@cache
def _font() -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    """Pillow's own font; loading it takes longer than drawing."""
    return ImageFont.load_default(size=13)


def _results_page(study: RenderedStudy, identity: Identity, view: View, model: str) -> Dataset:
    """Page for people: 8 bits, with the patient's name in the pixels."""
    page = Image.new("L", (400, 240), color=255)
    draw = ImageDraw.Draw(page)
    lines = [
        "Instant Vertebral Assessment",
        f"Name: {identity.name.replace('^', ', ')}",
        f"Patient ID: {identity.patient_id}   DOB: {identity.birth_date:%d %b %Y}",
        f"Scan: {identity.study_date:%d %b %Y}   Accession: {identity.accession}",
        *(f"{name}: grade {grade}" for name, grade in list(study.labels.genant.items())[-6:]),
    ]
    for number, line in enumerate(lines):
        draw.text((12, 10 + 20 * number), line, fill=0, font=_font())
    dataset = _secondary_capture(study, identity, view, model, "results page")
    dataset.SeriesNumber = 90
    dataset.InstanceNumber = 1
    dataset.SeriesDescription = "Results page"
    dataset.BurnedInAnnotation = "YES"
    add_pixels(dataset, np.asarray(page, dtype=np.uint8))
    return dataset


def write(study: RenderedStudy, out: Path, model: str) -> WrittenStudy:
    """Write one study under `out` and return what belongs into the hospital's tables."""
    identity = make_identity(study)
    folder = Path(identity.patient_id) / f"{identity.study_date:%Y%m%d}"
    (out / folder).mkdir(parents=True)
    files = 0
    for view, image in study.images.items():
        dataset = _image(study, identity, view, image, model)
        stem = f"{VIEWS[view][0]}_{VIEWS[view][2] or VIEWS[view][1]}"
        save(dataset, out / folder / f"{stem}.dcm", implicit=False)
        files += 1
        if image.regions.any():
            mask = make_segmentation(dataset, image.regions, identity)
            mask.save_as(out / folder / f"{stem}_SEG.dcm")
            files += 1
        if view is View.SPINE_LATERAL:
            page = _results_page(study, identity, view, model)
            save(page, out / folder / f"{stem}_RESULTS.dcm", implicit=False)
            files += 1
    return WrittenStudy(folder, identity, files, {}, dict(study.labels.genant))
