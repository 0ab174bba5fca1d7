"""A hospital whose reader reads what a test says: no file is written or read."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sqlalchemy import select
from sqlalchemy.orm import Session

from client.ingest.folder import IngestReport, ingest
from client.store.catalogue import Label, Study
from client.store.site_store import SiteStore, init_site
from shared.dicom.labels.tables import LabelRow
from shared.dicom.read import ReadVolume
from shared.dicom.read_study import ReadStudy, StudyHeader
from shared.dicom.scan import FolderScan
from shared.dicom.study_files import ScannedFile, StudyGroup
from shared.dicom.verdicts import judge
from shared.records import Covariates, ImageRecord, StudyLabels, Vendor, View, VolumeRecord
from shared.regions import code_of
from shared.settings.files import SiteConfig

WHO = "MRN7"
FIRST, SECOND, THIRD = date(2020, 3, 1), date(2021, 3, 1), date(2023, 5, 2)


def sha(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def ct_volume(
    *, kernel: str = "B30f", thickness: float = 1.5, levels: Sequence[str] = ()
) -> ReadVolume:
    """A series of three slices of 4 by 5 mm, 2 mm apart, at 120 kV without contrast."""
    regions = np.zeros((3, 4, 5), np.uint8)
    for place, level in enumerate(levels):
        regions[0, 0, place] = code_of(level, "volume")
    record = VolumeRecord(
        np.zeros((3, 4, 5), np.int16), (2.0, 1.0, 1.0), kvp=120.0, kernel=kernel,
        slice_thickness_mm=thickness, contrast=False, regions=regions if levels else None,
    )  # fmt: skip
    mask = sha(f"mask {levels}") if levels else None
    return ReadVolume(record, 3, False, "", sha(f"{kernel} {thickness}"), mask)


def scan_of(
    day: date,
    vendor: Vendor = Vendor.LUNAR,
    who: str = WHO,
    bmd: dict[str, float] | None = None,
    volumes: Sequence[ReadVolume] = (),
) -> ReadStudy:
    """A DXA study, or of another maker a CT."""
    uid = f"1.2.{day:%Y%m%d}.{list(Vendor).index(vendor)}"
    image = ImageRecord(np.full((6, 4), 0.5, np.float32), (0.5, 0.5), "calibrated")
    is_ct = vendor is Vendor.OTHER
    series = (volumes or [ct_volume()]) if is_ct else []
    return ReadStudy(
        header=StudyHeader(who, "Kellermann^Ada", uid, day, ""),
        vendor=vendor,
        images={} if is_ct else {View.SPINE_PA: image},
        labels=StudyLabels(bmd=bmd or {}),
        covariates=Covariates(sex="F", age_years=61.0),
        digests={} if is_ct else {View.SPINE_PA: sha(uid)},
        mask_digests={},
        volumes={f"{uid}.{number}": one for number, one in enumerate(series, start=1)},
        maker="" if is_ct else vendor.value,
    )


def line(
    day: date,
    value: float = 1.012,
    *,
    region: str = "L1-L4",
    maker: str = "",
    who: str = WHO,
    kind: Any = "bmd",
) -> LabelRow:
    return LabelRow("t.csv:2", who, day, kind, region, value, maker)


@dataclass
class ToldHospital:
    """A site whose reader reads what the test says."""

    site: Path
    monkeypatch: pytest.MonkeyPatch

    @classmethod
    def new(cls, folder: Path, monkeypatch: pytest.MonkeyPatch) -> ToldHospital:
        init_site(folder / "site", SiteConfig(site="riverside"))
        return cls(folder / "site", monkeypatch)

    def take(
        self, studies: Sequence[ReadStudy] = (), rows: Sequence[LabelRow] = ()
    ) -> Counter[str]:
        return Counter(file.reason for file in self.report(studies, rows).files)

    def report(
        self, studies: Sequence[ReadStudy] = (), rows: Sequence[LabelRow] = ()
    ) -> IngestReport:
        by_uid = {study.header.study_uid: study for study in studies}
        groups, tables = [_group(study) for study in studies], ["t.csv"][: len(rows)]
        digests = {file.name: file.digest for group in groups for file in group.files}
        digests |= {name: sha(name) for name in tables}
        found = FolderScan(groups=groups, rows=list(rows), tables=tables, digests=digests)
        self.monkeypatch.setattr("client.ingest.folder.scan_folder", lambda *_: found)
        self.monkeypatch.setattr("client.ingest.staging.assess", lambda *_: ())
        self.monkeypatch.setattr(
            "client.ingest.staging.read_group",
            lambda group, _: (
                by_uid[group.study_uid],
                [judge(file.name, "ok") for file in group.files],
            ),
        )
        return ingest(self.site, self.site.parent, workers=1)

    def studies(self) -> list[tuple[date | None, str, str | None, dict[str, float]]]:
        """Day counted as if the first were its own, vendor, maker and BMD, by day."""
        store = SiteStore.open(self.site)
        with Session(store.engine) as session:
            rows = list(session.scalars(select(Study).order_by(Study.day, Study.vendor)))
            labels = {
                row.uid: {
                    label.name: label.value
                    for label in session.scalars(select(Label).where(Label.study == row.uid))
                    if not label.disputed
                }
                for row in rows
            }
            shift = (rows[0].day or 0) - FIRST.toordinal()
            return [
                (
                    None if row.day is None else date.fromordinal(row.day - shift),
                    row.vendor, row.maker, labels[row.uid],
                )
                for row in rows
            ]  # fmt: skip


def _group(study: ReadStudy) -> StudyGroup:
    uid = study.header.study_uid

    def scanned(name: str, kind: Any, digest: str) -> ScannedFile:
        who = study.header.patient_id
        return ScannedFile(Path(name), name, digest, kind, uid, f"{uid}.{name}", who)

    images = {view: scanned(f"{uid}.dcm", "image", sha(uid)) for view in study.images}
    series = {
        name: [scanned(f"{name}.dcm", "image", volume.digest)]
        for name, volume in study.volumes.items()
    }
    drawn = [volume.mask_digest for volume in study.volumes.values() if volume.mask_digest]
    masks = [scanned(f"{digest[:8]}.nii", "mask", digest) for digest in drawn]
    return StudyGroup(uid, images=images, series=series, masks=masks)
