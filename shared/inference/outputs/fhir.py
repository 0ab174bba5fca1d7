"""The answer as FHIR R4: a bundle of a diagnostic report, its observations and the study.

Checked by ``fhir.resources``' R4B models, and uses nothing in which R4 4.0.1 differs. Resources
refer to each other by ``urn:uuid:``; a receiver that keeps patients finds its own by the
identifier in `Patient`. Everything is *preliminary* until a reader accepts.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from datetime import date
from typing import Any, Final
from uuid import UUID

from highdicom.sr.coding import CodedConcept
from pydicom.dataset import Dataset
from pydicom.valuerep import PersonName

from shared.dicom.attributes import text_of

from .answer import MAKER, StudyAnswer, derivation_words, model_words
from .coded_results import SYSTEMS, CodedResult, report_code, results_of
from .headers import source_header
from .kinds import DocumentIdentity, Kind, OutputFile

Resource = dict[str, Any]
GENDERS: Final = {"F": "female", "M": "male", "O": "other", "": "unknown"}
STATUS: Final = "preliminary"
ABSENT: Final = "http://terminology.hl7.org/CodeSystem/data-absent-reason"
IDENTIFIER_TYPES: Final = "http://terminology.hl7.org/CodeSystem/v2-0203"
MODALITIES: Final = "http://dicom.nema.org/resources/ontology/DCM"
REPLACES: Final = "http://hl7.org/fhir/StructureDefinition/diagnosticReport-replaces"
#: Instances that are listed one by one; of a longer series only their number is said.
MOST_INSTANCES: Final = 16


def fhir_bundles(answer: StudyAnswer) -> list[OutputFile]:
    """Make the bundle of a study."""
    from fhir.resources.R4B.bundle import Bundle

    resources = _resources(answer)
    bundle: Resource = {
        "resourceType": "Bundle",
        "id": _uuid(answer, "bundle"),
        "type": "collection",
        "timestamp": answer.made_at.isoformat(timespec="seconds"),
        "entry": [
            {"fullUrl": f"urn:uuid:{one['id']}", "resource": one} for one in resources
        ],
    }  # fmt: skip
    Bundle.model_validate(bundle)  # raises where it is not FHIR: a fault of ours
    content = json.dumps(bundle, ensure_ascii=False, indent=2).encode() + b"\n"
    identity = DocumentIdentity(
        Kind.FHIR.value, "", _uuid(answer, "report"), study_uid=answer.prediction.study.study_uid
    )
    return [OutputFile(Kind.FHIR, "fhir.json", content, identity)]


def _resources(answer: StudyAnswer) -> list[Resource]:
    devices = [_device(answer, number) for number in range(len(answer.prediction.models))]
    observations = [_observation(answer, one) for one in results_of(answer.prediction)]
    report = _report(answer, [one["id"] for one in observations])
    return [report, _patient(answer), _study(answer), *devices, *observations]


def _uuid(answer: StudyAnswer, *what: str) -> str:
    """UUID of a resource: that of the UID that a DICOM object of this answer would have."""
    return str(UUID(int=int(answer.uid("fhir", *what).removeprefix("2.25."))))


def _refer(answer: StudyAnswer, *what: str) -> Resource:
    return {"reference": f"urn:uuid:{_uuid(answer, *what)}"}


def _concept(*concepts: CodedConcept, loinc: str = "", text: str = "") -> Resource:
    """Codes of one meaning, LOINC first."""
    coding = [{"system": SYSTEMS["LN"], "code": loinc}] if loinc else []
    coding += [
        {"system": SYSTEMS[one.scheme_designator], "code": one.value, "display": one.meaning}
        for one in concepts
    ]
    return {"coding": coding, **({"text": text} if text else {})}


def _patient(answer: StudyAnswer) -> Resource:
    """Whose it is, as the source says it."""
    header = source_header(answer.header)
    name = PersonName(text_of(header, "PatientName"))
    made: Resource = {"resourceType": "Patient", "id": _uuid(answer, "patient")}
    if text_of(header, "PatientID"):
        made["identifier"] = [{
            "type": _typed("MR"), "value": text_of(header, "PatientID"),
            **_assigner(header, "IssuerOfPatientID"),
        }]  # fmt: skip
    family, given = str(name.family_name), [p for p in str(name.given_name).split(" ") if p]
    if family or given:
        made["name"] = [{k: v for k, v in (("family", family), ("given", given)) if v}]
    made["gender"] = GENDERS.get(text_of(header, "PatientSex"), "unknown")
    if birth := _date(text_of(header, "PatientBirthDate")):
        made["birthDate"] = birth
    return made


def _assigner(header: Dataset, keyword: str) -> Resource:
    issuer = text_of(header, keyword)
    return {"assigner": {"display": issuer}} if issuer else {}


def _typed(code: str) -> Resource:
    return {"coding": [{"system": IDENTIFIER_TYPES, "code": code}]}


def _date(text: str) -> str:
    """DICOM's day as FHIR's; empty if it is none, as with a day or month of 0."""
    try:
        return date(int(text[:4]), int(text[4:6]), int(text[6:8])).isoformat()
    except ValueError:
        return ""


def _device(answer: StudyAnswer, number: int) -> Resource:
    """Say which version answered, with the digest of its weights."""
    model = answer.prediction.models[number]
    return {
        "resourceType": "Device",
        "id": _uuid(answer, "device", model.task),
        "manufacturer": MAKER,
        "deviceName": [{"name": model.task, "type": "model-name"}],
        "version": [{"value": model.version}, {"value": f"sha256:{model.digest}"},
                    {"value": answer.prediction.software}],
        "note": [{"text": f"{model_words(model)}. {answer.prediction.notice}"}],
    }  # fmt: skip


def _study(answer: StudyAnswer) -> Resource:
    """Say which study and series it was made from."""
    header = source_header(answer.header)
    identifiers: list[Resource] = [
        {"system": "urn:dicom:uid", "value": f"urn:oid:{text_of(header, 'StudyInstanceUID')}"}
    ]
    if accession := text_of(header, "AccessionNumber"):
        identifiers.append({"type": _typed("ACSN"), "value": accession})
    made: Resource = {
        "resourceType": "ImagingStudy",
        "id": _uuid(answer, "study"),
        "identifier": identifiers,
        "status": "available",
        "subject": _refer(answer, "patient"),
        "series": list(_series(answer)),
    }
    if day := _date(text_of(header, "StudyDate")):
        made["started"] = day
    return made


def _series(answer: StudyAnswer) -> Iterator[Resource]:
    by_series: dict[str, list[Dataset]] = {}
    for source in answer.sources:
        for header in source.headers:
            by_series.setdefault(text_of(header, "SeriesInstanceUID"), []).append(header)
    for uid, headers in by_series.items():
        made: Resource = {
            "uid": uid,
            "modality": {"system": MODALITIES, "code": text_of(headers[0], "Modality") or "OT"},
            "numberOfInstances": len(headers),
        }
        if len(headers) <= MOST_INSTANCES:
            made["instance"] = [
                {
                    "uid": text_of(one, "SOPInstanceUID"),
                    "sopClass": {
                        "system": "urn:ietf:rfc:3986",
                        "code": f"urn:oid:{text_of(one, 'SOPClassUID')}",
                    },
                }
                for one in headers
            ]
        yield made


def _observation(answer: StudyAnswer, found: CodedResult) -> Resource:
    """One value with where and by which version; what has none says why."""
    made: Resource = {
        "resourceType": "Observation",
        "id": _uuid(answer, "observation", found.name),
        "status": STATUS,
        "code": _concept(found.code, loinc=found.loinc, text=found.name),
        "subject": _refer(answer, "patient"),
        "issued": answer.made_at.isoformat(timespec="seconds"),
        "derivedFrom": [_refer(answer, "study")],
    }
    if day := _date(text_of(answer.header, "StudyDate")):
        made["effectiveDateTime"] = day
    if found.site is not None:
        sides = [] if found.side is None else [found.side]
        made["bodySite"] = _concept(found.site, *sides)
    if found.model:
        made["device"] = _refer(answer, "device", found.model)
    if isinstance(found.value, CodedConcept):
        made["valueCodeableConcept"] = _concept(found.value)
    elif isinstance(found.value, str):
        reason = {"coding": [{"system": ABSENT, "code": "not-performed"}], "text": found.value}
        made["dataAbsentReason"] = reason
    elif found.unit is not None:
        made["valueQuantity"] = _quantity(found.value, found.unit)
        if found.interval is not None:
            low, high = (_quantity(one, found.unit) for one in found.interval)
            interval = {"code": _concept(found.code, text="interval"),
                        "valueRange": {"low": low, "high": high}}  # fmt: skip
            made["component"] = [interval]
    return made


def _quantity(value: float, unit: CodedConcept) -> Resource:
    return {"value": value, "unit": unit.meaning, "system": SYSTEMS["UCUM"], "code": unit.value}


def _report(answer: StudyAnswer, observations: Sequence[str]) -> Resource:
    """Say it in words, refer to every observation, and to what this replaces."""
    found = answer.prediction
    made: Resource = {
        "resourceType": "DiagnosticReport",
        "id": _uuid(answer, "report"),
        "identifier": [{"value": answer.uid("fhir", "report")}],
        "status": STATUS,
        "code": _concept(report_code(found)),
        "subject": _refer(answer, "patient"),
        "issued": answer.made_at.isoformat(timespec="seconds"),
        "imagingStudy": [_refer(answer, "study")],
        "result": [{"reference": f"urn:uuid:{one}"} for one in observations],
        "conclusion": " ".join([*found.narrative.impression, derivation_words(found)]),
    }
    if day := _date(text_of(answer.header, "StudyDate")):
        made["effectiveDateTime"] = day
    earlier = answer.replaced(Kind.FHIR)
    if earlier is not None:
        reference = {"reference": f"urn:uuid:{earlier.identifier}"}
        made["extension"] = [{"url": REPLACES, "valueReference": reference}]
    return made


def resources_in(content: bytes, kind: str) -> list[Mapping[str, Any]]:
    """Resources of a kind in a bundle."""
    entries = json.loads(content)["entry"]
    return [one["resource"] for one in entries if one["resource"]["resourceType"] == kind]
