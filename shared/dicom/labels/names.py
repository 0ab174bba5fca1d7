"""What hospitals call regions and vertebrae, and what values a label can have."""

from __future__ import annotations

import math
import re
from typing import Final

from shared.records import Vendor
from shared.regions import (
    BMD_REGIONS,
    REGION_CODES,
    VERTEBRA_CODES,
    VERTEBRAE,
    right_of,
)

#: g/cm²; below and above, a value is a slip of the pen or another unit.
POSSIBLE_BMD: Final = (0.1, 3.0)
GRADES: Final = (0, 1, 2, 3)

ALIASES: Final[dict[str, str]] = {
    "l1 l4": "L1-L4",
    "neck": "femoral_neck",
    "neck of femur": "femoral_neck",
    "femur neck": "femoral_neck",
    "troch": "trochanter",
    "greater trochanter": "trochanter",
    "inter": "intertrochanteric",
    "total femur": "total_hip",
    "hip total": "total_hip",
}
#: What names a DXA vendor in a table: its name, or that of a scanner or program of its own.
VENDOR_WORDS: Final[dict[Vendor, re.Pattern[str]]] = {
    Vendor.LUNAR: re.compile(
        r"\b(ge|gems|general electric|prodigy|encore)\b|lunar|idxa|\bdpx", re.I
    ),
    Vendor.HOLOGIC: re.compile(r"hologic|\b(apex|horizon|discovery|qdr)\b", re.I),
    Vendor.NORLAND: re.compile(r"norland", re.I),
    Vendor.GENERIC: re.compile(r"^generic$", re.I),
}
RIGHT: Final = re.compile(r"^(right|rt)\s+|\s+right$")
_KNOWN: Final[dict[str, str]] = {
    re.sub(r"[\s_\-]+", " ", name.lower()): name
    for name in (*BMD_REGIONS, *REGION_CODES, *VERTEBRAE)
}


def region_named(text: str) -> str | None:
    """Our name of a region that a table or a mask names, None if it is none of ours."""
    key = re.sub(r"[\s_\-]+", " ", text.strip().lower())
    key = re.sub(r"^(left|lt)\s+|\s+(left|vertebra)$", "", key)
    sideless = RIGHT.sub("", key)
    region = _KNOWN.get(sideless) or ALIASES.get(sideless)
    if sideless == key or region is None:
        return region
    return right_of(region) if right_of(region) != region else None


def vertebra_named(text: str) -> str | None:
    """Vertebra, T1 to L5, that a table names, None if it is none of `VERTEBRA_CODES`."""
    key = re.sub(r"[\s_\-]+", " ", text.strip().lower())
    name = re.sub(r"\s+vertebra$|^vertebrae?\s+", "", key).upper()
    return name if name in VERTEBRA_CODES["volume"] else None


def number_named(text: str) -> float:
    """Number of a cell, with a point or a comma; ValueError if it is none."""
    try:
        return float(text.replace(",", "."))
    except ValueError:
        raise ValueError("value") from None


def vendor_named(text: str) -> Vendor:
    """DXA vendor that a table names; `Vendor.OTHER` if none that is known, or several."""
    found = [vendor for vendor, words in VENDOR_WORDS.items() if words.search(text.strip())]
    return found[0] if len(found) == 1 else Vendor.OTHER


def is_bmd(value: float) -> bool:
    """Say whether a number can be an areal BMD in g/cm²."""
    low, high = POSSIBLE_BMD
    return math.isfinite(value) and low <= value <= high
