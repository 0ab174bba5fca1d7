r"""The answer as an HL7 version 2.5.1 result message, ORU^R01, for those who have only that.

Text is escaped (2.5.1, 2.7) and in UTF-8, which MSH-18 says. Everything is *preliminary* (OBX-11
and OBR-25 are ``P``) until a reader accepts. Sending and receiving facility are left empty: who
sends it fills in MSH-4 to MSH-6.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from highdicom.sr.coding import CodedConcept
from pydicom.sr.codedict import codes

from shared.dicom.attributes import text_of

from .answer import MAKER, StudyAnswer, model_words
from .coded_results import CodedResult, report_code, results_of
from .codes import FINDING, IMPRESSION, private
from .headers import request_items, source_header
from .kinds import DocumentIdentity, Kind, OutputFile

VERSION: Final = "2.5.1"
STATUS: Final = "P"
ESCAPES: Final = {"\\": "\\E\\", "|": "\\F\\", "^": "\\S\\", "&": "\\T\\", "~": "\\R\\"}
#: Characters of a control id that every receiver takes (MSH-10 is ST of 20).
CONTROL_ID: Final = 20


def hl7_messages(answer: StudyAnswer) -> list[OutputFile]:
    """Make the message of a study; segments end with a carriage return."""
    from hl7apy.core import Message
    from hl7apy.parser import parse_segment

    control = answer.uid("hl7")[-CONTROL_ID:]
    message = Message("ORU_R01", version=VERSION)
    message.msh = parse_segment(_header(answer, control), version=VERSION)
    result = message.add_group("ORU_R01_PATIENT_RESULT")
    patient = result.add_group("ORU_R01_PATIENT")
    patient.add(parse_segment(_patient(answer), version=VERSION))
    order = result.add_group("ORU_R01_ORDER_OBSERVATION")
    order.add(parse_segment(_request(answer), version=VERSION))
    earlier = answer.replaced(Kind.HL7)
    if earlier is not None:
        note = f"NTE|1|L|Replaces message {escaped(earlier.identifier)}"
        order.add(parse_segment(note, version=VERSION))
    for number, fields in enumerate(_observations(answer), start=1):
        line = "|".join(["OBX", str(number), *fields])
        observation = order.add_group("ORU_R01_OBSERVATION")
        observation.add(parse_segment(line, version=VERSION))
    message.validate()  # raises where it is no ORU^R01: a fault of ours
    content = (message.to_er7().rstrip("\r") + "\r").encode()
    identity = DocumentIdentity(
        Kind.HL7.value, "", control, study_uid=answer.prediction.study.study_uid
    )
    return [OutputFile(Kind.HL7, "oru_r01.hl7", content, identity)]


def escaped(text: str) -> str:
    """Text without a character that would divide a message; of a line end a blank is left."""
    one_line = " ".join(text.split())
    return "".join(ESCAPES.get(letter, letter) for letter in one_line)


def _header(answer: StudyAnswer, control: str) -> str:
    when = f"{answer.made_at:%Y%m%d%H%M%S%z}"
    fields = ["MSH", "^~\\&", MAKER, "", "", "", when, "", "ORU^R01^ORU_R01", control, "P", VERSION]
    return "|".join([*fields, "", "", "", "", "", "UNICODE UTF-8"])


def _patient(answer: StudyAnswer) -> str:
    header = source_header(answer.header)
    number = escaped(text_of(header, "PatientID"))
    issuer = escaped(text_of(header, "IssuerOfPatientID"))
    alphabetic = text_of(header, "PatientName").split("=")[0]
    name = "^".join(escaped(part) for part in alphabetic.split("^"))
    identifier = f"{number}^^^{issuer}^MR" if issuer else f"{number}^^^^MR"
    birth, sex = text_of(header, "PatientBirthDate"), text_of(header, "PatientSex")
    return "|".join(["PID", "1", "", identifier, "", name, "", birth, sex])


def _request(answer: StudyAnswer) -> str:
    """Say what was asked for: OBR with the accession number as filler number and in OBR-18."""
    header = source_header(answer.header)
    accession = escaped(text_of(header, "AccessionNumber"))
    asked = request_items(answer)
    service = _coded(report_code(answer.prediction))
    taken = text_of(header, "StudyDate") + text_of(header, "StudyTime")[:6]
    placer = escaped(text_of(header, "PlacerOrderNumberImagingServiceRequest"))
    requested = escaped(text_of(asked[0], "RequestedProcedureID")) if asked else ""
    fields = [""] * 26
    fields[0], fields[1], fields[2], fields[3], fields[4] = "OBR", "1", placer, accession, service
    fields[7], fields[18], fields[19] = taken, accession, requested
    fields[22], fields[25] = f"{answer.made_at:%Y%m%d%H%M%S%z}", STATUS
    return "|".join(fields)


def _coded(concept: CodedConcept, loinc: str = "", text: str = "") -> str:
    """A coded element: LOINC first where one is known, the other code as the alternate."""
    own = [concept.value, text or concept.meaning, concept.scheme_designator]
    parts = [loinc, text, "LN", *own] if loinc else own
    return "^".join(escaped(part) for part in parts)


def _observations(answer: StudyAnswer) -> Iterator[list[str]]:
    """Fields of each OBX from the type on."""
    found = answer.prediction
    uid = codes.DCM.StudyInstanceUID
    study = CodedConcept(uid.value, uid.scheme_designator, uid.meaning)
    yield _plain("ST", _coded(study), text_of(answer.header, "StudyInstanceUID"))
    yield _plain("TX", _coded(private("LIMITS")), found.notice)
    for text in found.narrative.impression:
        yield _plain("TX", _coded(IMPRESSION), text)
    for text in found.narrative.findings:
        yield _plain("TX", _coded(FINDING), text)
    words = {one.task: model_words(one) for one in found.models}
    for sub_id, result in enumerate(results_of(found), start=1):
        yield _fields(result, str(sub_id), words.get(result.model, ""))
    for text in words.values():
        yield _plain("TX", _coded(private("TECHNIQUE")), text)


def _plain(kind: str, code: str, text: str) -> list[str]:
    return [kind, code, "", escaped(text), "", "", "", "", "", STATUS]


def _fields(found: CodedResult, sub_id: str, version: str) -> list[str]:
    """Type, code, sub-id, value, units, range, and the version in OBX-17 (its method)."""
    code = _coded(found.code, found.loinc, found.name)
    units, span = "", ""
    if isinstance(found.value, CodedConcept):
        kind, value = "CE", _coded(found.value)
    elif isinstance(found.value, str):
        kind, value = "TX", escaped(f"{found.name}: {found.value}")
    else:
        kind, value = "NM", str(found.value)
        units = "" if found.unit is None else _coded(found.unit)
        if found.interval is not None:
            span = f"interval {found.interval[0]:g} to {found.interval[1]:g}"
    method = f"^{escaped(version)}" if version else ""
    start = [kind, code, sub_id, value, units, "", "", "", "", STATUS]
    note = escaped(span)
    return [*start, "", "", "", "", "", f"{method} {note}".strip() if note else method]
