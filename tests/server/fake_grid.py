"""A stand-in for Flower's grid: nodes are functions, and time passes as they say."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

from flwr.app import RecordDict

#: Given the message's content and how often the node was asked: an answer, an
#: error's text, or None (never answers).
Node = Callable[[RecordDict, int], RecordDict | str | None]


@dataclass
class FakeMessage:
    """What the round loop reads of a Flower message."""

    content: RecordDict
    node: int
    kind: str
    reply_to: str = ""
    broken: str = ""

    def has_error(self) -> bool:
        return bool(self.broken)

    @property
    def error(self) -> Any:
        return type("Error", (), {"reason": self.broken})

    @property
    def metadata(self) -> Any:
        return type("Metadata", (), {"reply_to_message_id": self.reply_to})


def make(content: RecordDict, node: int, kind: str) -> Any:
    """Make a message as the round loop asks for it."""
    return FakeMessage(content, node, kind)


class FakeGrid:
    """Hands every message to its node; answers come in the reverse order of asking."""

    def __init__(self, nodes: dict[int, Node], keys: dict[int, bytes] | None = None) -> None:
        self.nodes = nodes
        self.keys = keys or {}
        self.asked: list[tuple[int, str]] = []
        self.replies: dict[str, FakeMessage] = {}

    def get_nodes(self) -> list[Any]:
        return [
            SimpleNamespace(node_id=node, public_key=self.keys.get(node, b""), last_activated_at="")
            for node in self.nodes
        ]

    def push_messages(self, messages: Iterable[FakeMessage]) -> list[str]:
        found = []
        for message in messages:
            identifier = f"m{len(self.asked)}"
            self.asked.append((message.node, message.kind))
            times = sum(node == message.node for node, _ in self.asked)
            answer = self.nodes[message.node](message.content, times)
            if isinstance(answer, str):
                self.replies[identifier] = FakeMessage(
                    RecordDict(), message.node, message.kind, identifier, answer
                )
            elif answer is not None:
                self.replies[identifier] = FakeMessage(
                    answer, message.node, message.kind, identifier
                )
            found.append(identifier)
        return found

    def pull_messages(self, identifiers: Iterable[str]) -> list[FakeMessage]:
        ready = [i for i in reversed(list(identifiers)) if i in self.replies]
        return [self.replies.pop(i) for i in ready]
