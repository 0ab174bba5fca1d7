"""Which version is candidate and which is champion, and the verdict that made it so."""

from __future__ import annotations

from typing import Any, Final

from server.registry.mlflow_connection import MlflowConnection
from server.state.result import Verdict
from shared.errors import NoChampionError, VersionMissingError

CANDIDATE: Final = "candidate"
CHAMPION: Final = "champion"


class Aliases:
    """The aliases of all tasks' versions.

    Parameters
    ----------
    connection : MlflowConnection
        Where they are kept.
    """

    def __init__(self, connection: MlflowConnection) -> None:
        self._connection = connection
        self._client = connection.client

    def propose(self, task: str, version: int) -> None:
        """Give a version the alias ``candidate``."""
        with self._connection.calling():
            self._client.set_registered_model_alias(task, CANDIDATE, str(version))

    def promote(self, task: str, version: int, verdict: Verdict) -> None:
        """Write down the verdict, and give the alias ``champion`` if it says so."""
        with self._connection.calling():
            self._client.set_model_version_tag(task, str(version), "verdict", verdict.reason)
            if verdict.promoted:
                self._client.set_registered_model_alias(task, CHAMPION, str(version))

    def find(self, task: str, alias: str) -> Any:
        """Find a version by alias or number, as MLflow describes it.

        Raises
        ------
        NoChampionError, VersionMissingError
            If there is none.
        """
        from mlflow.exceptions import MlflowException

        try:
            if alias.isdigit():
                return self._client.get_model_version(task, alias)
            return self._client.get_model_version_by_alias(task, alias)
        except MlflowException as error:
            if alias == CHAMPION:
                raise NoChampionError(
                    f"{task}: has no champion yet; run `osteofed server run` first"
                ) from None
            raise VersionMissingError(
                f"{task}@{alias}: no such version ({error.error_code}); see "
                "`osteofed server versions`"
            ) from None
