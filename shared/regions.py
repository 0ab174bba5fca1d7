"""Names and codes of the anatomical regions, the same in every mask, label and report.

A region map is an integer image in which each pixel carries one code. Regions
do not overlap; the *total hip* is the union of three of them, the way every
scanner reports it.
"""

from typing import Final

BACKGROUND: Final = 0

#: Vertebrae from cranial to caudal, as read on a lateral image.
VERTEBRAE: Final[tuple[str, ...]] = (
    "T4", "T5", "T6", "T7", "T8", "T9", "T10", "T11", "T12", "L1", "L2", "L3", "L4",
)  # fmt: skip
LUMBAR: Final[tuple[str, ...]] = ("L1", "L2", "L3", "L4")
HIP: Final[tuple[str, ...]] = ("femoral_neck", "trochanter", "intertrochanteric")

#: Code of each region in a region map (uint8). Never renumbered: stores hold them.
REGION_CODES: Final[dict[str, int]] = {
    "L1": 1, "L2": 2, "L3": 3, "L4": 4,
    "femoral_neck": 5, "trochanter": 6, "intertrochanteric": 7,
    "T4": 8, "T5": 9, "T6": 10, "T7": 11, "T8": 12, "T9": 13, "T10": 14, "T11": 15, "T12": 16,
}  # fmt: skip
NUMBER_OF_CODES: Final = 17  # background included
#: A vertebra whose level nobody said: on radiographs only, where masks come from boxes.
UNNAMED_VERTEBRA: Final = 17

#: Reported regions that are unions of mapped ones.
UNIONS: Final[dict[str, tuple[str, ...]]] = {
    "total_hip": HIP,
    "L1-L4": LUMBAR,
}

#: Regions whose BMD is reported, in the order of a report.
BMD_REGIONS: Final[tuple[str, ...]] = (
    "L1", "L2", "L3", "L4", "L1-L4", "femoral_neck", "trochanter", "total_hip",
)  # fmt: skip


def codes_of(region: str) -> tuple[int, ...]:
    """Codes that make up a region, unions included.

    Parameters
    ----------
    region : str
        A key of `REGION_CODES` or of `UNIONS`.

    Returns
    -------
    tuple of int
        Codes in a region map.

    Raises
    ------
    KeyError
        If there is no such region.
    """
    if region in UNIONS:
        return tuple(REGION_CODES[part] for part in UNIONS[region])
    return (REGION_CODES[region],)
