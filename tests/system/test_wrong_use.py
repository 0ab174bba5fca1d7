"""Wrong use of the command line: one sentence, its own exit code, nothing half-written."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from shared import errors


def osteofed(*words: str | Path, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"PYTHONWARNINGS": "ignore"}
    return subprocess.run(
        [sys.executable, "-m", "shared.cli", *map(str, words)],
        capture_output=True, text=True, timeout=120, env=environment, cwd=cwd, check=False,
    )  # fmt: skip


def refused(result: subprocess.CompletedProcess[str], kind: type[errors.OsteofedError]) -> str:
    """Check that it ended with this error's code and one sentence; give the sentence."""
    assert result.returncode == kind.exit_code, result.stderr
    assert "Traceback" not in result.stderr
    assert result.stdout == ""
    lines = result.stderr.strip().splitlines()
    assert len(lines) == 1
    assert lines[0].startswith("osteofed: ")
    return lines[0]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wrong") / "site"
    assert osteofed("site", "init", folder, "--name", "north").returncode == 0
    return folder


@pytest.fixture(scope="module")
def tasks_file() -> Path:
    return Path(__file__).resolve().parents[2] / "configs" / "tasks" / "dxa-bmd.yaml"


def federation(folder: Path, site: Path, settings: Path, **more: object) -> Path:
    path = folder / "federation.yaml"
    data = {
        "workspace": "workspace", "runtime": {"sites": [str(site)]},
        "tasks": [{"settings": str(settings)}], **more,
    }  # fmt: skip
    path.write_text(yaml.safe_dump(data), encoding="utf-8")
    return path


def test_a_missing_folder_is_named(site: Path, tmp_path: Path) -> None:
    sentence = refused(
        osteofed("site", "ingest", site, tmp_path / "absent"), errors.InputMissingError
    )
    assert "absent" in sentence


def test_an_empty_folder_is_named(site: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    refused(osteofed("site", "ingest", site, tmp_path / "empty"), errors.InputEmptyError)


def test_predict_of_a_missing_or_empty_folder_writes_nothing(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    out = tmp_path / "out"
    refused(osteofed("predict", tmp_path / "absent", "--out", out), errors.InputMissingError)
    refused(
        osteofed("predict", tmp_path / "empty", "--out", out, "--models", tmp_path),
        errors.InputEmptyError,
    )
    assert not out.exists()


def test_an_unknown_task_is_named_with_the_known_ones(tmp_path: Path, site: Path) -> None:
    settings = tmp_path / "task.yaml"
    settings.write_text("task: hair-colour\n", encoding="utf-8")
    path = federation(tmp_path, site, settings)
    sentence = refused(osteofed("server", "run", path), errors.UnknownTaskError)
    assert "hair-colour" in sentence
    assert "dxa-bmd" in sentence
    assert not (tmp_path / "workspace" / "runs").exists()


def test_an_unknown_key_is_named_with_its_file(
    tmp_path: Path, site: Path, tasks_file: Path
) -> None:
    path = federation(tmp_path, site, tasks_file, rounds=3)
    sentence = refused(osteofed("server", "run", path), errors.ConfigValueError)
    assert "federation.yaml: rounds: unknown key" in sentence


def test_a_budget_of_zero_is_refused_before_a_site_is_made(tmp_path: Path) -> None:
    folder = tmp_path / "site"
    result = osteofed("site", "init", folder, "--name", "north", "--epsilon-budget", "0")
    refused(result, errors.BudgetInvalidError)
    assert not folder.exists()


def test_a_budget_of_zero_in_the_settings_is_refused(site: Path, tmp_path: Path) -> None:
    import shutil

    copy = tmp_path / "site"
    shutil.copytree(site, copy)
    settings = yaml.safe_load((copy / "site.yaml").read_text())
    settings["privacy"]["epsilon_budget"] = 0
    (copy / "site.yaml").write_text(yaml.safe_dump(settings))
    sentence = refused(osteofed("site", "ledger", copy), errors.BudgetInvalidError)
    assert "privacy.epsilon_budget" in sentence


def test_a_store_of_another_secret_is_refused(site: Path, tmp_path: Path) -> None:
    import shutil

    other, copy = tmp_path / "other", tmp_path / "site"
    assert osteofed("site", "init", other, "--name", "other").returncode == 0
    shutil.copytree(site, copy)
    (tmp_path / "pacs").mkdir()
    (tmp_path / "pacs" / "note.txt").write_text("not DICOM")
    osteofed("site", "ingest", copy, tmp_path / "pacs")
    shutil.copy2(other / "secret.key", copy / "secret.key")
    refused(osteofed("site", "studies", copy), errors.StoreSecretMismatchError)


def test_no_champion_yet_is_said_with_what_to_do(tmp_path: Path) -> None:
    study = tmp_path / "study"
    make = osteofed("phantom", "make", "--out", study, "--scanner", "lunar", "--patients", "1",
                    "--seed", "1")  # fmt: skip
    assert make.returncode == 0, make.stderr
    registry = f"sqlite:///{tmp_path / 'mlflow.sqlite'}"
    out = tmp_path / "out"
    sentence = refused(
        osteofed("predict", study / "DICOM", "--out", out, "--registry", registry),
        errors.NoChampionError,
    )
    assert "osteofed server run" in sentence
    assert not out.exists()


def test_digital_patients_never_overwrite_a_folder(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("keep")
    result = osteofed("phantom", "make", "--out", tmp_path, "--scanner", "lunar", "--patients",
                      "1", "--seed", "1")  # fmt: skip
    refused(result, errors.PhantomError)
    assert [p.name for p in tmp_path.iterdir()] == ["mine.txt"]


def test_a_typing_mistake_is_code_two_with_a_hint() -> None:
    result = osteofed("site", "ingset")
    assert result.returncode == 2
    assert "ingset" in result.stderr
    assert "Traceback" not in result.stderr
