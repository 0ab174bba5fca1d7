"""An MLflow registry: the runs of the tracking, the versions they made, and their aliases.

A version holds an exported program (``torch.export``, no pickle), its signature
and input example, and as extra files the weights, the task's settings and the
model card. It loads in a process that has only torch and mlflow.
"""

from __future__ import annotations

from pathlib import Path

from server.registry.aliases import Aliases
from server.registry.mlflow_connection import MlflowConnection
from server.registry.run_log import RunLog
from server.registry.versions import ModelVersions, VersionFacts, facts_of
from shared.errors import RegistryUnavailableError
from shared.inference.registry_file import SQLITE, stored_versions


class Registry:
    """An open registry.

    Parameters
    ----------
    uri : str
        MLflow tracking URI; a ``sqlite:///`` file is made if it is not there.
    experiment : str
        Name of the experiment that runs are logged in.

    Attributes
    ----------
    connection : MlflowConnection
        To MLflow.
    runs : RunLog
        What training logged.
    versions : ModelVersions
        What was registered.
    aliases : Aliases
        Who is candidate and champion.

    Raises
    ------
    RegistryUnavailableError
        If it cannot be reached.
    """

    def __init__(self, uri: str, experiment: str = "osteofed") -> None:
        self.connection = MlflowConnection(uri)
        self.runs = RunLog(self.connection, experiment)
        self.aliases = Aliases(self.connection)
        self.versions = ModelVersions(self.connection, self.aliases)


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
        return Registry(uri).versions.facts(task)
    return [facts_of(one.task, one.version, one.aliases, one.created, one.tags) for one in stored]


def _require_file(uri: str) -> None:
    if uri.startswith(SQLITE) and not Path(uri.removeprefix(SQLITE)).is_file():
        raise RegistryUnavailableError(
            f"{uri.removeprefix(SQLITE)}: no such registry; `osteofed server run` makes one"
        )
