"""A CT series of which more comes: joined, replaced, or set aside, and never a part as whole."""

from __future__ import annotations

import json
import shutil
import sqlite3
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sqlalchemy import insert, select, update
from sqlalchemy.orm import Session

from client.identity.chain import AUDIT, site_chain
from client.ingest.folder import IngestReport, ingest
from client.ingest.inbox import Inbox, take_inbox
from client.ingest.known_files import KnownFiles
from client.ingest.series_growth import SeriesGrowth
from client.sources.query import Wanted
from client.sources.router import take_source
from client.store.arrays import write_array
from client.store.catalogue import Marking, Patient, Slice, Volume
from client.store.site_store import SiteStore, init_site
from client.store.statistics import describe_store
from shared.dicom.content import content_digest
from shared.errors import ConfigValueError, StoreMissingError
from shared.settings.files import SiteConfig
from tests.client.store_snapshot import snapshot
from tests.shared.ct_samples import STEP, uid, write_ct
from tests.verify.growing_series import KEEPS, is_right, order_of, send

SLICES = 10
#: Of the two hundred, one of each way, with and without a lost part.
ORDERS = (1, 2, 12, 13, 14, 28, 53, 60)


@pytest.fixture
def site(tmp_path: Path) -> Path:
    init_site(tmp_path / "site", SiteConfig(site="riverside"))
    return tmp_path / "site"


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    hu = np.random.default_rng(5).integers(-900, 1500, (SLICES, 8, 8)).astype(np.int16)
    return write_ct(tmp_path / "all", hu)


def folder_of(files: list[Path], *indices: int) -> Path:
    folder = files[0].parents[1] / "-".join(map(str, indices))
    folder.mkdir()
    for index in indices:
        shutil.copy(files[index], folder)
    return folder


def take(site: Path, files: list[Path], *indices: int) -> IngestReport:
    return ingest(site, folder_of(files, *indices), workers=1)


def reasons(report: IngestReport) -> Counter[str]:
    return Counter(file.reason for file in report.files)


def change(site: Path, statement: Any) -> None:
    store = SiteStore.open(site)
    with Session(store.engine) as session, session.begin():
        session.execute(statement)
    store.close()


def volume(site: Path) -> tuple[Volume, Any]:
    store = SiteStore.open(site)
    with Session(store.engine, expire_on_commit=False) as session:
        (row,) = session.scalars(select(Volume)).all()
    store.close()
    return row, np.load(store.array_path(row.study, row.series, "hu"))


@pytest.mark.parametrize("number", ORDERS)
def test_a_store_ends_whole_or_does_not_say_so(number: int, tmp_path: Path) -> None:
    order = order_of(number)
    assert is_right(send(order, tmp_path), order.way in KEEPS)


def test_more_of_a_series_replaces_the_part_and_everything_follows(
    site: Path, files: list[Path]
) -> None:
    take(site, files, 4, 5, 6)
    row, part = volume(site)
    change(site, update(Patient).values(split="validation"))
    store = SiteStore.open(site)
    regions = np.zeros(part.shape, np.uint8)
    regions[1, 2, 3] = 20
    write_array(store.array_path(row.study, row.series, "regions"), regions)
    change(site, update(Volume).values(mask_digest="0" * 64, levels="20"))
    key = {"study": row.study, "image": row.series, "kind": "slice", "vertebra": "L1"}
    change(site, insert(Marking).values(**key, numbers="2", disputed=False))
    found = site / "store" / "prepared" / "ct-bmd" / "key" / row.study
    found.mkdir(parents=True)
    before = store.source("validation").digest()
    store.close()
    site_chain(site, "riverside").append("released", run="r1", round=3, task="ct-bmd")
    site_chain(site, "riverside").append("released", run="r1", round=4, task="dxa-bmd")

    report = ingest(site, files[0].parent, workers=1)

    assert reasons(report) == {"ok": SLICES}
    (grown,) = report.series_replaced
    assert (grown.stored, grown.slices) == (3, SLICES)
    assert [one.as_dict() for one in grown.rounds] == [{"run": "r1", "round": 3, "task": "ct-bmd"}]
    assert "used 3 of 10 slices: r1 3 (ct-bmd)" in grown.sentence
    last = json.loads((site / AUDIT).read_text().splitlines()[-1])
    (told,) = last["facts"]["series"]
    assert (last["event"], told["stored"], told["slices"]) == ("series replaced", 3, SLICES)
    store = SiteStore.open(site)
    source = store.source("validation")
    assert source.digest() != before
    ((record,),) = [source.studies(patient) for patient in source.patients]
    ((_, ct),) = record.volumes.items()
    assert np.array_equal(ct.hu[4:7], part)
    assert ct.regions is not None
    assert np.argwhere(ct.regions).tolist() == [[5, 2, 3]]
    assert ct.marked_slices == {"L1": 6}
    assert not found.exists()
    assert not list(site.rglob("*.coming-*"))
    store.close()


def test_a_mask_that_cannot_follow_is_named(site: Path, files: list[Path]) -> None:
    take(site, files, 0, 2, 4, 6)
    row, part = volume(site)
    assert row.completeness == "incomplete"  # every second slice is a gap
    store = SiteStore.open(site)
    write_array(
        store.array_path(row.study, row.series, "regions"), np.full(part.shape, 20, np.uint8)
    )
    store.close()
    change(site, update(Volume).values(mask_digest="0" * 64, levels="20"))
    report = take(site, files, 1, 3, 5)
    assert "its mask no longer fits" in report.series_replaced[0].sentence
    row, whole = volume(site)
    assert (row.mask_digest, row.levels, len(whole)) == (None, "", 7)
    assert row.slice_mm == STEP
    assert not list(site.rglob("*.regions.npy"))


def test_a_part_of_what_is_stored_changes_nothing(site: Path, files: list[Path]) -> None:
    ingest(site, files[0].parent, workers=1)
    known = snapshot(site)
    assert reasons(take(site, files, 3, 4, 5)) == {"already_there": 3}
    found = snapshot(site)
    assert {name for name in known if known[name] != found[name]} <= {"files", "identifiers"}


def test_other_pixels_at_the_same_place_never_replace(
    site: Path, files: list[Path], tmp_path: Path
) -> None:
    take(site, files, 0, 1, 2, 3)
    kept, voxels = volume(site)
    other = write_ct(tmp_path / "other", np.full((SLICES, 8, 8), 40, np.int16))
    report = ingest(site, other[0].parent, workers=1)
    assert reasons(report) == {"series_already_stored": SLICES}
    row, found = volume(site)
    assert (row.digest, row.completeness) == (kept.digest, "unknown")
    assert np.array_equal(found, voxels)


def test_the_same_pixels_in_other_headers_are_there_already(
    site: Path, files: list[Path], tmp_path: Path
) -> None:
    ingest(site, files[0].parent, workers=1)
    hu = np.random.default_rng(5).integers(-900, 1500, (SLICES, 8, 8)).astype(np.int16)
    other = write_ct(
        tmp_path / "other", hu, change=lambda dataset, _: setattr(dataset, "StudyID", "9")
    )
    digest = volume(site)[0].digest
    assert reasons(ingest(site, other[0].parent, workers=1)) == {"already_there": SLICES}
    assert volume(site)[0].digest == digest


def test_killed_after_the_commit_the_arrays_take_their_place_when_the_store_opens(
    site: Path, files: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    take(site, files, 0, 1, 2)
    with monkeypatch.context() as patched:
        patched.setattr(SeriesGrowth, "settle", lambda _: None)
        take(site, files, 3, 4, 5)
    assert list(site.rglob("*.coming-*"))
    row, found = volume(site)  # opens the store
    assert (row.slices, len(found)) == (6, 6)
    assert not list(site.rglob("*.coming-*"))


def test_an_array_that_the_disk_lost_does_not_take_the_place_of_a_whole_one(
    site: Path, files: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    take(site, files, 0, 1, 2)
    (whole,) = site.rglob("*.hu.npy")
    before = whole.read_bytes()
    with monkeypatch.context() as patched:
        patched.setattr(SeriesGrowth, "settle", lambda _: None)
        take(site, files, 3, 4, 5)
    (waiting,) = site.rglob("*.coming-*")
    waiting.write_bytes(b"")
    with pytest.raises(StoreMissingError):
        SiteStore.open(site)
    assert whole.read_bytes() == before


def test_killed_before_the_commit_nothing_is_left(
    site: Path, files: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any) -> None:
        raise OSError("killed")

    take(site, files, 0, 1, 2)
    with monkeypatch.context() as patched:
        patched.setattr(Session, "commit", fail)
        with pytest.raises(OSError, match="killed"):
            take(site, files, 3, 4, 5)
    assert len(volume(site)[1]) == 3
    take(site, files, 6, 7)
    assert len(volume(site)[1]) == 3  # a gap: set aside
    assert volume(site)[0].completeness == "incomplete"
    assert not list(site.rglob("*.coming-*"))


def as_schema_4(site: Path, files: list[Path]) -> None:
    """Make of a store with one series what the version before would have written."""
    store = SiteStore.open(site)
    with Session(store.engine) as session:
        known = KnownFiles(store.secret, session)
        digest = known.joint(content_digest(path.read_bytes()) for path in files)
    store.close()
    with sqlite3.connect(site / "store" / "catalogue.sqlite") as catalogue:
        catalogue.execute("DROP TABLE slices")
        for column in ("completeness", "short", "grid"):
            catalogue.execute(f"ALTER TABLE volumes DROP COLUMN {column}")
        catalogue.execute("UPDATE volumes SET digest = ?", (digest,))
        catalogue.execute("UPDATE properties SET value = '4' WHERE key = 'schema'")


def test_a_part_that_an_older_version_stored_is_replaced_by_the_whole(
    site: Path, files: list[Path]
) -> None:
    take(site, files, 0, 1, 2, 3)
    as_schema_4(site, files[:4])
    row, _ = volume(site)
    assert row.completeness is None
    lines = {line["what"] for line in describe_store(site)["rows"]}
    assert "CT series: as received, completeness unknown" in lines
    assert reasons(ingest(site, files[0].parent, workers=1)) == {"ok": SLICES}
    row, found = volume(site)
    assert (row.slices, len(found), row.completeness) == (SLICES, SLICES, "unknown")


def test_an_older_version_s_series_learns_of_its_slices_when_it_comes_again(
    site: Path, files: list[Path]
) -> None:
    ingest(site, files[0].parent, workers=1)
    as_schema_4(site, files)
    digest = volume(site)[0].digest
    assert reasons(ingest(site, files[0].parent, workers=1)) == {"already_there": SLICES}
    row, _ = volume(site)
    assert (row.digest, row.completeness) == (digest, "unknown")
    store = SiteStore.open(site)
    with Session(store.engine) as session:
        assert len(session.scalars(select(Slice)).all()) == SLICES
    store.close()


def test_an_archive_that_gave_less_than_it_said_is_told_by_the_store(
    site: Path, files: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    store = SiteStore.open(site)
    store.close()
    inbox = Inbox(site, store.secret)
    monkeypatch.setattr(
        "client.ingest.inbox.ingest",
        lambda *args, **more: ingest(*args, **more | {"separate": False, "workers": 1}),
    )
    for said, state in ((SLICES, "incomplete"), (5, "unknown")):
        for path in files[:5]:
            inbox.deliver(uid(1), path.read_bytes())
        inbox.finish(inbox.name_of(uid(1)), said)
        report = take_inbox(site)
        assert [one.reason for one in report.series_kept] == [state]
        assert volume(site)[0].completeness == state
    assert inbox.short() == {}


@pytest.mark.parametrize("inside", ["inbox", "inbox/complete", "store", "store/arrays", "."])
def test_the_site_s_own_inbox_and_store_are_no_source(inside: str, site: Path) -> None:
    store = SiteStore.open(site)
    store.close()
    Inbox(site, store.secret)
    how = "holds" if inside == "." else "is"
    with pytest.raises(ConfigValueError, match=f"{how} the site's own (inbox|store), which is no"):
        take_source(site, str(site / inside), Wanted())
