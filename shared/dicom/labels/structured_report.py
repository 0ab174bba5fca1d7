"""BMD labels from structured reports: measurement groups of TID 1500, and simpler trees.

A report is a tree of items. A label is a number in a unit of mass per area whose concept is a
bone density, with a region: said by a finding site in or above the number's group, or by the
concept itself. Text is never searched for numbers. A density that is of a region in use and
cannot be taken, by its unit or its value, is named.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from pydicom.dataset import Dataset

from shared.dicom.attributes import study_date, text_of, value_of
from shared.dicom.values.numbers import numbers_in
from shared.dicom.verdicts import FileVerdict, SetAsideError, judge
from shared.regions import BMD_REGIONS, RIGHT_HIP, right_of

from .density_units import to_grams_per_square_centimetre
from .names import POSSIBLE_BMD, is_bmd, region_named
from .tables import LabelRow

#: Basic text, enhanced, comprehensive and comprehensive 3D SR.
CLASSES: Final = tuple(f"1.2.840.10008.5.1.4.1.1.88.{number}" for number in (11, 22, 33, 34))
#: Items deep and in all that a report of measurements has.
DEEPEST: Final = 16
MOST_ITEMS: Final = 20_000
#: Densities that are not taken and are named in one verdict.
MOST_NAMED: Final = 4
#: Units of what is no density whatever it is called: scores, shares, counts; mass alone.
NO_DENSITY: Final = re.compile(r"1|%|g|mg|kg|\{.*\}|sd|no ?units?|ratio|score|[tz][- ]?score", re.I)
#: Concepts that speak of a density and are none of this bone today.
OF_ANOTHER: Final = re.compile(
    r"score|content|percent|deviation|change|reference|young|expected|age.?matched|significant"
)
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


#: Region, value in g/cm², and why it is not taken (empty if it is).
_Density = tuple[str, float, str]


def read_report(dataset: Dataset, name: str) -> tuple[list[LabelRow], list[FileVerdict]]:
    """Labels of a report.

    Parameters
    ----------
    dataset : Dataset
        A structured report.
    name : str
        Of the file, for the verdicts; densities count from 1.

    Returns
    -------
    rows : list of LabelRow
        BMD in g/cm² by region; those of a right hip have names of their own.
    verdicts : list of FileVerdict
        Of densities that are not taken, each with the reason.

    Raises
    ------
    SetAsideError
        If it holds none, or does not say whose and when, or says one region twice.
    """
    found: dict[str, float] = {}
    odd: list[str] = []
    for region, value, problem in _walk(dataset, "", 0, [MOST_ITEMS], right=False):
        if problem:
            odd.append(f"{region}: {problem}")
        elif abs(found.setdefault(region, value) - value) > 0.00051:
            raise SetAsideError("label_conflict")
    if not found:
        raise SetAsideError("report_without_labels", "; ".join(odd[:MOST_NAMED]))
    patient, day = text_of(dataset, "PatientID"), study_date(dataset)
    if not patient or day is None:
        raise SetAsideError("patient_id_missing")
    rows = [
        LabelRow(f"{name}:{number}", patient, day, "bmd", region, value)
        for number, (region, value) in enumerate(found.items(), start=1)
    ]
    verdicts = [
        judge(f"{name}:{number}", "label_invalid", problem)
        for number, problem in enumerate(odd, start=len(rows) + 1)
    ]
    return rows, verdicts


def _walk(
    item: Dataset, site: str, depth: int, left: list[int], *, right: bool
) -> Iterator[_Density]:
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


def _density(item: Dataset, site: str, *, right: bool) -> _Density | None:
    """Region and value of a number that is a density, None if it is something else."""
    measured = value_of(item, "MeasuredValueSequence")
    if not measured:
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
    if region in RIGHT_HIP:  # said by the region's own name
        right, region = True, RIGHT_HIP[region]
    if region not in BMD_REGIONS or OF_ANOTHER.search(meaning):
        return None
    region = right_of(region) if right else region
    factor, unit = _unit(measured[0])
    if factor is None:
        is_none = NO_DENSITY.fullmatch(unit)
        return None if is_none else (region, 0.0, "the unit of a density is none of mass per area")
    low, high = (limit / factor for limit in POSSIBLE_BMD)
    written = numbers_in(value_of(measured[0], "NumericValue"), possible=(low, high))
    if not written.numbers:
        return region, 0.0, f"a density {written.problem or 'without a value'}"
    value = written.numbers[0] * factor
    if not is_bmd(value):
        low, high = POSSIBLE_BMD
        return region, 0.0, f"a density that is not between {low:g} and {high:g} g/cm²"
    return region, value, ""


def _unit(measured: Dataset) -> tuple[float | None, str]:
    """Factor to g/cm² of a measured value's unit, None if it is none, and what it is called.

    Code and meaning must agree where both are units of areal density. A code of UCUM is one that
    is known: what it means is not read from what somebody wrote beside it.
    """
    code = _code(measured, "MeasurementUnitsCodeSequence")
    meaning = _meaning(measured, "MeasurementUnitsCodeSequence")
    by_code, by_meaning = map(to_grams_per_square_centimetre, (code, meaning))
    if by_code is not None and by_meaning is not None and by_code != by_meaning:
        return None, "contradictory"
    items = value_of(measured, "MeasurementUnitsCodeSequence")
    scheme = text_of(items[0], "CodingSchemeDesignator") if items else ""
    if by_code is None and scheme.upper() == "UCUM" and code:
        return None, code
    return (by_meaning if by_code is None else by_code), code or meaning


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
    """Code value of the first code of a sequence, in whichever of three attributes it stands.

    Of an address or a URN of a code of SNOMED CT or LOINC it is what stands last.
    """
    codes = value_of(item, keyword)
    if not codes:
        return ""
    if short := text_of(codes[0], "CodeValue") or text_of(codes[0], "LongCodeValue"):
        return short
    urn = text_of(codes[0], "URNCodeValue")
    last = re.search(r"(?<=[/:.#])[A-Z0-9-]+$", urn)
    return last[0] if last and to_grams_per_square_centimetre(urn) is None else urn


def _meaning(item: Dataset, keyword: str) -> str:
    """Meaning of the first code of a sequence."""
    codes = value_of(item, keyword)
    return text_of(codes[0], "CodeMeaning") if codes else ""
