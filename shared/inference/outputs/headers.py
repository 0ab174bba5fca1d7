"""What the header of every DICOM object that goes back says: whose, of what, by which versions."""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy
from typing import Final

from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian

from shared.dicom.attributes import text_of
from shared.dicom.own_uids import uid_of
from shared.inference.schema import ModelFacts

from .answer import MAKER, SourceImages, StudyAnswer, model_words
from .codes import PROCESSING, private, scheme_item
from .kinds import DocumentIdentity, Kind, OutputFile

#: UTF-8, whatever the source was in: its names and ours fit.
CHARACTER_SET: Final = "ISO_IR 192"
IMPLEMENTATION_UID: Final = uid_of("implementation")
IMPLEMENTATION_NAME: Final = "OSTEOFED"
#: Patient and study, taken over from the source as they are (PS3.3 C.7.1.1, C.7.2.1, C.7.2.2).
TAKEN_OVER: Final = (
    "PatientName", "PatientID", "IssuerOfPatientID", "PatientBirthDate", "PatientSex",
    "StudyInstanceUID", "StudyDate", "StudyTime", "ReferringPhysicianName", "StudyID",
    "AccessionNumber", "IssuerOfAccessionNumberSequence", "StudyDescription", "PatientAge",
    "PatientSize", "PatientWeight",
)  # fmt: skip
#: Of them those that a file has, if only empty (type 2).
MUST_BE_THERE: Final = (
    "PatientName", "PatientID", "PatientBirthDate", "PatientSex", "StudyDate", "StudyTime",
    "ReferringPhysicianName", "StudyID", "AccessionNumber",
)  # fmt: skip
#: First series number of each kind; high, so that a viewer lists them behind the images.
SERIES_NUMBERS: Final = {Kind.SEG: 9100, Kind.SR: 9200, Kind.SC: 9300, Kind.PDF: 9400}
LONGEST_VERSION: Final = 64  # LO


def source_header(header: Dataset) -> Dataset:
    """Give a header of a source in UTF-8, with every attribute that an object needs, if empty.

    It is a copy as deep as it goes: what is set in it is set nowhere else.
    """
    copied = deepcopy(header)
    copied.decode()
    for keyword in MUST_BE_THERE:
        if keyword not in copied:
            setattr(copied, keyword, "")
    copied.SpecificCharacterSet = CHARACTER_SET
    return copied


def library_header(header: Dataset) -> Dataset:
    """Give a header to a library that wants names and dates as the standard has them.

    Real ones are not always (a name without a caret, a day of 0): nothing of the patient goes in,
    and `finished` takes over what the source says, as it says it.
    """
    copied = source_header(header)
    for keyword in TAKEN_OVER:
        if keyword in copied and keyword != "StudyInstanceUID":
            if keyword in MUST_BE_THERE:
                setattr(copied, keyword, "")
            else:
                delattr(copied, keyword)
    copied.PatientName = "Nobody^"
    return copied


def started(answer: StudyAnswer, kind: Kind, sop_class: str, part: str = "") -> Dataset:
    """Begin an object that no library begins: patient, study, series and instance."""
    made = Dataset()
    made.StudyInstanceUID = text_of(answer.header, "StudyInstanceUID")
    made.SOPClassUID = sop_class
    made.SOPInstanceUID = answer.uid("instance", kind.value, part)
    made.SeriesInstanceUID = answer.uid("series", kind.value)
    made.SeriesNumber = SERIES_NUMBERS[kind]
    made.InstanceNumber = 1
    made.Manufacturer = MAKER
    made.file_meta = FileMetaDataset()
    made.file_meta.MediaStorageSOPClassUID = sop_class
    made.file_meta.MediaStorageSOPInstanceUID = made.SOPInstanceUID
    made.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    return made


def finished(
    made: Dataset, answer: StudyAnswer, kind: Kind, description: str, part: str = "", name: str = ""
) -> OutputFile:
    """Say in an object what all objects say, and hand it on.

    What a library took from the clock or from chance is replaced, so that the same answer gives
    the same bytes.
    """
    day, time = f"{answer.made_at:%Y%m%d}", f"{answer.made_at:%H%M%S}"
    source = source_header(answer.header)
    for keyword in TAKEN_OVER:
        if keyword in source:
            made[keyword] = source[keyword]
    made.SpecificCharacterSet = CHARACTER_SET
    made.InstanceCreationDate = made.ContentDate = made.SeriesDate = day
    made.InstanceCreationTime = made.ContentTime = made.SeriesTime = time
    made.TimezoneOffsetFromUTC = f"{answer.made_at:%z}"[:5]
    made.SeriesDescription = f"{description} (research use only)"[:LONGEST_VERSION]
    made.ManufacturerModelName = MAKER
    made.SoftwareVersions = software_versions(answer)
    made.DeviceSerialNumber = answer.prediction.software[:LONGEST_VERSION]
    made.ContributingEquipmentSequence = [
        _equipment(model, day + time) for model in answer.prediction.models
    ]
    made.CodingSchemeIdentificationSequence = [scheme_item()]
    if kind is not Kind.SR:  # which has a place of its own for it
        requested = request_items(answer)
        if requested:
            made.RequestAttributesSequence = requested
    made.file_meta.ImplementationClassUID = IMPLEMENTATION_UID
    made.file_meta.ImplementationVersionName = IMPLEMENTATION_NAME
    identity = DocumentIdentity(
        kind.value, part, made.SOPInstanceUID, made.SOPClassUID, made.SeriesInstanceUID,
        made.StudyInstanceUID,
    )  # fmt: skip
    return OutputFile(kind, name or f"{kind.value}.dcm", made, identity)


def software_versions(answer: StudyAnswer) -> list[str]:
    """Name this program and each version that answered; a digest fills a value of its own."""
    found = [answer.prediction.software]
    for model in answer.prediction.models:
        found += [f"{model.task} {model.version}", model.digest]
    return [one[:LONGEST_VERSION] for one in found]


def _equipment(model: ModelFacts, when: str) -> Dataset:
    """Item of the Contributing Equipment Sequence for one version (PS3.3 C.12.1.1.5)."""
    item = Dataset()
    item.PurposeOfReferenceCodeSequence = [PROCESSING]
    item.Manufacturer = MAKER
    item.ManufacturerModelName = model.task[:LONGEST_VERSION]
    item.SoftwareVersions = [model.version[:LONGEST_VERSION], model.digest[:LONGEST_VERSION]]
    item.ContributionDateTime = when
    item.ContributionDescription = model_words(model)
    return item


#: What a request says of itself in the Request Attributes Macro (PS3.3 10.6).
REQUEST: Final = (
    "RequestedProcedureID", "RequestedProcedureDescription", "RequestedProcedureCodeSequence",
    "ScheduledProcedureStepID", "ScheduledProcedureStepDescription", "AccessionNumber",
)  # fmt: skip


def request_items(answer: StudyAnswer) -> list[Dataset]:
    """The requested procedure as the source names it; empty where it names none."""
    header = source_header(answer.header)
    given = header.get("RequestAttributesSequence") or []
    found = [_only(item, REQUEST) for item in given]
    if not found:
        found = [_only(header, [k for k in REQUEST if k.startswith("RequestedProcedure")])]
    return [item for item in found if "RequestedProcedureID" in item]


def _only(source: Dataset, keywords: Sequence[str]) -> Dataset:
    item = Dataset()
    for keyword in keywords:
        if source.get(keyword):
            item[keyword] = source[keyword]
    return item


def reference(header: Dataset) -> Dataset:
    """Reference to an instance by its class and UID."""
    item = Dataset()
    item.ReferencedSOPClassUID = header.SOPClassUID
    item.ReferencedSOPInstanceUID = header.SOPInstanceUID
    return item


def replacing(made: Dataset, earlier: DocumentIdentity | None) -> None:
    """Refer from an image to the object that it replaces (PS3.3 C.12.4).

    Documents have a sequence of their own for it.
    """
    if earlier is None:
        return
    item = Dataset()
    item.ReferencedSOPClassUID = earlier.sop_class_uid
    item.ReferencedSOPInstanceUID = earlier.identifier
    item.PurposeOfReferenceCodeSequence = [private("REPLACED")]
    made.ReferencedInstanceSequence = [item]


def predecessor_items(earlier: DocumentIdentity | None) -> list[Dataset]:
    """Items of the Predecessor Documents Sequence (PS3.3 C.17.2): the document that is replaced."""
    if earlier is None:
        return []
    instance = Dataset()
    instance.ReferencedSOPClassUID = earlier.sop_class_uid
    instance.ReferencedSOPInstanceUID = earlier.identifier
    series = Dataset()
    series.SeriesInstanceUID = earlier.series_uid
    series.ReferencedSOPSequence = [instance]
    study = Dataset()
    study.StudyInstanceUID = earlier.study_uid
    study.ReferencedSeriesSequence = [series]
    return [study]


def whole_uid_parts(source: SourceImages) -> tuple[str, str]:
    """Part of a UID for one source, and of a file's name; a series is named by its UID's end."""
    if source.view is not None:
        return source.part, source.part
    return source.part, f"series_{source.part.replace('.', '')[-12:]}"
