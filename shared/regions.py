"""Names and codes of the anatomical regions, the same in every mask, label and report.

A region map is an integer image in which each pixel carries one code. Regions
do not overlap; the *total hip* is the union of three of them, the way every
scanner reports it.

A name is the same everywhere; its code is not: maps of volumes have the numbers of the VerSe
challenge, as masks of CT come with them, and maps of images those of `REGION_CODES`, in
which the same numbers mean other vertebrae and the hip has a place. Stores hold both, so
`VERTEBRA_CODES` says which is which, and `recoded` alone turns one into the other.
"""

from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

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

#: What a region map is of.
MapKind = Literal["image", "volume"]
#: Code of each vertebra, T1 to L5, in maps of either kind; one without a code is in none.
VERTEBRA_CODES: Final[dict[MapKind, dict[str, int]]] = {
    "image": {name: REGION_CODES[name] for name in VERTEBRAE},
    # VerSe: C1 = 1 to C7 = 7, T1 = 8 to T12 = 19, L1 = 20 to L5 = 24.
    "volume": {
        **{f"T{number}": 7 + number for number in range(1, 13)},
        **{f"L{number}": 19 + number for number in range(1, 6)},
    },
}
#: Levels that masks of CT series are read for, from cranial to caudal.
CT_LEVELS: Final[tuple[str, ...]] = (*LUMBAR, "L5")

#: The sacrum's upper end plate, where a slice marks it.
SACRUM: Final = "S1"

#: Reported regions that are unions of mapped ones.
UNIONS: Final[dict[str, tuple[str, ...]]] = {
    "total_hip": HIP,
    "L1-L4": LUMBAR,
}

#: Regions whose BMD is reported, in the order of a report.
BMD_REGIONS: Final[tuple[str, ...]] = (
    "L1", "L2", "L3", "L4", "L1-L4", "femoral_neck", "trochanter", "total_hip",
)  # fmt: skip

#: Regions of a hip whose BMD is reported. A name without a side is the left hip's.
HIP_REPORTED: Final[tuple[str, ...]] = ("femoral_neck", "trochanter", "total_hip")
#: Those of a right hip, and the same region of a left one: maps and references have only that.
RIGHT_HIP: Final[dict[str, str]] = {f"right_{name}": name for name in HIP_REPORTED}


def right_of(region: str) -> str:
    """Name of a region of the right hip; any other region has the same name on both sides."""
    return f"right_{region}" if region in (*HIP, *HIP_REPORTED) else region


def sideless(region: str) -> str:
    """Name of a region as maps and references have it, which know no sides."""
    return region.removeprefix("right_")


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


def code_of(vertebra: str, kind: MapKind) -> int:
    """Code of a vertebra, T1 to L5, in maps of a kind.

    Raises
    ------
    KeyError
        If maps of that kind have no code for it.
    """
    return VERTEBRA_CODES[kind][vertebra]


def recoded(regions: NDArray[np.uint8], source: MapKind, target: MapKind) -> NDArray[np.uint8]:
    """Turn the codes of one kind of map into those of the other.

    Parameters
    ----------
    regions : ndarray of uint8, any shape
        Codes of maps of kind `source`.
    source, target : str
        ``image`` or ``volume``.

    Returns
    -------
    ndarray of uint8, of the same shape
        What has no code in maps of kind `target` is background: the hip in volumes, L5 in
        images.
    """
    table = np.zeros(256, np.uint8)
    for name, code in VERTEBRA_CODES[source].items():
        table[code] = VERTEBRA_CODES[target].get(name, BACKGROUND)
    return np.asarray(table[regions])
