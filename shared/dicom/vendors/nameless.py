"""Lunar scans whose names say nothing: their view by their pixels, or not at all."""

from __future__ import annotations

import numpy as np
from pydicom.dataset import Dataset

from shared.dicom.pixels.grey_values import stored_values, unit_values
from shared.dicom.pixels.orientation import DEFAULT
from shared.dicom.pixels.spacing import find_spacing
from shared.records import Vendor, View
from shared.scan_types import ScanType

from ..attributes import text_of
from ..parsing import parse
from ..verdicts import SetAsideError
from . import lunar
from .named_scans import view_of_scan
from .view_recognition import recognised, view_features


def view_by_pixels(header: Dataset, data: bytes, named: View | None) -> View | None:
    """View of a Lunar scan whose names say nothing; `named` is what something else says.

    Parameters
    ----------
    header : Dataset
        Its attributes.
    data : bytes
        The whole file.
    named : View or None
        What ``site.yaml`` or the study's description says.

    Returns
    -------
    View or None
        None if it cannot be told.

    Raises
    ------
    SetAsideError
        If it looks like another view than was named, or like one that its side or its body
        part contradict or no task uses.
    """
    scan = _scan_seen(data)
    if scan is None:
        return named
    if named is None:
        return view_of_scan(scan, header)
    if scan.view is not named:
        raise SetAsideError("scan_type_unknown", "its pixels look like another view than its name")
    return named


def _scan_seen(data: bytes) -> ScanType | None:
    """Scan type that the pixels of a file show, None if it cannot be told or they be read."""
    try:
        dataset = parse(data, pixels=True)
        orientation = text_of(dataset, "PatientOrientation").upper()
        if orientation not in ("", "\\".join(DEFAULT)):
            return None
        unit = unit_values(dataset, stored_values(dataset))
        unit[lunar.unscanned(unit)] = np.nan
        spacing, _ = find_spacing(dataset, Vendor.LUNAR)
        return recognised(view_features(unit, spacing))
    except Exception:  # what cannot be read is judged where the file is read
        return None
