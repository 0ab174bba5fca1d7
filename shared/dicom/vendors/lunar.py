"""GE Lunar (iDXA, Prodigy; enCORE), as seen in real files (design/dicom.md)."""

from __future__ import annotations

import re
from typing import Final

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.uid import SecondaryCaptureImageStorage

from shared.dicom.pixels.margins import constant_margin
from shared.records import Covariates, StudyLabels, View

from ..attributes import text_of
from ..verdicts import SetAsideError

MANUFACTURER: Final = re.compile(r"\b(GE|GEMS|LUNAR|GENERAL ELECTRIC)\b", re.IGNORECASE)
MODEL: Final = re.compile(r"LUNAR|IDXA|PRODIGY|\bDPX|ENCORE", re.IGNORECASE)
PROTOCOLS: Final[dict[str, View]] = {
    "ap spine": View.SPINE_PA,
    "left femur": View.HIP_LEFT,
    "lva": View.SPINE_LATERAL,
}
#: Scans that exist and that no task uses yet.
UNUSED: Final = frozenset(
    {
        "right femur", "dual femur", "total body", "left knee", "right knee", "left forearm",
        "right forearm", "lateral spine", "hand", "apva", "orthopedic hip", "orthopedic knee",
    }
)  # fmt: skip


def _protocol(dataset: Dataset) -> str:
    """Protocol name in lower case with single blanks."""
    return " ".join(text_of(dataset, "ProtocolName").lower().split())


def matches(dataset: Dataset) -> bool:
    """Say whether it is a Lunar scan: the manufacturer, and a DXA model or a DXA protocol.

    The manufacturer alone makes every other modality too, so it is not enough.
    """
    maker, model = text_of(dataset, "Manufacturer"), text_of(dataset, "ManufacturerModelName")
    if not MANUFACTURER.search(maker):
        return False
    if model:
        return MODEL.search(model) is not None or "lunar" in maker.lower()
    return "lunar" in maker.lower() or _protocol(dataset) in {*PROTOCOLS, *UNUSED}


def view_of(dataset: Dataset) -> View:
    """View by ProtocolName, the only place that names the scan type."""
    if dataset.get("SOPClassUID") == SecondaryCaptureImageStorage:
        raise SetAsideError("report_page")
    protocol = _protocol(dataset)
    if protocol in PROTOCOLS:
        return PROTOCOLS[protocol]
    raise SetAsideError("view_not_used" if protocol in UNUSED else "scan_type_unknown")


def unscanned(unit: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Steps of one bright value along the edges, 255 or somewhat below."""
    return constant_margin(unit)


def labels_of(dataset: Dataset) -> StudyLabels:
    """Nothing: these files hold no results, they come by CSV."""
    return StudyLabels()


def covariates_of(dataset: Dataset) -> Covariates:
    """Nothing besides the standard attributes."""
    return Covariates()
