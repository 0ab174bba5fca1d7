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
