"""Versions read from MLflow's own SQLite file, without MLflow.

MLflow's client takes two seconds and 150 MB to load, which is most of what a command costs
that lists versions or fetches one. Where the registry is a SQLite file of the very schema that
is known here, what such a command needs are four small tables. They are only read. Whatever
else a registry is (a server, another database, another release's file, a damaged or busy one),
the answer is None, and MLflow is asked.
"""

from __future__ import annotations

import contextlib
import math
import sqlite3
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit
from urllib.request import url2pathname

from shared.errors import RegistryUnavailableError

SQLITE: Final = "sqlite:///"
#: MLflow's file in the workspace of a run, where nothing else is the registry.
REGISTRY_FILE: Final = "mlflow.sqlite"
#: Revision of MLflow's tables in 3.17, the release that pyproject.toml allows; a test holds it.
REVISION: Final = "dc11669786a5"
#: Stage of a version that MLflow has deleted but kept.
DELETED: Final = "Deleted_Internal"
#: What MLflow calls the workspace where there is only one.
WORKSPACE: Final = "default"
_VERSIONS: Final = """
    SELECT v.name, v.version, v.creation_time, coalesce(v.storage_location, v.source), v.run_id,
           r.artifact_uri
    FROM model_versions v LEFT JOIN runs r ON r.run_uuid = v.run_id
    WHERE v.workspace = :workspace AND v.current_stage != :deleted
      AND (:task IS NULL OR v.name = :task)
      AND NOT EXISTS (
        SELECT 1 FROM registered_model_tags t WHERE t.name = v.name AND
        t.workspace = v.workspace AND t.key = 'mlflow.prompt.is_prompt' AND lower(t.value) = 'true')
    ORDER BY v.name, v.version DESC
"""
_ALIASES: Final = """
    SELECT alias FROM registered_model_aliases
    WHERE workspace = ? AND name = ? AND version = ? ORDER BY alias
"""
_TAGS: Final = """
    SELECT key, value FROM model_version_tags WHERE workspace = ? AND name = ? AND version = ?
"""
_METRICS: Final = "SELECT key, value, is_nan FROM latest_metrics WHERE run_uuid = ?"


def registry_of(workspace: Path) -> str:
    """Tracking URI of the registry in a workspace."""
    return f"{SQLITE}{workspace / REGISTRY_FILE}"


def as_tracking_uri(registry: str) -> str:
    """Make a tracking URI of an SQLite file, or of the workspace that holds it; a URI stays.

    Raises
    ------
    RegistryUnavailableError
        If a folder is given that holds none; the sentence says what to give.
    """
    if "://" in registry or registry.startswith("sqlite:"):
        return registry
    path = Path(registry).resolve()
    if path.is_dir():
        path = _file_of_workspace(path)
    return f"{SQLITE}{path}"


def _file_of_workspace(folder: Path) -> Path:
    """Find MLflow's file in a workspace."""
    if (folder / REGISTRY_FILE).is_file():
        return folder / REGISTRY_FILE
    near = [folder.parent, *sorted(path for path in folder.iterdir() if path.is_dir())]
    found = [path for path in near if (path / REGISTRY_FILE).is_file()]
    where = f"give {found[0]}" if found else "give the workspace that federation.yaml names"
    raise RegistryUnavailableError(
        f"{folder}: holds no registry ({REGISTRY_FILE}); {where}, or the address that "
        "registry.tracking_uri names there"
    )


@dataclass(frozen=True)
class StoredVersion:
    """One registered version.

    `created` is in milliseconds since 1970; `places` are where its files may be, the likeliest
    first: URIs or paths, of this machine or not.
    """

    task: str
    version: int
    created: int
    places: tuple[str, ...]
    aliases: tuple[str, ...]
    tags: Mapping[str, str]
    metrics: Mapping[str, float] = field(default_factory=dict)

    def folders(self) -> list[Path] | None:
        """Give its places as folders; None if one is not on this machine."""
        found = [_local(place) for place in self.places]
        folders = [folder for folder in found if folder is not None]
        return folders if len(folders) == len(found) else None


def stored_versions(uri: str, task: str | None = None) -> list[StoredVersion] | None:
    """List a registry's versions, newest first within each task.

    Parameters
    ----------
    uri : str
        MLflow tracking URI.
    task : str, optional
        Only this registered model.

    Returns
    -------
    list of StoredVersion or None
        None where MLflow has to be asked.
    """
    path = Path(uri.removeprefix(SQLITE))
    if not uri.startswith(SQLITE) or not path.is_file():
        return None
    try:
        address = f"{path.absolute().as_uri()}?mode=ro"
        with contextlib.closing(sqlite3.connect(address, uri=True)) as database:
            if database.execute("SELECT version_num FROM alembic_version").fetchall() != [
                (REVISION,)
            ]:
                return None
            asked = {"workspace": WORKSPACE, "deleted": DELETED, "task": task}
            return [_version(database, row) for row in database.execute(_VERSIONS, asked)]
    except (sqlite3.Error, TypeError, ValueError):  # also a value that MLflow does not write
        return None


def _version(
    database: sqlite3.Connection, row: tuple[str, int, int, str, str, str]
) -> StoredVersion:
    name, number, created, place, run, run_place = row
    key = (WORKSPACE, name, number)
    metrics = database.execute(_METRICS, (run,)) if run else ()
    return StoredVersion(
        task=name,
        version=int(number),
        created=int(created),
        places=tuple(one for one in (place, run_place) if one),
        aliases=tuple(alias for (alias,) in database.execute(_ALIASES, key)),
        tags=dict(database.execute(_TAGS, key).fetchall()),
        metrics={name: math.nan if nan else float(value) for name, value, nan in metrics},
    )


def _local(place: str) -> Path | None:
    """Give a place of this machine as a path; None for any other."""
    try:
        parts = urlsplit(place)
    except ValueError:
        return None
    if parts.scheme == "file" and not parts.netloc:
        return Path(url2pathname(parts.path))
    return Path(place) if not parts.scheme and place.startswith("/") else None
