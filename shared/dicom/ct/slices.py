"""What headers call a CT, and what in one is no slice."""

from __future__ import annotations

from typing import Final

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
