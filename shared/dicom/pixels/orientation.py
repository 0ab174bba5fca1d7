"""Turning an image the way every record has it: row 0 cranial, column 0 by view."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from shared.dicom.verdicts import SetAsideError
from shared.records import View

#: Where columns lead to: patient's left (right side at column 0; medial in a left
#: hip), patient's right in a right hip (medial at column 0), posterior (anterior side at column 0).
COLUMNS_LEAD_TO: Final[dict[View, str]] = {
    View.SPINE_PA: "L",
    View.HIP_LEFT: "L",
    View.HIP_RIGHT: "R",
    View.SPINE_LATERAL: "P",
    View.LUMBAR_AP: "L",
}
OPPOSITE: Final = {"L": "R", "R": "L", "A": "P", "P": "A", "H": "F", "F": "H"}
#: Lunar writes this for every scan, lateral ones included, and then means nothing by it.
DEFAULT: Final = ("L", "F")


def flips(orientation: str, view: View) -> tuple[bool, bool]:
    r"""Say whether rows and columns must be reversed.

    Parameters
    ----------
    orientation : str
        (0020,0020), ``L\F``; empty = as the vendor's images are.
    view : View
        What is shown.

    Raises
    ------
    SetAsideError
        If the orientation is another than upright.
    """
    parts = tuple(part.strip().upper()[:1] for part in orientation.split("\\"))
    if not orientation or parts == DEFAULT:
        # Scanners show every scan from the front with the patient's left to the right, so that of
        # a right hip the medial side is the last column.
        return False, view is View.HIP_RIGHT
    if len(parts) != 2 or parts[1] not in "HF":
        raise SetAsideError("orientation_unknown", orientation[:16])
    wanted = COLUMNS_LEAD_TO[view]
    if parts[0] not in (wanted, OPPOSITE[wanted]):
        raise SetAsideError("orientation_unknown", orientation[:16])
    return parts[1] == "H", parts[0] == OPPOSITE[wanted]


def turn(array: NDArray[Any], reversals: tuple[bool, bool]) -> NDArray[Any]:
    """Reverse rows and columns, shape (H, W) stays."""
    rows, columns = reversals
    array = array[::-1] if rows else array
    return np.ascontiguousarray(array[:, ::-1] if columns else array)
