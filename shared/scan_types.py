"""What a projection can be of: views that tasks use, and scan types that none uses yet."""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Final, Literal

if TYPE_CHECKING:
    from shared.records import Vendor, View

#: How it was told what an image shows: by its attributes as the shipped table reads them, by
#: the words of ``site.yaml``, by a person (`osteofed site decide`), or by its pixels alone.
ViewTold = Literal["named", "mapped", "decided", "recognised"]
HOW_TOLD: Final[dict[ViewTold, str]] = {
    "named": "named by its attributes",
    "mapped": "named in site.yaml",
    "decided": "decided by a person",
    "recognised": "recognised from its pixels",
}
#: A name is DICOM's LO (64 characters) or LT; what stands after so many says no scan type.
LONGEST: Final = 200
CAMEL: Final = re.compile(r"(?<=[a-z])(?=[A-Z])")
INITIALS: Final = re.compile(r"\b([^\W\d_])\.(?=[^\W\d_]\b)")


class ScanType(StrEnum):
    """Scan types that a name can mean. The values stand in ``site.yaml`` and in decisions."""

    SPINE_PA = "spine_pa"
    SPINE_LATERAL = "spine_lateral"  # of the vertebrae's shape: LVA, VFA, IVA
    HIP_LEFT = "hip_left"
    HIP_RIGHT = "hip_right"
    HIP = "hip"  # one hip, the side not said
    HIPS = "hips"  # a scan of both, in an image for each; the side not said
    LUMBAR_AP = "lumbar_ap"  # a radiograph
    SPINE_LATERAL_DENSITY = "spine_lateral_density"
    SPINE_FRONTAL_ASSESSMENT = "spine_frontal_assessment"
    SPINE_OTHER = "spine_other"
    FEMUR_WHOLE = "femur_whole"
    FOREARM = "forearm"
    TOTAL_BODY = "total_body"
    KNEE = "knee"
    HAND = "hand"
    FOOT = "foot"
    ORTHOPAEDIC = "orthopaedic"
    PHANTOM = "phantom"
    OTHER_PART = "other_part"

    @property
    def view(self) -> View | None:
        """The view that this scan shows, None if no task uses it or its side is not known."""
        from shared.records import View

        return next((view for view in View if view.value == self.value), None)


#: A scan type as a sentence says it.
SAID: Final[dict[ScanType, str]] = {
    ScanType.SPINE_PA: "AP spine",
    ScanType.SPINE_LATERAL: "lateral spine (LVA, VFA)",
    ScanType.HIP_LEFT: "left hip",
    ScanType.HIP_RIGHT: "right hip",
    ScanType.HIP: "a hip of a side not named",
    ScanType.HIPS: "both hips, which of them not named",
    ScanType.LUMBAR_AP: "frontal radiograph of the lumbar spine",
    ScanType.SPINE_LATERAL_DENSITY: "density of the lateral spine",
    ScanType.SPINE_FRONTAL_ASSESSMENT: "vertebral assessment from the front",
    ScanType.SPINE_OTHER: "another part of the spine",
    ScanType.FEMUR_WHOLE: "whole femur",
    ScanType.FOREARM: "forearm",
    ScanType.TOTAL_BODY: "total body",
    ScanType.KNEE: "knee",
    ScanType.HAND: "hand",
    ScanType.FOOT: "foot",
    ScanType.ORTHOPAEDIC: "beside an implant (orthopaedic)",
    ScanType.PHANTOM: "phantom",
    ScanType.OTHER_PART: "another part of the body",
}


@dataclass(frozen=True)
class ScanKind:
    """What tells scans of one kind on one scanner from others; it stays with who reads the file.

    Attributes
    ----------
    vendor : Vendor
        The scanner family.
    maker, model, serial : str
        The scanner; its serial number is never kept as it is.
    name : str
        What the scan is called (ProtocolName, else SeriesDescription), as it stands.
    said : tuple of str
        Everything that names the scan, folded: names, body part, position, sides.
    telling : bool
        Whether its name may stand for one scan type: it has a word of its own that is not
        understood. "Anonymized" or "Femur" may be any view, or either hip.
    rows, columns : int
        Pixels.
    """

    vendor: Vendor
    maker: str
    model: str
    serial: str = field(repr=False)
    name: str = field(repr=False)
    said: tuple[str, ...] = field(repr=False)
    telling: bool
    rows: int
    columns: int


@dataclass(frozen=True)
class Decided:
    """What a person said of a scan, or of all of a kind.

    Attributes
    ----------
    scan : ScanType or None
        What it shows; None = it stays out.
    inverted : bool or None
        Whether bone is dark as its file is read; None = nobody was asked.
    """

    scan: ScanType | None
    inverted: bool | None = None


def folded(text: str) -> str:
    """Name without case, accents, width and punctuation: words with one blank between them."""
    spaced = CAMEL.sub(" ", INITIALS.sub(r"\1", unicodedata.normalize("NFKC", text)[:LONGEST]))
    apart = unicodedata.normalize("NFKD", spaced.casefold())
    kept = "".join(
        one if one.isalnum() else "" if unicodedata.category(one) == "Mn" else " " for one in apart
    )
    return " ".join(kept.split())
