"""What in a hospital's files names a patient: found once at the door, remembered as digests only.

Names of every person, patient and other numbers, accession numbers, dates, addresses,
telephone numbers, institutions, serial numbers, instance UIDs, comments and free text;
in standard attributes, nested sequences, private blocks, curves and overlays, tables and
file names. Not taken: what is kept on purpose (`KEPT`) and descriptions of series and
protocols, whose wording is the scanner's ("AP Lumbar Spine").
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import PurePosixPath
from typing import Any, Final

from pydicom.datadict import dictionary_VR, keyword_for_tag
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset
from pydicom.tag import BaseTag
from pydicom.uid import UID_dictionary
from pydicom.values import convert_SQ

from shared.dicom.attributes import text_of
from shared.dicom.labels.workbook import WORKBOOK, workbook_lines
from shared.dicom.values.character_sets import plain_text
from shared.dicom.verdicts import SetAsideError
from shared.records import View

from .plain_sequences import plain_sequence

DEEPEST: Final = 8
#: Per data set: elements looked at, values taken, characters of one value.
MOST_ELEMENTS: Final = 20_000
MOST_VALUES: Final = 2_000
MOST_UIDS: Final = 128
LONGEST_VALUE: Final = 65_536
#: Rows of a table whose cells are looked at.
MOST_ROWS: Final = 1_000_000

#: Attributes whose values are kept on purpose (docs/privacy.md): they are no identifiers.
KEPT: Final = ("Manufacturer", "ManufacturerModelName", "ConvolutionKernel", "EthnicGroup")

PATIENTS_NAMES: Final = frozenset(
    {"PatientName", "OtherPatientNames", "PatientBirthName", "PatientMotherBirthName"}
)
#: Kind of an identifier by the keyword of its attribute.
KINDS: Final[Mapping[str, str]] = {
    **dict.fromkeys(
        (
            "PatientID", "OtherPatientIDs", "MedicalRecordLocator", "AdmissionID",
            "ServiceEpisodeID", "StudyID", "InsurancePlanIdentification",
            "ScheduledProcedureStepID", "RequestedProcedureID", "PerformedProcedureStepID",
            "PlacerOrderNumberImagingServiceRequest", "FillerOrderNumberImagingServiceRequest",
            "ClinicalTrialSubjectID", "ClinicalTrialSubjectReadingID", "SpecimenIdentifier",
            "ContainerIdentifier",
        ),
        "patient id",
    ),
    "AccessionNumber": "accession",
    "PatientBirthDate": "birth date",
    "PatientBirthDateInAlternativeCalendar": "birth date",
    **dict.fromkeys(
        ("PatientAddress", "InstitutionAddress", "ReferringPhysicianAddress", "PersonAddress"),
        "address",
    ),
    **dict.fromkeys(
        (
            "PatientTelephoneNumbers", "PatientTelecomInformation", "PersonTelephoneNumbers",
            "ReferringPhysicianTelephoneNumbers", "PersonTelecomInformation",
            "OrderCallbackPhoneNumber",
        ),
        "telephone",
    ),
    **dict.fromkeys(
        (
            "InstitutionName", "InstitutionalDepartmentName", "StationName",
            "PerformedStationName", "ScheduledStationName", "CurrentPatientLocation",
            "PatientInstitutionResidence", "RequestingService", "ResponsibleOrganization",
            "IssuerOfPatientID", "ClinicalTrialSiteName",
        ),
        "institution",
    ),
    **dict.fromkeys(
        ("DeviceSerialNumber", "DetectorID", "PlateID", "GantryID", "CassetteID", "DeviceUID"),
        "device",
    ),
    **dict.fromkeys(
        (
            "AdditionalPatientHistory", "MedicalAlerts", "Allergies", "Occupation",
            "PatientComments", "PatientReligiousPreference", "ReasonForStudy",
            "RequestedProcedureComments", "ImageComments", "StudyComments", "AcquisitionComments",
            "TextValue", "ReasonForTheRequestedProcedure", "AdmittingDiagnosesDescription",
            "VisitComments", "OverlayDescription", "OverlayLabel", "OverlayComments",
            "CurveDescription", "CurveLabel", "UnformattedTextValue",
        ),
        "text",
    ),
}  # fmt: skip
#: Value representations of free text, wherever they stand.
FREE_TEXT: Final = frozenset({"LT", "ST", "UT"})
#: Free text that describes the object and not the patient.
DESCRIBES: Final = frozenset(
    {
        "SegmentDescription", "ContributionDescription", "DerivationDescription",
        "DeviceDescription", "LUTExplanation", "AcquisitionProtocolDescription",
        "PixelPaddingDescription", "CalibrationDescription", "CodeMeaning", "LongCodeValue",
        "AlgorithmParameters", "AlgorithmDescription", "URNCodeValue", "DetectorDescription",
        "ExposureControlModeDescription", "DetectorMode", "FilterDescription",
    }
)  # fmt: skip
PRIVATE_TEXT: Final = frozenset({"LO", "SH", "LT", "ST", "UT", "UC", "UN", "OB", "PN", "DA", "DT"})
#: Older attributes of curves that the dictionary does not always name: (50xx, element).
CURVE_TEXT: Final = frozenset({0x0022, 0x2500, 0x3000})
#: Kind by what somebody called a column of a table or a variable of a private block.
CALLED: Final[tuple[tuple[str, re.Pattern[str]], ...]] = tuple(
    (kind, re.compile(pattern, re.IGNORECASE))
    for kind, pattern in (
        ("birth date", r"dob$|birth|geburt|geb[_ .-]?dat"),
        ("accession", r"accession|auftrag"),
        ("telephone", r"phone|telefon|\bfax"),
        ("address", r"address|adresse|street|stra(ss|ß)e|\bcity|\bzip"),
        ("person", r"physician|doctor|operator|technolog|\barzt|referr|referer"),
        ("institution", r"hospital|institution|facility|clinic|klinik"),
        ("text", r"comment|remark|bemerk|history|notes?$"),
        ("date", r"date|datum"),
        ("patient id", r"(^|[_ ]|[a-z])(ID|Id|id)$|mrn|ssn|insurance|patient.?(no|num)|^pid$"),
        ("name", r"name"),
    )
)
#: What the columns hold of which a table of marks says which image or slice is marked.
FILES: Final = frozenset({"image", "slice"})
SCALAR: Final = re.compile(r'\b(\w{2,40})\s*[=:]\s*"((?:[^"\\\n]|\\.){1,400})"')
ELEMENT: Final = re.compile(r"<(\w{2,40})>([^<>]{1,400})</")
NOT_PRINTED: Final = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1a\x1c-\x1f\x7f]")


@dataclass(frozen=True)
class SeenIdentifier:
    """An identifier as it stood in a file. Never printed, logged or stored as it is."""

    kind: str
    text: str

    def __repr__(self) -> str:
        """Hide the text, so that no log or traceback shows a patient."""
        return f"SeenIdentifier({self.kind}: ***)"


def identifiers_of(dataset: Dataset, file_name: str = "") -> frozenset[SeenIdentifier]:
    """Collect everything in a data set that names the patient, and in its file's name.

    Parameters
    ----------
    dataset : Dataset
        As parsed; with or without pixels. A broken element reads as absent.
    file_name : str
        Path relative to the folder that was read, with ``/``; empty = none.

    Returns
    -------
    frozenset of SeenIdentifier
        At most `MOST_VALUES`, from at most `DEEPEST` nested sequences.
    """
    seen = _Seen(kept=frozenset(text_of(dataset, keyword).casefold() for keyword in KEPT))
    seen.look(dataset, 0)
    seen.found |= identifiers_of_name(file_name)
    return frozenset(seen.found)


def identifiers_of_name(file_name: str) -> frozenset[SeenIdentifier]:
    """Parts of a path, each of which may name somebody: folders, and the name without ending."""
    path = PurePosixPath(file_name)
    parts = [part for part in path.parts if part not in {"/", ".", ".."}]
    found = {SeenIdentifier("file name", part) for part in parts[:-1]}
    if parts:
        # An ending is short and has a letter; else ``.23`` of a UID would be taken for one.
        stem = re.sub(r"\.(?=\d*[A-Za-z])[A-Za-z0-9]{1,5}$", "", parts[-1])
        found.add(SeenIdentifier("file name", stem))
    return frozenset(found)


def identifiers_of_table(
    data: bytes, patient_column: str = "", image_column: str = "", slice_column: str = ""
) -> frozenset[SeenIdentifier]:
    """Cells of a table whose column names the patient: by its heading, as `CALLED` says.

    Parameters
    ----------
    data : bytes
        UTF-8 or Windows-1252, separated by comma, semicolon or tab; or an XLSX workbook.
    patient_column : str
        The column that holds patient ids, whatever it is called.
    image_column : str
        The column that names files, UIDs or views; a view names nobody.
    slice_column : str
        The column of CT slices, by file, UID or z in mm; what is a number there names nobody.
    """
    reader: Iterable[list[str]]
    if data.startswith(WORKBOOK):
        reader = (cells for _, cells in workbook_lines(data))
    else:
        try:
            text = data.decode("utf-8-sig")
        except UnicodeDecodeError:
            text = data.decode("cp1252", errors="replace")
        first = text.split("\n", 1)[0]
        separator = max(",;\t", key=first.count)
        lines = io.StringIO(text.replace("\x00", ""), newline="")
        reader = csv.reader(lines, delimiter=separator)
    found: set[SeenIdentifier] = set()
    kinds: list[list[str]] = []
    special = {slice_column: "slice", image_column: "image", patient_column: "patient id"}
    try:
        for number, cells in zip(range(MOST_ROWS), reader, strict=False):
            if number == 0:
                kinds = [_column_kinds(cell.strip(), special) for cell in cells]
                continue
            for several, cell in zip(kinds, cells, strict=False):
                if not (FILES & set(several) and cell.strip().lower() in set(View)):
                    found |= {one for kind in several for one in _in_cell(kind, cell.strip())}
    except (csv.Error, SetAsideError):
        pass  # what came before the broken row counts
    return frozenset(found)


def _column_kinds(heading: str, special: Mapping[str, str]) -> list[str]:
    """What a column's cells are: what it is said to hold, and what its heading says.

    "Accession No" names a patient as well where it is the column that names the images.
    """
    said, own = special.get(heading, ""), kind_called(heading)
    if said not in FILES:
        return [kind for kind in (said or own,) if kind]
    # A heading like "File name" is no person's, and "Series UID" no patient's.
    plain = own in {"", "name"} or heading.casefold().endswith("uid")
    return [said] if plain else [said, own]


def _in_cell(kind: str, cell: str) -> frozenset[SeenIdentifier]:
    """Identifiers in a cell of a column that holds this kind of them."""
    if not cell:
        return frozenset()
    if kind not in FILES:
        return frozenset({SeenIdentifier(kind, cell[:LONGEST_VALUE])})
    if kind == "slice" and re.fullmatch(r"[-+]?\d+([.,]\d+)?", cell):
        return frozenset()
    if cell.count(".") > 1 and re.fullmatch(r"[\d.]+", cell):
        return frozenset({SeenIdentifier("uid", cell[:LONGEST_VALUE])})
    return identifiers_of_name(cell[:LONGEST_VALUE])


def kind_called(name: str) -> str:
    """Kind of identifier that a column or variable of this name holds, empty if none."""
    return next((kind for kind, pattern in CALLED if pattern.search(name)), "")


@dataclass
class _Seen:
    """What was found so far, and how much may still be."""

    kept: frozenset[str]
    found: set[SeenIdentifier] = field(default_factory=set)
    elements: int = 0
    uids: int = 0

    def look(self, dataset: Dataset, depth: int) -> None:
        """Look at every element, nested ones too.

        Sequences come last: a hundred references must not take the place of a study's own UID.
        """
        sequences: list[tuple[BaseTag, Any]] = []
        for tag in list(dataset.keys()):
            self.elements += 1
            if self.elements > MOST_ELEMENTS or len(self.found) > MOST_VALUES:
                return
            try:
                kind, raw = _kind(dataset, tag), dataset.get_item(tag)
            except Exception:  # noqa: S112 - a value that was left out is read here
                continue
            if not kind:
                continue
            if kind == "sequence":
                sequences.append((tag, raw))
                continue
            if kind == "uid" and isinstance(raw, RawDataElement) and raw.VR == "UI" and raw.value:
                # The most frequent of all, and simple enough not to be converted for it.
                self.take_uids(raw.value.decode("latin-1"))
                continue
            try:
                value = dataset[tag].value
            except Exception:  # noqa: S112 - pydicom raises many kinds on broken values
                continue
            for text in _texts(value, dataset.original_character_set):
                self.take(kind, text)
        for tag, raw in sequences:
            if depth >= DEEPEST or self.is_plain(raw, depth):
                continue
            for item in _items_of(dataset, tag):
                self.look(item, depth + 1)

    def is_plain(self, raw: Any, depth: int) -> bool:
        """Say whether a sequence has no identifiers but UIDs; they are taken then."""
        if not isinstance(raw, RawDataElement) or not raw.is_little_endian:
            return False
        value, left = raw.value, MOST_ELEMENTS - self.elements
        if raw.VR not in {"SQ", None} or not isinstance(value, bytes):
            return False
        plain = plain_sequence(
            value, _kind_at, explicit=not raw.is_implicit_VR, deepest=DEEPEST - depth, most=left
        )
        if plain is None or len(self.found) + len(plain.uids) > MOST_VALUES:
            return False
        self.elements += plain.elements
        for value in plain.uids:
            self.take_uids(value)
        return True

    def take_uids(self, value: str) -> None:
        """Take the UIDs of one element."""
        for text in value.rstrip("\0 ").split("\\")[:MOST_UIDS]:
            self.take("uid", text[:LONGEST_VALUE])

    def take(self, kind: str, text: str) -> None:
        """Take one value, unless it is kept on purpose."""
        text = text.strip().strip("\x00").strip()
        if not text or text.casefold() in self.kept:
            return
        if kind == "uid":
            self.uids += 1
            if text in UID_dictionary or self.uids > MOST_UIDS:
                return
        elif kind in {"text", "private"}:
            pairs = [*SCALAR.findall(text), *ELEMENT.findall(text)]
            for name, value in pairs:
                called = kind_called(name)
                if called:
                    self.found.add(SeenIdentifier(called, re.sub(r"\\(.)", r"\1", value)))
            if pairs:
                return
        self.found.add(SeenIdentifier(kind, text))


def _items_of(dataset: Dataset, tag: BaseTag) -> list[Dataset]:
    """Items of a sequence, none if it cannot be read.

    One that was written as of unknown VR, in implicit VR then (PS3.5, 6.2.2), stays bytes
    where it is longer than its length field could say.
    """
    try:
        value = dataset[tag].value
        if isinstance(value, bytes):
            value = convert_SQ(value, True, True, dataset.original_character_set)
        return [item for item in value or () if isinstance(item, Dataset)]
    except Exception:  # pydicom raises many kinds on broken values
        return []


def _kind(dataset: Dataset, tag: BaseTag) -> str:
    """Kind of an element, ``sequence``, or empty if it names nobody; its value is not read."""
    raw: Any = dataset.get_item(tag)
    kind = _kind_of(tag, _known_vr(tag, str(raw.VR or "")))
    if kind == "private" and isinstance(raw, RawDataElement):
        return kind if (raw.length or 0) <= LONGEST_VALUE else ""
    return kind


@lru_cache(maxsize=16_384)
def _kind_at(tag: tuple[int, int], vr: bytes) -> str:
    """Kind of an element as it is written, by its group and element and its VR."""
    known = BaseTag(tag[0] << 16 | tag[1])
    return _kind_of(known, _known_vr(known, vr.decode("ascii")))


def _known_vr(tag: BaseTag, vr: str) -> str:
    """VR of an element as it is written; where that says nothing, as the dictionary says."""
    if vr not in {"", "UN"}:
        return vr
    try:
        return str(dictionary_VR(tag))
    except KeyError:
        return "UN"


@lru_cache(maxsize=16_384)
def _kind_of(tag: BaseTag, vr: str) -> str:
    """Kind of what has a tag and a VR; the same tags come with every file, and every frame."""
    group, element = tag.group, tag.element
    if vr == "SQ":
        return "sequence"
    if 0x5000 <= group <= 0x501E and element in CURVE_TEXT:
        return "text"
    if tag.is_private:
        creator = 0x0010 <= element <= 0x00FF
        return "private" if vr in PRIVATE_TEXT and not creator else ""
    if group <= 0x0002:
        return "uid" if tag == 0x00020003 else ""
    keyword = keyword_for_tag(tag)
    if keyword in KINDS:
        return KINDS[keyword]
    if vr == "PN":
        return "name" if keyword in PATIENTS_NAMES else "person"
    if vr in FREE_TEXT:
        return "" if keyword in DESCRIBES else "text"
    return {"DA": "date", "DT": "date", "UI": "uid"}.get(vr, "")


def _texts(value: Any, sets: str | Sequence[str]) -> Iterator[str]:
    """A value as texts, one for each of several; `sets` are those of the data set's texts."""
    if value is None:
        return
    if isinstance(value, (bytes, bytearray)):
        text = _decoded(bytes(value[:LONGEST_VALUE]), sets)
        if text:
            yield text
    elif isinstance(value, (str, int, float)) or hasattr(value, "family_name"):
        yield plain_text(str(value)[:LONGEST_VALUE])
    elif hasattr(value, "__iter__"):
        for part in list(value)[:MOST_UIDS]:
            yield from _texts(part, sets)


def _decoded(value: bytes, sets: str | Sequence[str]) -> str:
    """Bytes of an unknown representation as text; empty if they are none."""
    value = value.rstrip(b"\x00 ")
    known = [sets] if isinstance(sets, str) else [*sets]
    text = value.decode("latin-1")
    for name in () if value.isascii() else ("utf-8", *known):
        try:
            text = value.decode(name)
        except (LookupError, UnicodeError):  # a file may name any set
            continue
        break
    return "" if NOT_PRINTED.search(text) else plain_text(text)
