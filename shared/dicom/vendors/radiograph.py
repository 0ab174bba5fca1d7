"""Radiographs of any maker (CR, DX): frontal ones of the lumbar spine.

Body part and projection stand in a handful of attributes, coded or as somebody typed
them. Only what they say plainly and without contradiction is taken.
"""

from __future__ import annotations

import re
from typing import Final

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.uid import (
    ComputedRadiographyImageStorage,
    DigitalXRayImageStorageForPresentation,
    DigitalXRayImageStorageForProcessing,
)

from shared.records import Covariates, StudyLabels, View

from ..attributes import text_of, value_of
from ..verdicts import SetAsideError
from . import hologic, lunar
from .named_scans import NAMES
from .scan_names import UNUSED_PARTS, meaning_of

CLASSES: Final = (
    ComputedRadiographyImageStorage,
    DigitalXRayImageStorageForPresentation,
    DigitalXRayImageStorageForProcessing,
)
#: Where the body part and the projection may stand in words, the most exact first.
WORDS: Final = (
    "SeriesDescription",
    "ProtocolName",
    "AcquisitionDeviceProcessingDescription",
    "ImageComments",
)
LUMBAR: Final = re.compile(
    r"\bL[\s_\-]?S?[\s_\-]?(?:SPINE|SP)\b|LUMB|\bLWS\b|\bLS\b|\bLENDEN|\bRACHIS LOMB|\bLOMB", re.I
)
SPINE: Final = re.compile(r"SPINE|VERTEBRA|\bWS\b|RACHIS|COLUMN|WIRBEL", re.I)
#: Other parts, and stretches of the spine that are more than its lumbar part.
ELSEWHERE: Final = re.compile(
    r"THORA|CHEST|DORSAL|\b[TCD][\s_\-]?SPINE|CERVIC|\bNECK\b|\bHWS\b|\bBWS\b|SKULL|HEAD|PELVI|HIP\b"
    r"|ABDOM|KNEE|FOOT|ANKLE|HAND|WRIST|ELBOW|SHOULDER|FEMUR|TIBIA|HUMER|FOREARM|BREAST|RIB"
    r"|SCOLIO|WHOLE|FULL|TOTAL|ENTIRE|\bT[\s_\-]?L|STITCH|LONG LEG|FINGER|TOE\b|CLAVIC|EXTREMITY",
    re.I,
)
FRONTAL: Final = re.compile(
    r"\b(?:A\.?P|P\.?A)\b\.?|FRONTAL|ANTERO[\s\-]?POST|POSTERO[\s\-]?ANT|\bFACE\b", re.I
)
LATERAL: Final = re.compile(
    r"\bLAT|\bLL\b|\bRL\b|\bLLD\b|\bRLD\b|SEITLICH|PROFIL|\bMEDIO|\bLM\b|\bML\b", re.I
)
#: Projections that are neither.
SPECIAL: Final = re.compile(
    r"OBLI|\bOBL\b|\b[RL][AP]O\b|FLEX|EXTEN|BENDING|\bSPOT\b|FERGUSON|AXIAL|FUNCTION|SWIMMER", re.I
)
#: What the vocabulary calls the spine, and what is not its lumbar part. Bodies may be vertebral.
SPINES: Final = frozenset({"spine", "lumbar"})
OTHERS: Final = frozenset({"thoracic", "cervical", "whole", "hip", *UNUSED_PARTS}) - {"body"}
#: Bone on the dark side by more than this is maybe inverted. Of 250 real radiographs none is,
#: and 0.9 of them when inverted.
MOST_INVERTED: Final = 0.03


def matches(dataset: Dataset) -> bool:
    """Say whether it is a radiograph that says of what: never one of a DXA scanner."""
    if dataset.get("SOPClassUID") not in CLASSES:
        return False
    model = text_of(dataset, "ManufacturerModelName")
    if lunar.MODEL.search(model) or hologic.MODEL.search(model):
        return False
    if _part(dataset) or _position(dataset) or LUMBAR.search(_words(dataset)):
        return True
    return "lumbar" in _meant(dataset)


def view_of(dataset: Dataset) -> View:
    """View by body part and projection.

    Raises
    ------
    SetAsideError
        ``view_not_used`` for what it plainly is not, ``scan_type_unknown`` where the
        attributes leave it open or contradict each other, ``for_processing`` for raw values.
    """
    _check_part(dataset)
    _check_projection(dataset)
    intent = text_of(dataset, "PresentationIntentType").upper()
    if dataset.SOPClassUID == DigitalXRayImageStorageForProcessing or intent == "FOR PROCESSING":
        raise SetAsideError("for_processing")
    return View.LUMBAR_AP


def _check_part(dataset: Dataset) -> None:
    """Pass the lumbar spine only."""
    part, words = _part(dataset), _words(dataset)
    study = text_of(dataset, "StudyDescription")
    of_part, of_words, of_study = meaning_of(part).concepts, _meant(dataset), meaning_of(study)
    if part and not SPINE.search(part) and not LUMBAR.search(part) and not of_part & SPINES:
        raise SetAsideError("view_not_used")
    if ELSEWHERE.search(part) or of_part & OTHERS:
        raise SetAsideError("view_not_used")
    lumbar = LUMBAR.search(part) or LUMBAR.search(words) or "lumbar" in of_part | of_words
    elsewhere = ELSEWHERE.search(words) or of_words & OTHERS
    # The study's words may cover more images than this one: they only fill a gap.
    if not lumbar and not elsewhere and not ELSEWHERE.search(study):
        lumbar = LUMBAR.search(study) or of_study.concepts & {*OTHERS, "lumbar"} == {"lumbar"}
    if lumbar and elsewhere:
        raise SetAsideError("scan_type_unknown", "more than one part of the body is named")
    if elsewhere:
        raise SetAsideError("view_not_used")
    if not lumbar:
        raise SetAsideError("scan_type_unknown", "which part of the spine")


def _check_projection(dataset: Dataset) -> None:
    """Pass frontal projections only."""
    position, words = _position(dataset), _words(dataset)
    of_position, of_words = meaning_of(position).concepts, _meant(dataset)
    if SPECIAL.search(position) or SPECIAL.search(words) or "special" in of_position | of_words:
        raise SetAsideError("view_not_used")
    frontal = FRONTAL.search(position) is not None or "frontal" in of_position
    lateral = LATERAL.search(position) is not None or "lateral" in of_position
    words_frontal = FRONTAL.search(words) is not None or "frontal" in of_words
    words_lateral = LATERAL.search(words) is not None or "lateral" in of_words
    if frontal == lateral:
        frontal, lateral = words_frontal, words_lateral
    elif frontal and words_lateral and not words_frontal:
        raise SetAsideError("scan_type_unknown", "frontal or lateral")
    if frontal == lateral:
        raise SetAsideError("scan_type_unknown", "frontal or lateral")
    if lateral:
        raise SetAsideError("view_not_used")


def _part(dataset: Dataset) -> str:
    """Body part, as a word or by the meaning of its code."""
    return text_of(dataset, "BodyPartExamined") or _meaning(dataset, "AnatomicRegionSequence")


def _position(dataset: Dataset) -> str:
    """Projection, as a word or by the meaning of its code."""
    return text_of(dataset, "ViewPosition") or _meaning(dataset, "ViewCodeSequence")


def _meaning(dataset: Dataset, keyword: str) -> str:
    """Meaning of the first code of a sequence."""
    items = value_of(dataset, keyword)
    return text_of(items[0], "CodeMeaning") if items else ""


def _words(dataset: Dataset) -> str:
    """Words of the image's and its series' descriptions."""
    return " | ".join(text_of(dataset, keyword) for keyword in WORDS)


def _meant(dataset: Dataset) -> frozenset[str]:
    """What the names of the image and its series mean, in any of the vocabulary's languages."""
    return frozenset().union(*(meaning_of(text_of(dataset, one)).concepts for one in NAMES))


def looks_inverted(unit: NDArray[np.float32]) -> bool:
    """Say whether bone is darker than what lies beside it.

    In a frontal image of the lumbar spine the column runs down the middle, brighter than
    flanks and air. Compared are the middle third and the outer sixths of the part that
    was exposed.

    Parameters
    ----------
    unit : ndarray of float32, shape (H, W)
        Display values; NaN = not exposed.
    """
    rows, columns = (np.flatnonzero(~np.isnan(unit).all(axis=axis)) for axis in (1, 0))
    if len(rows) < 6 or len(columns) < 6:
        return False
    seen = unit[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    height, width = seen.shape
    seen = seen[height // 6 : height - height // 6]
    middle = np.nanmean(seen[:, width // 3 : width - width // 3])
    sides = [seen[:, : width // 6], seen[:, width - width // 6 :]]
    outer = [np.nanmean(side) for side in sides if not np.isnan(side).all()]
    if not outer:
        return False
    return bool(middle < np.mean(outer) - MOST_INVERTED)


def unscanned(unit: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Nothing: what was not exposed is said by shutter and padding."""
    return np.zeros(unit.shape, bool)


def labels_of(dataset: Dataset, view: View | None = None) -> StudyLabels:
    """Nothing: radiographs hold no results."""
    return StudyLabels()


def covariates_of(dataset: Dataset) -> Covariates:
    """Nothing besides the standard attributes."""
    return Covariates()
