"""Copies end as what they repeat; archives and links in a folder; nothing is taken for nothing."""

from __future__ import annotations

import shutil
import stat
import zipfile
from pathlib import Path

import numpy as np
import pytest
from pydicom.dataset import Dataset
from sqlalchemy.orm import Session
from typer.testing import CliRunner

from client.cli.main import app
from client.ingest.folder import IngestReport, ingest
from client.phi.identifier_index import Remembered
from client.store.site_store import SiteStore, init_site
from shared.dicom.read import read_study_folder
from shared.errors import InputEmptyError
from shared.phantom.writers import write_study
from shared.settings.files import SiteConfig
from tests.shared.ct_samples import field, write_ct, write_radiograph
from tests.shared.rendered_samples import sample_study
from tests.suite.real_images import REAL_IMAGES, needs_real_images


@pytest.fixture
def site(tmp_path: Path) -> Path:
    init_site(tmp_path / "site", SiteConfig(site="riverside"))
    return tmp_path / "site"


def ended(report: IngestReport) -> dict[str, tuple[str, str]]:
    return {one.path: (one.verdict, one.reason) for one in report.files}


def copied(path: Path, name: str) -> None:
    shutil.copy(path, path.with_name(name))


# --- copies -------------------------------------------------------------------------------


@pytest.mark.parametrize("names", ["aab", "aba", "baa"])
def test_a_copy_of_what_is_set_aside_is_set_aside_with_it(
    site: Path, tmp_path: Path, names: str
) -> None:
    """Whatever the order: two copies of a slice that is too little, beside another study."""
    export = tmp_path / "export"
    lonely = write_ct(tmp_path / "lonely", field()[:1])[0]
    image = write_radiograph(tmp_path / "image.dcm", study=2)
    export.mkdir()
    for number, name in enumerate(names):
        shutil.copy(lonely if name == "a" else image, export / f"{number}.dcm")
    found = ended(ingest(site, export))
    want = {"a": ("quarantined", "series_too_short"), "b": ("taken", "ok")}
    assert found == {f"{number}.dcm": want[name] for number, name in enumerate(names)}
    # The store remembers none of them as taken: with the rest of its series it is read.
    assert ended(ingest(site, export)) == found | {
        f"{names.index('b')}.dcm": ("taken", "already_there")
    }


def test_copies_of_tables_masks_and_images_end_as_what_they_repeat(
    site: Path, tmp_path: Path
) -> None:
    export = tmp_path / "export"
    study = export / write_study(sample_study(1), export).folder
    before = {path.name for path in study.iterdir()}
    image = study / "AP_SPINE.dcm"
    mask = next(path for path in study.iterdir() if "AP_SPINE" in path.name and path != image)
    (export / "unknown.csv").write_text("What,Else\n1,2\n")
    for path in (image, mask):
        copied(path, f"z_{path.name}")
    copied(export / "unknown.csv", "z_unknown.csv")
    (export / "unused.csv").write_text("Patient ID,Scan Date,Region,BMD\nNOBODY,2024-01-01,L1,1\n")
    copied(export / "unused.csv", "z_unused.csv")
    found = ended(ingest(site, export))
    assert found["z_unknown.csv"] == found["unknown.csv"] == ("quarantined", "table_unknown")
    assert found["z_unused.csv"] == found["unused.csv"]
    assert found["unused.csv"][0] == "quarantined"
    inner = study.relative_to(export).as_posix()
    assert found[f"{inner}/z_{image.name}"] == ("taken", "already_there")
    assert found[f"{inner}/z_{mask.name}"] == ("taken", "already_there")
    assert len([one for one in found if one.startswith(inner)]) == len(before) + 2
    image.unlink()
    (study / f"z_{image.name}").unlink()
    init_site(tmp_path / "other", SiteConfig(site="hillside"))
    found = ended(ingest(tmp_path / "other", export))
    assert found[f"{inner}/{mask.name}"] == ("quarantined", "mask_without_image")
    assert found[f"{inner}/z_{mask.name}"] == ("quarantined", "mask_without_image")


def test_nothing_taken_is_no_success(site: Path, tmp_path: Path) -> None:
    lonely = write_ct(tmp_path / "export", field()[:1])[0]
    copied(lonely, "copy.dcm")
    done = CliRunner().invoke(app, ["ingest", str(site), str(tmp_path / "export")])
    assert isinstance(done.exception, InputEmptyError)
    assert "none of its 2 files could be taken" in str(done.exception)


# --- archives in a folder ---------------------------------------------------------------------


def pack(path: Path, files: dict[str, bytes]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return path


def test_an_archive_in_a_folder_is_read_as_its_files_would_be(site: Path, tmp_path: Path) -> None:
    """Half of a series lies in an archive, deep in the export, the other half beside it."""
    plain, mixed = tmp_path / "plain", tmp_path / "mixed"
    slices = write_ct(plain)
    mixed.mkdir()
    for path in slices[:3]:
        shutil.copy(path, mixed)
    rest = {f"CT/{path.name}": path.read_bytes() for path in slices[3:]}
    pack(mixed / "deep" / "er" / "Rest.ZIP", rest)
    report = ingest(site, mixed)
    assert set(ended(report).values()) == {("taken", "ok")}
    assert "deep/er/Rest.ZIP/CT/003.dcm" in ended(report)
    assert len(report.files) == len(slices)
    init_site(tmp_path / "other", SiteConfig(site="hillside"))
    ingest(tmp_path / "other", plain)
    whole, packed = (
        next(iter(read_study_folder(folder).studies[0].volumes.values())).record.hu
        for folder in (plain, mixed)
    )
    assert np.array_equal(whole, packed)
    stores = [SiteStore.open(one) for one in (site, tmp_path / "other")]
    assert stores[0].counts() == stores[1].counts()
    for store in stores:
        assert list(store.arrays.parent.glob("staging-*")) == []
        store.close()
    assert {one for _, one in ended(ingest(site, mixed)).values()} == {"already_there"}


def test_a_hostile_archive_sets_itself_aside_and_nothing_else(
    site: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    export = tmp_path / "export"
    image = write_radiograph(export / "good.dcm").read_bytes()
    link = zipfile.ZipInfo("link.dcm")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    tricks = pack(export / "tricks.zip", {"../../up.dcm": image, "bomb.dcm": bytes(20_000_000)})
    with zipfile.ZipFile(tricks, "a") as archive:
        archive.writestr(link, "/etc/passwd")
        archive.writestr("inner.zip", b"PK\x03\x04 more")
    broken = pack(export / "broken.zip", {"a.dcm": image})
    broken.write_bytes(broken.read_bytes()[:-30])
    (export / "text.zip").write_text("no archive")
    pack(export / "empty.zip", {})
    before = {path for path in tmp_path.rglob("*") if site not in path.parents}
    assert ended(ingest(site, export)) == {
        "good.dcm": ("taken", "ok"),
        "tricks.zip/../../up.dcm": ("refused", "archive_path"),
        "tricks.zip/bomb.dcm": ("refused", "archive_bomb"),
        "tricks.zip/link.dcm": ("refused", "archive_link"),
        "tricks.zip/inner.zip": ("refused", "archive_nested"),
        "broken.zip": ("refused", "archive_damaged"),
        "text.zip": ("refused", "not_dicom"),
        "empty.zip": ("refused", "empty_file"),
    }
    assert {path for path in tmp_path.rglob("*") if site not in path.parents} == before
    monkeypatch.setattr("shared.dicom.archives.MOST_BYTES", 100)
    assert ended(ingest(site, export))["tricks.zip"] == ("quarantined", "archive_no_room")
    assert ended(ingest(site, export))["good.dcm"] == ("taken", "already_there")


def test_who_stands_in_an_archive_is_looked_for_in_the_store(site: Path, tmp_path: Path) -> None:
    """Also in what was set aside: a report page, and an entry that was not unpacked."""

    def page(dataset: Dataset, _: int) -> None:
        dataset.PatientName = "Pageson^Petra"

    only = write_ct(tmp_path / "ct", field()[:1], change=page)[0]
    pack(tmp_path / "in" / "x.zip", {"a.dcm": only.read_bytes(), "../Climber_Carla.dcm": b"x"})
    ingest(site, tmp_path / "in")
    store = SiteStore.open(site)
    with Session(store.engine) as session:
        remembered = Remembered(session, store.secret)
        assert remembered.kinds_in("Pageson^Petra") == {"name"}
        assert remembered.kinds_in("Climber_Carla")
    store.close()


# --- links --------------------------------------------------------------------------------------


def test_links_out_of_the_folder_are_not_followed(site: Path, tmp_path: Path) -> None:
    export, other = tmp_path / "export", tmp_path / "elsewhere"
    inside = write_radiograph(export / "a" / "image.dcm")
    outside = write_radiograph(other / "secret.dcm", study=2)
    pack(other / "secret.zip", {"c.dcm": outside.read_bytes()})
    (export / "out.dcm").symlink_to(outside)
    (export / "relative.dcm").symlink_to(Path("..") / "elsewhere" / "secret.dcm")
    (export / "folder").symlink_to(other)
    (export / "out.zip").symlink_to(other / "secret.zip")
    (export / "in.dcm").symlink_to(inside)
    (export / "same").symlink_to(export / "a")
    (export / "round.dcm").symlink_to(export / "round.dcm")
    report = ingest(site, export)
    aside = ("quarantined", "link_outside")
    assert ended(report) == {
        "a/image.dcm": ("taken", "already_there"),
        "in.dcm": ("taken", "ok"),
        "out.dcm": aside,
        "relative.dcm": aside,
        "folder": aside,
        "out.zip": aside,
        "round.dcm": ("refused", "unreadable"),
    }
    assert report.counts["studies"] == 1


@needs_real_images
def test_the_cases_end_as_they_should(site: Path) -> None:
    cases = REAL_IMAGES / "cases"
    assert ended(ingest(site, cases / "zip_in_folder")) == {"57_zip.zip/a/b.dcm": ("taken", "ok")}
    aside = ("quarantined", "series_too_short")
    found = ended(ingest(site, cases / "duplicate_of_quarantined"))
    assert found == {"a.dcm": aside, "b.dcm": aside}
