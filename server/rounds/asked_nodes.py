"""How each node of an exchange stands: what was sent to it, its answer, or why it is absent."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Generic, cast

from server.rounds.node_state import TRANSITIONS, Happening, State, after
from server.rounds.request import A
from server.state.result import Absence


@dataclass
class AskedNode(Generic[A]):
    """One node in one exchange.

    Attributes
    ----------
    state : State
        How it stands.
    answer : object or None
        Its answer, once `state` is ``answered``.
    connected : str
        Which connection of the node was asked last.
    sends : int
        How often it was asked.
    sent_at : float
        When it was asked last, on the monotonic clock.
    lacks_model : bool
        It said that it does not hold what it was not sent.
    """

    state: State = State.UNASKED
    answer: A | None = None
    connected: str = ""
    sends: int = 0
    sent_at: float = 0.0
    lacks_model: bool = False


@dataclass
class AskedNodes(Generic[A]):
    """The nodes of an exchange by their numbers; those that are absent, in the order of time."""

    by_number: dict[int, AskedNode[A]] = field(default_factory=dict)
    _absent: dict[int, Absence] = field(default_factory=dict)

    def __getitem__(self, number: int) -> AskedNode[A]:
        """One node; a number that was not seen before is a node that was not asked."""
        return self.by_number.setdefault(number, AskedNode())

    def may(self, number: int, happening: Happening) -> bool:
        """Whether something can happen to a node as it stands."""
        return (self[number].state, happening) in TRANSITIONS

    def move(self, number: int, happening: Happening) -> State:
        """Let something happen to a node; it is absent no longer, unless `miss` says why."""
        node = self[number]
        node.state = after(node.state, happening)
        self._absent.pop(number, None)
        return node.state

    def miss(self, number: int, happening: Happening, site: str, reason: str) -> Absence:
        """Let something happen to a node that makes it absent, and keep why."""
        kind = cast(Any, self.move(number, happening).value)
        absence = Absence(site=site, kind=kind, reason=reason)
        self._absent[number] = absence
        return absence

    def in_state(self, *states: State) -> list[int]:
        """Numbers of the nodes in one of these states, in the order in which they came."""
        return [number for number, node in self.by_number.items() if node.state in states]

    def answers(self) -> Iterator[tuple[int, A]]:
        """Nodes that answered, with their answers."""
        for number, node in self.by_number.items():
            if node.answer is not None:
                yield number, node.answer

    def absences(self) -> list[Absence]:
        """Why nodes are absent, the last to become so last."""
        return list(self._absent.values())
