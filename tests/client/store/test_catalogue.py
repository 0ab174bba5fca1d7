"""A catalogue of schema 1 is brought up when it is opened, and loses nothing."""

from __future__ import annotations

import shutil
import sqlite3
import threading
from pathlib import Path

import numpy as np
import pytest

from client.ingest.folder import ingest
from client.store.catalogue import SCHEMA
from client.store.site_store import SiteStore, init_site
from client.store.split import SPLITS
from client.store.statistics import describe_store
from shared.phantom.make import make_hospital
from shared.records import StudyRecord
from shared.settings.files import SiteConfig
from tests.client.store_snapshot import snapshot
from tests.shared.rendered_samples import sample_study

#: As the first version wrote it.
SCHEMA_1 = """
CREATE TABLE files (name_digest VARCHAR(64) NOT NULL, content_digest VARCHAR(64) NOT NULL,
  verdict VARCHAR(12) NOT NULL, reason VARCHAR(32) NOT NULL,
  PRIMARY KEY (name_digest, content_digest));
CREATE TABLE patients (pseudonym VARCHAR(64) NOT NULL, split VARCHAR(10),
  PRIMARY KEY (pseudonym));
CREATE INDEX ix_patients_split ON patients (split);
CREATE TABLE properties ("key" VARCHAR(40) NOT NULL, value VARCHAR(200) NOT NULL,
  PRIMARY KEY ("key"));
CREATE TABLE studies (uid VARCHAR(64) NOT NULL, patient VARCHAR(64) NOT NULL,
  vendor VARCHAR(16) NOT NULL, visit VARCHAR(64), day INTEGER, sex VARCHAR(1), age_years FLOAT,
  height_cm FLOAT, weight_kg FLOAT, ethnic_group VARCHAR(64), PRIMARY KEY (uid),
  FOREIGN KEY(patient) REFERENCES patients (pseudonym));
CREATE INDEX ix_studies_visit ON studies (visit);
CREATE INDEX ix_studies_patient ON studies (patient);
CREATE TABLE images (study VARCHAR(64) NOT NULL, "view" VARCHAR(32) NOT NULL,
  row_mm FLOAT NOT NULL, column_mm FLOAT NOT NULL, spacing_provenance VARCHAR(16) NOT NULL,
  digest VARCHAR(64) NOT NULL, mask_digest VARCHAR(64), PRIMARY KEY (study, "view"),
  FOREIGN KEY(study) REFERENCES studies (uid));
CREATE TABLE labels (study VARCHAR(64) NOT NULL, kind VARCHAR(8) NOT NULL,
  name VARCHAR(24) NOT NULL, value FLOAT NOT NULL, disputed BOOLEAN NOT NULL,
  PRIMARY KEY (study, kind, name), FOREIGN KEY(study) REFERENCES studies (uid));
"""
TABLES = ("files", "patients", "properties", "studies", "images", "labels")


def as_schema_1(site: Path) -> None:
    """Put a catalogue in place as the first version would have written it."""
    path = site / "store" / "catalogue.sqlite"
    rows = {}
    with sqlite3.connect(":memory:") as old, sqlite3.connect(path) as new:
        old.executescript(SCHEMA_1)
        for table in TABLES:
            columns = ", ".join(f'"{row[1]}"' for row in old.execute(f"PRAGMA table_info({table})"))
            found = list(new.execute(f"SELECT {columns} FROM {table}"))  # noqa: S608
            rows[table] = (columns, found)
    path.unlink()
    with sqlite3.connect(path) as old:
        old.execute("PRAGMA journal_mode=WAL")
        old.executescript(SCHEMA_1)
        for table, (columns, found) in rows.items():
            marks = ", ".join("?" * len(columns.split(", ")))
            statement = f"INSERT INTO {table} ({columns}) VALUES ({marks})"  # noqa: S608
            old.executemany(statement, found)
        old.execute("UPDATE properties SET value = '1' WHERE key = 'schema'")
    path.chmod(0o600)


def facts(site: Path) -> tuple[list[StudyRecord], list[str]]:
    store = SiteStore.open(site)
    sources = [store.source(split) for split in SPLITS]
    records = [study for s in sources for p in s.patients for study in s.studies(p)]
    digests = [source.digest() for source in sources]
    store.close()
    return records, digests


@pytest.fixture
def old(tmp_path: Path) -> Path:
    make_hospital(tmp_path / "export", "hologic", 3, 7, render=sample_study)
    init_site(tmp_path / "site", SiteConfig(site="riverside"))
    ingest(tmp_path / "site", tmp_path / "export")
    shutil.copytree(tmp_path / "site", tmp_path / "new")
    as_schema_1(tmp_path / "site")
    return tmp_path / "site"


def test_an_old_catalogue_gives_what_it_gave(old: Path, tmp_path: Path) -> None:
    before, digests_before = facts(tmp_path / "new")
    after, digests_after = facts(old)
    assert digests_before == digests_after
    assert [(r.patient, r.study, r.labels, r.covariates) for r in before] == [
        (r.patient, r.study, r.labels, r.covariates) for r in after
    ]
    for one, other in zip(before, after, strict=True):
        for view, image in one.images.items():
            assert np.array_equal(image.pixels, other.images[view].pixels, equal_nan=True)
    assert describe_store(old)["rows"] == describe_store(tmp_path / "new")["rows"]
    with sqlite3.connect(old / "store" / "catalogue.sqlite") as catalogue:
        (schema,) = catalogue.execute("SELECT value FROM properties WHERE key = 'schema'")
    assert schema == (SCHEMA,)


def test_an_old_catalogue_takes_more_in(old: Path, tmp_path: Path) -> None:
    make_hospital(tmp_path / "more", "lunar", 2, 8, render=sample_study)
    again = ingest(old, tmp_path / "export")
    assert again.studies_new == 0
    assert {f.reason for f in again.files} == {"already_there", "burned_in_text"}
    assert ingest(old, tmp_path / "more").counts["studies"] == 5
    known = snapshot(old)
    assert ingest(old, tmp_path / "more").studies_new == 0
    assert snapshot(old) == known


def test_an_old_catalogue_may_be_opened_by_several_at_once(old: Path) -> None:
    failed: list[BaseException] = []

    def open_it() -> None:
        try:
            SiteStore.open(old).close()
        except BaseException as error:
            failed.append(error)

    threads = [threading.Thread(target=open_it) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []
