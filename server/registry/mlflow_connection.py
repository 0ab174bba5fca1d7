"""A connection to MLflow: short timeouts, no pickle, one sentence for each failure."""

from __future__ import annotations

import contextlib
import logging
import os
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

from shared.errors import RegistryUnavailableError
from shared.inference.registry_file import SQLITE
from shared.runtime.files import alone_with
from shared.runtime.registry_trouble import masked, registry_trouble

#: MLflow phones nobody, waits for nobody for minutes, and refuses any pickle.
ENVIRONMENT: Final[Mapping[str, str]] = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "20",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false",
}


class MlflowConnection:
    """MLflow's client for one tracking and registry URI.

    Parameters
    ----------
    uri : str
        MLflow tracking URI; a ``sqlite:///`` file is made if it is not there.

    Raises
    ------
    RegistryUnavailableError
        If it cannot be used.
    """

    def __init__(self, uri: str) -> None:
        os.environ.update(ENVIRONMENT)
        self.uri = uri
        with self.calling():
            import mlflow

            for name in ("mlflow", "alembic"):
                logging.getLogger(name).setLevel(logging.ERROR)
            if uri.startswith(SQLITE):
                _make_database(Path(uri.removeprefix(SQLITE)))
            mlflow.set_tracking_uri(uri)
            mlflow.set_registry_uri(uri)
            self.client = mlflow.MlflowClient(uri, uri)

    @contextlib.contextmanager
    def calling(self) -> Iterator[None]:
        """Turn any failure of MLflow or its database into one sentence."""
        from mlflow.exceptions import MlflowException
        from sqlalchemy.exc import SQLAlchemyError

        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                yield
        except (MlflowException, SQLAlchemyError, OSError) as error:
            raise RegistryUnavailableError(
                f"{masked(self.uri)}: the model registry cannot be used: {registry_trouble(error)}"
            ) from None


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
    with alone_with(path.with_name(f".{path.name}.lock")):
        if path.exists():
            return
        part.unlink(missing_ok=True)
        store = SqlAlchemyStore(f"{SQLITE}{part}", (path.parent / "artifacts").resolve().as_uri())
        store.engine.dispose()
        part.replace(path)
