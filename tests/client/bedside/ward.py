"""A ward for the tests: small studies, a stand-in for reading them, a PACS that behaves or not."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import Any

from pydicom import dcmread, dcmwrite
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import (
    UID,
    ComputedRadiographyImageStorage,
    ImplicitVRLittleEndian,
    SecondaryCaptureImageStorage,
    generate_uid,
)
from pynetdicom import AE, AllStoragePresentationContexts, evt
from pynetdicom.association import Association
from pynetdicom.sop_class import Verification

from client.bedside.answering.answering import AnswerObject
from client.bedside.serving import BedsideNode, serving
from client.bedside.work.looking import show
from client.bedside.work.sendings import ResultEntry
from client.store.site_store import init_site
from shared.errors import InputEmptyError
from shared.records import Modality
from shared.runtime.flower import free_port
from shared.settings.files import SiteConfig
from tests.suite.waiting import wait_for

QUIET = 0.4
VIEWS = ("AP Spine", "Left Femur")


def scan(
    study: str = "1.2.3", view: str = "AP Spine", *, patient: str = "P1", born: str = "19500101",
    number: int = 1, **changes: Any,
) -> Dataset:  # fmt: skip
    """A tiny Lunar scan, as a scanner sends it."""
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian
    dataset.SOPClassUID = ComputedRadiographyImageStorage
    dataset.file_meta.MediaStorageSOPClassUID = ComputedRadiographyImageStorage
    dataset.StudyInstanceUID = study
    dataset.SeriesInstanceUID = f"{study}.{number}"
    dataset.SOPInstanceUID = f"{study}.{number}.1"
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    dataset.PatientID, dataset.PatientName = patient, "Doe^Jane"
    dataset.PatientBirthDate, dataset.PatientSex = born, "F"
    dataset.AccessionNumber = f"A{study[-6:]}"
    dataset.Modality, dataset.Manufacturer = "CR", "GE Healthcare"
    dataset.ManufacturerModelName, dataset.ProtocolName = "Lunar iDXA", view
    dataset.Rows = dataset.Columns = 16
    dataset.BitsAllocated = dataset.BitsStored = 8
    dataset.HighBit, dataset.PixelRepresentation, dataset.SamplesPerPixel = 7, 0, 1
    dataset.PhotometricInterpretation = "MONOCHROME2"
    dataset.PixelData = bytes(range(256))
    for keyword, value in changes.items():
        setattr(dataset, keyword, value)
    return dataset


def whole_study(study: str = "1.2.3", patient: str = "P1", **changes: Any) -> list[Dataset]:
    """A spine and a hip."""
    return [
        scan(study, view, patient=patient, number=number, **changes)
        for number, view in enumerate(VIEWS, start=1)
    ]


def encoded(dataset: Dataset) -> bytes:
    """The bytes of a file."""
    buffer = BytesIO()
    dcmwrite(buffer, dataset, enforce_file_format=True)
    return buffer.getvalue()


def result_of(source: Dataset, what: str, *inputs: str) -> Dataset:
    """A secondary capture that is said of a study; its UID follows from its sources and patient."""
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian
    dataset.SOPClassUID = SecondaryCaptureImageStorage
    dataset.file_meta.MediaStorageSOPClassUID = SecondaryCaptureImageStorage
    for keyword in (
        "StudyInstanceUID", "PatientID", "PatientName", "PatientBirthDate", "PatientSex",
        "AccessionNumber",
    ):  # fmt: skip
        setattr(dataset, keyword, source.get(keyword))
    dataset.SOPInstanceUID = generate_uid(
        entropy_srcs=[source.StudyInstanceUID, source.PatientID, what, *inputs]
    )
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    dataset.SeriesInstanceUID = generate_uid(entropy_srcs=[source.StudyInstanceUID, what])
    dataset.Modality, dataset.Manufacturer = "OT", "OsteoFed"
    dataset.SeriesDescription = what
    dataset.Rows = dataset.Columns = 4
    dataset.BitsAllocated = dataset.BitsStored = 8
    dataset.HighBit, dataset.PixelRepresentation, dataset.SamplesPerPixel = 7, 0, 1
    dataset.PhotometricInterpretation, dataset.PixelData = "MONOCHROME2", bytes(16)
    return dataset


@dataclass
class StandInReader:
    """Answers a study with two objects that name its sources; `before` is called before it does."""

    before: Callable[[Path], None] = lambda folder: None
    kinds: tuple[str, ...] = ("sr", "sc")
    changed: Callable[[Dataset], None] = lambda result: None
    read: list[int] = field(default_factory=list)

    def modalities(self) -> frozenset[Modality]:
        """DXA, as most sites."""
        return frozenset({Modality.DXA})

    def answer(self, folder: Path, earlier: Sequence[ResultEntry]) -> list[AnswerObject]:
        """Read what is there."""
        self.before(folder)
        sources = [dcmread(path) for path in sorted(folder.glob("*.dcm"))]
        if not sources:
            raise InputEmptyError(f"{folder}: holds no image")
        self.read.append(len(sources))
        inputs = [
            *sorted(str(one.SOPInstanceUID) for one in sources),
            *(e.sop_uid for e in earlier),
        ]
        made = []
        for kind in self.kinds:
            result = result_of(sources[0], kind, *inputs)
            self.changed(result)
            made.append(
                AnswerObject(
                    kind,
                    "",
                    result.SOPInstanceUID,
                    result.SOPClassUID,
                    result.SeriesInstanceUID,
                    encoded(result),
                )
            )
        return made


@dataclass
class StandInPacs:
    """Takes results, answers them with `status`, and counts how often each came."""

    port: int = field(default_factory=free_port)
    status: int = 0
    refuses: tuple[str, ...] = ()
    came: Counter[str] = field(default_factory=Counter)
    kept: dict[str, Dataset] = field(default_factory=dict)
    lock: threading.Lock = field(default_factory=threading.Lock)

    @contextmanager
    def running(self) -> Iterator[None]:
        """Listen."""
        node = AE(ae_title="PACS")
        node.supported_contexts = [
            c for c in AllStoragePresentationContexts if str(c.abstract_syntax) not in self.refuses
        ]
        node.add_supported_context(Verification)
        node.maximum_associations = 50
        server = node.start_server(
            ("127.0.0.1", self.port), block=False, evt_handlers=[(evt.EVT_C_STORE, self._store)]
        )
        try:
            yield
        finally:
            server.shutdown()

    def _store(self, event: evt.Event) -> int:
        dataset = event.dataset
        dataset.file_meta = event.file_meta
        with self.lock:
            self.came[str(dataset.SOPInstanceUID)] += 1
            if self.status == 0:
                self.kept[str(dataset.SOPInstanceUID)] = dataset
        return self.status

    def results(self, study: str) -> list[str]:
        """What it keeps of a study, by its description."""
        with self.lock:
            return sorted(
                str(one.SeriesDescription)
                for one in self.kept.values()
                if one.StudyInstanceUID == study
            )


@dataclass
class Ward:
    """A site with its node's port, and what it said."""

    site: Path
    port: int
    pacs: StandInPacs
    said: list[str] = field(default_factory=list)
    node: BedsideNode | None = None

    @contextmanager
    def serving(self, reader: StandInReader | None = None) -> Iterator[BedsideNode]:
        """Run the node."""
        with serving(self.site, reader or StandInReader(), self.said.append) as node:
            self.node = node
            yield node

    def rows(self) -> dict[str, dict[str, Any]]:
        """The work list, by study."""
        assert self.node is not None
        return {row["study_uid"]: row for row in show(self.node.work_list, "test")["studies"]}

    def state(self, study: str) -> str:
        """How a study stands; empty if it is not known."""
        return str(self.rows().get(study, {}).get("state", ""))

    def waits_for(self, study: str, state: str) -> dict[str, Any]:
        """Wait until a study stands so."""
        wait_for(lambda: self.state(study) == state)
        return self.rows()[study]

    def send(self, datasets: Sequence[Dataset]) -> list[int]:
        """Send objects as a scanner does, over one association; give the status of each."""
        association = self.associate(datasets)
        statuses = [int(association.send_c_store(one).Status) for one in datasets]
        association.release()
        return statuses

    def associate(self, datasets: Sequence[Dataset], title: str = "SCANNER") -> Association:
        """Ask for an association that takes such objects."""
        node = AE(ae_title=title)
        for one in {str(one.SOPClassUID) for one in datasets}:
            node.add_requested_context(UID(one), ImplicitVRLittleEndian)
        node.add_requested_context(Verification)
        association = node.associate("127.0.0.1", self.port, ae_title="OSTEOFEDREAD")
        assert association.is_established
        return association


#: Tries again soon.
RETRY = {"first_wait_seconds": 0.05, "longest_wait_seconds": 0.2, "timeout_seconds": 10.0}


def make_ward(
    folder: Path, pacs: StandInPacs | None = None, quiet: float = QUIET, **bedside: Any
) -> Ward:
    """Make a site whose node sends to a PACS."""
    pacs = pacs or StandInPacs()
    port = free_port()
    listen = {
        "port": port, "senders": ["SCANNER", "STORESCU", "PACS", "HOSPITAL"],
        "quiet_seconds": quiet, "quiet_seconds_ct": 2 * quiet,
    }  # fmt: skip
    peer = {"host": "127.0.0.1", "port": pacs.port, "title": "PACS"}
    settings = {"listen": listen, "send_to": [{"name": "pacs", "peer": peer}]} | bedside
    config = SiteConfig.model_validate(
        {"site": "riverside", "bedside": settings, "pacs": {"retry": RETRY}}
    )
    site = folder / "site"
    init_site(site, config)
    return Ward(site, port, pacs)


def remove(dataset: Dataset, *keywords: str) -> Dataset:
    """The same without some attributes."""
    for keyword in keywords:
        with suppress(AttributeError):
            delattr(dataset, keyword)
    return dataset
