"""The size of a pixel and how it is known."""

from __future__ import annotations

from typing import Final

from pydicom.dataset import Dataset

from shared.dicom.attributes import number_of, numbers_of
from shared.dicom.verdicts import SetAsideError
from shared.records import SpacingProvenance, Vendor

#: Millimetres per pixel that a projection can have.
PLAUSIBLE_MM: Final = (0.05, 5.0)
#: Rows and columns differ by less than this factor on every known scanner.
MOST_UNEQUAL: Final = 3.0

Spacing = tuple[float, float]


def find_spacing(dataset: Dataset, vendor: Vendor) -> tuple[Spacing, SpacingProvenance]:
    """Find row and column spacing in mm, and say where it comes from.

    In this order: PixelSpacing (``calibrated``); ImagerPixelSpacing over the
    magnification factor (``detector``); for Lunar, ExposedArea (0040,0303) in mm
    over (Columns, Rows) (``derived``). Values of 0 or below count as absent.

    Raises
    ------
    SetAsideError
        If none of them is usable.
    """
    given = _pair(numbers_of(dataset, "PixelSpacing"))
    if given is not None:
        return given, "calibrated"
    magnification = number_of(dataset, "EstimatedRadiographicMagnificationFactor") or 1.0
    imager = numbers_of(dataset, "ImagerPixelSpacing")
    detector = _pair([value / magnification for value in imager]) if magnification > 0 else None
    if detector is not None:
        return detector, "detector"
    area = numbers_of(dataset, "ExposedArea")
    if vendor is Vendor.LUNAR and len(area) == 2:
        # Width over columns comes first in these files, unlike every other spacing.
        derived = _pair([area[1] / int(dataset.Rows), area[0] / int(dataset.Columns)])
        if derived is not None:
            return derived, "derived"
    raise SetAsideError("spacing_unknown")


def _pair(numbers: list[float]) -> Spacing | None:
    """Row and column spacing if both are plausible."""
    low, high = PLAUSIBLE_MM
    if len(numbers) != 2 or not all(low <= number <= high for number in numbers):
        return None
    row, column = numbers
    if max(row, column) / min(row, column) > MOST_UNEQUAL:
        return None
    return row, column
