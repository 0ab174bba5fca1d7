"""A connection to MLflow: short timeouts, no pickle, one sentence for each failure."""

from __future__ import annotations

import contextlib
import logging
import os
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

from server.registry.new_database import make_database
from shared.errors import RegistryUnavailableError
from shared.inference.registry_file import SQLITE
from shared.runtime.registry_trouble import masked, registry_trouble

#: MLflow phones nobody, waits for nobody for minutes, and refuses any pickle.
ENVIRONMENT: Final[Mapping[str, str]] = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "20",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false",
    # A dozen processes of its server that judge answers of language models.
    "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
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
                make_database(Path(uri.removeprefix(SQLITE)))
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
