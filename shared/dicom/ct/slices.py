"""What is a slice of a CT, told by headers."""

from __future__ import annotations

from typing import Final

from pydicom.dataset import Dataset

from shared.dicom.attributes import number_of, text_of
from shared.dicom.verdicts import SetAsideError

CT_IMAGE: Final = "1.2.840.10008.5.1.4.1.1.2"
#: Enhanced CT and what was converted to it: many frames in one file.
ENHANCED: Final = ("1.2.840.10008.5.1.4.1.1.2.1", "1.2.840.10008.5.1.4.1.1.2.2")
CLASSES: Final = (CT_IMAGE, *ENHANCED)
#: Words of ImageType.
LOCALIZERS: Final = frozenset({"LOCALIZER", "SCOUT", "SCANOGRAM", "TOPOGRAM", "SCOUT VIEW"})
DERIVED: Final = frozenset(
    {"MIP", "MINIP", "PROJECTION IMAGE", "VRT", "SSD", "RENDERED", "RADIOGRAPH", "SCREEN SAVE"}
)


def check_is_slice(dataset: Dataset) -> None:
    """Refuse what is stored as a CT image and is no slice.

    Raises
    ------
    SetAsideError
        If it is a localizer, a projection or a rendering.
    """
    words = {word.strip().upper() for word in text_of(dataset, "ImageType").split("\\")}
    if words & LOCALIZERS:
        raise SetAsideError("localizer")
    if words & DERIVED:
        raise SetAsideError("slices_derived")
    if int(number_of(dataset, "SamplesPerPixel") or 1) != 1:
        raise SetAsideError("report_page", "in colour")
