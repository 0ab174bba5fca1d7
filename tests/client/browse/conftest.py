"""One hospital, one server and one browser for the tests of the pages."""

from __future__ import annotations

import shutil
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pydicom
import pytest
import uvicorn

from client.ingest.folder import ingest
from client.store.site_store import init_site
from shared.phantom.make import make_hospital
from shared.phantom.writers import write_study
from shared.settings.files import SiteConfig
from tests.client.browse.doors import (
    Door,
    Hospital,
    Served,
    add_hostile_text,
    identifiers_of,
    opened,
)
from tests.shared.rendered_samples import sample_study


@pytest.fixture(scope="module")
def hospital(tmp_path_factory: pytest.TempPathFactory) -> Hospital:
    base = tmp_path_factory.mktemp("hospital")
    for scanner, patients, seed in (("lunar", 4, 7), ("hologic", 2, 8)):
        make_hospital(base / scanner, scanner, patients, seed, render=sample_study)
    (base / "lunar" / "DICOM" / "Kellermann_MRN1234567.dcm").write_bytes(b"no DICOM")
    # the same patient again, 1,000 days later
    folder = base / "later" / write_study(sample_study(0), base / "later").folder
    for path in folder.iterdir():
        dataset = pydicom.dcmread(path)
        dataset.StudyInstanceUID += ".9"
        dataset.SOPInstanceUID += ".9"
        dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
        dataset.StudyDate = "20300101"
        if dataset.Modality == "SEG":
            path.unlink()
        else:
            dataset.save_as(path)
    init_site(base / "site", SiteConfig(site="riverside"))
    for source in ("lunar", "hologic", "later"):
        ingest(base / "site", base / source)
    add_hostile_text(base / "site")
    found = {"Kellermann", "MRN1234567", str(base)}
    for path in base.rglob("*.dcm"):
        if path.stat().st_size > 100:
            found |= identifiers_of(pydicom.dcmread(path, stop_before_pixels=True))
    return Hospital(base / "site", frozenset(found - {""}))


@pytest.fixture(scope="module")
def served() -> Iterator[Served]:
    here = Served()
    server = uvicorn.Server(
        uvicorn.Config(here, http="h11", ws="none", lifespan="off", log_level="critical")
    )
    thread = threading.Thread(target=server.run, kwargs={"sockets": [here.socket]})
    thread.start()
    try:
        while not server.started:
            assert thread.is_alive()
            time.sleep(0.01)
        yield here
    finally:
        server.should_exit = True
        thread.join()


@pytest.fixture
def own_door(hospital: Hospital, served: Served, tmp_path: Path) -> Iterator[Door]:
    """The door of a copy of the hospital's site, for a test that changes what is in it."""
    with opened(Path(shutil.copytree(hospital.site, tmp_path / "site")), served) as found:
        yield found


@pytest.fixture
def door(hospital: Hospital, served: Served) -> Iterator[Door]:
    with opened(hospital.site, served) as found:
        yield found
