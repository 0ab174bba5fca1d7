"""The inbox: whole or not at all, nothing twice, and the same end wherever it is killed."""

from __future__ import annotations

import errno
import multiprocessing
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
from pydicom import dcmread

import client.ingest.inbox
from client.ingest.folder import ingest
from client.ingest.inbox import Inbox, TooLargeError, take_inbox
from client.sources.fetch import fetch_all
from client.sources.listen import Quiet
from client.sources.nodes import Deliver
from client.sources.query import FoundStudy, Wanted
from client.sources.retry import HungUpError, StudyFailedError, TryAgainError, patiently
from client.store.site_store import SiteStore, init_site
from shared.errors import ConfigValueError, SourceRefusedError, SourceUnavailableError
from shared.phantom.make import make_hospital
from shared.runtime.files import ROOM_TO_LEAVE
from shared.settings.files import SiteConfig
from shared.settings.pacs import RetrySettings
from tests.shared.rendered_samples import sample_study
from tests.system.phantom_pacs import left_in_inbox, snapshot

AT_ONCE = RetrySettings(attempts=3, first_wait_seconds=0.001, longest_wait_seconds=0.001)


@pytest.fixture(scope="module")
def export(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("hospital") / "export"
    make_hospital(folder, "hologic", 3, 7, render=sample_study)
    return folder / "DICOM"


@pytest.fixture
def site(tmp_path: Path) -> Path:
    init_site(tmp_path / "site", SiteConfig(site="riverside"))
    return tmp_path / "site"


def inbox_of(site: Path) -> Inbox:
    store = SiteStore.open(site)
    store.close()
    return Inbox(site, store.secret)


def put(inbox: Inbox, export: Path) -> list[str]:
    """Deliver an export as a PACS would, and say that each study is complete."""
    studies = set()
    for path in sorted(export.rglob("*.dcm")):
        study = str(dcmread(path, stop_before_pixels=True).StudyInstanceUID)
        studies.add(study)
        assert inbox.deliver(study, path.read_bytes())
    for study in studies:
        inbox.finish(inbox.name_of(study))
    return sorted(studies)


def test_it_is_the_owners_alone_and_no_name_tells_anything(site: Path, export: Path) -> None:
    inbox = inbox_of(site)
    (study, *_) = put(inbox, export)
    inbox.deliver(study, b"more")
    for path in [inbox.folder, *inbox.folder.rglob("*")]:
        assert path.stat().st_mode & 0o777 == (0o700 if path.is_dir() else 0o600), path
        assert study not in str(path)
    assert not list(inbox.folder.rglob("*.part"))


def test_the_same_content_is_one_file(site: Path, export: Path) -> None:
    inbox = inbox_of(site)
    data = next(export.rglob("*.dcm")).read_bytes()
    assert inbox.deliver("1.2.3", data)
    assert not inbox.deliver("1.2.3", data)
    assert inbox.files_of("1.2.3") == 1


def test_what_is_too_large_is_not_written(site: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client.ingest.inbox, "LARGEST_FILE", 4)
    inbox = inbox_of(site)
    with pytest.raises(TooLargeError, match="5 bytes"):
        inbox.deliver("1.2.3", b"large")
    assert inbox.studies() == []
    assert inbox.deliver("1.2.3", b"last")


def test_the_ledger_and_the_audit_chain_keep_their_room(
    site: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    inbox = inbox_of(site)
    free = [ROOM_TO_LEAVE + 3]
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: SimpleNamespace(free=free[0]))
    with pytest.raises(OSError, match="No space left") as full:
        inbox.deliver("1.2.3", b"four")
    assert full.value.errno == errno.ENOSPC
    assert inbox.studies() == []
    free[0] += 1
    assert inbox.deliver("1.2.3", b"four")


def test_what_could_not_be_written_leaves_nothing(
    site: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    inbox = inbox_of(site)

    def fail(descriptor: int) -> None:
        raise OSError(errno.EIO, "broken")

    inbox.deliver("1.2.3", b"one")
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", fail)
        with pytest.raises(OSError, match="broken"):
            inbox.deliver("1.2.3", b"two")
    assert len(list(inbox.arriving.rglob("*.*"))) == 1


def test_the_name_of_a_new_studys_folder_is_durable_too(
    site: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    inbox = inbox_of(site)
    settled: list[Path] = []
    monkeypatch.setattr(client.ingest.inbox, "settle", settled.append)
    study = inbox.arriving / inbox.name_of("1.2.3")
    inbox.deliver("1.2.3", b"one")
    inbox.deliver("1.2.3", b"two")
    assert settled == [inbox.arriving, study, study]


def _crash(job: object) -> object:
    assert multiprocessing.parent_process() is not None, "decoded in the process that listens"
    os._exit(1)


def test_a_file_that_crashes_a_decoder_goes_to_the_quarantine_and_nothing_ends(
    site: Path, export: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    inbox = inbox_of(site)
    put(inbox, export)
    monkeypatch.setattr("client.ingest.folder.stage", _crash)
    report = take_inbox(site)
    assert {file.verdict for file in report.files} & {"taken"} == set()
    assert left_in_inbox(site) == []
    assert len(list((site / "quarantine").rglob("*.dcm"))) == len(report.files)


def test_what_is_taken_is_deleted_and_the_rest_is_in_quarantine(site: Path, export: Path) -> None:
    inbox = inbox_of(site)
    put(inbox, export)
    inbox.deliver("1.2.3", b"no DICOM")
    inbox.finish(inbox.name_of("1.2.3"))
    report = take_inbox(site)
    assert left_in_inbox(site) == []
    aside = sorted(path for path in (site / "quarantine").rglob("*") if path.is_file())
    assert len(aside) == sum(file.verdict != "taken" for file in report.files) == 4
    assert {path.stat().st_mode & 0o777 for path in aside} == {0o600}
    assert any(path.read_bytes() == b"no DICOM" for path in aside)
    assert take_inbox(site).files == []
    again = ingest(site, site / "quarantine")  # where a person may try once more
    assert {file.reason for file in again.files} == {"burned_in_text", "not_dicom"}


def test_killed_between_any_two_steps_it_ends_the_same(
    tmp_path: Path, site: Path, export: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(inbox_of(site), export)
    shutil.copytree(site, tmp_path / "whole")
    take_inbox(tmp_path / "whole")

    class KilledError(BaseException):
        pass

    def dying_after(steps: int, what: Callable[..., object]) -> Callable[..., object]:
        left = [steps]

        def step(*arguments: object, **named: object) -> object:
            if left[0] == 0:
                raise KilledError
            left[0] -= 1
            return what(*arguments, **named)

        return step

    kills = 0
    for steps in (0, 1, 5):
        for method in ("replace", "unlink"):
            one = tmp_path / f"{method}{steps}"
            shutil.copytree(site, one)
            with monkeypatch.context() as patch:
                patch.setattr(Path, method, dying_after(steps, getattr(Path, method)))
                try:
                    take_inbox(one)
                except KilledError:
                    kills += 1
            take_inbox(one)
            assert snapshot(one) == snapshot(tmp_path / "whole")
            assert left_in_inbox(one) == []
            names = [
                {path.name for path in (place / "quarantine").rglob("*.dcm")}
                for place in (one, tmp_path / "whole")
            ]
            assert names[0] == names[1]
    assert kills >= 4


def test_half_a_study_of_a_killed_fetch_is_not_taken(site: Path, export: Path) -> None:
    inbox = inbox_of(site)
    path = next(export.rglob("*.dcm"))
    inbox.deliver("1.2.3", path.read_bytes())
    assert take_inbox(site).files == []
    assert inbox.files_of("1.2.3") == 1


def test_a_line_that_was_cut_off_costs_only_itself(site: Path) -> None:
    inbox = inbox_of(site)
    inbox.remember_fetched("pacs", "1.2.3", 4)
    memory = inbox.folder / "fetched.jsonl"
    memory.write_bytes(memory.read_bytes() + b'{"fetched": "01')
    inbox = inbox_of(site)
    inbox.remember_fetched("pacs", "1.2.4", 4)
    inbox = inbox_of(site)
    assert inbox.was_fetched("pacs", "1.2.3", 4)
    assert inbox.was_fetched("pacs", "1.2.4", 4)
    assert not inbox.was_fetched("pacs", "1.2.3", 5)
    assert not inbox.was_fetched("other", "1.2.3", 4)
    assert b"1.2.3" not in memory.read_bytes()


class FakePacs:
    """Gives an export's studies; fails as often as it is told."""

    name = "fake"
    notes: tuple[str, ...] = ()

    def __init__(self, export: Path) -> None:
        self.files: dict[str, list[bytes]] = {}
        for path in sorted(export.rglob("*.dcm")):
            study = str(dcmread(path, stop_before_pixels=True).StudyInstanceUID)
            self.files.setdefault(study, []).append(path.read_bytes())
        self.asked: list[str] = []
        self.withheld = ""

    def check(self) -> None:
        pass

    def find(self, wanted: Wanted) -> list[FoundStudy]:
        return [FoundStudy(study, len(files)) for study, files in sorted(self.files.items())]

    def fetch(self, study: FoundStudy, deliver: Deliver) -> None:
        self.asked.append(study.study_uid)
        files = self.files[study.study_uid]
        for data in files[: -1 if study.study_uid == self.withheld else None]:
            deliver(study.study_uid, data)

    def ready(self) -> object:
        from contextlib import nullcontext

        return nullcontext()


def test_a_study_that_is_not_given_whole_does_not_stop_the_others(site: Path, export: Path) -> None:
    pacs = FakePacs(export)
    pacs.withheld = sorted(pacs.files)[1]
    first = fetch_all(site, pacs, Wanted(), AT_ONCE)  # type: ignore[arg-type] # a fake
    assert (first.found, first.fetched, first.failed) == (3, 2, 1)
    assert pacs.asked.count(pacs.withheld) == 3
    assert first.report.counts["studies"] == 2
    pacs.withheld = ""
    second = fetch_all(site, pacs, Wanted(), AT_ONCE)  # type: ignore[arg-type] # a fake
    assert (second.fetched, second.known, second.failed) == (1, 2, 0)
    third = fetch_all(site, pacs, Wanted(), AT_ONCE, again=True)  # type: ignore[arg-type]
    assert (third.fetched, third.known) == (3, 0)
    assert {f.reason for f in third.report.files} == {"already_there", "burned_in_text"}


def test_a_study_with_a_file_that_is_too_large_is_asked_for_once(
    site: Path, export: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pacs = FakePacs(export)
    large = sorted(pacs.files)[1]
    most = max(len(data) for files in pacs.files.values() for data in files)
    pacs.files[large].append(bytes(most + 1))
    monkeypatch.setattr(client.ingest.inbox, "LARGEST_FILE", most)
    report = fetch_all(site, pacs, Wanted(), AT_ONCE)  # type: ignore[arg-type] # a fake
    assert (report.found, report.fetched, report.failed) == (3, 2, 1)
    assert pacs.asked.count(large) == 1


def test_patience_ends_and_says_what_was_tried() -> None:
    tries: list[int] = []

    def ask() -> str:
        tries.append(1)
        if len(tries) < 3:
            raise TryAgainError("is busy")
        return "answer"

    assert patiently(AT_ONCE, "the PACS", ask) == "answer"
    with pytest.raises(SourceUnavailableError, match="the PACS: is busy, asked 3 times"):
        patiently(AT_ONCE, "the PACS", lambda: (_ for _ in ()).throw(TryAgainError("is busy")))
    with pytest.raises(SourceRefusedError, match="the PACS: hangs up"):
        patiently(AT_ONCE, "the PACS", lambda: (_ for _ in ()).throw(HungUpError("hangs up")))
    with pytest.raises(StudyFailedError):
        patiently(AT_ONCE, "the PACS", lambda: (_ for _ in ()).throw(StudyFailedError("half")))


def test_what_is_pushed_in_one_go_is_taken_in_one_go() -> None:
    now = [0.0]
    quiet = Quiet(10.0, lambda: now[0])
    quiet.heard("a")
    now[0] = 8.0
    quiet.heard("b")
    now[0] = 12.0
    assert quiet.due() == []  # a is quiet, b not yet
    now[0] = 19.0
    assert quiet.due() == ["a", "b"]
    assert quiet.due() == []
    quiet.heard("c")
    for _ in range(30):  # a sender that never ends does not keep the others waiting for ever
        now[0] += 5.0
        quiet.heard("d")
        if due := quiet.due():
            break
    assert due == ["c"]
    assert now[0] <= 19.0 + 101.0


@pytest.mark.parametrize(
    ("description", "texts", "expected"),
    [
        ("AP Spine", ["AP SPINE"], True),
        ("ap spine", ["Lumbar AP Spine, 2 views"], True),
        ("AP*Spine", ["AP Lumbar Spine"], True),
        ("AP Spine", ["AP Lumbar Spine"], False),
        ("AP Spine", [], False),
        ("", ["anything"], True),
    ],
)
def test_descriptions_are_compared_by_words(
    description: str, texts: list[str], expected: bool
) -> None:
    assert Wanted(description=description).describes(texts) is expected


def test_a_range_that_ends_before_it_begins_is_refused() -> None:
    from datetime import date

    with pytest.raises(ConfigValueError, match="--from 2024-02-01 is after --to 2024-01-01"):
        Wanted(date(2024, 2, 1), date(2024, 1, 1))
    assert Wanted(date(2024, 1, 1), None).study_date == "20240101-"
    assert Wanted(None, date(2024, 1, 31)).study_date == "-20240131"
