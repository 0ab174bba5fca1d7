"""From what a file's attributes name to its view: readings that agree, and the side of a hip."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Final

from pydicom.dataset import Dataset

from shared.dicom.pixels.spacing import find_spacing
from shared.records import Vendor, View
from shared.scan_types import SAID, ScanType

from ..attributes import text_of
from ..verdicts import SetAsideError
from .scan_names import SPINE, UNUSED_PARTS, NameMeaning, meaning_of, type_named

#: Where a scan is named, the most exact first.
NAMES: Final = ("ProtocolName", "SeriesDescription")
SIDES: Final[dict[str, ScanType]] = {"L": ScanType.HIP_LEFT, "R": ScanType.HIP_RIGHT}
#: Names of a hip that leave open which.
SIDELESS: Final = frozenset({ScanType.HIP, ScanType.HIPS})
#: A field of a scan of both hips that is wider than this, mm, shows both.
WIDEST_HIP_MM: Final = 250.0
#: Body part that a scan type is of, as the vocabulary calls it; the others are not compared.
PART_OF: Final[dict[ScanType, str]] = {
    ScanType.SPINE_PA: "spine",
    ScanType.SPINE_LATERAL: "spine",
    ScanType.SPINE_LATERAL_DENSITY: "spine",
    ScanType.LUMBAR_AP: "spine",
    ScanType.HIP: "hip",
    ScanType.HIPS: "hip",
    ScanType.HIP_LEFT: "hip",
    ScanType.HIP_RIGHT: "hip",
}


def agreed(scans: Iterable[ScanType | None]) -> ScanType | None:
    """The one scan type that readings name, None if they name none.

    Raises
    ------
    SetAsideError
        If they contradict each other.
    """
    named = {scan for scan in scans if scan is not None}
    if len(named) > 1 and named & set(SIDES.values()):
        named -= SIDELESS  # "femur" beside "left femur" adds nothing
    if len(named) > 1:
        raise SetAsideError("scan_type_unknown", "its names contradict each other")
    return named.pop() if named else None


def scan_named(dataset: Dataset) -> ScanType | None:
    """Scan type by the names of a file and its series, None if they name none.

    Raises
    ------
    SetAsideError
        If they contradict each other, or one of them contradicts itself.
    """
    names = [text_of(dataset, keyword) for keyword in NAMES]
    scan = agreed(map(type_named, names))
    if scan is not None and not all(_leaves_open(meaning_of(name), scan) for name in names):
        raise SetAsideError("scan_type_unknown", "its names contradict each other")
    return scan


def _leaves_open(meaning: NameMeaning, scan: ScanType) -> bool:
    """Whether what is understood of a name may be a scan type, or says nothing against it."""
    said, parts = meaning.concepts, parts_of(meaning)
    if scan not in PART_OF:
        return True
    if parts and parts != {PART_OF[scan]}:
        return False
    if PART_OF[scan] == "hip":
        sides = {"left": ScanType.HIP_LEFT, "right": ScanType.HIP_RIGHT}
        named = {sides[one] for one in said & set(sides)}
        return len(named) != 1 or scan in (*named, *SIDELESS)
    against = "lateral" if scan is ScanType.SPINE_PA else "frontal"
    return against not in said


def parts_of(meaning: NameMeaning) -> set[str]:
    """Parts of the body that a name's words mean; all of the spine is one."""
    said = meaning.concepts & {*SPINE, "hip", *UNUSED_PARTS}
    return {"spine" if one in SPINE else one for one in said}


def side_of(dataset: Dataset) -> ScanType | None:
    """Hip that the side of a file means, None if there is no side.

    Raises
    ------
    SetAsideError
        If it has two.
    """
    said = {text_of(dataset, one).upper() for one in ("Laterality", "ImageLaterality")}
    return agreed(SIDES.get(one) for one in sorted(said))


def says_a_side(dataset: Dataset) -> bool:
    """Whether anything in a file, its names too, says left or right."""
    names = (meaning_of(text_of(dataset, keyword)) for keyword in NAMES)
    return side_of(dataset) is not None or any(
        len(one.concepts & {"left", "right"}) == 1 for one in names
    )


def view_of_scan(scan: ScanType, dataset: Dataset) -> View:
    """View of a file that is named a scan type, held against its side and body part.

    Raises
    ------
    SetAsideError
        ``view_not_used`` for a known scan that no task uses, ``scan_type_unknown`` where the
        attributes contradict the name or the side of a hip is not said, ``both_hips`` for one
        image of both, which is not divided, ``hip_side_unknown`` for one of a scan of both.
    """
    parts = parts_of(meaning_of(text_of(dataset, "BodyPartExamined")))
    if scan in PART_OF and parts and PART_OF[scan] not in parts:
        raise SetAsideError("scan_type_unknown", "its name and its body part differ")
    if scan is ScanType.HIPS and _shows_both(dataset):
        raise SetAsideError("both_hips")
    if PART_OF.get(scan) == "hip":
        side = side_of(dataset)
        if side is not None and scan not in (side, *SIDELESS):
            raise SetAsideError("scan_type_unknown", "its name and its side differ")
        scan = side or scan
        if scan is ScanType.HIPS:
            raise SetAsideError("hip_side_unknown")
        if scan is ScanType.HIP:
            raise SetAsideError("scan_type_unknown", "side of the hip")
    view = scan.view
    if view is None:
        raise SetAsideError("view_not_used", SAID[scan])
    return view


def _shows_both(dataset: Dataset) -> bool:
    """Tell whether an image is of both hips: it says so, or its field is too wide for one."""
    said = text_of(dataset, "Laterality") or text_of(dataset, "ImageLaterality")
    if said.upper().startswith("B"):
        return True
    try:
        (_, column_mm), provenance = find_spacing(dataset, Vendor.LUNAR)
    except SetAsideError:  # what the pixels are worth is for the reader to say
        return False
    width = int(dataset.get("Columns") or 0) * column_mm
    return provenance != "none" and width > WIDEST_HIP_MM


@contextmanager
def without(dataset: Dataset, keyword: str) -> Iterator[Dataset]:
    """Read a data set as if one of its attributes were not there."""
    element = dataset.get_item(keyword)
    if element is None:
        yield dataset
        return
    del dataset[keyword]
    try:
        yield dataset
    finally:
        dataset[element.tag] = element
