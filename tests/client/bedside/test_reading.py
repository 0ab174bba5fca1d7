"""What the runtime finds in what is sent goes back, of the same patient and study."""

from __future__ import annotations

import json
import os
import signal
import threading
from collections.abc import Sequence
from concurrent.futures import Future
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.uid import Comprehensive3DSRStorage, EncapsulatedPDFStorage, SegmentationStorage

from client.bedside.answering.answering import is_of
from client.bedside.answering.reading import ChampionReader
from client.bedside.serving import serving, work_list_of
from client.bedside.work.identities import whose
from client.bedside.work.looking import show
from client.serving.doors import serve
from client.serving.served_site import ROOM, TEST_STUDY, served_site
from client.sources.association import call, leave
from client.sources.nodes import new_node
from client.store.site_store import SETTINGS
from shared.inference.outputs import Kind
from shared.inference.runtime.runtime import InferenceRuntime
from shared.phantom.writers import write_study
from shared.records import Modality
from shared.settings.files import SiteConfig, load_settings, save_settings
from tests.shared.inference.outputs.cases import found_in, read_one
from tests.shared.inference.runtime.held_samples import SignedFolder, small_room
from tests.shared.rendered_samples import sample_study
from tests.suite.waiting import wait_for

from .ward import Ward, encoded, make_ward, remove


class DrawnRuntime:
    """Finds in each study the outlines that were drawn in it."""

    def __init__(self) -> None:
        inputs = SimpleNamespace(modalities=frozenset({Modality.DXA}))
        ready = {"dxa-segmentation": SimpleNamespace(task=SimpleNamespace(inputs=inputs))}
        self.current = SimpleNamespace(ready=ready)

    def submit(self, folder: Path) -> Future[Any]:
        """Read at once."""
        study = read_one(folder)
        prediction, findings = found_in(study)
        found: Future[Any] = Future()
        found.set_result(SimpleNamespace(study=study, prediction=prediction, findings=findings))
        return found


def sent(ward: Ward, sources: Sequence[Dataset]) -> None:
    """Send objects in the transfer syntaxes that they have."""
    node = new_node("SCANNER", 30.0)
    for one in sources:
        node.add_requested_context(one.SOPClassUID, one.file_meta.TransferSyntaxUID)
    address = ("127.0.0.1", ward.port)
    association, heard = call(node, address, "OSTEOFEDREAD", most_bytes=10**6)
    for one in sources:
        assert association.send_c_store(one).Status == 0
    leave(association, heard)


def digital_patient(folder: Path) -> list[Dataset]:
    write_study(sample_study(0, 8, "lunar"), folder)
    return [dcmread(path) for path in sorted(folder.rglob("*.dcm"))]


def test_outlines_go_back_on_the_images_that_they_are_of_and_are_known_again(
    tmp_path: Path,
) -> None:
    ward = make_ward(tmp_path, formats=["seg"])
    sources = digital_patient(tmp_path / "DICOM")
    study = str(sources[0].StudyInstanceUID)
    reader = ChampionReader(cast(InferenceRuntime, DrawnRuntime()), (Kind.SEG,))
    with ward.pacs.running(), serving(ward.site, reader, ward.said.append) as ward.node:
        sent(ward, sources)
        wait_for(lambda: ward.state(study) in ("answered", "refused", "held"))
        assert (ward.state(study), ward.rows()[study]["reason"]) == ("answered", "")
        own = list(ward.pacs.kept.values())
        assert len(own) == 3
        sent(ward, [remove(one, "Manufacturer") for one in own])
        assert ward.node.arrivals.counts["ours"] == 3
    images = {str(one.SOPInstanceUID) for one in sources}
    for one in own:
        assert one.SOPClassUID == SegmentationStorage
        for keyword in (
            "StudyInstanceUID", "PatientID", "PatientBirthDate", "PatientSex", "AccessionNumber",
        ):  # fmt: skip
            assert str(one.get(keyword, "")) == str(sources[0].get(keyword, "")), keyword
        [series] = one.ReferencedSeriesSequence
        refers = {str(r.ReferencedSOPInstanceUID) for r in series.ReferencedInstanceSequence}
        assert refers < images


def test_a_served_site_reads_what_is_sent_with_a_verified_version(tmp_path: Path) -> None:
    signed = SignedFolder(tmp_path)
    ward = make_ward(tmp_path)
    invitation = {"address": "h:1", "ca": "x", "coordinator": signed.key.public}
    (ward.site / "coordinator.json").write_text(json.dumps(invitation))
    data = load_settings(ward.site / SETTINGS, SiteConfig).model_dump(mode="json")
    data["serve"] |= {"models": str(signed.folder), "device": "cpu"}
    save_settings(SiteConfig.model_validate(data), ward.site / SETTINGS)
    small_room(ward.site / ROOM / TEST_STUDY)
    sources = digital_patient(tmp_path / "DICOM")
    rows: list[dict[str, Any]] = []

    def states() -> list[dict[str, Any]]:
        with work_list_of(ward.site) as work_list:
            return list(show(work_list, "test")["studies"])

    def ask() -> None:
        try:
            sent(ward, sources)
            wait_for(lambda: [r["state"] for r in states()] in (["refused"], ["answered"]))
            rows.extend(states())
        finally:
            os.kill(os.getpid(), signal.SIGTERM)

    addresses: dict[str, str] = {}

    def opened(at: Any, runtime: InferenceRuntime) -> None:
        addresses.update(at)
        threading.Thread(target=ask).start()

    with ward.pacs.running():
        serve(served_site(ward.site, None), opened)
    assert addresses["dicom"] == f"OSTEOFEDREAD at 127.0.0.1:{ward.port}"
    assert [(row["state"], row["reason"]) for row in rows] == [("answered", "")]
    # Weights that nobody trained outline nothing: the report says so, and there is no SEG.
    results = list(ward.pacs.kept.values())
    assert {str(one.SOPClassUID) for one in results} >= {
        Comprehensive3DSRStorage, EncapsulatedPDFStorage,
    }  # fmt: skip
    assert all(is_of(encoded(one), str(sources[0].StudyInstanceUID), whose(sources[0]))
               for one in results)  # fmt: skip
