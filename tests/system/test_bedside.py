"""A real PACS sends studies to the bedside node and has the results of each, beside its images."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from pydicom import dcmread

from client.store.site_store import SETTINGS
from shared.settings.files import SiteConfig, load_settings, save_settings
from tests.client.bedside.ward import Ward, make_ward, whole_study
from tests.suite.waiting import wait_for

from .orthanc import PASSWORD, USER, Orthanc, needs_orthanc, needs_storescu
from .phantom_pacs import make_phantom_hospital

pytestmark = [pytest.mark.system, needs_orthanc]
STUDIES = 3


def ask(pacs: Orthanc, path: str, **parameters: Any) -> Any:
    """Ask Orthanc's own interface or its DICOMweb."""
    answer = httpx.get(
        f"http://127.0.0.1:{pacs.web_port}{path}", auth=(USER, PASSWORD), params=parameters,
        headers={"Accept": "application/json, application/dicom+json"}, timeout=60,
    )  # fmt: skip
    answer.raise_for_status()
    return answer.json()


@pytest.fixture
def ward(tmp_path: Path) -> Ward:
    return make_ward(tmp_path)


@pytest.fixture
def pacs(tmp_path: Path, ward: Ward) -> Iterator[Orthanc]:
    pacs = Orthanc(tmp_path / "pacs", calling="OSTEOFEDREAD", move_port=ward.port)
    pacs.start()
    try:
        yield pacs
    finally:
        pacs.stop()


def configure(ward: Ward, pacs: Orthanc) -> None:
    """Let the node ask the PACS, and send to it by both ways."""
    credentials = ward.site / "pacs-password"
    credentials.write_text(f"{USER}:{PASSWORD}\n", encoding="utf-8")
    credentials.chmod(0o600)
    peer = {"host": "127.0.0.1", "port": pacs.dicom_port, "title": pacs.title}
    data = load_settings(ward.site / SETTINGS, SiteConfig).model_dump(mode="json")
    data["pacs"]["peer"] = peer
    data["bedside"] |= {
        "ask_archive": True,
        "send_to": [
            {"name": "pacs", "peer": peer},
            {"name": "web", "web": {"url": pacs.url, "credentials": "pacs-password"}},
        ],
    }
    save_settings(SiteConfig.model_validate(data), ward.site / SETTINGS)


def in_pacs(pacs: Orthanc, study: str) -> list[dict[str, Any]]:
    """Instances of a study, by DICOMweb."""
    found: list[dict[str, Any]] = ask(pacs, f"/dicom-web/studies/{study}/instances")
    return found


def test_orthanc_has_the_results_of_what_it_sends_beside_the_images(
    ward: Ward, pacs: Orthanc, tmp_path: Path
) -> None:
    configure(ward, pacs)
    export = make_phantom_hospital(tmp_path / "made", STUDIES)
    pacs.load(export)
    sources = [dcmread(path, stop_before_pixels=True) for path in export.rglob("*.dcm")]
    before = {
        str(one.StudyInstanceUID): {
            str(s.SOPInstanceUID) for s in sources if s.StudyInstanceUID == one.StudyInstanceUID
        }
        for one in sources
    }
    assert len(before) == STUDIES
    with ward.serving() as node:
        for study in ask(pacs, "/studies"):
            httpx.post(
                f"http://127.0.0.1:{pacs.web_port}/modalities/osteofed/store", content=study,
                auth=(USER, PASSWORD), timeout=60,
            ).raise_for_status()  # fmt: skip
        for study in before:
            row = ward.waits_for(study, "answered")
            assert {(s["destination"], s["state"], s["results"]) for s in row["sent"]} == {
                ("pacs", "sent", 2), ("web", "sent", 2),
            }  # fmt: skip
        # Routing sends all of it back: nothing is answered twice.
        for study in ask(pacs, "/studies"):
            httpx.post(
                f"http://127.0.0.1:{pacs.web_port}/modalities/osteofed/store", content=study,
                auth=(USER, PASSWORD), timeout=60,
            ).raise_for_status()  # fmt: skip
        assert node.arrivals.counts["ours"] == 2 * STUDIES
        assert {ward.rows()[study]["answers"] for study in before} == {1}
    for study, images in before.items():
        now = {one["00080018"]["Value"][0] for one in in_pacs(pacs, study)}
        assert images < now
        assert len(now - images) == 2
    whose = {(str(one.StudyInstanceUID), str(one.PatientID)) for one in sources}
    found = ask(pacs, "/dicom-web/studies", includefield="PatientID")
    assert {(s["0020000D"]["Value"][0], s["00100020"]["Value"][0]) for s in found} == whose


@needs_storescu
def test_dcmtks_sender_is_answered_and_a_pacs_that_was_down_gets_it_once(
    ward: Ward, pacs: Orthanc, tmp_path: Path
) -> None:
    configure(ward, pacs)
    for number, one in enumerate(whole_study("1.2.77")):
        (tmp_path / "sent").mkdir(exist_ok=True)
        one.save_as(tmp_path / "sent" / f"{number}.dcm", enforce_file_format=True)
    pacs.load(tmp_path / "sent")
    with ward.serving():
        pacs.stop()
        subprocess.run(
            ["storescu", "-R", "-aet", "STORESCU", "-aec", "OSTEOFEDREAD", "+sd", "+r",
             "127.0.0.1", str(ward.port), str(tmp_path / "sent")],
            check=True, capture_output=True,
        )  # fmt: skip
        wait_for(lambda: "cannot be reached" in ward.rows().get("1.2.77", {}).get("reason", ""))
        pacs.start()
        ward.waits_for("1.2.77", "answered")
    assert len(in_pacs(pacs, "1.2.77")) == 4
