"""Overlays as secondary captures: pictures that every viewer shows (PS3.3 A.8.1)."""

from __future__ import annotations

from collections.abc import Iterator
from io import BytesIO
from typing import Final

import numpy as np
from numpy.typing import NDArray
from pydicom.uid import SecondaryCaptureImageStorage

from shared.findings.region_names import VIEW_WORDS
from shared.inference.pictures.series import series_pngs
from shared.inference.pictures.views import as_scanned, marks, overlay_png
from shared.phrases import capital
from shared.records import View

from .answer import StudyAnswer, derivation_words
from .headers import finished, reference, replacing, started
from .kinds import Kind, OutputFile

#: Where rows and columns of a picture lead to, by view; a hip is shown as scanners show it.
ORIENTATION: Final = {View.SPINE_LATERAL: ["P", "F"]}
FROM_THE_FRONT: Final = ["L", "F"]
SIDES: Final = {View.HIP_LEFT.value: "L", View.HIP_RIGHT.value: "R"}
#: More references than this, a whole CT series, are left to the SEG and the report.
MOST_SOURCES: Final = 16


def secondary_captures(answer: StudyAnswer) -> list[OutputFile]:
    """Make one picture of each view that was read, and two of each outlined series."""
    return [
        _capture(answer, number, part, words, orientation, png)
        for number, (part, words, orientation, png) in enumerate(overlays(answer), start=1)
    ]


def overlays(answer: StudyAnswer) -> Iterator[tuple[str, str, list[str], bytes]]:
    """Give part, words, orientation and PNG of each overlay; the report's own pictures."""
    for view, image in answer.study.images.items():
        shown, regions = as_scanned(view, image, answer.findings.region_maps.get(view))
        png = overlay_png(shown, marks(view, regions, answer.findings.grades))
        words = capital(VIEW_WORDS[view])
        yield view.value, words, ORIENTATION.get(view, FROM_THE_FRONT), png
    series = zip(answer.study.volumes.items(), answer.prediction.series, strict=False)
    for number, ((uid, volume), facts) in enumerate(series, start=1):
        regions = answer.findings.volume_maps.get(uid)
        if not facts.levels and (regions is None or not regions.any()):
            continue
        front, side = series_pngs(volume.record, regions, facts.levels)
        yield f"{uid} front", f"CT series {number} from the front", FROM_THE_FRONT, front
        yield f"{uid} side", f"CT series {number} from the side", ["P", "F"], side


def rgb(png: bytes) -> NDArray[np.uint8]:
    """Pixels of a picture, shape (H, W, 3)."""
    from PIL import Image

    with Image.open(BytesIO(png)) as picture:
        return np.asarray(picture.convert("RGB"), dtype=np.uint8)


def _capture(
    answer: StudyAnswer, number: int, part: str, words: str, orientation: list[str], png: bytes
) -> OutputFile:
    pixels = rgb(png)
    made = started(answer, Kind.SC, SecondaryCaptureImageStorage, part)
    made.InstanceNumber = number
    made.Modality = "OT"
    made.ConversionType = "WSD"
    made.ImageType = ["DERIVED", "SECONDARY"]
    made.DateOfSecondaryCapture = f"{answer.made_at:%Y%m%d}"
    made.TimeOfSecondaryCapture = f"{answer.made_at:%H%M%S}"
    made.PatientOrientation = orientation
    made.BodyPartExamined = "LSPINE"
    if part in SIDES:  # a side is said of a paired part alone (PS3.3 C.7.3.1)
        made.BodyPartExamined, made.Laterality = "HIP", SIDES[part]
    made.BurnedInAnnotation = "NO"  # labels of regions: nothing says who it is
    made.LossyImageCompression = "00"
    made.ImageComments = f"{words}, outlined. {answer.prediction.notice}"
    made.DerivationDescription = derivation_words(answer.prediction)
    sources = [one for one in answer.sources if part.startswith(one.part)]
    headers = [header for one in sources for header in one.headers]
    if len(headers) <= MOST_SOURCES:
        made.SourceImageSequence = [reference(header) for header in headers]
    made.SamplesPerPixel = 3
    made.PhotometricInterpretation = "RGB"
    made.PlanarConfiguration = 0
    made.Rows, made.Columns = pixels.shape[:2]
    made.BitsAllocated = made.BitsStored = 8
    made.HighBit = 7
    made.PixelRepresentation = 0
    data = pixels.tobytes()
    made.PixelData = data + b"\x00" * (len(data) % 2)
    made["PixelData"].VR = "OB"
    replacing(made, answer.replaced(Kind.SC, part))
    return finished(made, answer, Kind.SC, "Overlays", part, f"sc_{number:02d}.dcm")
