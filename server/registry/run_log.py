"""The runs of the tracking: their parameters, metrics and files."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from server.registry.mlflow_connection import MlflowConnection
from shared.inference.registry_file import SQLITE


class RunLog:
    """The runs of one experiment.

    Parameters
    ----------
    connection : MlflowConnection
        Where they are kept.
    experiment : str
        Name of the experiment; made if it is not there.

    Raises
    ------
    RegistryUnavailableError
        By every method too, if MLflow cannot be used.
    """

    def __init__(self, connection: MlflowConnection, experiment: str) -> None:
        self._connection = connection
        self._client = connection.client
        with connection.calling():
            self._experiment_id = self._find_experiment(experiment)

    def begin(self, name: str, parameters: Mapping[str, Any]) -> str:
        """Start a run of the tracking; return its id."""
        with self._connection.calling():
            run = self._client.create_run(self._experiment_id, run_name=name)
            for key, value in parameters.items():
                self._client.log_param(run.info.run_id, key, value)
            return str(run.info.run_id)

    def go_on(self, run: str) -> str:
        """Open a run of the tracking again; return its id."""
        with self._connection.calling():
            self._client.update_run(run, status="RUNNING")
            return run

    def log(self, run: str, step: int, values: Mapping[str, float]) -> None:
        """Log the metrics of one round."""
        from mlflow.entities import Metric

        now = int(time.time() * 1000)
        metrics = [Metric(key, float(value), now, step) for key, value in values.items()]
        with self._connection.calling():
            self._client.log_batch(run, metrics=metrics)

    def end(self, run: str, status: str) -> None:
        """End a run of the tracking as ``FINISHED`` or ``FAILED``."""
        with self._connection.calling():
            self._client.set_terminated(run, status)

    def add_artifacts(self, run: str, files: list[Path]) -> None:
        """Keep files beside the metrics of a run."""
        with self._connection.calling():
            for file in files:
                self._client.log_artifact(run, str(file))

    def _find_experiment(self, experiment: str) -> str:
        known = self._client.get_experiment_by_name(experiment)
        if known is not None:
            return str(known.experiment_id)
        place = None
        if self._connection.uri.startswith(SQLITE):
            folder = Path(self._connection.uri.removeprefix(SQLITE)).parent / "artifacts"
            place = folder.resolve().as_uri()
        return str(self._client.create_experiment(experiment, artifact_location=place))
