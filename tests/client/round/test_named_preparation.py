"""Training and measuring inside the hospital prepare the input with versions that are named."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sqlalchemy as sa
from typer.testing import CliRunner

from client.cli.main import app
from client.round.answer import answer_train
from client.round.open_site import open_site
from client.store.catalogue import Image, Study
from shared.errors import (
    CohortTooSmallError,
    ConfigError,
    ModelIncompatibleError,
    NoChampionError,
    PolicyRefusedError,
    VersionMissingError,
)
from shared.findings.findings import Findings
from shared.inference.champions import REGISTRY_VARIABLE
from shared.records import View
from shared.settings.files import SitePolicy, SitePrivacy, save_settings
from shared.settings.task import TaskSettings
from shared.tasks.dxa_segmentation import DxaSegmentation
from shared.tasks.reading import Reading
from shared.training.weights import Weights, load_weights, save_weights
from tests.client.round.test_received_preparation import asked, message
from tests.client.round.test_site_training import change
from tests.server.rounds.test_prepared_rounds import FRACTURE, PREPARATION, WEIGHTS, agree
from tests.server.tiny_sites import TINY_TASK, tiny_site
from tests.shared.standins import spine_lateral

PRIVACY = SitePrivacy(epsilon_budget=50.0, delta=1e-3, allow_plain_runs=True)
NAMED = {TINY_TASK.task: PREPARATION.digest}

# typer's import of click's old names
pytestmark = pytest.mark.filterwarnings("ignore:'click:DeprecationWarning")


@pytest.fixture
def site(tmp_path: Path) -> Path:
    """8 patients train and 2 test; nobody's vertebrae were drawn."""
    folder = tiny_site(tmp_path / "alpha", "alpha", patients=12, privacy=PRIVACY)
    draw(folder, None)
    return folder


def draw(folder: Path, digest: str | None, patients: int = 12) -> None:
    """Let the vertebrae of the first patients have been drawn, or not."""
    opened = open_site(folder)
    some = sa.select(Study.uid).order_by(Study.patient).limit(patients)
    lateral = sa.update(Image).where(Image.view == "spine_lateral", Image.study.in_(some))
    with opened.store.engine.begin() as connection:
        connection.execute(lateral.values(mask_digest=digest))
    opened.close()


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[Reading]:
    """Every study that the preparing version reads; it finds the same in all, at once."""
    seen: list[Reading] = []
    regions = spine_lateral(np.random.default_rng(0), {}).regions
    assert regions is not None

    def find(task: DxaSegmentation, reading: Reading) -> Findings:
        seen.append(reading)
        return Findings(region_maps={View.SPINE_LATERAL: regions})

    monkeypatch.setattr(DxaSegmentation, "find", find)
    return seen


def written(path: Path, settings: TaskSettings = TINY_TASK) -> Path:
    save_weights(path, Weights(settings, WEIGHTS, "test"))
    return path


def train(site: Path, *more: str | Path, fails: type[Exception] | None = None) -> dict[str, Any]:
    """Call ``osteofed site train``: its facts, or what it raised."""
    settings = site.parent / "task.yaml"
    save_settings(FRACTURE, settings)
    out = site.parent / "fracture.safetensors"
    return call("train", site, "--settings", settings, "--out", out, *more, fails=fails)


def evaluate(site: Path, *more: str | Path, fails: type[Exception] | None = None) -> dict[str, Any]:
    weights = site.parent / "fracture.safetensors"
    found = call("evaluate", site, "--weights", weights, *more, fails=fails)
    return found if fails else found["models"]["fracture"]


def call(command: str, *words: str | Path, fails: type[Exception] | None) -> dict[str, Any]:
    done = CliRunner().invoke(app, [command, *map(str, words), "--json"])
    if fails is not None:
        assert isinstance(done.exception, fails), done.exception
        return {"said": str(done.exception)}
    assert done.exit_code == 0, (done.output, done.exception)
    facts: dict[str, Any] = json.loads(done.stdout)
    return facts


def test_it_is_named_by_a_file_or_a_folder_and_no_study_is_read_twice(
    site: Path, reads: list[Reading], tmp_path: Path
) -> None:
    file = written(tmp_path / "any-name.safetensors")
    folder = written(tmp_path / "export" / f"{TINY_TASK.task}.safetensors").parent
    first = train(site, "--prepare-with", file)
    assert (first["patients"], first["prepared_with"]) == (8, NAMED)
    assert len(reads) == 8
    again = train(site, "--prepare-with", folder)
    assert (again["digest"], len(reads)) == (first["digest"], 8)
    assert load_weights(tmp_path / "fracture.safetensors").settings == FRACTURE
    measured = evaluate(site, "--prepare-with", folder)
    assert (measured["patients"], measured["prepared_with"]) == (2, NAMED)
    assert evaluate(site, "--prepare-with", file, "--split", "all")["patients"] == 12
    assert len(reads) == 12


def test_a_round_and_the_hospital_alone_share_what_was_found(
    site: Path, reads: list[Reading], tmp_path: Path
) -> None:
    file = written(tmp_path / "levels.safetensors")
    train(site, "--prepare-with", file)
    measured = evaluate(site, "--prepare-with", file, "--split", "all")
    assert (measured["patients"], len(reads)) == (12, 12)
    agree(site, {TINY_TASK.task: PREPARATION})
    change(site, policy=SitePolicy(minimum_patients=5))
    answer_train(open_site(site), message(asked(), {}))
    assert len(reads) == 12


def test_none_named_is_refused_in_a_sentence_before_anything_is_reserved(
    site: Path, reads: list[Reading], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(REGISTRY_VARIABLE, "sqlite:///nowhere.sqlite")  # nothing is named by it
    said = train(site, fails=NoChampionError)["said"]
    assert said == (
        "vfa-fracture: nobody drew the regions that it needs in studies of alpha, and no version "
        "of dxa-segmentation is named that finds them (give --prepare-with FILE or --registry URI)"
    )
    assert NoChampionError.exit_code == 60
    assert open_site(site).ledger.entries() == []
    draw(site, "0" * 64)
    train(site)
    draw(site, None)
    assert evaluate(site, fails=NoChampionError)["said"] == said
    assert reads == []


def test_where_enough_was_drawn_none_need_be_named(site: Path, reads: list[Reading]) -> None:
    draw(site, "0" * 64)
    change(site, policy=SitePolicy(minimum_patients=8))
    assert train(site)["patients"] == 8
    found = evaluate(site)
    assert (found["patients"], "prepared_with" in found) == (2, False)
    draw(site, None, patients=3)
    assert "--prepare-with" in train(site, fails=NoChampionError)["said"]
    change(site, policy=SitePolicy(minimum_patients=9))
    draw(site, "0" * 64)
    train(site, fails=CohortTooSmallError)
    assert reads == []


def test_the_hospital_must_permit_what_prepares_its_training(site: Path, tmp_path: Path) -> None:
    change(site, policy=SitePolicy(tasks=(FRACTURE.task,)))
    file = written(tmp_path / "levels.safetensors")
    said = train(site, "--prepare-with", file, fails=PolicyRefusedError)["said"]
    assert "does not take part in task 'dxa-segmentation'" in said
    assert not (site / "store" / "prepared").exists()


def test_what_is_named_wrongly_is_refused(site: Path, tmp_path: Path) -> None:
    file = written(tmp_path / "levels.safetensors")
    other = written(tmp_path / "b.safetensors", TINY_TASK.model_copy(update={"task": "dxa-bmd"}))
    (tmp_path / "empty").mkdir()
    gone = tmp_path / "gone.safetensors"
    named = "--prepare-with"
    assert "no such weights" in train(site, named, gone, fails=VersionMissingError)["said"]
    said = train(site, named, other, fails=ModelIncompatibleError)["said"]
    assert "weights of dxa-bmd, which do not prepare the input of vfa-fracture" in said
    assert "two versions" in train(site, named, file, named, file, fails=ConfigError)["said"]
    train(site, named, tmp_path / "empty", fails=NoChampionError)
    train(site, "--registry", tmp_path / "gone.sqlite", fails=NoChampionError)
    save_settings(TINY_TASK, site.parent / "plain.yaml")
    out = tmp_path / "out.safetensors"
    said = call(
        "train", site, "--settings", site.parent / "plain.yaml", "--out", out, named, file,
        fails=ConfigError,
    )["said"]  # fmt: skip
    assert "no other task prepares this input" in said
    assert open_site(site).ledger.entries() == []


# MLflow's SQLite store uses an option that SQLAlchemy is about to drop.
@pytest.mark.filterwarnings(
    "ignore:The ``noload`` loader strategy:sqlalchemy.exc.SADeprecationWarning"
)
def test_the_champion_of_a_registry_prepares(
    site: Path, reads: list[Reading], tmp_path: Path
) -> None:
    from mlflow import MlflowClient

    uri = f"sqlite:///{tmp_path / 'mlflow.db'}"
    client = MlflowClient(tracking_uri=uri, registry_uri=uri)
    file = written(tmp_path / "version" / f"{TINY_TASK.task}.safetensors")
    client.create_registered_model(TINY_TASK.task)
    client.create_model_version(TINY_TASK.task, source=str(file.parent))
    client.set_registered_model_alias(TINY_TASK.task, "champion", "1")
    trained = train(site, "--registry", uri)
    assert (trained["patients"], trained["prepared_with"], len(reads)) == (8, NAMED, 8)
