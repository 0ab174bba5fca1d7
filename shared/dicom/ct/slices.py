"""What headers call a CT, and what in one is no slice."""

from __future__ import annotations

from typing import Final

from pydicom.dataset import Dataset

from shared.dicom.attributes import number_of

from .completeness import SliceTold

CT_IMAGE: Final = "1.2.840.10008.5.1.4.1.1.2"
#: Enhanced CT and what was converted to it: many frames in one file.
ENHANCED: Final = ("1.2.840.10008.5.1.4.1.1.2.1", "1.2.840.10008.5.1.4.1.1.2.2")
CLASSES: Final = (CT_IMAGE, *ENHANCED)
#: Words of ImageType.
LOCALIZERS: Final = frozenset({"LOCALIZER", "SCOUT", "SCANOGRAM", "TOPOGRAM", "SCOUT VIEW"})
DERIVED: Final = frozenset(
    {"MIP", "MINIP", "PROJECTION IMAGE", "VRT", "SSD", "RENDERED", "RADIOGRAPH", "SCREEN SAVE"}
)
#: Made of several energies (DICOM Supplement 188, and makers' own words): their values are not
#: those of one tube voltage, or no Hounsfield units of tissue at all.
MULTI_ENERGY: Final = frozenset(
    {
        "VMI", "MAT_SPECIFIC", "MAT_REMOVED", "MAT_FRACTIONAL", "MAT_VALUE_BASED", "MAT_MODIFIED",
        "EFF_ATOMIC_NUM", "ELECTRON_DENSITY", "MONOENERGETIC", "MONO", "IODINE", "VNC",
    }
)  # fmt: skip
#: No series has more slices than this.
MOST_SLICES: Final = 100_000


def told_of(dataset: Dataset) -> SliceTold:
    """Read what a header says; what cannot be counts as not said."""
    between, thick = (number_of(dataset, k) for k in ("SpacingBetweenSlices", "SliceThickness"))
    said = _count(dataset, "ImagesInAcquisition")
    return SliceTold(
        _count(dataset, "InstanceNumber"),
        _count(dataset, "AcquisitionNumber"),
        said or None,
        _length(between) or _length(thick),
    )


def _count(dataset: Dataset, keyword: str) -> int | None:
    value = number_of(dataset, keyword)
    if value is None or value != int(value) or not 0 <= value <= MOST_SLICES:
        return None
    return int(value)


def _length(value: float | None) -> float | None:
    """A distance that can be one; some makers give it a sign."""
    return abs(value) if value and 0.01 <= abs(value) <= 100 else None
