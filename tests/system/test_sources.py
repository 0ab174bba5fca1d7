"""From a real PACS into the store: the same catalogue by every way, whatever happens on it."""

from __future__ import annotations

import logging
import os
import random
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pydicom import dcmread
from pynetdicom import AE
from pynetdicom.presentation import build_context
from pynetdicom.sop_class import Verification

from client.ingest.folder import IngestReport, ingest
from client.sources.association import call
from client.sources.fetch import Fetched
from client.sources.listen import listen
from client.sources.query import Wanted
from client.sources.router import echo, take_source
from shared.errors import ConfigValueError, SourceRefusedError, SourceUnavailableError
from shared.settings.pacs import ListenSettings
from tests.suite.waiting import HANG_SECONDS

from .orthanc import Orthanc, needs_orthanc, needs_storescu, running_orthanc
from .phantom_pacs import (
    Sites,
    configure,
    left_in_inbox,
    make_phantom_hospital,
    settings_of,
    snapshot,
)

#: OSTEOFED_PATIENTS=200 runs the hospital of the acceptance.
PATIENTS = int(os.environ.get("OSTEOFED_PATIENTS", "12"))
KILLS = 10
EVERYTHING = Wanted()

pytestmark = [pytest.mark.system, needs_orthanc]

#: Takes in what a test names, and says when it has begun.
CHILD = """
import sys
from pathlib import Path
from client.sources.router import take_source
from client.sources.query import Wanted
import client.ingest.folder, client.sources.dicomweb
print("ready", flush=True)
take_source(Path(sys.argv[1]), "pacs:web", Wanted(modalities=("CR",)))
"""


@pytest.fixture(scope="module")
def hospital(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_phantom_hospital(tmp_path_factory.mktemp("hospital") / "export", PATIENTS)


@pytest.fixture(scope="module")
def pacs(hospital: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Orthanc]:
    with running_orthanc(tmp_path_factory.mktemp("pacs")) as one:
        one.load(hospital)
        yield one


@pytest.fixture(scope="module")
def sites(tmp_path_factory: pytest.TempPathFactory) -> Sites:
    return Sites(tmp_path_factory.mktemp("sites"))


@pytest.fixture(scope="module")
def by_folder(hospital: Path, sites: Sites) -> dict[str, object]:
    site = sites.new()
    ingest(site, hospital)
    return snapshot(site)


def new_site(sites: Sites, pacs: Orthanc, **changes: Any) -> Path:
    site = sites.new()
    configure(site, settings_of(pacs, site, **changes))
    return site


def peer(pacs: Orthanc, **changes: Any) -> dict[str, Any]:
    return {"host": "127.0.0.1", "port": pacs.dicom_port, "title": pacs.title} | changes


def fetch(site: Path, source: str, wanted: Wanted = EVERYTHING) -> Fetched:
    fetched = take_source(site, source, wanted)
    assert isinstance(fetched, Fetched)
    return fetched


@pytest.mark.parametrize(
    ("source", "retrieve"), [("pacs:web", "get"), ("pacs:peer", "get"), ("pacs:peer", "move")]
)
def test_a_pacs_gives_the_same_catalogue_as_a_folder_and_nothing_twice(
    sites: Sites, pacs: Orthanc, by_folder: dict[str, object], source: str, retrieve: str
) -> None:
    site = new_site(sites, pacs, peer=peer(pacs, retrieve=retrieve))
    first = fetch(site, source)
    assert (first.found, first.fetched, first.failed) == (PATIENTS, PATIENTS, 0)
    assert snapshot(site) == by_folder
    assert left_in_inbox(site) == []
    second = fetch(site, source)
    assert (second.found, second.fetched, second.known) == (PATIENTS, 0, PATIENTS)
    assert snapshot(site) == by_folder


@needs_storescu
def test_what_a_foreign_sender_pushes_gives_the_same_catalogue(
    sites: Sites,
    pacs: Orthanc,
    hospital: Path,
    by_folder: dict[str, object],
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG)
    site = sites.new()
    settings = settings_of(pacs, site)
    # Studies wait for each other ten quiet times at most; 200 patients take a minute to send.
    settings["listen"]["quiet_seconds"] = max(1.0, PATIENTS / 10)
    configure(site, settings)
    reports = pushed(
        site,
        lambda port: subprocess.run(
            ["storescu", "-aet", "STORESCU", "-aec", "OSTEOFED", "-R", "+sd", "+r", "127.0.0.1",
             str(port), str(hospital)],
            check=True, capture_output=True,
        ),
    )  # fmt: skip
    assert len(reports) == 1
    assert snapshot(site) == by_folder
    assert left_in_inbox(site) == []
    assert_names_nobody(caplog, hospital)


def assert_names_nobody(log: pytest.LogCaptureFixture, hospital: Path) -> None:
    for path in hospital.rglob("*.dcm"):
        dataset = dcmread(path, stop_before_pixels=True)
        for value in (dataset.PatientID, dataset.StudyInstanceUID, dataset.SOPInstanceUID):
            assert {one.name for one in log.records if value in one.getMessage()} == set()
            assert value not in log.text


def pushed(site: Path, push: Any) -> list[IngestReport]:
    """Listen while something is pushed; what was taken in."""
    reports: list[IngestReport] = []
    up, stop = threading.Event(), threading.Event()
    port: list[int] = []
    failed: list[BaseException] = []

    def started(settings: ListenSettings) -> None:
        port.append(settings.port)
        up.set()

    def run() -> None:
        try:
            listen(site, reports.append, started=started, once=True, stop=stop)
        except BaseException as error:
            failed.append(error)
            up.set()

    node = threading.Thread(target=run)
    node.start()
    try:
        assert up.wait(HANG_SECONDS)
        assert not failed
        push(port[0])
        node.join(HANG_SECONDS)
    finally:
        stop.set()
        node.join(HANG_SECONDS)
    assert not failed
    return reports


def test_only_who_is_named_may_push_and_only_to_the_right_title(
    sites: Sites, pacs: Orthanc
) -> None:
    site = new_site(sites, pacs)

    def knock(port: int) -> None:
        answers = {}
        for caller, called in (
            ("STORESCU", "OSTEOFED"), ("STRANGER", "OSTEOFED"), ("STORESCU", "OTHER"),
        ):  # fmt: skip
            node = AE(ae_title=caller)
            node.add_requested_context(Verification)
            association, heard = call(node, ("127.0.0.1", port), called, most_bytes=10_000)
            if association.is_established:
                answers[caller, called] = association.send_c_echo().Status
                association.release()
            else:
                answers[caller, called] = heard.rejection is not None
        assert answers == {
            ("STORESCU", "OSTEOFED"): 0,
            ("STRANGER", "OSTEOFED"): True,
            ("STORESCU", "OTHER"): True,
        }
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        pushed(site, knock)
    nobody = new_site(sites, pacs, listen={"port": pacs.move_port})
    with pytest.raises(ConfigValueError, match="senders"):
        listen(nobody, lambda report: None)


def test_what_was_pushed_before_a_kill_is_taken_in_after_the_next_start(
    sites: Sites, pacs: Orthanc, hospital: Path, by_folder: dict[str, object]
) -> None:
    site = new_site(sites, pacs)
    child = subprocess.Popen(
        [sys.executable, "-m", "shared.cli", "site", "listen", str(site)],
        stdout=subprocess.PIPE, text=True, env=os.environ | {"COLUMNS": "200"},
    )  # fmt: skip
    assert child.stdout is not None
    assert "listens on" in child.stdout.readline()
    send(sorted(hospital.rglob("*.dcm")), pacs.move_port)
    child.kill()
    child.wait()
    child.stdout.close()
    assert snapshot(site) != by_folder
    pushed(site, lambda port: None)
    assert snapshot(site) == by_folder
    assert left_in_inbox(site) == []


def send(paths: list[Path], port: int) -> None:
    """Push files as they are; each must be accepted."""
    datasets = [dcmread(path) for path in paths]
    node = AE(ae_title="STORESCU")
    kinds = {(d.SOPClassUID, d.file_meta.TransferSyntaxUID) for d in datasets}
    node.requested_contexts = [build_context(one, syntax) for one, syntax in sorted(kinds)]
    association = node.associate("127.0.0.1", port, ae_title="OSTEOFED")
    assert association.is_established
    assert {association.send_c_store(dataset).Status for dataset in datasets} == {0}
    association.release()


def test_a_query_restricts_what_is_fetched(sites: Sites, pacs: Orthanc, hospital: Path) -> None:
    headers = [dcmread(path, stop_before_pixels=True) for path in hospital.rglob("*.dcm")]
    days = sorted({header.StudyDate for header in headers})
    middle = days[len(days) // 2]
    day = Wanted(*(time_of(middle),) * 2)
    expected = {h.StudyInstanceUID for h in headers if h.StudyDate == middle}
    lunar = {h.StudyInstanceUID for h in headers if h.Modality == "CR"}
    iva = {h.StudyInstanceUID for h in headers if "IVA" in h.get("SeriesDescription", "")}
    assert expected
    assert lunar
    assert iva
    for source in ("pacs:web", "pacs:peer"):
        site = new_site(sites, pacs)
        assert fetch(site, source, day).found == len(expected)
        assert fetch(site, source, Wanted(modalities=("CR",))).found == len(lunar)
        assert fetch(site, source, Wanted(description="iva*lateral")).found == len(iva)
        assert fetch(site, source, Wanted(modalities=("MR",))).found == 0


def time_of(day: str) -> Any:
    from datetime import datetime

    return datetime.strptime(day, "%Y%m%d").date()


def test_more_studies_than_a_page_are_all_found(
    sites: Sites, pacs: Orthanc, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("client.sources.dicomweb.PAGE", 5)
    assert fetch(new_site(sites, pacs), "pacs:web").fetched == PATIENTS


@pytest.mark.timeout(900)
def test_killed_at_any_point_and_started_again_it_ends_the_same(
    sites: Sites, pacs: Orthanc
) -> None:
    half = Wanted(modalities=("CR",))  # as much as shows everything, and no more
    whole = new_site(sites, pacs)
    begun = time.monotonic()
    fetch(whole, "pacs:web", half)
    duration = time.monotonic() - begun
    expected = snapshot(whole)
    chance = random.Random(5)
    for _ in range(KILLS):
        delay, killed = chance.uniform(0, duration), False
        while not killed:  # if it had ended before: once more, and sooner
            site = new_site(sites, pacs)
            child = subprocess.Popen(
                [sys.executable, "-c", CHILD, str(site)], stdout=subprocess.PIPE, text=True
            )
            assert child.stdout is not None
            assert child.stdout.readline() == "ready\n"
            time.sleep(delay)
            child.send_signal(signal.SIGKILL)
            killed = child.wait() == -signal.SIGKILL
            child.stdout.close()
            delay /= 2
        fetch(site, "pacs:web", half)
        assert snapshot(site) == expected
        assert left_in_inbox(site) == []


# pynetdicom leaves a socket open whose peer is gone.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.timeout(900)
def test_a_pacs_that_dies_in_the_middle_is_gone_on_with_when_it_is_back(
    sites: Sites,
    hospital: Path,
    by_folder: dict[str, object],
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    with running_orthanc(tmp_path / "pacs") as mortal:
        mortal.load(hospital)
        # From here on the program speaks: what sends to the PACS of a test names its studies.
        caplog.set_level(logging.DEBUG)
        site = new_site(sites, mortal)

        def die(done: int, found: int) -> None:
            if done == 3:
                mortal.stop()

        with pytest.raises(SourceUnavailableError, match="cannot be reached"):
            take_source(site, "pacs:web", EVERYTHING, die)
        assert snapshot(site)["studies"] == []
        mortal.start()
        rest = fetch(site, "pacs:web")
        assert (rest.known, rest.fetched) == (3, PATIENTS - 3)
        assert snapshot(site) == by_folder

        patient = new_site(sites, mortal, retry={"attempts": 40, "first_wait_seconds": 0.2,
                                                  "longest_wait_seconds": 1.0})  # fmt: skip
        helper = threading.Thread(target=mortal.start)

        def blink(done: int, found: int) -> None:
            if done == 3:
                mortal.stop()
                helper.start()

        take_source(patient, "pacs:peer", EVERYTHING, blink)
        helper.join()
        assert snapshot(patient) == by_folder
    assert_names_nobody(caplog, hospital)


def test_who_is_refused_is_told_so(sites: Sites, pacs: Orthanc) -> None:
    site = new_site(sites, pacs)
    wrong = site.parent / "wrong-password"
    wrong.write_text("osteofed:guessed\n")
    wrong.chmod(0o600)
    refused: list[tuple[str, dict[str, Any], str]] = [
        ("pacs:web", {"web": {"url": pacs.url, "credentials": str(wrong)}}, "401"),
        ("pacs:web", {"web": {"url": pacs.url}}, "401"),
        (
            "pacs:web",
            {"web": {"url": pacs.url.replace("/dicom-web", "/dicomweb"),
                     "credentials": str(site.parent / "pacs-password")}},
            "404",
        ),
        ("pacs:web", {"web": {"url": pacs.url.replace("http:", "https:")}}, "TLS"),
        ("pacs:peer", {"peer": peer(pacs, title="SOMEBODY")}, "title"),
        ("pacs:peer", {"peer": peer(pacs, tls={})}, "TLS"),
        ("pacs:peer", {"listen": {"title": "STRANGER", "senders": ["A"]}}, "STRANGER"),
        (
            "pacs:peer",
            {"peer": peer(pacs, retrieve="move"),
             "listen": {"title": "STRANGER", "port": pacs.move_port}},
            "STRANGER",
        ),
    ]  # fmt: skip
    for source, changes, word in refused:
        configure(site, settings_of(pacs, site, **changes))
        with pytest.raises(SourceRefusedError, match=word):
            take_source(site, source, EVERYTHING)
    down = pacs.move_port
    for source, changes in (
        ("pacs:web", {"web": {"url": f"http://127.0.0.1:{down}/dicom-web"}}),
        ("pacs:peer", {"peer": peer(pacs, port=down)}),
    ):
        configure(site, settings_of(pacs, site, **changes))
        with pytest.raises(SourceUnavailableError, match="asked 2 times"):
            take_source(site, source, EVERYTHING)
    assert snapshot(site)["studies"] == []


def test_echo_tells_which_connection_does_not_work(sites: Sites, pacs: Orthanc) -> None:
    site = new_site(sites, pacs)
    found, error = echo(site)
    assert error is None
    assert [(one["connection"], one["works"]) for one in found] == [
        ("web", True), ("peer", True), ("listen", True),
    ]  # fmt: skip
    configure(site, settings_of(pacs, site, peer=peer(pacs, title="SOMEBODY")))
    found, error = echo(site)
    assert isinstance(error, SourceRefusedError)
    assert [one["works"] for one in found] == [True, False, True]


def test_a_zip_gives_the_same_catalogue_as_its_folder(
    sites: Sites, hospital: Path, by_folder: dict[str, object], tmp_path: Path
) -> None:
    archive = shutil.make_archive(str(tmp_path / "export"), "zip", hospital)
    site = sites.new()
    report = take_source(site, archive, EVERYTHING)
    assert isinstance(report, IngestReport)
    assert snapshot(site) == by_folder
    names = {path.relative_to(hospital).as_posix() for path in hospital.rglob("*.dcm")}
    assert {verdict.path for verdict in report.files} == names
    assert left_in_inbox(site) == []
