"""The answer as a measurement report (TID 1500) in a Comprehensive 3D SR, unverified."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from highdicom.sr import (
    CodedConcept,
    Comprehensive3DSR,
    ContainerContentItem,
    ContentSequence,
    DeviceObserverIdentifyingAttributes,
    MeasurementReport,
    ObservationContext,
    ObserverContext,
    RelationshipTypeValues,
    TextContentItem,
)
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes

from shared.dicom.attributes import quietly
from shared.dicom.own_uids import uid_of
from shared.findings.region_names import region_words
from shared.inference.schema import Prediction

from .answer import MAKER, StudyAnswer
from .codes import (
    CT_PROCEDURE,
    FINDING,
    IMPRESSION,
    QUALITATIVE_EVALUATIONS,
    XRAY_PROCEDURE,
    private,
)
from .headers import (
    SERIES_NUMBERS,
    finished,
    library_header,
    predecessor_items,
    request_items,
    source_header,
)
from .kinds import Kind, OutputFile
from .measurement_groups import groups_of, nothing_found

#: What of the words is said under which concept.
SAID: Final = {
    "impression": IMPRESSION,
    "findings": FINDING,
    "technique": private("TECHNIQUE"),
    "limits": private("LIMITS"),
}


def structured_reports(
    answer: StudyAnswer, segmentations: Sequence[OutputFile]
) -> list[OutputFile]:
    """Make the report of a study, one object.

    Parameters
    ----------
    answer : StudyAnswer
    segmentations : sequence of OutputFile
        The SEGs that go with it: regions refer to their segments.
    """
    sources = answer.sources
    headers = [header for one in sources for header in one.headers]
    with quietly():  # a warning would show the patient's name
        content = _content(answer, segmentations)
        made = Comprehensive3DSR(
            evidence=[
                library_header(headers[0]), *headers[1:], *(one.dataset for one in segmentations)
            ],
            content=content,
            series_instance_uid=answer.uid("series", Kind.SR.value),
            series_number=SERIES_NUMBERS[Kind.SR],
            sop_instance_uid=answer.uid("instance", Kind.SR.value),
            instance_number=1,
            manufacturer=MAKER,
            is_complete=True,
            requested_procedures=_requests(answer) or None,
        )  # fmt: skip
    earlier = predecessor_items(answer.replaced(Kind.SR))
    if earlier:
        made.PredecessorDocumentsSequence = earlier
    return [finished(made, answer, Kind.SR, "Bone health estimates")]


def _content(answer: StudyAnswer, segmentations: Sequence[OutputFile]) -> Dataset:
    """Root of the tree: TID 1500 with what was measured, then what is said in words."""
    observer = ObserverContext(
        observer_type=codes.DCM.Device,
        observer_identifying_attributes=DeviceObserverIdentifyingAttributes(
            uid=uid_of("device", answer.prediction.software),
            name=MAKER,
            manufacturer_name=MAKER,
            model_name=answer.prediction.software,
        ),
    )
    groups = list(groups_of(answer, segmentations)) or [nothing_found(answer)]
    only_ct = bool(answer.study.volumes) and not answer.study.images
    report = MeasurementReport(
        observation_context=ObservationContext(observer_device_context=observer),
        procedure_reported=CT_PROCEDURE if only_ct else XRAY_PROCEDURE,
        imaging_measurements=groups,
    )
    root = report[0]
    words = ContainerContentItem(
        name=QUALITATIVE_EVALUATIONS, relationship_type=RelationshipTypeValues.CONTAINS
    )
    words.ContentSequence = ContentSequence(
        TextContentItem(name, text, RelationshipTypeValues.CONTAINS)
        for name, text in _words(answer.prediction)
    )
    root.ContentSequence.append(words)
    return root


def _words(prediction: Prediction) -> Iterator[tuple[CodedConcept, str]]:
    """What is said in words: notice and impression first, then what was not assessed and why."""
    yield private("LIMITS"), prediction.notice
    for text in prediction.narrative.impression:
        yield IMPRESSION, text
    for gap in prediction.not_assessed:
        yield private("NOT_ASSESSED"), f"{gap.what}: {gap.why}"
    for one in prediction.measurements:
        if one.not_scored:
            subject = f"score of {region_words(one.region)}"
            yield private("NOT_ASSESSED"), f"{subject}: {one.not_scored}"
    for flag in prediction.quality:
        yield private("QUALITY"), f"{region_words(flag.subject)} {flag.words}".strip()
    for name, concept in SAID.items():
        if name != "impression":
            for text in getattr(prediction.narrative, name):
                yield concept, text


def _requests(answer: StudyAnswer) -> list[Dataset]:
    """Items of the Referenced Request Sequence (PS3.3 C.17.2): which request this answers."""
    header = source_header(answer.header)
    found = []
    for asked in request_items(answer):
        item = Dataset()
        item.StudyInstanceUID = header.StudyInstanceUID
        item.ReferencedStudySequence = []
        item.AccessionNumber = header.AccessionNumber
        item.PlacerOrderNumberImagingServiceRequest = header.get(
            "PlacerOrderNumberImagingServiceRequest", ""
        )
        item.FillerOrderNumberImagingServiceRequest = header.get(
            "FillerOrderNumberImagingServiceRequest", ""
        )
        item.RequestedProcedureID = asked.RequestedProcedureID
        item.RequestedProcedureDescription = asked.get("RequestedProcedureDescription", "")
        item.RequestedProcedureCodeSequence = asked.get("RequestedProcedureCodeSequence", [])
        found.append(item)
    return found
