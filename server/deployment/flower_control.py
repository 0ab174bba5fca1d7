"""Flower's control interface of a home's SuperLink: nodes are registered and taken off.

One connection does what would be one start of Flower's command line for each node, of which
each costs two seconds of a processor.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from shared.errors import RuntimeUnavailableError

if TYPE_CHECKING:
    from flwr.supercore.control import ControlHttpClient


class FlowerControl:
    """What a coordinator asks of its SuperLink. Made by `flower_control`."""

    def __init__(self, client: ControlHttpClient) -> None:
        self._client = client

    def register(self, public_key: bytes, name: str) -> None:
        """Let a node take part.

        Parameters
        ----------
        public_key : bytes
            Its key (elliptic curve) as PEM.
        name : str
            Its hospital.

        Raises
        ------
        RuntimeUnavailableError
            If the SuperLink does not take it.
        """
        from flwr.proto.control_pb2 import RegisterNodeRequest

        answer = self._asked(
            f"node of {name}",
            self._client.RegisterNode,
            RegisterNodeRequest(public_key=public_key, name=name),
        )
        if not answer.node_id:
            raise RuntimeUnavailableError(f"Flower's SuperLink did not take the node of {name}")

    def unregister(self, node: int) -> None:
        """Take a node off, by Flower's number.

        Raises
        ------
        RuntimeUnavailableError
            If the SuperLink does not take it.
        """
        from flwr.proto.control_pb2 import UnregisterNodeRequest

        self._asked(
            f"node {node}", self._client.UnregisterNode, UnregisterNodeRequest(node_id=node)
        )

    def _asked(self, what: str, method: Any, request: Any) -> Any:
        import httpx

        try:
            return method(request)
        except httpx.HTTPStatusError as error:
            said = " ".join(error.response.text.split())[-300:]
            raise RuntimeUnavailableError(
                f"Flower's SuperLink refused the {what}: {said or error}"
            ) from None
        except (httpx.HTTPError, ValueError) as error:
            raise RuntimeUnavailableError(
                f"Flower's SuperLink did not answer about the {what}: {error}"
            ) from None


@contextmanager
def flower_control(connection: Path) -> Iterator[FlowerControl]:
    """Connect to the SuperLink that a file names.

    Parameters
    ----------
    connection : Path
        Flower's ``config.toml`` of the home, as `server.deployment.members` writes it.

    Raises
    ------
    RuntimeUnavailableError
        If the file is not there.
    """
    from flwr.supercore.control import ControlHttpClient
    from flwr.supercore.interceptors.http import RuntimeVersionHttpInterceptor

    try:
        superlink = tomllib.loads(connection.read_text(encoding="utf-8"))["superlink"]
    except OSError:
        raise RuntimeUnavailableError(
            f"{connection}: is not there; start the coordinator with `osteofed server up`"
        ) from None
    named = superlink[superlink["default"]]
    client = ControlHttpClient.from_server_address(
        server_address=named["address"],
        insecure=False,
        root_certificates=Path(named["root-certificates"]).read_bytes(),
        interceptors=[RuntimeVersionHttpInterceptor(component_name="flwr CLI")],
    )
    try:
        yield FlowerControl(client)
    finally:
        client.close()
