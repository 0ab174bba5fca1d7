"""What one instance is: of which study, whose, and whether any rule wants it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from pydicom.dataset import Dataset

from client.bedside.work.arrival import Arrival
from client.bedside.work.identities import whose
from shared.dicom.attributes import quietly, text_of
from shared.dicom.content import content_digest
from shared.dicom.ct import slices
from shared.dicom.parsing import parse
from shared.dicom.scan import describe
from shared.dicom.site_reading import SiteReading
from shared.dicom.verdicts import SetAsideError
from shared.records import Modality, modality_of

#: What an instance must have to be anybody's.
UIDS: Final = ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID")
#: Reasons for which an object is no object at all; all others are kinds that no rule wants.
NOT_UNDERSTOOD: Final = ("not_dicom", "damaged", "uid_missing", "uid_invalid", "header_too_large")
#: Of a kind that none of the models reads.
NO_MODEL: Final = "no_model"


class NotUnderstoodError(Exception):
    """An object that cannot be told whose it is, or is none."""


@dataclass(frozen=True)
class Wants:
    """The rules by which an instance is wanted: those of `shared.dicom`, and the models' inputs.

    Attributes
    ----------
    modalities : callable
        Kinds of images that the models of now read.
    is_ours : callable
        Whether a header is that of an object that this software wrote.
    reading : SiteReading
        What the site says of its files.
    """

    modalities: Callable[[], frozenset[Modality]]
    is_ours: Callable[[Dataset], bool]
    reading: SiteReading

    def look(self, data: bytes) -> Arrival:
        """Say what an object is; its pixels are looked at only where its header says too little.

        Raises
        ------
        NotUnderstoodError
            If it is no object, or one of no study.
        """
        with quietly():
            try:
                header = parse(data, pixels=False)
            except SetAsideError:
                raise NotUnderstoodError from None
            if not all(text_of(header, keyword) for keyword in UIDS):
                raise NotUnderstoodError
            digest = content_digest(data)
            if self.is_ours(header):
                return replace(_arrival(data, digest, header, ""), ours=True)
            return self._judged(data, digest, header)

    def _judged(self, data: bytes, digest: str, header: Dataset) -> Arrival:
        try:
            file = describe(Path(), "", digest, data, self.reading)
        except SetAsideError as aside:
            if aside.reason in NOT_UNDERSTOOD:
                raise NotUnderstoodError from None
            return _arrival(data, digest, header, "", aside.reason)
        except Exception:  # one odd object never ends an association
            raise NotUnderstoodError from None
        view = "" if file.view is None else file.view.value
        modality = Modality.CT if file.kind == "slice" else None
        if file.view is not None:
            modality = modality_of(file.view)
        if modality is not None and modality not in self.modalities():
            return _arrival(data, digest, header, "", NO_MODEL, view)
        return _arrival(data, digest, header, file.kind, "", view)


def _arrival(
    data: bytes, digest: str, header: Dataset, kind: str, reason: str = "", view: str = ""
) -> Arrival:
    told = slices.told_of(header) if kind == "slice" else None
    return Arrival(
        study_uid=text_of(header, "StudyInstanceUID"),
        series_uid=text_of(header, "SeriesInstanceUID"),
        sop_uid=text_of(header, "SOPInstanceUID"),
        who=whose(header),
        patient_name=text_of(header, "PatientName"),
        digest=digest,
        size=len(data),
        kind=kind,
        reason=reason,
        view=view,
        acquisition=None if told is None else told.acquisition,
        said=None if told is None else told.said,
        maker=text_of(header, "Manufacturer")[:64],
        model=text_of(header, "ManufacturerModelName")[:64],
    )


def same_but_for_pixels(one: bytes, other: bytes) -> bool:
    """Whether two objects differ only in how their pixels are encoded."""
    with quietly():
        return _without_encoding(one) == _without_encoding(other)


def _without_encoding(data: bytes) -> Dataset:
    header = parse(data, pixels=False)
    for keyword in (
        "PixelData", "LossyImageCompression", "LossyImageCompressionRatio",
        "LossyImageCompressionMethod", "PhotometricInterpretation", "PlanarConfiguration",
    ):  # fmt: skip
        if keyword in header:
            delattr(header, keyword)
    return header
