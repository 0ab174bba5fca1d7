"""Boxes, points and slices of tables go through ingest into the store, and reach a task."""

from __future__ import annotations

import shutil
import sqlite3
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch

from client.ingest.folder import IngestReport, ingest
from client.phi.audit import audit_phi
from client.store.site_store import SiteStore, init_site
from client.store.split import SPLITS
from client.store.statistics import describe_store
from shared.dicom.labels.marks import MOST_MARKS
from shared.dicom.read import read_study_folder
from shared.records import StudyRecord, View
from shared.settings.files import SiteConfig
from shared.settings.task import TaskSettings
from shared.tasks.xray.vertebrae import XrayVertebrae
from tests.client.ingest.test_ingest_identifiers import kinds
from tests.client.store_snapshot import snapshot
from tests.shared.ct_samples import STEP, field, uid, write_ct, write_radiograph
from tests.shared.dicom.test_marks import (
    BLOCK,
    BOX_HEADER,
    POINT_HEADER,
    REVERSED,
    SHUFFLED,
    SLICE_HEADER,
    WHO,
    block,
)


@dataclass
class MarkedHospital:
    """A site, and the folder that it takes in."""

    site: Path
    export: Path

    def table(self, text: str, name: str = "marks.csv") -> None:
        (self.export / name).write_text(text)

    def take(self) -> IngestReport:
        return ingest(self.site, self.export, workers=1)

    def lines(self) -> Counter[str]:
        """Take in; reasons of the lines of tables."""
        return Counter(one.reason for one in self.take().files if ":" in one.path)

    def records(self) -> list[StudyRecord]:
        store = SiteStore.open(self.site)
        try:
            sources = [store.source(split) for split in SPLITS]
            return [study for s in sources for p in s.patients for study in s.studies(p)]
        finally:
            store.close()

    def digests(self) -> list[str]:
        store = SiteStore.open(self.site)
        try:
            return [store.source(split).digest() for split in SPLITS]
        finally:
            store.close()

    def catalogue(self) -> sqlite3.Connection:
        return sqlite3.connect(self.site / "store" / "catalogue.sqlite")


@pytest.fixture
def hospital(tmp_path: Path) -> MarkedHospital:
    init_site(tmp_path / "site", SiteConfig(site="riverside"))
    (tmp_path / "export").mkdir()
    return MarkedHospital(tmp_path / "site", tmp_path / "export")


def mirrored(folder: Path) -> None:
    """A radiograph that is kept the other way round in both directions."""
    write_radiograph(folder / "a.dcm", block(), PatientOrientation=["R", "H"])


def test_a_box_reaches_the_sample_of_a_task_on_the_pixels_that_it_marks(
    hospital: MarkedHospital,
) -> None:
    mirrored(hospital.export)
    hospital.table(f"{BOX_HEADER}{WHO},a.dcm,L3,{BLOCK}\n")
    assert {one.reason for one in hospital.take().files} == {"ok"}
    (study,) = hospital.records()
    task = XrayVertebrae(TaskSettings(task="xray-vertebrae"))
    assert study.images[View.LUMBAR_AP].regions is None
    assert task.uses(study)
    sample = task.sample(study)
    vertebra, image = sample["vertebra"][0] > 0, sample["image"][0, 0]
    assert float(sample["weight"]) == 1.0
    assert float(vertebra.float().mean()) == pytest.approx(50 / (60 * 48), rel=0.15)
    assert float(image[vertebra].mean()) > float(torch.quantile(image, 0.9))


def test_a_slice_reaches_the_volume_of_a_task(hospital: MarkedHospital) -> None:
    write_ct(hospital.export / "ct", positions=REVERSED, order=SHUFFLED)
    hospital.table(f"{SLICE_HEADER}{WHO},,L3,{uid(1, 1, 5)}\n{WHO},,L1,{100 - STEP}\n")
    assert hospital.lines() == {}
    (study,) = hospital.records()
    (volume,) = study.volumes.values()
    assert volume.marked_slices == {"L1": 4, "L3": 1}
    assert np.array_equal(volume.hu[volume.marked_slices["L3"]], field()[4])


def test_a_table_may_come_later_and_twice_changes_nothing(hospital: MarkedHospital) -> None:
    mirrored(hospital.export)
    write_ct(hospital.export / "ct", positions=REVERSED, study=2)
    hospital.take()
    before = hospital.digests()
    shutil.rmtree(hospital.export)
    hospital.export.mkdir()
    hospital.table(f"{BOX_HEADER}{WHO},lumbar_ap,L3,{BLOCK}\n{WHO},,,20,30,25,40\n")
    hospital.table(f"{SLICE_HEADER}MRN0002,2024-03-01,,L3,90\n", "levels.csv")
    first = hospital.take()
    assert {one.reason for one in first.files} == {"ok"}
    assert hospital.digests() != before
    known = snapshot(hospital.site)
    assert {one.reason for one in hospital.take().files} == {"already_there"}
    assert snapshot(hospital.site) == known
    found = {study.patient: study for study in hospital.records()}
    assert sorted(len(one.images) + 2 * len(one.volumes) for one in found.values()) == [1, 2]
    rows = {row["what"] for row in describe_store(hospital.site)["rows"]}
    assert {"studies with a marked box", "studies with a marked slice"} <= rows


def test_sources_that_differ_are_both_unused_for_good(hospital: MarkedHospital) -> None:
    mirrored(hospital.export)
    hospital.table(f"{BOX_HEADER}{WHO},,L3,{BLOCK}\n{WHO},,L2,{BLOCK}\n")
    hospital.take()
    hospital.table(f"{BOX_HEADER}{WHO},,L3,1,10,9,20\n{WHO},,L2,4.2,10,9,20\n")
    assert hospital.lines() == {"label_conflict": 1}
    hospital.table(f"{BOX_HEADER}{WHO},,L3,{BLOCK}\n")
    assert hospital.lines() == {"label_conflict": 1}
    (study,) = hospital.records()
    assert [box.vertebra for box in study.images[View.LUMBAR_AP].boxes] == ["L2"]


def test_every_line_that_matches_nothing_is_accounted_for(hospital: MarkedHospital) -> None:
    mirrored(hospital.export)
    lines = [
        f"{WHO},,L1,40,10,49,20", f"{WHO},hip_left,L2,{BLOCK}", f"{WHO},c.dcm,L3,{BLOCK}",
        f"MRN0001,2024-04-01,,L4,{BLOCK}", f"{WHO},,S1,{BLOCK}", f"{WHO},,L4,{BLOCK}",
    ]  # fmt: skip
    hospital.table(BOX_HEADER + "\n".join(lines) + "\n")
    hospital.table(f"{SLICE_HEADER}{WHO},,L3,90\n", "levels.csv")
    report = hospital.take()
    assert {one.path: one.reason for one in report.files if one.reason != "ok"} == {
        "marks.csv:2": "mark_outside",
        "marks.csv:3": "mark_without_image",
        "marks.csv:4": "mark_without_image",
        "marks.csv:5": "label_without_study",
        "marks.csv:6": "label_invalid",
        "levels.csv:2": "mark_without_image",
        "levels.csv": "table_unused",
    }


def test_an_image_has_so_many_marks_and_what_is_beyond_is_accounted_for(
    hospital: MarkedHospital,
) -> None:
    mirrored(hospital.export)
    lines = [f"{WHO},,,1,{y / 2},9,{y / 2 + 5}" for y in range(MOST_MARKS + 3)]
    lines += [f"{WHO},,L{level},{BLOCK}" for level in (1, 2)]
    hospital.table(BOX_HEADER + "\n".join(lines) + "\n")
    hospital.table(f"{POINT_HEADER}{WHO},,L3,6.5,12.5\n", "points.csv")
    beyond = {"marks_too_many": 5}
    read = read_study_folder(hospital.export)
    assert Counter(one.reason for one in read.files if ":" in one.path) == beyond
    assert hospital.lines() == beyond
    hospital.table(f"{BOX_HEADER}{WHO},,,1,20.2,9,29\n{WHO},,,1,0,9,5\n", "later.csv")
    assert hospital.lines() == {"marks_too_many": 6}
    [study] = hospital.records()
    image = study.images[View.LUMBAR_AP]
    assert (len(image.boxes), set(image.points)) == (MOST_MARKS, {"L3"})


def test_of_two_studies_of_a_day_the_one_with_the_image_is_marked(
    hospital: MarkedHospital,
) -> None:
    mirrored(hospital.export)
    write_ct(
        hospital.export / "ct",
        study=2,
        change=lambda data, _: setattr(data, "PatientID", "MRN0001"),
    )
    hospital.table(f"{BOX_HEADER}{WHO},,L3,{BLOCK}\n")
    hospital.table(f"{SLICE_HEADER}{WHO},,L3,105\n", "levels.csv")
    assert hospital.lines() == {}
    studies = hospital.records()
    assert [len(one.boxes) for study in studies for one in study.images.values()] == [1]
    assert [one.marked_slices for study in studies for one in study.volumes.values()] == [{"L3": 2}]


def test_a_box_of_a_file_that_was_not_taken_is_not_laid_on_another(
    hospital: MarkedHospital,
) -> None:
    mirrored(hospital.export)
    hospital.take()
    write_radiograph(hospital.export / "a.dcm", block() + 5, SOPInstanceUID=uid(1, 7, 2))
    hospital.table(f"{BOX_HEADER}{WHO},a.dcm,L3,{BLOCK}\n")
    assert hospital.lines() == {"mark_without_image": 1}


def test_no_identifier_of_a_table_is_in_the_store_and_the_audit_knows_them(
    hospital: MarkedHospital,
) -> None:
    mirrored(hospital.export)
    other, path = "1.2.840.99.77.12345", "Abendschein Irmgard/a.dcm"
    hospital.table(
        f"{BOX_HEADER}{WHO},a.dcm,L3,{BLOCK}\nMRN7788,2024-03-01,{other},L3,{BLOCK}\n"
        f"MRN7788,2024-03-01,{path},L3,{BLOCK}\n{WHO},lumbar_ap,L2,{BLOCK}\n"
    )
    hospital.take()
    assert kinds(hospital.site, f"x {other} y") == {"uid"}
    assert kinds(hospital.site, "of Abendschein Irmgard") == {"file name"}
    assert kinds(hospital.site, "MRN7788") == {"patient id"}
    assert kinds(hospital.site, "lumbar_ap") == set()
    audit = audit_phi(hospital.site)
    assert audit.found == []


def test_an_image_of_an_older_store_is_marked_once_its_file_is_taken_in_again(
    hospital: MarkedHospital,
) -> None:
    mirrored(hospital.export)
    hospital.take()
    with hospital.catalogue() as catalogue:
        catalogue.execute("DROP TABLE markings")
        catalogue.execute("ALTER TABLE images DROP COLUMN turned")
        catalogue.execute("UPDATE properties SET value = '3' WHERE key = 'schema'")
    table = f"{BOX_HEADER}{WHO},,L3,{BLOCK}\n"
    image = (hospital.export / "a.dcm").read_bytes()
    (hospital.export / "a.dcm").unlink()
    hospital.table(table)
    assert hospital.lines() == {"mark_turn_unknown": 1}
    (hospital.export / "a.dcm").write_bytes(image)
    report = hospital.take()
    assert {one.path: one.reason for one in report.files} == {
        "a.dcm": "already_there", "marks.csv": "ok"
    }  # fmt: skip
    (study,) = hospital.records()
    (box,) = study.images[View.LUMBAR_AP].boxes
    assert (box.x0, box.y0, box.x1, box.y1) == (39, 40, 44, 50)
