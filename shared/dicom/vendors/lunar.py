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
from shared.scan_types import folded

from ..attributes import text_of
from ..verdicts import SetAsideError
from .named_scans import NAMES, scan_named, view_of_scan
from .scan_names import meaning_of, type_named

MANUFACTURER: Final = re.compile(r"\b(GE|GEMS|LUNAR|GENERAL ELECTRIC)\b", re.IGNORECASE)
MODEL: Final = re.compile(r"LUNAR|IDXA|PRODIGY|\bDPX|ENCORE", re.IGNORECASE)
#: enCORE's own names in English, which say by themselves that it is a DXA scan.
ENCORE_NAMES: Final = frozenset(
    {
        "ap spine", "left femur", "lva", "right femur", "dual femur", "total body", "left knee",
        "right knee", "left forearm", "right forearm", "lateral spine", "hand", "apva",
        "orthopedic hip", "orthopedic knee",
    }
)  # fmt: skip


def matches(dataset: Dataset) -> bool:
    """Say whether it is a Lunar scan: the manufacturer, and a DXA model or a DXA protocol.

    The manufacturer alone makes every other modality too, so it is not enough.
    """
    maker, model = text_of(dataset, "Manufacturer"), text_of(dataset, "ManufacturerModelName")
    if not MANUFACTURER.search(maker):
        return False
    if model:
        return MODEL.search(model) is not None or "lunar" in maker.lower()
    return "lunar" in maker.lower() or folded(text_of(dataset, "ProtocolName")) in ENCORE_NAMES


def view_of(dataset: Dataset) -> View:
    """View by the scan's name: its protocol, else its series, else its study.

    A study's description may cover more scans than this one, so it counts only where nothing
    else names one, and if it names one alone.

    Raises
    ------
    SetAsideError
        ``report_page``, ``view_not_used`` or ``scan_type_unknown``.
    """
    if dataset.get("SOPClassUID") == SecondaryCaptureImageStorage:
        raise SetAsideError("report_page")
    scan = scan_named(dataset)
    if scan is None and is_nameless(dataset):
        scan = type_named(text_of(dataset, "StudyDescription"))
    if scan is None:
        raise SetAsideError("scan_type_unknown")
    return view_of_scan(scan, dataset)


def is_nameless(dataset: Dataset) -> bool:
    """Say whether neither of its names says anything, not even what is not understood."""
    return all(meaning_of(text_of(dataset, one)).silent for one in NAMES)


def unscanned(unit: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Steps of one bright value along the edges, 255 or somewhat below."""
    return constant_margin(unit)


def labels_of(dataset: Dataset, view: View | None = None) -> StudyLabels:
    """Nothing: these files hold no results, they come by CSV."""
    return StudyLabels()


def covariates_of(dataset: Dataset) -> Covariates:
    """Nothing besides the standard attributes."""
    return Covariates()
