"""Flower's messages as bytes, between the processes of a simulated run."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from flwr.app import Message

#: Where Flower would count messages: one run, and the coordinator's own number in it.
RUN: Final = 1
COORDINATOR: Final = 0


def pack(message: Message) -> bytes:
    """Make bytes of a message, as Flower does on the way."""
    from flwr.common.serde import message_to_proto

    packed: bytes = message_to_proto(message).SerializeToString()
    return packed


def unpack(packed: bytes) -> Message:
    """Make a message of bytes; see `pack`."""
    from flwr.common.serde import message_from_proto
    from flwr.proto.message_pb2 import Message as Packed

    return message_from_proto(Packed.FromString(packed))
