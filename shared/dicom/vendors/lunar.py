"""GE Lunar (iDXA, Prodigy; enCORE), as seen in real files (design/dicom.md)."""

from __future__ import annotations

import re
from typing import Final

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.uid import SecondaryCaptureImageStorage

from shared.dicom.pixels.margins import unscanned_margin
from shared.dicom.pixels.spacing import find_spacing
from shared.records import Covariates, StudyLabels, Vendor, View

from ..attributes import text_of
from ..verdicts import SetAsideError

MANUFACTURER: Final = re.compile(r"\b(GE|GEMS|LUNAR|GENERAL ELECTRIC)\b", re.IGNORECASE)
MODEL: Final = re.compile(r"LUNAR|IDXA|PRODIGY|\bDPX|ENCORE", re.IGNORECASE)
PROTOCOLS: Final[dict[str, View]] = {
    "ap spine": View.SPINE_PA,
    "left femur": View.HIP_LEFT,
    "right femur": View.HIP_RIGHT,
    "lva": View.SPINE_LATERAL,
}
#: Scans of both hips, by one protocol; each is a file of its own, or both are one image.
DUAL: Final = frozenset({"dual femur", "dualfemur"})
SIDES: Final[dict[str, View]] = {"L": View.HIP_LEFT, "R": View.HIP_RIGHT}
#: A field that is wider than this, mm, shows both.
WIDEST_HIP_MM: Final = 250.0
#: Scans that exist and that no task uses yet.
UNUSED: Final = frozenset(
    {
        "total body", "left knee", "right knee", "left forearm",
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
    return "lunar" in maker.lower() or _protocol(dataset) in {*PROTOCOLS, *DUAL, *UNUSED}


def view_of(dataset: Dataset) -> View:
    """View by ProtocolName, the only place that names the scan type."""
    if dataset.get("SOPClassUID") == SecondaryCaptureImageStorage:
        raise SetAsideError("report_page")
    protocol = _protocol(dataset)
    if protocol in DUAL:
        return view_of_hips(dataset)
    if protocol in PROTOCOLS:
        return PROTOCOLS[protocol]
    raise SetAsideError("view_not_used" if protocol in UNUSED else "scan_type_unknown")


def view_of_hips(dataset: Dataset) -> View:
    """View of a scan that names the hips together: one file a side, or both in one image.

    Raises
    ------
    SetAsideError
        ``both_hips`` for one image of both, which is not divided; ``hip_side_unknown`` where
        nothing says which one it is.
    """
    said = text_of(dataset, "Laterality") or text_of(dataset, "ImageLaterality")
    side = said.upper()[:1]
    if side == "B":
        raise SetAsideError("both_hips")
    (_, column_mm), provenance = find_spacing(dataset, Vendor.LUNAR)
    if provenance != "none" and int(dataset.get("Columns") or 0) * column_mm > WIDEST_HIP_MM:
        raise SetAsideError("both_hips")
    if side not in SIDES:
        raise SetAsideError("hip_side_unknown")
    return SIDES[side]


def unscanned(unit: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Saturated white steps along the edges."""
    return unscanned_margin(unit >= 1.0)


def labels_of(dataset: Dataset) -> StudyLabels:
    """Nothing: these files hold no results, they come by CSV."""
    return StudyLabels()


def covariates_of(dataset: Dataset) -> Covariates:
    """Nothing besides the standard attributes."""
    return Covariates()
