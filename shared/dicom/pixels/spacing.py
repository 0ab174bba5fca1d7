"""The size of a pixel and how it is known."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from pydicom.dataset import Dataset

from shared.dicom.attributes import number_of, numbers_of, remarks_of, written_numbers
from shared.dicom.verdicts import SetAsideError
from shared.records import SpacingProvenance, Vendor

#: Millimetres per pixel that a projection can have.
PLAUSIBLE_MM: Final = (0.05, 5.0)
#: Rows and columns differ by less than this factor on every known scanner.
MOST_UNEQUAL: Final = 3.0
#: No radiograph of a spine shows it larger than by this factor.
MOST_MAGNIFIED: Final = 2.5
#: Distances and a factor that say the same differ by less than this part.
SAME_FACTOR: Final = 0.05
#: Attributes that say how large a pixel is, or how much larger things are shown.
SOURCES: Final = (
    "PixelSpacing", "ImagerPixelSpacing", "EstimatedRadiographicMagnificationFactor",
    "DistanceSourceToDetector", "DistanceSourceToPatient", "ExposedArea",
)  # fmt: skip

Spacing = tuple[float, float]


def find_spacing(dataset: Dataset, vendor: Vendor) -> tuple[Spacing, SpacingProvenance]:
    """Find row and column spacing in mm, and say where it comes from.

    In this order: PixelSpacing (``calibrated``, or ``repaired`` where it was not written as the
    standard has it); ImagerPixelSpacing over the magnification that follows from the distances
    of the source (``derived``), else over the stated factor, if any (``detector``); for Lunar,
    ExposedArea (0040,0303) in mm over (Columns, Rows) (``derived``). Values of 0 or below count
    as absent.

    Raises
    ------
    SetAsideError
        If none of them is usable.
    """
    written = written_numbers(dataset, "PixelSpacing")
    given = _pair(written.numbers)
    if given is not None:
        return given, "repaired" if written.repair else "calibrated"
    factor, by_distances, _ = magnification_of(dataset)
    detector = _pair([value / factor for value in numbers_of(dataset, "ImagerPixelSpacing")])
    if detector is not None:
        return detector, "derived" if by_distances else "detector"
    area = numbers_of(dataset, "ExposedArea")
    if vendor is Vendor.LUNAR and len(area) == 2:
        # Width over columns comes first in these files, unlike every other spacing.
        derived = _pair([area[1] / int(dataset.Rows), area[0] / int(dataset.Columns)])
        if derived is not None:
            return derived, "derived"
    raise SetAsideError("spacing_unknown", "; ".join(_why_not(dataset)))


def magnification_of(dataset: Dataset) -> tuple[float, bool, str]:
    """How much larger the patient is on the detector, and what in the header cannot be.

    Source to detector over source to patient (0018,1110 and 0018,1111), else the factor that
    the file states (0018,1114).

    Returns
    -------
    factor : float
        1 if the file does not say, or says what cannot be.
    by_distances : bool
        Whether it follows from the distances.
    remark : str
        Why something that the file says is not used; empty if nothing is left out.
    """
    stated = number_of(dataset, "EstimatedRadiographicMagnificationFactor") or None
    if stated is not None and not 1 <= stated <= MOST_MAGNIFIED:
        return 1.0, False, "a magnification factor that cannot be is not used"
    detector = number_of(dataset, "DistanceSourceToDetector")
    patient = number_of(dataset, "DistanceSourceToPatient")
    if detector is None or patient is None:
        return stated or 1.0, False, ""
    if not 0 < patient < detector <= MOST_MAGNIFIED * patient:
        remark = "distances from the source to detector and patient that cannot be are not used"
        return stated or 1.0, False, remark
    factor = detector / patient
    if stated is not None and abs(factor / stated - 1) > SAME_FACTOR:
        remark = "the magnification factor and the distances from the source contradict each other"
        return 1.0, False, f"{remark}: neither is used"
    return factor, True, ""


def _why_not(dataset: Dataset) -> list[str]:
    """What is wrong with what a file says of its spacing, without a value of it."""
    found = remarks_of(dataset, SOURCES, dates=())
    for keyword in ("PixelSpacing", "ImagerPixelSpacing"):
        numbers = numbers_of(dataset, keyword)
        if len(numbers) not in (0, 2):
            found.append(f"{keyword} holds {len(numbers)} instead of 2 numbers")
        elif numbers and _pair(numbers) is None:
            found.append(f"{keyword} cannot be")
    return found


def _pair(numbers: Sequence[float]) -> Spacing | None:
    """Row and column spacing if both are plausible."""
    low, high = PLAUSIBLE_MM
    if len(numbers) != 2 or not all(low <= number <= high for number in numbers):
        return None
    row, column = numbers
    if max(row, column) / min(row, column) > MOST_UNEQUAL:
        return None
    return row, column
