"""The registered versions: a program each, its facts as tags, and its files."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from server.registry.aliases import CHAMPION, Aliases
from server.registry.mlflow_connection import MlflowConnection
from server.registry.model_program import ModelProgram, log_program
from shared.errors import NoChampionError, VersionMissingError
from shared.training.weights import Weights, load_weights


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


class ModelVersions:
    """The versions of all tasks.

    Parameters
    ----------
    connection : MlflowConnection
        Where they are kept.
    aliases : Aliases
        Theirs.
    """

    def __init__(self, connection: MlflowConnection, aliases: Aliases) -> None:
        self._connection = connection
        self._client = connection.client
        self._aliases = aliases

    def of_run(self, run: str, task: str, tags: Mapping[str, str]) -> int | None:
        """Find the version that a run of the tracking registered before, and finish it.

        A kill may have come between the version and its tags or its alias.
        """
        with self._connection.calling():
            for version in self._client.search_model_versions(f"name = '{task}'"):
                if version.run_id == run:
                    self._mark(task, int(version.version), tags)
                    return int(version.version)
        return None

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
        with self._connection.calling():
            version = log_program(run, task, program, files)
            self._mark(task, version, tags)
            return version

    def champion(self, task: str, folder: Path) -> tuple[int, Weights] | None:
        """Fetch the champion's number and weights into a folder; None if there is none."""
        try:
            version = self._aliases.find(task, CHAMPION)
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
        version = self._aliases.find(task, alias)
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

    def facts(self, task: str | None = None) -> list[VersionFacts]:
        """List versions, newest first within each task."""
        found = []
        with self._connection.calling():
            wanted = f"name='{task}'" if task else ""
            for model in self._client.search_registered_models(filter_string=wanted):
                aliases: dict[int, list[str]] = {}
                for alias, number in dict(model.aliases).items():
                    aliases.setdefault(int(number), []).append(alias)
                for version in self._client.search_model_versions(f"name='{model.name}'"):
                    number, tags = int(version.version), dict(version.tags)
                    created = version.creation_timestamp
                    names = aliases.get(number, ())
                    found.append(facts_of(model.name, number, names, created, tags))
        return sorted(found, key=lambda one: (one.task, -one.version))

    def _mark(self, task: str, version: int, tags: Mapping[str, str]) -> None:
        for key, value in tags.items():
            self._client.set_model_version_tag(task, str(version), key, value)
        self._aliases.propose(task, version)

    def _fetch(self, task: str, version: Any, folder: Path) -> Path:
        from mlflow.artifacts import download_artifacts

        folder.mkdir(parents=True, exist_ok=True)
        with self._connection.calling():
            got = download_artifacts(
                artifact_uri=f"models:/{task}/{version.version}",
                dst_path=str(folder),
                tracking_uri=self._connection.uri,
                registry_uri=self._connection.uri,
            )
        files = sorted(Path(got).rglob(f"{task}.safetensors"))
        if not files:
            raise VersionMissingError(
                f"{task} version {version.version}: holds no {task}.safetensors"
            )
        return files[0]


def _exported_name(task: str, file: Path) -> str:
    """Name a version's file so that another task's in the same folder is another file."""
    name = "program.pt2" if file.suffix == ".pt2" else file.name
    return name if name.startswith(f"{task}.") else f"{task}.{name}"


def facts_of(
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
