"""The report as an encapsulated PDF, made of what the HTML report is made of (PS3.3 A.45.1)."""

from __future__ import annotations

from pydicom.uid import EncapsulatedPDFStorage

from .answer import StudyAnswer, derivation_words
from .headers import finished, predecessor_items, reference, started
from .kinds import Kind, OutputFile
from .pdf_pages import report_pdf
from .secondary_capture import MOST_SOURCES


def encapsulated_pdfs(answer: StudyAnswer) -> list[OutputFile]:
    """Make the report of a study as one encapsulated PDF."""
    content = report_pdf(answer)
    made = started(answer, Kind.PDF, EncapsulatedPDFStorage)
    made.Modality = "DOC"
    made.ConversionType = "WSD"
    made.BurnedInAnnotation = "YES"  # it names the patient
    made.RecognizableVisualFeatures = "NO"
    made.AcquisitionDateTime = ""
    made.DocumentTitle = "Bone health report, research use only"
    made.ConceptNameCodeSequence = []
    made.VerificationFlag = "UNVERIFIED"
    headers = [header for one in answer.sources for header in one.headers]
    if len(headers) <= MOST_SOURCES:
        made.SourceInstanceSequence = [reference(header) for header in headers]
    made.MIMETypeOfEncapsulatedDocument = "application/pdf"
    made.EncapsulatedDocumentLength = len(content)
    made.EncapsulatedDocument = content + b"\x00" * (len(content) % 2)
    made.DerivationDescription = derivation_words(answer.prediction)
    earlier = predecessor_items(answer.replaced(Kind.PDF))
    if earlier:
        made.PredecessorDocumentsSequence = earlier
    return [finished(made, answer, Kind.PDF, "Bone health report", name="report_pdf.dcm")]
