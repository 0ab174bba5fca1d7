"""How long a study that is being pushed must be quiet: longer where it is a CT of unknown size."""

from __future__ import annotations

import threading
from collections import defaultdict
from io import BytesIO
from pathlib import Path
from typing import Final

from pydicom import dcmread

from shared.dicom.attributes import quietly, text_of
from shared.dicom.ct.slices import CLASSES, told_of

#: What is read of a file: where it belongs and how many there are to be.
TAGS: Final = (
    "SOPClassUID", "SOPInstanceUID", "SeriesInstanceUID", "InstanceNumber", "AcquisitionNumber",
    "ImagesInAcquisition",
)  # fmt: skip

#: Instances of one acquisition of a series that came, and how many it says it has (0: unsaid).
_Acquisition = tuple[set[str], int]


class ArrivingSeries:
    """What came of the CT series of each study, against what they say of themselves.

    Parameters
    ----------
    seconds, seconds_ct : float
        How long a study must be quiet, and one with CT slices. Once as many slices of every
        series came as its acquisitions count, `seconds` is enough.
    """

    def __init__(self, seconds: float, seconds_ct: float) -> None:
        self._seconds = seconds
        self._seconds_ct = seconds_ct
        self._came: dict[str, dict[tuple[str, int | None], _Acquisition]] = defaultdict(dict)
        self._lock = threading.Lock()

    def look(self, study: str, source: Path | BytesIO) -> None:
        """See what a file says; one that cannot be read is no slice."""
        try:
            with quietly():
                dataset = dcmread(source, stop_before_pixels=True, specific_tags=list(TAGS))
                if text_of(dataset, "SOPClassUID") not in CLASSES:
                    return
                told = told_of(dataset)
                instance = text_of(dataset, "SOPInstanceUID")
                key = (text_of(dataset, "SeriesInstanceUID"), told.acquisition)
        except Exception:  # what ingest sets aside needs no waiting for
            return
        with self._lock:
            instances, said = self._came[study].get(key, (set(), 0))
            instances.add(instance)
            self._came[study][key] = (instances, max(said, told.said or 0))

    def wait(self, study: str) -> float:
        """How long the study must be quiet, by what came of it so far."""
        with self._lock:
            series = self._came.get(study, {}).values()
            whole = all(said and len(instances) >= said for instances, said in series)
            return self._seconds if whole else max(self._seconds, self._seconds_ct)

    def forget(self, study: str) -> None:
        """Forget a study that is taken in."""
        with self._lock:
            self._came.pop(study, None)
