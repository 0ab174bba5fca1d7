"""What is read from MLflow's file without MLflow is what MLflow says of it."""

from __future__ import annotations

import math
import shutil
import sqlite3
from pathlib import Path

import pytest

from shared.inference.registry_file import REVISION, StoredVersion, stored_versions

#: MLflow's SQLite store uses an option that SQLAlchemy is about to drop.
pytestmark = pytest.mark.filterwarnings(
    "ignore:The ``noload`` loader strategy:sqlalchemy.exc.SADeprecationWarning"
)


@pytest.fixture(scope="module")
def uri(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Two models with versions that differ in all that is read, a deleted one, and a prompt."""
    from mlflow import MlflowClient

    folder = tmp_path_factory.mktemp("registry")
    uri = f"sqlite:///{folder / 'mlflow.sqlite'}"
    client = MlflowClient(uri, uri)
    experiment = client.create_experiment("t", artifact_location=(folder / "runs").as_uri())
    for task, number in (("dxa-bmd", 3), ("vfa-fracture", 1)):
        client.create_registered_model(task)
        for made in range(number):
            run = client.create_run(experiment).info.run_id
            client.log_metric(run, "global/mae_neck", 0.1 * made, step=1)
            client.log_metric(run, "global/mae_neck", 0.2 * made, step=2)
            client.log_metric(run, "odd", math.nan)
            client.create_model_version(
                task, source=str(folder / f"{task}-{made}"), run_id=run, tags={"run": f"run-{made}"}
            )
    client.create_model_version("dxa-bmd", source="s3://bucket/somewhere")
    client.set_registered_model_alias("dxa-bmd", "champion", "1")
    client.set_registered_model_alias("dxa-bmd", "candidate", "3")
    client.set_registered_model_alias("dxa-bmd", "agreed", "3")
    client.set_model_version_tag("dxa-bmd", "3", "verdict", "it's better")
    client.delete_model_version("dxa-bmd", "2")
    client.register_prompt("a-prompt", "{{words}}")
    return uri


def test_it_says_what_mlflow_says(uri: str) -> None:
    from mlflow import MlflowClient

    client = MlflowClient(uri, uri)
    theirs = []
    for model in client.search_registered_models():
        aliases = dict(model.aliases)
        for one in client.search_model_versions(f"name='{model.name}'"):
            places = [client.get_model_version_download_uri(one.name, one.version)]
            metrics = {}
            if one.run_id:
                run = client.get_run(one.run_id)
                places.append(run.info.artifact_uri)
                metrics = run.data.metrics
            names = tuple(sorted(a for a, n in aliases.items() if int(n) == int(one.version)))
            theirs.append(
                (one.name, int(one.version), one.creation_timestamp, tuple(places), names,
                 dict(one.tags), repr(sorted(metrics.items())))
            )  # fmt: skip
    found = stored_versions(uri)
    assert found is not None
    ours = [
        (v.task, v.version, v.created, v.places, v.aliases, v.tags, repr(sorted(v.metrics.items())))
        for v in found
    ]
    assert ours == sorted(theirs, key=lambda one: (one[0], -one[1]))
    assert [(one[0], one[1]) for one in ours] == [
        ("dxa-bmd", 4), ("dxa-bmd", 3), ("dxa-bmd", 1), ("vfa-fracture", 1),
    ]  # fmt: skip


def test_the_schema_that_is_known_is_that_of_the_mlflow_that_is_installed(uri: str) -> None:
    with sqlite3.connect(uri.removeprefix("sqlite:///")) as database:
        assert database.execute("SELECT version_num FROM alembic_version").fetchall() == [
            (REVISION,)
        ]
    database.close()


def test_places_of_other_machines_are_left_to_mlflow(uri: str) -> None:
    found = stored_versions(uri, "dxa-bmd")
    assert found is not None
    by_number = {one.version: one for one in found}
    assert by_number[4].folders() is None
    folder = Path(uri.removeprefix("sqlite:///")).parent
    places = by_number[1].folders()
    assert places is not None
    assert places[0] == folder / "dxa-bmd-0"
    assert places[1].is_relative_to(folder / "runs")


@pytest.mark.parametrize("place", ["file://[x", "s3://bucket/x", "relative/x"])
def test_a_place_that_is_none_here_is_left_to_mlflow(place: str) -> None:
    version = StoredVersion("dxa-bmd", 1, 0, (place,), (), {}, {})
    assert version.folders() is None


@pytest.mark.parametrize(
    "what", ["another schema", "damaged", "no database", "no time", "nothing", "server"]
)
def test_whatever_is_not_known_is_left_to_mlflow(uri: str, tmp_path: Path, what: str) -> None:
    path = tmp_path / "mlflow.sqlite"
    if what == "another schema":
        with sqlite3.connect(path) as database:
            database.execute("CREATE TABLE alembic_version (version_num)")
            database.execute("INSERT INTO alembic_version VALUES ('abc')")
        database.close()
    elif what == "damaged":
        data = bytearray(Path(uri.removeprefix("sqlite:///")).read_bytes())
        data[100:] = bytes(len(data) - 100)
        path.write_bytes(data)
    elif what == "no time":
        shutil.copyfile(uri.removeprefix("sqlite:///"), path)
        with sqlite3.connect(path) as database:
            database.execute("UPDATE model_versions SET creation_time = NULL")
        database.close()
    elif what == "no database":
        path.write_text("words")
    before = sorted(tmp_path.iterdir())
    asked = "http://127.0.0.1:9" if what == "server" else f"sqlite:///{path}"
    assert stored_versions(asked) is None
    assert sorted(tmp_path.iterdir()) == before
