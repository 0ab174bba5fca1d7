"""Hologic (Horizon, Discovery; APEX), by conformance statements and public parsers.

Private (0019,1000) holds XML with JavaScript. It is untrusted text: a strict
pattern picks assignments of string literals, nothing is evaluated, and no XML
parser sees it.
"""

from __future__ import annotations

import html
import re
from typing import Final

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from shared.dicom.labels.names import is_bmd
from shared.records import Covariates, StudyLabels, View
from shared.scan_types import SAID, ScanType

from ..attributes import text_of, within
from ..verdicts import SetAsideError
from .named_scans import parts_of, view_of_scan
from .scan_names import NameMeaning, meaning_of

RESULTS: Final = (0x0019, 0x1000)
MODEL: Final = re.compile(r"HORIZON|DISCOVERY|EXPLORER|DELPHI|QDR|APEX", re.IGNORECASE)
#: A block is a few kilobytes; more is not one.
LONGEST_BLOCK: Final = 1_000_000
LONGEST_TABLE: Final = 100
LITERAL: Final = r'"((?:[^"\\\n]|\\.){0,400})"'
CELL: Final = re.compile(r"ResultsTable1\[\s*(\d{1,3})\s*\]\[\s*(\d{1,3})\s*\]\s*=\s*" + LITERAL)
SCALAR: Final = re.compile(r"\b(Height|Weight|Age|ScanMode)\s*=\s*" + LITERAL)
TAG: Final = re.compile(r"<[^<>]{0,200}>")
QUANTITY: Final = re.compile(r"(\d{1,3}(?:\.\d{1,3})?)\s*(cm|in|kg|lb)s?\b", re.IGNORECASE)
TO_METRIC: Final = {"cm": 1.0, "in": 2.54, "kg": 1.0, "lb": 0.45359237}

SPINE: Final = frozenset({"LSPINE", "L-SPINE", "SPINE", "LUMBAR SPINE"})
LATERAL_POSITIONS: Final = frozenset({"LL", "RL", "LLD", "RLD", "LATERAL"})
FRONTAL_POSITIONS: Final = frozenset({"AP", "PA"})
LATERAL_WORDS: Final = re.compile(r"\b(lateral|lat|iva|vfa)\b", re.IGNORECASE)
FRONTAL_WORDS: Final = re.compile(r"\b(ap|pa)\b", re.IGNORECASE)
#: The vendor's words in a table's first column, by the view of the image.
ROWS: Final[dict[View, dict[str, str]]] = {
    View.SPINE_PA: {"l1": "L1", "l2": "L2", "l3": "L3", "l4": "L4", "total": "L1-L4"},
    View.HIP_LEFT: {"neck": "femoral_neck", "troch": "trochanter", "total": "total_hip"},
    View.HIP_RIGHT: {
        "neck": "right_femoral_neck", "troch": "right_trochanter", "total": "right_total_hip",
    },
    View.SPINE_LATERAL: {},
}  # fmt: skip
HIPS: Final = {"left": ScanType.HIP_LEFT, "right": ScanType.HIP_RIGHT}
#: The total of a spine is that of L1-L4 only if no vertebra was left out.
WHOLE_SPINE: Final = ("L1", "L2", "L3", "L4")


def matches(dataset: Dataset) -> bool:
    """Say whether it is a Hologic DXA object: the manufacturer makes mammographs too."""
    if "hologic" not in text_of(dataset, "Manufacturer").lower():
        return False
    model = text_of(dataset, "ManufacturerModelName")
    return MODEL.search(model) is not None if model else RESULTS in dataset


def view_of(dataset: Dataset) -> View:
    """View by body part, laterality, position and, where these are empty, words.

    The words are those of the scan mode and of the series, in the languages of
    `shared.dicom.vendors.scan_vocabulary`.
    """
    if int(dataset.get("BitsAllocated") or 0) != 16 or dataset.get("SamplesPerPixel", 1) != 1:
        raise SetAsideError("report_page")
    words = f"{text_of(dataset, 'SeriesDescription')} {scalars_of(dataset).get('ScanMode', '')}"
    said = meaning_of(words)
    named, part = parts_of(said), _part(dataset)
    if part and named and part not in named:
        raise SetAsideError("scan_type_unknown", "its words and its body part differ")
    if not part and len(named) == 1:
        part = next(iter(named))
    if part == "hip":
        return _hip(dataset, said)
    if part != "spine":
        raise SetAsideError("view_not_used" if part else "scan_type_unknown")
    if said.concepts & {"thoracic", "cervical", "whole"}:
        raise SetAsideError("view_not_used", SAID[ScanType.SPINE_OTHER])
    return _spine(dataset, words, said)


def _part(dataset: Dataset) -> str:
    """Body part as the vocabulary calls it, empty if it is not given."""
    given = text_of(dataset, "BodyPartExamined").upper()
    if given in SPINE:
        return "spine"
    meaning = meaning_of(given)
    parts = parts_of(meaning)
    if parts == {"spine"} and meaning.concepts & {"thoracic", "cervical", "whole"}:
        return "elsewhere"
    return next(iter(parts)) if len(parts) == 1 else ("elsewhere" if given else "")


def _hip(dataset: Dataset, said: NameMeaning) -> View:
    """View of a hip, by its side, else by its words."""
    sides = said.concepts & {"left", "right"}
    named = HIPS[next(iter(sides))] if len(sides) == 1 else ScanType.HIP
    return view_of_scan(named, dataset)


def _spine(dataset: Dataset, words: str, said: NameMeaning) -> View:
    """View of the lumbar spine, by its position and its words."""
    position, concepts = text_of(dataset, "ViewPosition").upper(), said.concepts
    lateral = position in LATERAL_POSITIONS or LATERAL_WORDS.search(words) is not None
    frontal = position in FRONTAL_POSITIONS or FRONTAL_WORDS.search(words) is not None
    lateral = lateral or bool(concepts & {"lateral", "vfa"})
    frontal = frontal or "frontal" in concepts
    if lateral == frontal:
        raise SetAsideError("scan_type_unknown", "frontal or lateral spine")
    return View.SPINE_LATERAL if lateral else View.SPINE_PA


def unscanned(unit: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Nothing: these images have a rectangular field; padding is declared by attribute."""
    return np.zeros(unit.shape, bool)


def block_of(dataset: Dataset) -> str:
    """Text of the private block, empty if there is none.

    In implicit files, and in explicit ones of an unknown VR, it is bytes.

    Raises
    ------
    ValueError
        If it is far too long.
    """
    if RESULTS not in dataset:
        return ""
    value = dataset[RESULTS].value
    if len(value) > LONGEST_BLOCK:
        raise ValueError("block of results too long")
    if isinstance(value, (bytes, bytearray)):
        value = bytes(value).decode("utf-8", errors="replace")
    return str(value)


def scalars_of(dataset: Dataset) -> dict[str, str]:
    """Values of the block that are needed; identifiers are never picked."""
    try:
        return dict(SCALAR.findall(block_of(dataset)))
    except ValueError:
        return {}


def table_of(text: str) -> list[list[str]]:
    """Cells of ResultsTable1 as plain text, mark-up removed.

    Raises
    ------
    ValueError
        If an index is beyond any table's, or a cell is given twice.
    """
    cells: dict[tuple[int, int], str] = {}
    for row, column, literal in CELL.findall(text):
        place = int(row), int(column)
        if max(place) >= LONGEST_TABLE or place in cells:
            raise ValueError("cells of the table of results are out of place")
        cells[place] = _plain(literal)
    if not cells:
        return []
    rows, columns = (max(place[i] for place in cells) + 1 for i in (0, 1))
    return [[cells.get((r, c), "") for c in range(columns)] for r in range(rows)]


def _plain(literal: str) -> str:
    """Text of a string literal without mark-up, blanks folded."""
    text = re.sub(r"\\(.)", r"\1", literal)
    return " ".join(html.unescape(TAG.sub(" ", text)).split())


def labels_of(dataset: Dataset, view: View | None = None) -> StudyLabels:
    """BMD of the table of results, g/cm², columns found by the header row.

    Parameters
    ----------
    dataset : Dataset
        The image's file.
    view : View or None
        What it shows; None = what its attributes say.

    Raises
    ------
    ValueError
        If there is a block with a table and it cannot be understood.
    """
    table = table_of(block_of(dataset))
    if not table:
        return StudyLabels()
    header = [cell.lower() for cell in table[0]]
    regions = [i for i, cell in enumerate(header) if cell == "region"]
    values = [i for i, cell in enumerate(header) if re.match(r"bmd\b", cell)]
    if len(regions) != 1 or len(values) != 1:
        raise ValueError("the table of results has no single column Region and BMD")
    words = ROWS[view or view_of(dataset)]
    bmd: dict[str, float] = {}
    for row in table[1:]:
        region = words.get(row[regions[0]].lower())
        if region is None:
            continue
        value = float(row[values[0]])
        if region in bmd or not is_bmd(value):
            raise ValueError("a row of the table of results is doubled or impossible")
        bmd[region] = value
    if "L1-L4" in bmd and not all(name in bmd for name in WHOLE_SPINE):
        del bmd["L1-L4"]
    return StudyLabels(bmd=bmd)


def covariates_of(dataset: Dataset) -> Covariates:
    """Height and weight of the block, for files whose standard attributes are empty."""
    scalars = scalars_of(dataset)
    return Covariates(
        height_cm=within(_quantity(scalars.get("Height", ""), ("cm", "in")), 50, 260),
        weight_kg=within(_quantity(scalars.get("Weight", ""), ("kg", "lb")), 20, 350),
    )


def _quantity(text: str, units: tuple[str, str]) -> float | None:
    """Quantity in cm or kg, None if its unit is not one of the two."""
    match = QUANTITY.search(text)
    if match is None or match[2].lower() not in units:
        return None
    return round(float(match[1]) * TO_METRIC[match[2].lower()], 1)
