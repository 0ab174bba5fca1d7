"""The door: nothing identifying passes, nothing is guessed, nothing happens twice."""

from __future__ import annotations

import csv
import shutil
import sqlite3
from collections import Counter
from pathlib import Path

import numpy as np
import pydicom
import pytest
from typer.testing import CliRunner

from client.cli.main import app
from client.ingest.folder import IngestReport, ingest
from client.store.site_store import SiteStore, init_site
from client.store.split import SPLITS
from shared.errors import InputEmptyError, InputMissingError, StoreMissingError
from shared.phantom.make import make_hospital
from shared.phantom.writers import write_study
from shared.records import StudyRecord, View
from shared.settings.files import SiteConfig
from tests.shared.ct_samples import field, write_ct
from tests.shared.rendered_samples import sample_study


def new_site(folder: Path) -> Path:
    init_site(folder, SiteConfig(site="riverside"))
    return folder


def reasons(report: IngestReport) -> Counter[str]:
    return Counter(file.reason for file in report.files)


def records(site: Path) -> list[StudyRecord]:
    store = SiteStore.open(site)
    sources = [store.source(split) for split in SPLITS]
    return [study for source in sources for p in source.patients for study in source.studies(p)]


def split_of(site: Path) -> dict[str, str]:
    store = SiteStore.open(site)
    return {patient: split for split in SPLITS for patient in store.source(split).patients}


def snapshot(site: Path) -> dict[str, object]:
    """Arrays by name and bytes, and every row of every table."""
    found: dict[str, object] = {
        path.relative_to(site).as_posix(): path.read_bytes() for path in site.rglob("*.npy")
    }
    with sqlite3.connect(site / "store" / "catalogue.sqlite") as catalogue:
        for table in ("patients", "studies", "images", "labels", "files"):
            found[table] = sorted(catalogue.execute(f"SELECT * FROM {table}"), key=str)  # noqa: S608
    return found


def test_every_column_of_the_table_has_a_header(tmp_path: Path) -> None:
    (tmp_path / "export").mkdir()
    (tmp_path / "export" / "notes.dcm").write_bytes(b"no DICOM")
    site = new_site(tmp_path / "site")
    done = CliRunner().invoke(app, ["ingest", str(site), str(tmp_path / "export")])
    assert isinstance(done.exception, InputEmptyError)
    [header] = [line for line in done.stdout.splitlines() if "┃ outcome" in line]
    assert [cell.strip() for cell in header.split("┃")[1:-1]] == [
        "outcome", "files", "reason", "meaning",
    ]  # fmt: skip


@pytest.mark.parametrize("scanner", ["lunar", "hologic"])
def test_no_identifier_is_anywhere_in_the_store(tmp_path: Path, scanner: str) -> None:
    made = make_hospital(tmp_path / "export", scanner, 5, 7, render=sample_study)
    (tmp_path / "export" / "DICOM" / "Kellermann_MRN1234567.dcm").write_bytes(b"no DICOM")
    site = new_site(tmp_path / "site")
    ingest(site, tmp_path / "export")
    planted: set[str] = {"Kellermann", "MRN1234567"}
    for path in (tmp_path / "export").rglob("*.dcm"):
        if path.stat().st_size < 100:
            continue
        dataset = pydicom.dcmread(path, stop_before_pixels=True)
        born, scanned = str(dataset.PatientBirthDate), str(dataset.StudyDate)
        planted |= {
            str(dataset.PatientID),
            dataset.PatientName.family_name,
            dataset.PatientName.given_name,
            str(dataset.AccessionNumber),
            str(dataset.StudyInstanceUID),
            str(dataset.SOPInstanceUID),
            dataset.InstitutionName if "InstitutionName" in dataset else "Apollonia",
            *(f"{d[:4]}-{d[4:6]}-{d[6:]}" for d in (born, scanned)),
            born,
            scanned,
        }
    assert len(planted) > 30
    assert made["patients"] == 5
    for path in site.rglob("*"):
        content = path.relative_to(site).as_posix().encode()
        content += path.read_bytes() if path.is_file() else b""
        for text in planted:
            for encoding in ("utf-8", "latin-1", "utf-16-le"):
                assert text.encode(encoding, errors="ignore") not in content, (path.name, text)


def test_the_same_export_twice_changes_nothing(tmp_path: Path) -> None:
    make_hospital(tmp_path / "export", "hologic", 3, 7, render=sample_study)
    site = new_site(tmp_path / "site")
    first = ingest(site, tmp_path / "export")
    before = snapshot(site)
    second = ingest(site, tmp_path / "export")
    assert snapshot(site) == before
    assert (first.studies_new, second.studies_new) == (3, 0)
    assert reasons(first) == {"ok": 19, "burned_in_text": 3}
    assert reasons(second) == {"already_there": 19, "burned_in_text": 3}


def test_an_interrupted_ingest_ends_the_same_when_repeated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_hospital(tmp_path / "export", "lunar", 6, 7, render=sample_study)
    site = new_site(tmp_path / "site")
    shutil.copytree(site, tmp_path / "whole")
    monkeypatch.setattr("client.ingest.folder.STUDIES_PER_COMMIT", 2)

    def interrupt(done: int, found: int) -> None:
        if done == 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        ingest(site, tmp_path / "export", interrupt)
    assert SiteStore.open(site).counts()["studies"] == 4
    assert split_of(site) == {}  # nobody is used before the split is settled
    ingest(site, tmp_path / "export")
    ingest(tmp_path / "whole", tmp_path / "export")
    assert snapshot(site) == snapshot(tmp_path / "whole")


def test_a_patient_once_assigned_is_never_moved(tmp_path: Path) -> None:
    make_hospital(tmp_path / "one", "lunar", 9, 7, render=sample_study)
    make_hospital(tmp_path / "two", "lunar", 11, 8, render=sample_study)
    site = new_site(tmp_path / "site")
    ingest(site, tmp_path / "one")
    early = split_of(site)
    ingest(site, tmp_path / "two")
    late = split_of(site)
    assert {patient: late[patient] for patient in early} == early
    assert Counter(late.values()) == {"train": 14, "validation": 3, "test": 3}


def test_follow_ups_stay_with_their_patient_in_order_of_time(tmp_path: Path) -> None:
    site = new_site(tmp_path / "site")
    for number, day in ((2, "20240601"), (3, "20210101")):
        folder = tmp_path / day / write_study(sample_study(number), tmp_path / day).folder
        for path in folder.iterdir():
            dataset = pydicom.dcmread(path)
            dataset.PatientID = "MRN42"
            dataset.StudyDate = day
            dataset.save_as(path)
        ingest(site, tmp_path / day)
    assert len(split_of(site)) == 1
    found = records(site)
    shapes = [record.images[View.SPINE_PA].pixels for record in found]
    later, earlier = (sample_study(n).images[View.SPINE_PA].display for n in (2, 3))
    assert np.allclose(shapes[0], np.clip(earlier, 0, 1), atol=0.005, equal_nan=True)
    assert np.allclose(shapes[1], np.clip(later, 0, 1), atol=0.005, equal_nan=True)


def test_one_bad_file_never_stops_the_batch(tmp_path: Path) -> None:
    make_hospital(tmp_path / "export", "lunar", 3, 7, render=sample_study)
    first = sorted((tmp_path / "export").rglob("AP_SPINE.dcm"))[0]
    first.write_bytes(first.read_bytes()[:3000])
    (tmp_path / "export" / "AAA.dcm").write_bytes(b"")
    report = ingest(new_site(tmp_path / "site"), tmp_path / "export")
    assert reasons(report) == {
        "ok": 18,
        "pixels_truncated": 1,
        "mask_without_image": 1,
        "empty_file": 1,
    }
    assert report.counts["images"] == 8


def write_labels(path: Path, rows: list[list[str]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="") as file:
        header = ["Patient ID", "Scan Date", "Region", "BMD (g/cm2)"]
        csv.writer(file).writerows([header, *rows])


@pytest.fixture
def one_patient(tmp_path: Path) -> tuple[Path, str, str]:
    """A site with one study without labels; the patient's id and day."""
    written = write_study(sample_study(1), tmp_path / "export")
    site = new_site(tmp_path / "site")
    ingest(site, tmp_path / "export")
    who = written.identity
    return site, who.patient_id, who.study_date.isoformat()


def test_labels_that_come_later_find_their_study(
    one_patient: tuple[Path, str, str], tmp_path: Path
) -> None:
    site, patient, day = one_patient
    write_labels(tmp_path / "later" / "bmd.csv", [[patient, day, "L1", "0.912"]])
    assert records(site)[0].labels.bmd == {}
    assert reasons(ingest(site, tmp_path / "later")) == {"ok": 1}
    assert records(site)[0].labels.bmd == {"L1": 0.912}
    assert reasons(ingest(site, tmp_path / "later")) == {"already_there": 1}


def test_labels_of_unknown_patients_are_quarantined(
    one_patient: tuple[Path, str, str], tmp_path: Path
) -> None:
    site, _, day = one_patient
    rows = [["MRN9", "1999-01-01", "L1", "0.9"], ["MRN0", day, "L1", "0.9"]]
    write_labels(tmp_path / "later" / "bmd.csv", rows)
    report = ingest(site, tmp_path / "later")
    assert reasons(report) == {"label_without_study": 2, "table_unused": 1}
    assert [f.path for f in report.files] == ["bmd.csv", "bmd.csv:2", "bmd.csv:3"]


def test_labels_that_contradict_each_other_are_never_believed(
    one_patient: tuple[Path, str, str], tmp_path: Path
) -> None:
    site, patient, day = one_patient
    rows = [[patient, day, "L1", "0.912"], [patient, day, "L1", "0.812"], [patient, day, "L2", "1"]]
    write_labels(tmp_path / "later" / "bmd.csv", rows)
    assert reasons(ingest(site, tmp_path / "later")) == {"label_conflict": 2, "ok": 1}
    assert records(site)[0].labels.bmd == {"L2": 1.0}
    write_labels(tmp_path / "later" / "bmd.csv", rows[:1])
    assert reasons(ingest(site, tmp_path / "later")) == {"label_conflict": 1, "table_unused": 1}
    assert records(site)[0].labels.bmd == {"L2": 1.0}


def test_a_series_that_is_not_taken_is_named_with_the_rule(tmp_path: Path) -> None:
    write_ct(tmp_path / "export" / "good")
    write_ct(tmp_path / "export" / "short", field()[:2], series=2)
    report = ingest(new_site(tmp_path / "site"), tmp_path / "export")
    assert report.as_dict()["series_not_taken"] == [
        {
            "path": "short/000.dcm",
            "files": 2,
            "reason": "series_too_short",
            "sentence": "a CT series of fewer than three slices; give all of it (2)",
        }
    ]


def test_another_scan_of_a_stored_view_is_quarantined(
    one_patient: tuple[Path, str, str], tmp_path: Path
) -> None:
    site, _, _ = one_patient
    kept = np.array(records(site)[0].images[View.SPINE_PA].pixels)
    again = next((tmp_path / "export").rglob("AP_SPINE.dcm"))
    dataset = pydicom.dcmread(again)
    dataset.SOPInstanceUID = "2.25.99"
    dataset.PixelData = bytes(len(dataset.PixelData))
    (tmp_path / "again").mkdir()
    dataset.save_as(tmp_path / "again" / "x.dcm")
    assert reasons(ingest(site, tmp_path / "again")) == {"view_already_stored": 1}
    assert np.array_equal(records(site)[0].images[View.SPINE_PA].pixels, kept, equal_nan=True)


def test_a_mask_that_comes_with_its_image_later_is_added(tmp_path: Path) -> None:
    write_study(sample_study(1), tmp_path / "export")
    site = new_site(tmp_path / "site")
    shutil.copytree(
        tmp_path / "export", tmp_path / "early", ignore=shutil.ignore_patterns("*_SEG.dcm")
    )
    ingest(site, tmp_path / "early")
    assert records(site)[0].images[View.SPINE_PA].regions is None
    assert reasons(ingest(site, tmp_path / "export")) == {"already_there": 3, "ok": 3}
    assert records(site)[0].images[View.SPINE_PA].regions is not None


def test_a_study_without_patient_id_is_quarantined(tmp_path: Path) -> None:
    write_study(sample_study(1), tmp_path / "export")
    for path in (tmp_path / "export").rglob("*.dcm"):
        dataset = pydicom.dcmread(path)
        dataset.PatientID = ""
        dataset.save_as(path)
    site = new_site(tmp_path / "site")
    report = ingest(site, tmp_path / "export")
    assert reasons(report) == {"patient_id_missing": 6}
    assert all(file.verdict != "taken" for file in report.files)
    with sqlite3.connect(site / "store" / "catalogue.sqlite") as catalogue:
        kept = list(catalogue.execute("SELECT verdict, reason FROM files"))
    assert kept == [("quarantined", "patient_id_missing")] * 6


def test_wrong_folders_are_answered_before_anything_is_written(tmp_path: Path) -> None:
    site = new_site(tmp_path / "site")
    before = snapshot(site)
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputMissingError):
        ingest(site, tmp_path / "nowhere")
    with pytest.raises(InputEmptyError):
        ingest(site, tmp_path / "empty")
    with pytest.raises(StoreMissingError):
        ingest(tmp_path / "empty", tmp_path / "empty")
    assert snapshot(site) == before
