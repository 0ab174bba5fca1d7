"""The way to the sites: what the round loop asks of Flower's grid, and one without a network.

On real nodes the way is Flower's own grid. In a simulation it is a `LocalGrid`: the same
messages, handed to processes of this machine over sockets.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from flwr.app import Message


class Grid(Protocol):
    """What is asked of Flower's ``Grid``, three methods of it."""

    def get_nodes(self) -> Iterable[Any]:
        """Nodes that are there, each with a ``node_id`` and a ``public_key``."""
        ...

    def push_messages(self, messages: Iterable[Message]) -> Iterable[str]:
        """Send messages; an identifier for each, empty where it could not be sent."""
        ...

    def pull_messages(self, message_ids: Iterable[str]) -> Iterable[Message]:
        """Take the replies that are there to messages of some identifiers."""
        ...
