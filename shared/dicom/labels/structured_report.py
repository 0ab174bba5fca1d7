"""BMD labels from structured reports: measurement groups of TID 1500, and simpler trees.

A report is a tree of items. A label is a number in g/cm2 whose concept is a bone density,
with a region: said by a finding site in or above the number's group, or by the concept
itself. Text is never searched for numbers.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from pydicom.dataset import Dataset

from shared.dicom.attributes import number_of, study_date, text_of, value_of
from shared.dicom.verdicts import SetAsideError
from shared.regions import BMD_REGIONS, RIGHT_HIP, right_of

from .names import is_bmd, region_named
from .tables import LabelRow

#: Basic text, enhanced, comprehensive and comprehensive 3D SR.
CLASSES: Final = tuple(f"1.2.840.10008.5.1.4.1.1.88.{number}" for number in (11, 22, 33, 34))
#: Items deep and in all that a report of measurements has.
DEEPEST: Final = 16
MOST_ITEMS: Final = 20_000
UNITS: Final = frozenset({"g/cm2", "g/cm^2", "g/cm²"})
#: Concepts that say where: finding site (two code systems), anatomical position, target region.
SITES: Final = frozenset({"363698007", "G-C0E3", "51845000", "123014"})
#: SNOMED CT and RT codes of design/clinical.md.
REGIONS: Final[dict[str, str]] = {
    "66794005": "L1", "14293000": "L2", "36470004": "L3", "11994002": "L4",
    "T-11910": "L1", "T-11920": "L2", "T-11930": "L3", "T-11940": "L4",
    "29627003": "femoral_neck",
}  # fmt: skip
#: LOINC of design/clinical.md: densities that say their region themselves.
LOINC_REGIONS: Final[dict[str, str]] = {"46278-8": "total_hip"}
#: LOINC and other codes of a density whose region stands beside it.
DENSITIES: Final = frozenset({"24966-4", "24701-5", "80954-1", "46278-8"})
RIGHT: Final = frozenset({"24028007", "G-A100"})


def label_rows(dataset: Dataset, name: str) -> list[LabelRow]:
    """Labels of a report.

    Parameters
    ----------
    dataset : Dataset
        A structured report.
    name : str
        Of the file, for the verdicts; rows count from 1.

    Returns
    -------
    list of LabelRow
        BMD in g/cm² by region; those of a right hip have names of their own.

    Raises
    ------
    SetAsideError
        If it holds none, or does not say whose and when, or says one region twice.
    """
    found: dict[str, float] = {}
    for region, value in _densities(dataset):
        if abs(found.setdefault(region, value) - value) > 0.00051:
            raise SetAsideError("label_conflict")
    if not found:
        raise SetAsideError("report_without_labels")
    patient, day = text_of(dataset, "PatientID"), study_date(dataset)
    if not patient or day is None:
        raise SetAsideError("patient_id_missing")
    return [
        LabelRow(f"{name}:{number}", patient, day, "bmd", region, value)
        for number, (region, value) in enumerate(found.items(), start=1)
    ]


def _densities(root: Dataset) -> Iterator[tuple[str, float]]:
    """Region and value of each density of the tree."""
    left = [MOST_ITEMS]
    yield from _walk(root, "", 0, left, right=False)


def _walk(
    item: Dataset, site: str, depth: int, left: list[int], *, right: bool
) -> Iterator[tuple[str, float]]:
    """Densities below an item; a site said in it holds for everything below."""
    children = value_of(item, "ContentSequence") or []
    left[0] -= len(children)
    if depth > DEEPEST or left[0] < 0:
        raise SetAsideError("header_too_large", "a report of too many items")
    for child in children:
        if (
            text_of(child, "ValueType") == "CODE"
            and _code(child, "ConceptNameCodeSequence") in SITES
        ):
            site = _region(child, "ConceptCodeSequence") or site
        right = right or _is_right(child)
    for child in children:
        if text_of(child, "ValueType") == "NUM":
            density = _density(child, site, right=right)
            if density is not None:
                yield density
        yield from _walk(child, site, depth + 1, left, right=right)


def _density(item: Dataset, site: str, *, right: bool) -> tuple[str, float] | None:
    """Region and value of a number that is a density, None if it is something else."""
    measured = value_of(item, "MeasuredValueSequence")
    if not measured or _code(measured[0], "MeasurementUnitsCodeSequence") not in UNITS:
        return None
    concept = _code(item, "ConceptNameCodeSequence")
    meaning = _meaning(item, "ConceptNameCodeSequence").lower()
    if concept not in DENSITIES and "bmd" not in meaning and "mineral density" not in meaning:
        return None
    for child in value_of(item, "ContentSequence") or []:
        if _code(child, "ConceptNameCodeSequence") in SITES:
            site = _region(child, "ConceptCodeSequence") or site
        right = right or _is_right(child)
    region = LOINC_REGIONS.get(concept) or site
    value = number_of(measured[0], "NumericValue")
    if region in RIGHT_HIP:  # said by the region's own name
        right, region = True, RIGHT_HIP[region]
    if region not in BMD_REGIONS or value is None or not is_bmd(value):
        return None
    return (right_of(region) if right else region), value


def _region(item: Dataset, keyword: str) -> str:
    """Region that a code says, empty if it is none of ours."""
    return REGIONS.get(_code(item, keyword)) or region_named(_meaning(item, keyword)) or ""


def _is_right(item: Dataset) -> bool:
    """Say whether a code, or one right below it, says the right side; a group says it of itself."""
    if text_of(item, "ValueType") != "CODE":
        return False
    nested = [item, *(value_of(item, "ContentSequence") or [])]
    return any(
        text_of(one, "ValueType") == "CODE" and _code(one, "ConceptCodeSequence") in RIGHT
        for one in nested
    )


def _code(item: Dataset, keyword: str) -> str:
    """Code value of the first code of a sequence."""
    codes = value_of(item, keyword)
    return text_of(codes[0], "CodeValue") if codes else ""


def _meaning(item: Dataset, keyword: str) -> str:
    """Meaning of the first code of a sequence."""
    codes = value_of(item, keyword)
    return text_of(codes[0], "CodeMeaning") if codes else ""
