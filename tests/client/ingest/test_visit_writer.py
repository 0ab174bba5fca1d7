"""Labels of days without images: kept as visits, given to images that come later."""

from __future__ import annotations

import shutil
from collections import Counter
from pathlib import Path

import pytest
from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from client.contract.facts import read_facts
from client.ingest.writer import IngestWriter
from client.store.catalogue import Label, Study
from client.store.exclusions import leave_out
from client.store.site_store import SiteStore
from client.store.split import SPLITS
from client.store.statistics import describe_store
from shared.dicom.labels.names import vendor_named
from shared.dicom.phi.deidentify import replaced_uid
from shared.records import Vendor
from tests.client.store_snapshot import snapshot
from tests.client.told_hospital import FIRST, SECOND, THIRD, ToldHospital, line, scan_of


@pytest.fixture
def hospital(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ToldHospital:
    return ToldHospital.new(tmp_path, monkeypatch)


def test_a_line_of_a_day_without_images_is_a_visit_of_the_patients_only_vendor(
    hospital: ToldHospital,
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


def test_the_same_table_again_changes_nothing(hospital: ToldHospital) -> None:
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
    hospital: ToldHospital, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
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
    ToldHospital(tmp_path / "whole", monkeypatch).take(studies, rows)
    assert snapshot(hospital.site) == snapshot(tmp_path / "whole")


def test_images_of_the_day_that_come_later_take_the_labels_over(hospital: ToldHospital) -> None:
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


def test_a_dispute_of_lines_stays_one_when_their_images_come(hospital: ToldHospital) -> None:
    rows = [line(SECOND, 0.9), line(SECOND, 0.8)]
    assert hospital.take([scan_of(FIRST)], rows)["label_conflict"] == 2
    hospital.take([scan_of(SECOND)])
    assert hospital.studies()[1] == (SECOND, "lunar", "lunar", {})
    assert hospital.take(rows=rows[:1])["label_conflict"] == 1


def test_the_bmd_of_a_day_is_of_its_dxa_scan_and_never_of_its_ct(hospital: ToldHospital) -> None:
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
        (["Norland"], ("norland", "norland")),
        (["DMS Stratos"], ("other", "other")),
        (["", "GE Lunar"], ("lunar", "lunar")),
        ([""], ("other", None)),  # of two vendors, nobody knows which
    ],
)
def test_the_vendor_is_what_the_table_says(
    makers: list[str], expected: tuple[str, str | None], hospital: ToldHospital
) -> None:
    rows = [line(THIRD, region=f"L{n}", maker=maker) for n, maker in enumerate(makers, 1)]
    hospital.take([scan_of(FIRST), scan_of(SECOND, Vendor.HOLOGIC)], rows)
    assert hospital.studies()[2][1:3] == expected


def test_lines_that_name_two_vendors_are_not_believed(hospital: ToldHospital) -> None:
    rows = [line(SECOND, region="L1", maker="Hologic"), line(SECOND, region="L2", maker="Lunar")]
    assert hospital.take([scan_of(FIRST)], rows) == {
        "ok": 1, "label_conflict": 2, "table_unused": 1,
    }  # fmt: skip
    assert len(hospital.studies()) == 1


def test_a_line_of_another_scanner_is_not_joined_to_the_days_scan(hospital: ToldHospital) -> None:
    hospital.take([scan_of(FIRST)], [line(FIRST, maker="Hologic")])
    assert hospital.studies() == [
        (FIRST, "hologic", "hologic", {"L1-L4": 1.012}), (FIRST, "lunar", "lunar", {}),
    ]  # fmt: skip


def test_a_patient_without_any_study_gets_no_visit(hospital: ToldHospital) -> None:
    reasons = hospital.take([scan_of(FIRST)], [line(SECOND, who="MRN9")])
    assert reasons == {"ok": 1, "label_without_study": 1, "table_unused": 1}


def test_a_patient_whose_studies_are_left_out_is_in_no_split(hospital: ToldHospital) -> None:
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
        ("Norland XR-46", Vendor.NORLAND), ("DMS Stratos", Vendor.OTHER),
        ("GE or Hologic", Vendor.OTHER),
    ],
)  # fmt: skip
def test_vendors_are_known_by_their_names(text: str, vendor: Vendor) -> None:
    assert vendor_named(text) is vendor


def test_a_class_is_of_the_days_study_and_never_a_visit_of_its_own(hospital: ToldHospital) -> None:
    ct = scan_of(SECOND, Vendor.OTHER)
    rows = [
        line(SECOND, 1, region="scoliosis", kind="class"),
        line(SECOND, 1, region="fracture", kind="class"),
        line(FIRST, 1, region="fracture", kind="class"),
    ]
    assert hospital.take([ct], rows)["label_without_study"] == 1
    store = SiteStore.open(hospital.site)
    source = store.source("train")
    before = source.digest()
    (study,) = source.studies(source.patients[0])
    assert study.labels.classes == {"fracture": 1.0, "scoliosis": 1.0}
    facts = read_facts(store, "dxa-bmd", series=True).studies[0]
    assert [facts.has(f"class:{name}") for name in ("scoliosis", "other")] == [True, False]
    with store.engine.begin() as connection:
        connection.execute(delete(Label).where(Label.name == "fracture"))
    assert store.source("train").digest() != before
