"""An answer and the files that it is of: what every object that goes back is made from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from typing import Final

from pydicom.dataset import Dataset

from shared.dicom.attributes import text_of
from shared.dicom.own_uids import joined, uid_of
from shared.dicom.read_study import ReadStudy
from shared.errors import InputUnreadableError
from shared.findings.findings import Findings
from shared.inference.schema import ModelFacts, Prediction
from shared.phrases import listed
from shared.records import View

from .kinds import DocumentIdentity, Kind

MAKER: Final = "OsteoFed"
#: What says whose a study is: the same in all of its files, or nothing is made.
WHOSE: Final = ("PatientID", "PatientBirthDate", "PatientSex", "AccessionNumber")
#: What of it is written into every object, too, and may be missing in some of the files.
NAMES: Final = ("IssuerOfPatientID", "PatientName")


@dataclass(frozen=True)
class SourceImages:
    """What one region map lies on.

    Attributes
    ----------
    part : str
        The view's value, or the SeriesInstanceUID.
    view : View or None
        None of a CT series.
    headers : sequence of Dataset
        Without pixels; of a series its files, each once.
    """

    part: str
    view: View | None
    headers: Sequence[Dataset]


@dataclass(frozen=True)
class StudyAnswer:
    """One study with all that was found in it.

    Attributes
    ----------
    study, prediction, findings
        As `shared.inference.predict.read_study` was given and gave them.
    made_at : datetime
        With a time zone: when the answer was made, in the header of every object.
    predecessors : sequence of DocumentIdentity
        The documents that this answer corrects.
    """

    study: ReadStudy
    prediction: Prediction
    findings: Findings
    made_at: datetime
    predecessors: Sequence[DocumentIdentity] = ()

    @cached_property
    def sources(self) -> list[SourceImages]:
        """Images and series that were read, each with its headers.

        Raises
        ------
        InputUnreadableError
            If the study was read without its headers, or they are of several patients.
        """
        found = [
            SourceImages(view.value, view, self._headers([self.study.digests[view]]))
            for view in self.study.images
        ]
        found += [
            SourceImages(uid, None, self._headers(one.digest for one in volume.sources))
            for uid, volume in self.study.volumes.items()
        ]
        if any(not one.headers for one in found) or not found:
            raise InputUnreadableError(
                "the study was read without its headers, which all that is sent back refers to "
                "(read_study_folder(..., headers=True))"
            )
        _check_one_patient([header for one in found for header in one.headers])
        return found

    def _headers(self, digests: object) -> list[Dataset]:
        known = self.study.headers
        return [known[one] for one in dict.fromkeys(digests) if one in known]  # type: ignore[call-overload]

    @property
    def header(self) -> Dataset:
        """The first header: whose the study is, and who asked for it."""
        return self.sources[0].headers[0]

    @cached_property
    def _named(self) -> tuple[str, ...]:
        """What every UID of this answer hangs on.

        Whose it is belongs to that: a study that was put right in the PACS keeps its UIDs, and
        its answer is another one than that to the wrong patient.
        """
        headers = [header for one in self.sources for header in one.headers]
        sources = sorted(text_of(header, "SOPInstanceUID") for header in headers)
        whose = [
            joined(sorted({text_of(header, keyword) for header in headers}))
            for keyword in (*WHOSE, *NAMES)
        ]
        models = [f"{m.task} {m.version} {m.digest}" for m in self.prediction.models]
        earlier = sorted(one.identifier for one in self.predecessors)
        return (
            text_of(self.header, "StudyInstanceUID"),
            joined(sources),
            self.prediction.software,
            joined(models),
            joined(earlier),
            *whose,
        )

    def uid(self, *what: str) -> str:
        """UID of something of this answer, by whose it is, sources, versions, predecessors."""
        return uid_of(*self._named, *what)

    def replaced(self, kind: Kind, part: str = "") -> DocumentIdentity | None:
        """The document that one of this kind and part corrects; None if there is none."""
        wanted = (kind.value, part)
        return next((one for one in self.predecessors if (one.kind, one.part) == wanted), None)


def model_words(model: ModelFacts) -> str:
    """Which version, in words and with its whole digest."""
    return f"{model.task} version {model.version}, weights sha256:{model.digest}"


def derivation_words(prediction: Prediction) -> str:
    """How what is sent back came about, for the header of every object."""
    used = listed([f"{model.task} {model.version}" for model in prediction.models])
    return (
        f"Estimated from the referenced images by {prediction.software} with {used}. "
        f"{prediction.notice}"
    )


def by_region(prediction: Prediction) -> Mapping[tuple[str, str], str]:
    """Task that outlined a region, by view and region."""
    return {(one.view, one.region): one.task for one in prediction.regions}


def _check_one_patient(headers: Sequence[Dataset]) -> None:
    """Refuse files that do not say the same of whose they are; the sentence says no value."""
    differ = [
        keyword for keyword in WHOSE if len({text_of(header, keyword) for header in headers}) > 1
    ]
    if differ:
        raise InputUnreadableError(
            f"the files of one study differ in {listed(differ)} (all must be of one patient and "
            "one request); nothing is made of them until somebody has put that right in the PACS"
        )
