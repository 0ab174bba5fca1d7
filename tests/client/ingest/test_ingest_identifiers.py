"""What is remembered at the door: what stands in every file, whatever became of it."""

from __future__ import annotations

import shutil
import zipfile
from pathlib import Path

import pytest
from pydicom.dataset import Dataset
from sqlalchemy.orm import Session

from client.ingest.folder import IngestReport, ingest
from client.phi.audit import audit_phi
from client.phi.identifier_index import Remembered
from client.sources.query import Wanted
from client.sources.router import take_source
from client.store.site_store import SiteStore, init_site
from shared.settings.files import SiteConfig
from tests.shared.ct_samples import uid, write_ct, write_radiograph

#: Of two words each, so that no part of a path is one by chance.
NAMES = [f"{name} Irmgard" for name in ("Abendschein", "Brombacher", "Cramer", "Dornseif")]


@pytest.fixture
def site(tmp_path: Path) -> Path:
    init_site(tmp_path / "site", SiteConfig(site="riverside"))
    return tmp_path / "site"


def kinds(site: Path, text: str) -> set[str]:
    """Kinds of what is remembered in a text."""
    store = SiteStore.open(site)
    try:
        with Session(store.engine) as session:
            return Remembered(session, store.secret).kinds_in(text)
    finally:
        store.close()


def signed(dataset: Dataset, number: int) -> None:
    dataset.OperatorsName = NAMES[number] if number < len(NAMES) else ""


def test_every_slice_of_a_series_is_read_for_identifiers(site: Path, tmp_path: Path) -> None:
    write_ct(tmp_path / "export", change=signed)
    report = ingest(site, tmp_path / "export")
    assert {file.reason for file in report.files} == {"ok"}
    assert [kinds(site, name) for name in NAMES] == [{"person"}] * len(NAMES)
    assert kinds(site, f"slice {uid(1, 1, 5)}") == {"uid"}
    audit = audit_phi(site)
    assert (audit.found, audit.slices) == ([], 6)


def test_what_was_set_aside_beside_an_image_that_was_taken_is_read_too(
    site: Path, tmp_path: Path
) -> None:
    def change(dataset: Dataset, number: int) -> None:
        signed(dataset, number)
        if number == 1:
            dataset.RescaleType = "OD"  # so that the slices after it are never read

    write_radiograph(tmp_path / "export" / "ap.dcm")
    write_ct(tmp_path / "export" / "ct", change=change)
    report = ingest(site, tmp_path / "export")
    reasons = {file.path: file.reason for file in report.files}
    assert reasons["ap.dcm"] == "ok"
    assert reasons["ct/001.dcm"] == "hu_unknown"
    assert reasons["ct/003.dcm"] == "series_incomplete"
    assert [kinds(site, name) for name in NAMES] == [{"person"}] * len(NAMES)


def test_a_new_name_of_what_is_there_already_is_remembered(site: Path, tmp_path: Path) -> None:
    path = write_radiograph(tmp_path / "export" / "ap.dcm")
    ingest(site, tmp_path / "export")
    (tmp_path / "again" / NAMES[0]).mkdir(parents=True)
    shutil.copy(path, tmp_path / "again" / NAMES[0])
    report = ingest(site, tmp_path / "again")
    assert {file.reason for file in report.files} == {"already_there"}
    assert kinds(site, NAMES[0]) == {"file name"}


def test_names_in_an_archive_are_remembered_and_the_numbers_that_replaced_them_are_not(
    site: Path, tmp_path: Path
) -> None:
    path = write_radiograph(tmp_path / "ap.dcm")
    archive = tmp_path / f"{NAMES[3]}.zip"
    with zipfile.ZipFile(archive, "w") as file:
        file.write(path, f"{NAMES[0]}/ap.dcm")  # taken
        file.writestr(f"{NAMES[1]}.txt", "no image")
        file.writestr(f"{NAMES[2]}.zip", b"PK\x03\x04")  # never unpacked
    report = take_source(site, str(archive), Wanted())
    assert isinstance(report, IngestReport)
    assert {f.reason for f in report.files} == {"ok", "not_dicom", "archive_nested"}
    assert [kinds(site, name) for name in NAMES] == [{"file name"}] * len(NAMES)
    assert kinds(site, "12:00:00.000000 0000000 0000001 0000002") == set()


def test_names_in_an_archive_of_which_nothing_can_be_read_are_remembered(
    site: Path, tmp_path: Path
) -> None:
    with zipfile.ZipFile(tmp_path / "export.zip", "w") as file:
        file.writestr(f"{NAMES[2]}.zip", b"PK\x03\x04")
    report = take_source(site, str(tmp_path / "export.zip"), Wanted())
    assert isinstance(report, IngestReport)
    assert {f.reason for f in report.files} == {"archive_nested"}
    assert kinds(site, NAMES[2]) == {"file name"}
