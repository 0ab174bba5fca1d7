"""MLflow, and the only place of the server that knows it: tracking, versions, aliases.

A version holds an exported program (``torch.export``, no pickle), its signature
and input example, and as extra files the weights, the task's settings and the
model card. It loads in a process that has only torch and mlflow.
"""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
import time
import warnings
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from server.state.result import Verdict
from shared.errors import NoChampionError, RegistryUnavailableError, VersionMissingError
from shared.inference.registry_file import SQLITE, stored_versions
from shared.training.weights import Weights, load_weights

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from torch import nn

CANDIDATE: Final = "candidate"
CHAMPION: Final = "champion"
#: MLflow phones nobody, waits for nobody for minutes, and refuses any pickle.
ENVIRONMENT: Final[Mapping[str, str]] = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "20",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false",
}


@dataclass(frozen=True)
class VersionFacts:
    """One registered version, as `osteofed server versions` shows it."""

    task: str
    version: int
    aliases: tuple[str, ...]
    created: float
    run: str
    digest: str
    verdict: str


@dataclass(frozen=True)
class ModelProgram:
    """What is needed to export a network: it, and an example of its input.

    `image` is (B, C, H, W) and `covariates` (B, F), float32, B at least 2.
    """

    network: nn.Module
    image: NDArray[np.float32]
    covariates: NDArray[np.float32]


class Registry:
    """An open registry.

    Parameters
    ----------
    uri : str
        MLflow tracking URI; a ``sqlite:///`` file is made if it is not there.
    experiment : str
        Name of the experiment; only `begin` needs it.

    Raises
    ------
    RegistryUnavailableError
        If it cannot be reached.
    """

    def __init__(self, uri: str, experiment: str = "osteofed") -> None:
        os.environ.update(ENVIRONMENT)
        self.uri, self.experiment = uri, experiment
        with self._calling():
            import mlflow

            for name in ("mlflow", "alembic"):
                logging.getLogger(name).setLevel(logging.ERROR)
            if uri.startswith(SQLITE):
                _make_database(Path(uri.removeprefix(SQLITE)))
            mlflow.set_tracking_uri(uri)
            mlflow.set_registry_uri(uri)
            self.client = mlflow.MlflowClient(uri, uri)
            self._experiment_id = self._find_experiment()

    def begin(self, name: str, parameters: Mapping[str, Any]) -> str:
        """Start a run of the tracking; return its id."""
        with self._calling():
            run = self.client.create_run(self._experiment_id, run_name=name)
            for key, value in parameters.items():
                self.client.log_param(run.info.run_id, key, value)
            return str(run.info.run_id)

    def go_on(self, run: str) -> str:
        """Open a run of the tracking again; return its id."""
        with self._calling():
            self.client.update_run(run, status="RUNNING")
            return run

    def find(self, run: str, task: str, tags: Mapping[str, str]) -> int | None:
        """Find the version that a run of the tracking registered before, and finish it.

        A kill may have come between the version and its tags or its alias.
        """
        with self._calling():
            for version in self.client.search_model_versions(f"name = '{task}'"):
                if version.run_id == run:
                    self._mark(task, int(version.version), tags)
                    return int(version.version)
        return None

    def _mark(self, task: str, version: int, tags: Mapping[str, str]) -> None:
        for key, value in tags.items():
            self.client.set_model_version_tag(task, str(version), key, value)
        self.client.set_registered_model_alias(task, CANDIDATE, str(version))

    def log(self, run: str, step: int, values: Mapping[str, float]) -> None:
        """Log the metrics of one round."""
        from mlflow.entities import Metric

        now = int(time.time() * 1000)
        metrics = [Metric(key, float(value), now, step) for key, value in values.items()]
        with self._calling():
            self.client.log_batch(run, metrics=metrics)

    def end(self, run: str, status: str) -> None:
        """End a run of the tracking as ``FINISHED`` or ``FAILED``."""
        with self._calling():
            self.client.set_terminated(run, status)

    def add_artifacts(self, run: str, files: list[Path]) -> None:
        """Keep files beside the metrics of a run."""
        with self._calling():
            for file in files:
                self.client.log_artifact(run, str(file))

    def register(
        self, run: str, task: str, program: ModelProgram, files: list[Path], tags: Mapping[str, str]
    ) -> int:
        """Register a version and give it the alias ``candidate``.

        Parameters
        ----------
        run : str
            Id of the tracking run it comes from.
        task : str
            Name of the registered model.
        program : ModelProgram
            Exported by `torch.export` with a free batch size.
        files : list of Path
            Go into the version as they are (weights, settings, card, curves).
        tags : mapping
            Facts of the version.

        Returns
        -------
        int
            The version's number.
        """
        with self._calling():
            version = _log_model(run, task, program, files)
            self._mark(task, version, tags)
            return version

    def promote(self, task: str, version: int, verdict: Verdict) -> None:
        """Write down the verdict, and give the alias ``champion`` if it says so."""
        with self._calling():
            self.client.set_model_version_tag(task, str(version), "verdict", verdict.reason)
            if verdict.promoted:
                self.client.set_registered_model_alias(task, CHAMPION, str(version))

    def champion(self, task: str, folder: Path) -> tuple[int, Weights] | None:
        """Fetch the champion's number and weights into a folder; None if there is none."""
        try:
            version = self._version(task, CHAMPION)
        except NoChampionError:
            return None
        return int(version.version), load_weights(self._fetch(task, version, folder))

    def export(self, task: str, alias: str, out: Path) -> dict[str, Any]:
        """Copy a version's files out, for those without MLflow.

        Parameters
        ----------
        task, alias : str
            Which version; `alias` may also be a number.
        out : Path
            Folder; gets ``<task>.safetensors``, ``<task>.program.pt2``,
            ``<task>.task.yaml``, ``<task>.card.json``, ``<task>.curves.png`` and
            ``<task>.passport.json``: several tasks live in one folder.

        Raises
        ------
        NoChampionError, VersionMissingError
            If there is none.
        """
        import shutil
        import tempfile

        version = self._version(task, alias)
        out.mkdir(parents=True, exist_ok=True)
        copied = []
        with tempfile.TemporaryDirectory(dir=out) as temporary:
            self._fetch(task, version, Path(temporary))
            for file in sorted(Path(temporary).rglob("*")):
                if file.parent.name == "extra_files" or file.suffix == ".pt2":
                    name = _exported_name(task, file)
                    shutil.copyfile(file, out / name)
                    copied.append(name)
        return {
            "task": task,
            "version": int(version.version),
            "out": str(out),
            "files": sorted(copied),
        }

    def versions(self, task: str | None = None) -> list[VersionFacts]:
        """List versions, newest first within each task."""
        found = []
        with self._calling():
            wanted = f"name='{task}'" if task else ""
            for model in self.client.search_registered_models(filter_string=wanted):
                aliases: dict[int, list[str]] = {}
                for alias, number in dict(model.aliases).items():
                    aliases.setdefault(int(number), []).append(alias)
                for version in self.client.search_model_versions(f"name='{model.name}'"):
                    number, tags = int(version.version), dict(version.tags)
                    created = version.creation_timestamp
                    names = aliases.get(number, ())
                    found.append(_facts(model.name, number, names, created, tags))
        return sorted(found, key=lambda one: (one.task, -one.version))

    def _find_experiment(self) -> str:
        known = self.client.get_experiment_by_name(self.experiment)
        if known is not None:
            return str(known.experiment_id)
        place = None
        if self.uri.startswith(SQLITE):
            folder = Path(self.uri.removeprefix(SQLITE)).parent / "artifacts"
            place = folder.resolve().as_uri()
        return str(self.client.create_experiment(self.experiment, artifact_location=place))

    def _version(self, task: str, alias: str) -> Any:
        from mlflow.exceptions import MlflowException

        try:
            if alias.isdigit():
                return self.client.get_model_version(task, alias)
            return self.client.get_model_version_by_alias(task, alias)
        except MlflowException as error:
            if alias == CHAMPION:
                raise NoChampionError(
                    f"{task}: has no champion yet; run `osteofed server run` first"
                ) from None
            raise VersionMissingError(
                f"{task}@{alias}: no such version ({error.error_code}); see "
                "`osteofed server versions`"
            ) from None

    def _fetch(self, task: str, version: Any, folder: Path) -> Path:
        from mlflow.artifacts import download_artifacts

        folder.mkdir(parents=True, exist_ok=True)
        with self._calling():
            got = download_artifacts(
                artifact_uri=f"models:/{task}/{version.version}",
                dst_path=str(folder),
                tracking_uri=self.uri,
                registry_uri=self.uri,
            )
        files = sorted(Path(got).rglob(f"{task}.safetensors"))
        if not files:
            raise VersionMissingError(
                f"{task} version {version.version}: holds no {task}.safetensors"
            )
        return files[0]

    @contextlib.contextmanager
    def _calling(self) -> Iterator[None]:
        """Turn any failure of MLflow or its database into one sentence."""
        from mlflow.exceptions import MlflowException
        from sqlalchemy.exc import SQLAlchemyError

        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                yield
        except (MlflowException, SQLAlchemyError, OSError) as error:
            first = (str(error).splitlines() or [""])[0][:200]
            raise RegistryUnavailableError(
                f"{self.uri}: the model registry cannot be used ({type(error).__name__}: {first})"
            ) from None


def _exported_name(task: str, file: Path) -> str:
    """Name a version's file so that another task's in the same folder is another file."""
    name = "program.pt2" if file.suffix == ".pt2" else file.name
    return name if name.startswith(f"{task}.") else f"{task}.{name}"


def open_existing(uri: str) -> Registry:
    """Open a registry to read it; a SQLite file that is not there is not made.

    Raises
    ------
    RegistryUnavailableError
        If there is no such file.
    """
    _require_file(uri)
    return Registry(uri)


def list_versions(uri: str, task: str | None = None) -> list[VersionFacts]:
    """List the versions of a registry that is there, newest first within each task.

    A SQLite file is read without MLflow where that is possible.

    Raises
    ------
    RegistryUnavailableError
        If there is no such file, or the registry cannot be reached.
    """
    _require_file(uri)
    stored = stored_versions(uri, task)
    if stored is None:
        return Registry(uri).versions(task)
    return [_facts(one.task, one.version, one.aliases, one.created, one.tags) for one in stored]


def _require_file(uri: str) -> None:
    if uri.startswith(SQLITE) and not Path(uri.removeprefix(SQLITE)).is_file():
        raise RegistryUnavailableError(
            f"{uri.removeprefix(SQLITE)}: no such registry; `osteofed server run` makes one"
        )


def _facts(
    task: str, version: int, aliases: Iterable[str], created: int, tags: Mapping[str, str]
) -> VersionFacts:
    """Say what is known of a version; `created` is in milliseconds since 1970."""
    return VersionFacts(
        task=task,
        version=version,
        aliases=tuple(sorted(aliases)),
        created=created / 1000,
        run=tags.get("run", ""),
        digest=tags.get("digest", ""),
        verdict=tags.get("verdict", ""),
    )


def _log_model(run: str, task: str, program: ModelProgram, files: list[Path]) -> int:
    import mlflow
    import numpy as np
    import torch
    from mlflow.models import ModelSignature
    from mlflow.types import Schema, TensorSpec

    single = np.dtype(np.float32)
    example = (program.image, program.covariates)
    network = program.network.cpu().eval()
    with torch.no_grad():
        output = network(*(torch.from_numpy(array) for array in example))
    signature = ModelSignature(
        inputs=Schema(
            [
                TensorSpec(single, (-1, *program.image.shape[1:]), "image"),
                TensorSpec(single, (-1, *program.covariates.shape[1:]), "covariates"),
            ]
        ),
        outputs=Schema([TensorSpec(single, (-1, *output.shape[1:]), "output")]),
    )
    with mlflow.start_run(run_id=run):
        info = mlflow.pytorch.log_model(
            network,
            name=task,
            registered_model_name=task,
            input_example=example,
            signature=signature,
            serialization_format="pt2",
            pip_requirements=[f"torch=={torch.__version__}", f"mlflow=={mlflow.__version__}"],
            extra_files=[str(file) for file in files],
        )
    return int(info.registered_model_version)


def _make_database(path: Path) -> None:
    """Make a new SQLite file with MLflow's tables, there whole or not at all.

    MLflow makes its tables in many steps and cannot go on with half of them: whoever is
    killed in between would leave a registry that never opens again.
    """
    if path.exists():
        return
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.part")
    with path.with_name(f".{path.name}.lock").open("w") as alone:
        fcntl.flock(alone, fcntl.LOCK_EX)  # ends with its process, however that ends
        if path.exists():
            return
        part.unlink(missing_ok=True)
        store = SqlAlchemyStore(f"{SQLITE}{part}", (path.parent / "artifacts").resolve().as_uri())
        store.engine.dispose()
        part.replace(path)
