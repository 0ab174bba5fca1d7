"""Labels of days without images: kept as visits, given to images that come later."""

from __future__ import annotations

import hashlib
import shutil
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
from client.ingest.writer import IngestWriter
from client.store.catalogue import Label, Study
from client.store.exclusions import leave_out
from client.store.site_store import SiteStore, init_site
from client.store.split import SPLITS
from client.store.statistics import describe_store
from shared.dicom.labels.names import vendor_named
from shared.dicom.labels.tables import LabelRow
from shared.dicom.phi.deidentify import replaced_uid
from shared.dicom.read import ReadVolume
from shared.dicom.read_study import ReadStudy, StudyHeader
from shared.dicom.scan import FolderScan
from shared.dicom.study_files import ScannedFile, StudyGroup
from shared.dicom.verdicts import judge
from shared.records import Covariates, ImageRecord, StudyLabels, Vendor, View, VolumeRecord
from shared.settings.files import SiteConfig
from tests.client.store_snapshot import snapshot

WHO = "MRN7"
FIRST, SECOND, THIRD = date(2020, 3, 1), date(2021, 3, 1), date(2023, 5, 2)


def sha(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def scan_of(
    day: date, vendor: Vendor = Vendor.LUNAR, who: str = WHO, bmd: dict[str, float] | None = None
) -> ReadStudy:
    """A DXA study, or of another maker a CT."""
    uid = f"1.2.{day:%Y%m%d}.{list(Vendor).index(vendor)}"
    image = ImageRecord(np.full((6, 4), 0.5, np.float32), (0.5, 0.5), "calibrated")
    volume = VolumeRecord(np.zeros((3, 4, 4), np.int16), (2.0, 1.0, 1.0))
    is_ct = vendor is Vendor.OTHER
    return ReadStudy(
        header=StudyHeader(who, "Kellermann^Ada", uid, day, ""),
        vendor=vendor,
        images={} if is_ct else {View.SPINE_PA: image},
        labels=StudyLabels(bmd=bmd or {}),
        covariates=Covariates(sex="F", age_years=61.0),
        digests={} if is_ct else {View.SPINE_PA: sha(uid)},
        mask_digests={},
        volumes={uid: ReadVolume(volume, 3, False, "", sha(uid))} if is_ct else {},
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
class Hospital:
    """A site whose reader reads what the test says."""

    site: Path
    monkeypatch: pytest.MonkeyPatch

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

    def scanned(name: str, kind: Any) -> ScannedFile:
        return ScannedFile(
            Path(name), name, sha(uid), kind, uid, f"{uid}.1", study.header.patient_id
        )

    images = {view: scanned(f"{uid}.dcm", "image") for view in study.images}
    series = {name: [scanned(f"{uid}.dcm", "image")] for name in study.volumes}
    return StudyGroup(uid, images=images, series=series)


@pytest.fixture
def hospital(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Hospital:
    init_site(tmp_path / "site", SiteConfig(site="riverside"))
    return Hospital(tmp_path / "site", monkeypatch)


def test_a_line_of_a_day_without_images_is_a_visit_of_the_patients_only_vendor(
    hospital: Hospital,
) -> None:
    report = hospital.report([scan_of(FIRST)], [line(SECOND), line(SECOND, 0.9, region="L1")])
    assert Counter(file.reason for file in report.files) == {"ok": 2, "visit_without_images": 2}
    assert (report.visits_new, report.counts["studies"], report.counts["patients"]) == (1, 1, 1)
    assert hospital.studies() == [
        (FIRST, "lunar", "lunar", {}),
        (SECOND, "lunar", None, {"L1-L4": 1.012, "L1": 0.9}),
    ]
    with Session(SiteStore.open(hospital.site).engine) as session:
        kept = session.scalars(select(Study).where(Study.maker.is_(None))).one()
        assert (kept.sex, kept.age_years, kept.method) == ("F", None, "113100,113107,113108")
    rows = {row["what"]: row for row in describe_store(hospital.site)["rows"]}
    assert rows["visits without images with bmd"]["train"] == 1
    assert rows["studies of lunar"]["train"] == 1


def test_the_same_table_again_changes_nothing(hospital: Hospital) -> None:
    rows = [line(SECOND), line(THIRD, 0.95, maker="GE Lunar")]
    hospital.take([scan_of(FIRST)], rows)
    before = snapshot(hospital.site)
    report = hospital.report([scan_of(FIRST)], rows)
    assert Counter(file.reason for file in report.files) == {
        "already_there": 2, "visit_without_images": 2,
    }  # fmt: skip
    after = snapshot(hospital.site)
    # A study that is there already is not read, so that its file's own name is seen instead.
    assert {name for name in after if after[name] != before.get(name)} <= {"identifiers"}
    assert report.visits_new == 0


def test_an_ingest_that_ends_early_ends_the_same_when_started_again(
    hospital: Hospital, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    studies, rows = [scan_of(FIRST)], [line(SECOND), line(THIRD, maker="Hologic")]

    def killed(_: object) -> None:
        raise KeyboardInterrupt

    shutil.copytree(hospital.site, tmp_path / "whole")
    with monkeypatch.context() as patch:
        patch.setattr(IngestWriter, "assign_splits", killed)
        with pytest.raises(KeyboardInterrupt):
            hospital.take(studies, rows)
    hospital.take(studies, rows)
    assert hospital.studies()[1:] == [
        (SECOND, "other", None, {"L1-L4": 1.012}),  # of two vendors, nobody knows which
        (THIRD, "hologic", "hologic", {"L1-L4": 1.012}),
    ]
    Hospital(tmp_path / "whole", monkeypatch).take(studies, rows)
    assert snapshot(hospital.site) == snapshot(tmp_path / "whole")


def test_images_of_the_day_that_come_later_take_the_labels_over(hospital: Hospital) -> None:
    rows = [
        line(SECOND),
        line(SECOND, 0.9, region="L1"),
        line(SECOND, 2, region="T12", kind="genant"),
    ]
    hospital.take([scan_of(FIRST)], rows)
    later = scan_of(SECOND, bmd={"L1-L4": 1.0121, "L1": 0.7})
    assert hospital.take([later]) == {"ok": 1}
    # L1 differs between table and file: neither is believed; L1-L4 is the same value twice.
    assert hospital.studies()[1] == (SECOND, "lunar", "lunar", {"L1-L4": 1.0121, "T12": 2.0})
    assert len(hospital.studies()) == 2
    assert hospital.take(rows=rows) == {"label_conflict": 1, "already_there": 1}
    assert len(hospital.studies()) == 2


def test_the_bmd_of_a_day_is_of_its_dxa_scan_and_never_of_its_ct(hospital: Hospital) -> None:
    ct = scan_of(SECOND, Vendor.OTHER)
    assert hospital.take([scan_of(FIRST), ct], [line(SECOND)])["visit_without_images"] == 1
    assert hospital.studies()[1:] == [
        (SECOND, "lunar", None, {"L1-L4": 1.012}), (SECOND, "other", None, {}),
    ]  # fmt: skip
    hospital.take([scan_of(SECOND)])
    assert hospital.studies()[1:] == [
        (SECOND, "lunar", "lunar", {"L1-L4": 1.012}), (SECOND, "other", None, {}),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("makers", "expected"),
    [
        (["Hologic Horizon A"], ("hologic", "hologic")),
        (["Norland"], ("other", "other")),
        (["", "GE Lunar"], ("lunar", "lunar")),
        ([""], ("other", None)),  # of two vendors, nobody knows which
    ],
)
def test_the_vendor_is_what_the_table_says(
    makers: list[str], expected: tuple[str, str | None], hospital: Hospital
) -> None:
    rows = [line(THIRD, region=f"L{n}", maker=maker) for n, maker in enumerate(makers, 1)]
    hospital.take([scan_of(FIRST), scan_of(SECOND, Vendor.HOLOGIC)], rows)
    assert hospital.studies()[2][1:3] == expected


def test_lines_that_name_two_vendors_are_not_believed(hospital: Hospital) -> None:
    rows = [line(SECOND, region="L1", maker="Hologic"), line(SECOND, region="L2", maker="Lunar")]
    assert hospital.take([scan_of(FIRST)], rows) == {
        "ok": 1, "label_conflict": 2, "table_unused": 1,
    }  # fmt: skip
    assert len(hospital.studies()) == 1


def test_a_line_of_another_scanner_is_not_joined_to_the_days_scan(hospital: Hospital) -> None:
    hospital.take([scan_of(FIRST)], [line(FIRST, maker="Hologic")])
    assert hospital.studies() == [
        (FIRST, "hologic", "hologic", {"L1-L4": 1.012}), (FIRST, "lunar", "lunar", {}),
    ]  # fmt: skip


def test_a_patient_without_any_study_gets_no_visit(hospital: Hospital) -> None:
    reasons = hospital.take([scan_of(FIRST)], [line(SECOND, who="MRN9")])
    assert reasons == {"ok": 1, "label_without_study": 1, "table_unused": 1}


def test_a_patient_whose_studies_are_left_out_is_in_no_split(hospital: Hospital) -> None:
    hospital.take([scan_of(FIRST)], [line(SECOND)])
    store = SiteStore.open(hospital.site)
    assert [p for split in SPLITS for p in store.source(split).patients]
    leave_out(hospital.site, replaced_uid(store.secret, scan_of(FIRST).header.study_uid))
    assert not [p for split in SPLITS for p in store.source(split).patients]


@pytest.mark.parametrize(
    ("text", "vendor"),
    [
        ("GE Healthcare", Vendor.LUNAR), ("LUNAR iDXA", Vendor.LUNAR), ("Prodigy", Vendor.LUNAR),
        ("HOLOGIC, Inc.", Vendor.HOLOGIC), ("Horizon W", Vendor.HOLOGIC), ("", Vendor.OTHER),
        ("Norland XR-46", Vendor.OTHER), ("GE or Hologic", Vendor.OTHER),
    ],
)  # fmt: skip
def test_vendors_are_known_by_their_names(text: str, vendor: Vendor) -> None:
    assert vendor_named(text) is vendor
