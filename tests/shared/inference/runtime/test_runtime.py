"""What a runtime reads with, and when that changes."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Iterator
from concurrent.futures import CancelledError
from dataclasses import replace
from pathlib import Path

import pytest
from pydicom import dcmread

from shared.errors import (
    ConfigError,
    PassportInvalidError,
    ReadersBusyError,
    SelfTestFailedError,
    SeveralStudiesError,
)
from shared.inference.predict import predict_folder
from shared.inference.runtime.held import VersionSource, hold
from shared.inference.runtime.runtime import InferenceRuntime
from shared.inference.runtime.self_test import stored_study
from shared.inference.runtime.study_reading import spooled
from shared.training.weights import load_weights, save_weights
from tests.shared.inference.runtime.held_samples import SignedFolder, random_arrays, small_room


@pytest.fixture(scope="module")
def room(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small_room(tmp_path_factory.mktemp("room") / "here")


@pytest.fixture(scope="module")
def study(room: Path) -> Path:
    """The stored digital patient, as any study."""
    return stored_study(room)


@pytest.fixture
def versions(tmp_path: Path) -> SignedFolder:
    return SignedFolder(tmp_path)


@pytest.fixture
def runtime(versions: SignedFolder, room: Path) -> Iterator[InferenceRuntime]:
    made = versions.runtime(room, waiting=2)
    made.start()
    yield made
    made.close()


def test_a_study_is_read_as_predict_reads_it_from_a_folder_or_from_memory(
    runtime: InferenceRuntime, versions: SignedFolder, study: Path, tmp_path: Path
) -> None:
    told: list[str] = []
    answer = runtime.submit(study, told.append).result(60)
    [known] = predict_folder(
        study, tmp_path / "out", models=versions.folder, trust=versions.key.public, device="cpu"
    ).predictions.values()
    assert answer.prediction == known
    assert answer.report == (tmp_path / "out" / "report.html").read_text()
    assert told == ["reading files", "running networks"]
    files = [path.read_bytes() for path in sorted(study.rglob("*.dcm"))]
    with spooled(files) as folder:
        assert runtime.submit(folder).result(60).prediction == known
    assert not folder.exists()


def test_a_new_champion_reads_after_its_test_and_the_previous_stays(
    runtime: InferenceRuntime, versions: SignedFolder, study: Path
) -> None:
    first = runtime.current.digests()
    assert not runtime.follow()
    second = versions.promote()
    assert runtime.follow()
    assert runtime.current.digests() == {"dxa-segmentation": second}
    [facts] = runtime.submit(study).result(60).prediction.models
    assert facts.digest == second
    assert runtime.back()
    assert runtime.current.digests() == first


def test_what_fails_its_test_or_is_not_signed_never_reads(
    runtime: InferenceRuntime, versions: SignedFolder
) -> None:
    held = runtime.current
    versions.promote(versions.broken())
    assert not runtime.follow()
    assert "no number" in runtime.kept_because
    versions.promote()
    path = versions.folder / "dxa-segmentation.safetensors"
    save_weights(path, replace(load_weights(path), arrays=random_arrays(99)))
    assert not runtime.follow()
    assert "its weights are not what the coordinator signed" in runtime.kept_because
    assert runtime.current is held
    versions.promote()
    assert runtime.follow()
    assert runtime.kept_because == ""


def test_nothing_is_served_by_what_is_edited_broken_or_without_a_key(
    versions: SignedFolder, room: Path
) -> None:
    with pytest.raises(ConfigError, match="no coordinator's key is known"):
        hold(VersionSource("", models=versions.folder), "cpu", 1)
    versions.promote(versions.broken())
    with pytest.raises(SelfTestFailedError, match=r"version file .* gives what is no number"):
        versions.runtime(room).start()
    path = versions.folder / "dxa-segmentation.safetensors"
    save_weights(path, replace(load_weights(path), origin="federated run 7"))
    with pytest.raises(PassportInvalidError, match="its origin"):
        versions.runtime(room).start()


def test_more_than_may_wait_is_refused_and_a_cancelled_study_is_not_read(
    runtime: InferenceRuntime, study: Path
) -> None:
    begun, go_on = threading.Event(), threading.Event()

    def hold_up(stage: str) -> None:
        begun.set()
        go_on.wait(60)

    first = runtime.submit(study, hold_up)
    assert begun.wait(60)
    read: list[str] = []
    second, third = runtime.submit(study, read.append), runtime.submit(study)
    with pytest.raises(ReadersBusyError, match="2 studies wait"):
        runtime.submit(study)
    assert second.cancel()
    go_on.set()
    assert first.result(60).prediction == third.result(60).prediction
    assert read == []


def test_an_end_keeps_what_is_read_and_cancels_what_waits(
    versions: SignedFolder, room: Path, study: Path
) -> None:
    runtime = versions.runtime(room)
    runtime.start()
    begun = threading.Event()
    first = runtime.submit(study, lambda stage: begun.set())
    assert begun.wait(60)
    second = runtime.submit(study)
    runtime.close()
    assert first.result(0).prediction
    with pytest.raises(CancelledError):
        second.result(0)
    with pytest.raises(ReadersBusyError, match="being stopped"):
        runtime.submit(study)


def test_two_patients_together_are_never_read(
    runtime: InferenceRuntime, study: Path, tmp_path: Path
) -> None:
    [first] = study.rglob("*.dcm")
    other = dcmread(first)
    other.PatientID, other.StudyInstanceUID, other.SOPInstanceUID = "9", "2.25.8", "2.25.9"
    other.file_meta.MediaStorageSOPInstanceUID = other.SOPInstanceUID
    other.save_as(tmp_path / "other.dcm")
    shutil.copy(first, tmp_path)
    with pytest.raises(SeveralStudiesError, match="of 2 studies"):
        runtime.submit(tmp_path).result(60)
