"""Turning an image the way every record has it: row 0 cranial, column 0 by view."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray

from shared.dicom.verdicts import SetAsideError
from shared.quality.gates import is_mirrored
from shared.records import ImageRecord, View

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


@dataclass(frozen=True)
class Facing:
    """Which way the patient of a lateral image looks in the file, and by what that is known.

    `side` is where the patient's front is: ``left`` or ``right`` of the picture; empty where
    neither header nor anatomy tells.
    """

    side: Literal["left", "right", ""]
    told_by: Literal["header", "anatomy", ""]


def facing(orientation: str, image: ImageRecord, reversals: tuple[bool, bool]) -> Facing:
    r"""Say which way a lateral image faces: by its header, otherwise by its anatomy.

    Parameters
    ----------
    orientation : str
        (0020,0020); empty and Lunar's ``L\F`` say nothing of a lateral image.
    image : ImageRecord
        Turned as its header says.
    reversals : (bool, bool)
        How it was turned for that.

    Returns
    -------
    Facing
        Of the file. Where the header says it, the anatomy is asked by the gate of the view
        (`shared.quality.gates`): that they disagree is a reason, not a choice.
    """
    if _says_facing(orientation):
        return Facing("right" if reversals[1] else "left", "header")
    mirrored = is_mirrored(image, View.SPINE_LATERAL)
    if mirrored is None:
        return Facing("", "")
    return Facing("right" if mirrored else "left", "anatomy")


def _says_facing(orientation: str) -> bool:
    parts = tuple(part.strip().upper()[:1] for part in orientation.split("\\"))
    return bool(orientation) and parts != DEFAULT


def turn(array: NDArray[Any], reversals: tuple[bool, bool]) -> NDArray[Any]:
    """Reverse rows and columns, shape (H, W) stays."""
    rows, columns = reversals
    array = array[::-1] if rows else array
    return np.ascontiguousarray(array[:, ::-1] if columns else array)
