"""What was found as a flat list of coded values, for FHIR and HL7, which have no tree."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

from highdicom.sr.coding import CodedConcept

from shared.dicom.own_uids import uid_of
from shared.findings.facts import Measurement, Score
from shared.inference.schema import Prediction

from .codes import (
    CLASSES,
    CT_PROCEDURE,
    SCHEME,
    UNITS,
    XRAY_PROCEDURE,
    Z_SCORE,
    private,
    region_concept,
    side_of,
)

#: The private scheme where systems are named by URI.
SCHEME_URI: Final = f"urn:oid:{uid_of('coding scheme', SCHEME)}"
SYSTEMS: Final = {
    "SCT": "http://snomed.info/sct",
    "LN": "http://loinc.org",
    "UCUM": "http://unitsofmeasure.org",
    "DCM": "http://dicom.nema.org/resources/ontology/DCM",
    SCHEME: SCHEME_URI,
}
#: LOINC of densities, T- and Z-scores that a receiver knows, by region. Of a right hip and of the
#: other regions none was read in a source: they have the private code and a body site.
LOINC: Final[dict[str, tuple[str, str, str]]] = {
    "L1-L4": ("24966-4", "38267-1", "85394-5"),
    "total_hip": ("46278-8", "80946-7", "80938-4"),
}
#: Report of a DXA study, LOINC.
DXA_REPORT: Final = CodedConcept("38269-7", "LN", "DXA study report")


@dataclass(frozen=True)
class CodedResult:
    """One value, or why there is none.

    Attributes
    ----------
    name : str
        In words, once in an answer.
    code : CodedConcept
        What it is.
    loinc : str
        The same in LOINC, where one is known; else empty.
    value : float, CodedConcept or str
        A number with its `unit`, a code, or why nothing was assessed.
    site, side : CodedConcept or None
        Where.
    model : str
        Task whose version found it; empty of what no version found.
    interval : (float, float) or None
        Lowest and highest, where that is known.
    """

    name: str
    code: CodedConcept
    value: float | CodedConcept | str
    unit: CodedConcept | None = None
    loinc: str = ""
    site: CodedConcept | None = None
    side: CodedConcept | None = None
    model: str = ""
    interval: tuple[float, float] | None = None


def results_of(prediction: Prediction) -> Iterator[CodedResult]:
    """Give every number, class and grade, then every reason why something has none."""
    for measured in prediction.measurements:
        yield from _of_measurement(measured)
    for grade in prediction.grades:
        where: dict[str, Any] = {"site": region_concept(grade.region), "model": grade.task}
        code = private(f"GENANT_{grade.grade}")
        yield CodedResult(f"{grade.quantity}, {grade.region}", private("GENANT"), code, **where)
        for number, chance in enumerate(grade.probabilities):
            name = f"probability of grade {number}, {grade.region}"
            code = private(f"PROBABILITY_{number}")
            yield CodedResult(name, code, chance, UNITS[""], **where)
    for number, series in enumerate(prediction.series, start=1):
        for level in series.attenuation.levels if series.attenuation is not None else ():
            site, of = region_concept(level.level), f"{level.level}, series {number}"
            hounsfield = UNITS["HU"]
            yield CodedResult(f"trabecular attenuation, {of}", private("TRABECULAR_HU"),
                              level.core.median_hu, hounsfield, site=site)  # fmt: skip
            if level.density is not None:
                one = level.density
                yield CodedResult(f"mineral, {of}", private("MINERAL"), one.value, UNITS["mg/cm³"],
                                  site=site, interval=(one.low, one.high))  # fmt: skip
    for gap in prediction.not_assessed:
        yield CodedResult(gap.what, private("NOT_ASSESSED"), gap.why)
    for measured in prediction.measurements:
        if measured.not_scored:
            name = f"score, {measured.quantity}, {measured.region}"
            yield CodedResult(name, private("NOT_ASSESSED"), measured.not_scored)


def _of_measurement(found: Measurement) -> Iterator[CodedResult]:
    """Value, standardised value, scores and class of one measurement."""
    if found.unit not in UNITS:
        return
    is_bmd, region = found.unit == "g/cm²", found.region
    loinc = LOINC.get(region, ("", "", "")) if found.quantity == "areal BMD" else ("", "", "")
    where: dict[str, Any] = {
        "site": region_concept(region),
        "side": side_of(region),
        "model": found.task,
    }
    name = f"{found.quantity}, {region}"
    code = private("AREAL_BMD" if is_bmd else "QUANTITY")
    unit = UNITS[found.unit]
    yield CodedResult(f"{name}, {found.scale} scale", code, found.value, unit, loinc[0], **where)
    if found.standardised is not None:
        code = private("STANDARD_BMD")
        yield CodedResult(f"{name}, standardised", code, found.standardised, unit, **where)
    scores: list[tuple[str, CodedConcept, Score | None, str]] = [
        ("T-score", private("T_SCORE"), found.t_score, loinc[1]),
        ("Z-score", Z_SCORE, found.z_score, loinc[2]),
    ]
    for words, concept, score, known in scores:
        if score is not None:
            yield CodedResult(f"{words}, {name}", concept, score.value, UNITS[""], known, **where)
    if found.bone_class is not None and found.bone_class in CLASSES:
        name = f"class, {name}"
        yield CodedResult(name, private("BONE_CLASS"), CLASSES[found.bone_class], **where)


def report_code(prediction: Prediction) -> CodedConcept:
    """What kind of report it is, LOINC."""
    if prediction.images:
        only_films = all(one.view == "lumbar_ap" for one in prediction.images)
        return XRAY_PROCEDURE if only_films else DXA_REPORT
    return CT_PROCEDURE


__all__ = ["LOINC", "SCHEME_URI", "SYSTEMS", "CodedResult", "report_code", "results_of"]
