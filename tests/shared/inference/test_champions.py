"""Finding the versions that answer, and saying well when there are none."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from shared.errors import (
    ModelIncompatibleError,
    NoChampionError,
    PassportInvalidError,
    RegistryUnavailableError,
)
from shared.inference import champions
from shared.inference.champions import (
    REGISTRY_VARIABLE,
    champion_mark,
    load_champions,
    shown_uri,
)
from shared.inference.registry_file import as_tracking_uri
from shared.inference.schema import ModelFacts
from shared.settings.task import TaskSettings
from shared.training.weights import Weights, digest_arrays, save_weights

#: MLflow's SQLite store uses an option that SQLAlchemy is about to drop.
pytestmark = pytest.mark.filterwarnings(
    "ignore:The ``noload`` loader strategy:sqlalchemy.exc.SADeprecationWarning"
)
TASK = "dxa-bmd"
LOGGED = "dxa-segmentation"


def weights(task: str = TASK, value: float = 1.0) -> Weights:
    arrays = {"head.weight": np.full((2, 3), value, dtype=np.float32)}
    return Weights(TaskSettings(task=task), arrays, "made by a test")


@pytest.fixture(autouse=True)
def _no_registry_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(REGISTRY_VARIABLE, raising=False)


def test_a_folder_of_weights_files_needs_no_registry(tmp_path: Path) -> None:
    save_weights(tmp_path / f"{TASK}.safetensors", weights())
    champion = load_champions([TASK], models=tmp_path).found[TASK]
    assert champion.facts.digest == digest_arrays(weights().arrays)
    assert champion.facts.origin == "made by a test"


def card(weights: Weights, **metrics: float) -> dict[str, Any]:
    """A model card as a run writes it, in what matters here."""
    validation = {"patients": 40, "loss": 0.1, "metrics": metrics}
    return {"digest": digest_arrays(weights.arrays), "validation": validation}


def facts_of(folder: Path, text: str) -> ModelFacts:
    """Facts of the version in a folder whose card holds a text."""
    (folder / f"{TASK}.card.json").write_text(text)
    return load_champions([TASK], models=folder).found[TASK].facts


def test_the_recorded_error_of_exported_weights_is_that_of_their_own_card(tmp_path: Path) -> None:
    save_weights(tmp_path / f"{TASK}.safetensors", weights())
    own = card(weights(), mae_lumbar=0.2, r2_lumbar=-0.5, rmse_lumbar=0.3, loss=1.0)
    facts = facts_of(tmp_path, json.dumps(own))
    assert facts.metrics == {"mae_lumbar": 0.2, "r2_lumbar": -0.5, "rmse_lumbar": 0.3}
    assert facts.record_trouble == ""
    graded = facts_of(tmp_path, json.dumps(card(weights(), auc_grade2=0.4, kappa=0.1)))
    assert graded.metrics == {"auc_grade2": 0.4, "kappa": 0.1}


def test_only_a_card_that_says_nothing_is_nothing_recorded(tmp_path: Path) -> None:
    save_weights(tmp_path / f"{TASK}.safetensors", weights())
    assert load_champions([TASK], models=tmp_path).found[TASK].facts.record_trouble == ""
    own = card(weights(), mae_lumbar=0.2)
    silent = facts_of(tmp_path, json.dumps(own | {"validation": None}))
    assert (silent.metrics, silent.record_trouble) == ({}, "")
    other = facts_of(tmp_path, json.dumps(card(weights(value=2.0), mae_lumbar=0.01)))
    assert (other.metrics, "is of other weights" in other.record_trouble) == ({}, True)
    for damaged in ("", "[]", "{}", json.dumps(own)[:-9], json.dumps(own | {"validation": 3})):
        unread = facts_of(tmp_path, damaged)
        assert (unread.metrics, "cannot be read" in unread.record_trouble) == ({}, True)


def test_a_missing_file_names_the_task_and_the_file(tmp_path: Path) -> None:
    with pytest.raises(NoChampionError, match=rf"{TASK}.*{TASK}\.safetensors does not exist"):
        load_champions([TASK], models=tmp_path)


def test_weights_of_another_task_are_refused(tmp_path: Path) -> None:
    save_weights(tmp_path / f"{TASK}.safetensors", weights("vfa-fracture"))
    with pytest.raises(ModelIncompatibleError, match="weights of vfa-fracture"):
        load_champions([TASK], models=tmp_path)


def test_without_a_registry_the_sentence_says_what_to_give() -> None:
    with pytest.raises(NoChampionError, match=f"{TASK}.*--registry.*--models.*{REGISTRY_VARIABLE}"):
        load_champions([TASK])


def test_a_registry_that_is_no_file_yet_is_not_made(tmp_path: Path) -> None:
    database = tmp_path / "mlflow.db"
    for name in (str(database), f"sqlite:///{database}"):
        with pytest.raises(NoChampionError, match=r"mlflow\.db \(there is no such file\)"):
            load_champions([TASK], name)
    assert list(tmp_path.iterdir()) == []


def test_a_version_kept_as_a_logged_model_is_found_without_any_default(
    registry: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)  # where MLflow's default registry would be made
    for name in ("MLFLOW_TRACKING_URI", "MLFLOW_REGISTRY_URI"):
        monkeypatch.setenv(name, f"sqlite:///{tmp_path / 'default.db'}")
    champion = load_champions([LOGGED], registry).found[LOGGED]
    assert champion.weights.arrays["head.weight"][0, 0] == 7.0
    assert list(tmp_path.iterdir()) == []


def test_a_password_in_a_uri_is_never_shown() -> None:
    shown = shown_uri("postgresql://osteofed:hunter2@db.example:5432/mlflow")
    assert shown == "postgresql://osteofed:***@db.example:5432/mlflow"
    assert shown_uri("sqlite:////a/b.db") == "sqlite:////a/b.db"


def test_a_path_becomes_a_uri_and_a_uri_stays() -> None:
    assert as_tracking_uri("/a/b.db") == "sqlite:////a/b.db"
    assert as_tracking_uri("http://h:1") == "http://h:1"


def _add_logged_model(client: Any, experiment: str, folder: Path) -> None:
    """Keep a version the way `mlflow.pytorch.log_model` does: weights in extra_files."""
    extra = folder / "logged" / "extra_files"
    save_weights(extra / f"{LOGGED}.safetensors", weights(LOGGED, 7.0))
    model = client.create_logged_model(experiment, name=LOGGED)
    client.log_model_artifacts(model.model_id, str(folder / "logged"))
    client.create_registered_model(LOGGED)
    client.create_model_version(LOGGED, source=model.artifact_location)
    client.set_registered_model_alias(LOGGED, "champion", "1")


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> str:
    """MLflow on SQLite: two versions of one task, the first is champion; another without."""
    from mlflow import MlflowClient

    folder = tmp_path_factory.mktemp("registry")
    uri = f"sqlite:///{folder / 'mlflow.db'}"
    client = MlflowClient(tracking_uri=uri, registry_uri=uri)
    experiment = client.create_experiment("t", artifact_location=str(folder / "artefacts"))
    for task, values in ((TASK, (1.0, 2.0)), ("vfa-fracture", (3.0,))):
        client.create_registered_model(task)
        for value in values:
            run = client.create_run(experiment)
            path = folder / f"{task}.safetensors"
            save_weights(path, weights(task, value))
            client.log_artifact(run.info.run_id, str(path), "model")
            client.log_metric(run.info.run_id, "global/mae_lumbar", 0.06 * value)
            client.log_metric(run.info.run_id, "global/r2_lumbar", 0.8)
            client.log_metric(run.info.run_id, "global/loss", 0.3)
            client.log_metric(run.info.run_id, "site-a/mae_lumbar", 0.5)
            client.create_model_version(
                task, source=f"{run.info.artifact_uri}/model", run_id=run.info.run_id
            )
    client.set_registered_model_alias(TASK, "champion", "1")
    _add_logged_model(client, experiment, folder)
    return uri


def test_a_workspace_is_a_registry_and_another_folder_says_what_to_give(tmp_path: Path) -> None:
    workspace, home = tmp_path / "work", tmp_path / "work" / "coordinator"
    home.mkdir(parents=True)
    with pytest.raises(RegistryUnavailableError, match=r"give the workspace that federation\.yaml"):
        as_tracking_uri(str(workspace))
    (workspace / "mlflow.sqlite").touch()
    assert as_tracking_uri(str(workspace)) == f"sqlite:///{workspace}/mlflow.sqlite"
    for other in (tmp_path, home):
        with pytest.raises(RegistryUnavailableError, match=f"give {workspace},"):
            load_champions([TASK], str(other))


def test_the_champion_is_the_version_with_the_alias_not_the_newest(registry: str) -> None:
    champion = load_champions([TASK], registry).found[TASK]
    assert champion.facts.version == "1"
    assert champion.weights.arrays["head.weight"][0, 0] == 1.0
    assert champion.facts.metrics == {"mae_lumbar": 0.06, "r2_lumbar": 0.8}


def test_a_champion_is_known_by_its_mark_without_loading_it(
    registry: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for _ in range(2):  # from the file itself, then by MLflow
        assert champion_mark(TASK, registry, None) == "1"
        assert champion_mark("vfa-fracture", registry, None) == ""
        assert champion_mark("no-such-task", registry, None) == ""
        monkeypatch.setattr(champions, "stored_versions", lambda *_: None)
    assert champion_mark(TASK, None, tmp_path) == ""
    save_weights(tmp_path / f"{TASK}.safetensors", weights())
    first = champion_mark(TASK, None, tmp_path)
    (tmp_path / f"{TASK}.passport.json").write_text("{}")
    assert first
    assert champion_mark(TASK, None, tmp_path) != first


def test_a_registered_version_without_a_passport_is_refused_where_a_key_is_known(
    registry: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for _ in range(2):
        with pytest.raises(PassportInvalidError, match=r"dxa-bmd version 1 in sqlite.*no passport"):
            load_champions([TASK], registry, trust="0" * 64)
        monkeypatch.setattr(champions, "stored_versions", lambda *_: None)


def test_the_registry_may_come_from_the_environment(
    registry: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(REGISTRY_VARIABLE, registry)
    assert load_champions([TASK]).found[TASK].facts.source == registry


@pytest.mark.parametrize(
    ("task", "remedy"),
    [("vfa-fracture", "osteofed server versions"), ("no-such-task", "osteofed server run")],
)
def test_no_champion_yet_names_task_registry_and_remedy(
    registry: str, task: str, remedy: str
) -> None:
    with pytest.raises(NoChampionError) as caught:
        load_champions([task], registry)
    for word in (task, registry, remedy):
        assert word in str(caught.value)


def test_a_registry_that_is_away_is_said_to_be(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    said = r"u:\*\*\*@127\.0\.0\.1:9: .* nobody answers there; check"
    with pytest.raises(RegistryUnavailableError, match=said):
        load_champions([TASK], "http://u:secret@127.0.0.1:9")


def test_a_file_that_is_no_registry_is_said_to_be_none(tmp_path: Path) -> None:
    (tmp_path / "notes.db").write_text("this is no database at all, " * 100)
    with pytest.raises(RegistryUnavailableError, match=r"notes\.db"):
        load_champions([TASK], str(tmp_path / "notes.db"))


def answer(message: str, code: str) -> Exception:
    """An error as MLflow's client raises it; without a code, of an answer that is no JSON."""
    from mlflow.exceptions import MlflowException

    if not code:
        return json.JSONDecodeError(message, "<html>", 0)
    error = MlflowException(message)
    error.error_code = code
    return error


#: What MLflow says of a page that is none of the registry's.
PAGE = "API request to endpoint /runs/get failed with error code 404 != 200. Response body: '<p>'"


@pytest.mark.parametrize(
    ("message", "code"),
    [("no access", "PERMISSION_DENIED"), (PAGE, "RESOURCE_DOES_NOT_EXIST"), ("no JSON", "")],
)
def test_a_run_that_cannot_be_read_is_not_one_without_an_error(
    registry: str, monkeypatch: pytest.MonkeyPatch, message: str, code: str
) -> None:
    """Else a version scores by an error that nobody has read."""

    def fails(*_: object) -> None:
        raise answer(message, code)

    monkeypatch.setattr(champions, "_from_file", lambda *_: None)
    monkeypatch.setattr("mlflow.MlflowClient.get_run", fails)
    with pytest.raises(RegistryUnavailableError, match="cannot be used"):
        load_champions([TASK], registry)


def test_a_run_that_is_not_there_recorded_nothing(
    registry: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: object) -> None:
        raise answer("Run '1' not found", "RESOURCE_DOES_NOT_EXIST")

    monkeypatch.setattr(champions, "_from_file", lambda *_: None)
    monkeypatch.setattr("mlflow.MlflowClient.get_run", fails)
    facts = load_champions([TASK], registry).found[TASK].facts
    assert (facts.version, facts.metrics) == ("1", {})
