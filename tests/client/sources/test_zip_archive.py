"""A ZIP file can say what it likes: nothing of it lands outside, and each trick has a verdict."""

from __future__ import annotations

import stat
import struct
import zipfile
from pathlib import Path

import pytest

from client.ingest.folder import IngestReport
from client.sources.query import Wanted
from client.sources.router import take_source
from client.store.site_store import init_site
from shared.errors import (
    ConfigValueError,
    DiskFullError,
    InputEmptyError,
    InputMissingError,
    InputUnreadableError,
)
from shared.phantom.make import make_hospital
from shared.settings.files import SiteConfig
from tests.shared.rendered_samples import sample_study
from tests.system.phantom_pacs import left_in_inbox


@pytest.fixture
def site(tmp_path: Path) -> Path:
    init_site(tmp_path / "site", SiteConfig(site="riverside"))
    return tmp_path / "site"


@pytest.fixture(scope="module")
def export(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("hospital") / "export"
    make_hospital(folder, "lunar", 2, 7, render=sample_study)
    return folder


def taken(site: Path, archive: Path) -> IngestReport:
    report = take_source(site, str(archive), Wanted())
    assert isinstance(report, IngestReport)
    assert left_in_inbox(site) == []
    return report


def reasons(report: IngestReport) -> dict[str, str]:
    return {verdict.path: verdict.reason for verdict in report.files}


def test_studies_and_tables_are_taken_under_the_names_of_the_archive(
    site: Path, export: Path, tmp_path: Path
) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for path in sorted(p for p in export.rglob("*") if p.is_file()):
            archive.write(path, path.relative_to(export).as_posix())
    report = taken(site, tmp_path / "a.zip")
    expected = {p.relative_to(export).as_posix() for p in export.rglob("*") if p.is_file()}
    assert set(reasons(report)) == expected
    assert set(reasons(report).values()) == {"ok"}
    assert report.counts["studies"] == 2
    assert set(reasons(taken(site, tmp_path / "a.zip")).values()) == {"already_there"}


def link(name: str) -> zipfile.ZipInfo:
    entry = zipfile.ZipInfo(name)
    entry.external_attr = (stat.S_IFLNK | 0o777) << 16
    return entry


def test_each_trick_has_its_verdict_and_nothing_lands_outside(
    site: Path, export: Path, tmp_path: Path
) -> None:
    (good, *_) = sorted(export.rglob("*.dcm"))
    image = good.read_bytes()
    before = {path for path in tmp_path.rglob("*") if site not in path.parents}
    tricks = tmp_path / "tricks.zip"
    with zipfile.ZipFile(tricks, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("good.dcm", image)
        archive.writestr("../../outside.dcm", image)
        archive.writestr("/etc/outside.dcm", image)
        archive.writestr("C:/outside.dcm", image)
        archive.writestr("sub/../../../outside.dcm", image)
        archive.writestr("windows\\..\\outside.dcm", image)
        archive.writestr(link("link.dcm"), "/etc/passwd")
        archive.writestr("inner.zip", b"PK\x03\x04 more")
        archive.writestr("hidden.dcm", b"PK\x03\x04 more")
        archive.writestr("more.tar.gz", b"\x1f\x8b")
        archive.writestr("bomb.dcm", bytes(20_000_000))
        archive.writestr("note.txt", b"a note")
        archive.writestr("copy.dcm", image)
        archive.writestr("twice.dcm", image)
        with pytest.warns(UserWarning, match="Duplicate name"):
            archive.writestr("twice.dcm", image[:-2])
    found = reasons(taken(site, tricks))
    assert found == {
        "../../outside.dcm": "archive_path",
        "/etc/outside.dcm": "archive_path",
        "C:/outside.dcm": "archive_path",
        "sub/../../../outside.dcm": "archive_path",
        "windows\\..\\outside.dcm": "archive_path",
        "link.dcm": "archive_link",
        "inner.zip": "archive_nested",
        "hidden.dcm": "archive_nested",
        "more.tar.gz": "archive_nested",
        "bomb.dcm": "archive_bomb",
        "note.txt": "not_dicom",
        "copy.dcm": "ok",
        "good.dcm": "already_there",
        "twice.dcm": "archive_name_twice",
    }
    after = {path for path in tmp_path.rglob("*") if site not in path.parents}
    assert after == before | {tricks}


def test_encrypted_and_damaged_entries_have_their_verdict(
    site: Path, export: Path, tmp_path: Path
) -> None:
    (first, second, third, *_) = sorted(export.rglob("*.dcm"))
    path = tmp_path / "odd.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, source in (("a", first), ("b", second), ("c", third)):
            archive.writestr(f"{name}.dcm", source.read_bytes())
        spots = {entry.filename: entry.header_offset for entry in archive.infolist()}
    data = bytearray(path.read_bytes())
    data[spots["b.dcm"] + 200] ^= 0xFF  # inside the packed bytes
    central = data.index(b"PK\x01\x02", data.index(b"PK\x01\x02") + 1)
    central = data.index(b"PK\x01\x02", central + 1)
    struct.pack_into("<H", data, central + 8, 1)  # c says that it is encrypted
    path.write_bytes(data)
    found = reasons(taken(site, path))
    assert (found["b.dcm"], found["c.dcm"]) == ("archive_damaged", "archive_encrypted")
    assert found["a.dcm"] not in {"archive_damaged", "archive_encrypted"}


def test_what_cannot_be_an_export_is_one_sentence(
    site: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "text.zip").write_bytes(b"no archive")
    with pytest.raises(InputUnreadableError, match="no ZIP file"):
        take_source(site, str(tmp_path / "text.zip"), Wanted())
    with pytest.raises(InputMissingError, match="no such file"):
        take_source(site, str(tmp_path / "none.zip"), Wanted())
    with zipfile.ZipFile(tmp_path / "empty.zip", "w"):
        pass
    with pytest.raises(InputEmptyError, match="holds no file"):
        take_source(site, str(tmp_path / "empty.zip"), Wanted())
    with pytest.raises(ConfigValueError, match="ask a PACS"):
        take_source(site, str(tmp_path / "empty.zip"), Wanted(modalities=("CR",)))
    with zipfile.ZipFile(tmp_path / "large.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.dcm", bytes(1000))
    monkeypatch.setattr("shared.dicom.archives.MOST_BYTES", 100)
    with pytest.raises(DiskFullError, match="does not fit"):
        take_source(site, str(tmp_path / "large.zip"), Wanted())
    assert left_in_inbox(site) == []
