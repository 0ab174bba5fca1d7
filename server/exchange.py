"""One exchange: ask the sites, wait until the deadline, say who answered and who did not."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Generic, Literal, Protocol, TypeVar

from server.result import Absence
from shared.config import Quorum
from shared.errors import AggregationRefusedError, QuorumError, RunFailedError
from shared.protocol import Account, Refusal
from shared.wire import count_bytes

if TYPE_CHECKING:
    from flwr.app import Message, RecordDict
    from flwr.serverapp import Grid

POLL_SECONDS: Final = 0.05
#: How long the last sites may still say their reasons when a quorum is out of reach.
HOPELESS_SECONDS: Final = 10.0


class Answer(Protocol):
    """What every kind of answer has."""

    @property
    def account(self) -> Account:
        """What the site says about it."""
        ...


A = TypeVar("A", bound=Answer)
#: Makes the message for a node; a Flower message can only be made inside a run.
MessageMaker = Callable[["RecordDict", int, str], "Message"]


@dataclass
class Roster:
    """The nodes of a run and, once they answered, the sites that they are."""

    nodes: tuple[int, ...]
    names: dict[int, str] = field(default_factory=dict)

    def name(self, node: int) -> str:
        """Name of a node's site, or of the node while it has not said who it is."""
        return self.names.get(node, f"node {node}")


@dataclass(frozen=True)
class Asked(Generic[A]):
    """What came of an exchange. Answers are by site name, sorted."""

    answers: dict[str, A]
    absent: list[Absence]
    attempts: int
    seconds: float
    bytes_down: int
    bytes_up: int


@dataclass
class _Exchange(Generic[A]):
    grid: Grid
    roster: Roster
    quorum: Quorum
    content: RecordDict
    kind: Literal["train", "evaluate"]
    read: Callable[[RecordDict], A | Refusal]
    make: MessageMaker
    answers: dict[int, A] = field(default_factory=dict)
    absent: dict[int, Absence] = field(default_factory=dict)
    waiting: dict[str, int] = field(default_factory=dict)
    bytes_down: int = 0
    bytes_up: int = 0

    def send(self, nodes: Sequence[int]) -> None:
        size = count_bytes(self.content)
        for node in nodes:
            self.absent.pop(node, None)
            message = self.make(self.content, node, self.kind)
            identifiers = [i for i in self.grid.push_messages([message]) if i]
            if identifiers:
                self.waiting[identifiers[0]] = node
                self.bytes_down += size
            else:
                self._miss(node, "unreachable", "the message could not be given to the site")

    def wait(self, deadline: float, minimum: int) -> None:
        """Take answers until all are there, time is up, or a quorum is out of reach."""
        grace = time.monotonic() + HOPELESS_SECONDS
        while True:
            for reply in self.grid.pull_messages(list(self.waiting)):
                node = self.waiting.pop(reply.metadata.reply_to_message_id, None)
                if node is not None and node not in self.answers:
                    self._take(node, reply)
            pending = set(self.waiting.values()) - set(self.answers)
            hopeless = len(self.answers) + len(pending) < minimum
            now = time.monotonic()
            if not pending or now >= deadline or (hopeless and now >= grace):
                break
            if not hopeless:
                grace = now + HOPELESS_SECONDS
            time.sleep(POLL_SECONDS)
        waited = f"no answer within {self.quorum.deadline_seconds:g} seconds"
        if hopeless and now < deadline:
            waited = "not waited for: too few sites could still answer"
        for node in pending:
            self._miss(node, "late", waited)

    def _take(self, node: int, reply: Message) -> None:
        self.absent.pop(node, None)
        if reply.has_error():
            reason = " ".join(str(reply.error.reason).split())[:300]
            self._miss(node, "failed", f"the site's program broke: {reason}")
            return
        self.bytes_up += count_bytes(reply.content)
        try:
            answer = self.read(reply.content)
        except AggregationRefusedError as error:
            self._miss(node, "rejected", str(error))
            return
        if isinstance(answer, Refusal):
            self.roster.names[node] = answer.site
            kind: Literal["refused", "failed"] = "failed" if answer.code == 1 else "refused"
            self._miss(node, kind, answer.reason)
            return
        self.roster.names[node] = answer.account.site
        self.answers[node] = answer

    def _miss(self, node: int, kind: Any, reason: str) -> None:
        self.absent[node] = Absence(site=self.roster.name(node), kind=kind, reason=reason)

    def refuse_namesakes(self) -> None:
        """Two nodes that say they are the same site: neither counts, whoever came first."""
        by_name: dict[str, list[int]] = {}
        for node in self.answers:
            by_name.setdefault(self.roster.name(node), []).append(node)
        for name, nodes in by_name.items():
            for node in nodes if len(nodes) > 1 else ():
                del self.answers[node]
                self._miss(node, "rejected", f"{len(nodes)} nodes answer as {name}")


def ask(
    grid: Grid,
    roster: Roster,
    quorum: Quorum,
    content: RecordDict,
    kind: Literal["train", "evaluate"],
    read: Callable[[RecordDict], A | Refusal],
    make: MessageMaker,
) -> Asked[A]:
    """Ask every node the same and wait for the answers.

    A site that failed or was late is asked again, as often as the quorum says,
    while too few have answered; one that refused is not. An answer to an earlier
    attempt counts: sites answer the same question with the same bytes.

    Parameters
    ----------
    grid : Grid
        Flower's way to the nodes.
    roster : Roster
        Nodes; learns their names.
    quorum : Quorum
        How many, how long, how often.
    content : RecordDict
        The message.
    kind : str
        ``train`` or ``evaluate``.
    read : callable
        Reads an answer or a refusal; raises `AggregationRefusedError` on anything else.
    make : callable
        Makes a Flower message from content, node and kind.

    Returns
    -------
    Asked
        Answers by site in the order of names, and who is absent and why.

    Raises
    ------
    RunFailedError
        If no site takes part; names each one's reason.
    QuorumError
        If too few answered; names the others' reasons.
    """
    started = time.monotonic()
    exchange = _Exchange(grid, roster, quorum, content, kind, read, make)
    attempt = 0
    while attempt < quorum.attempts and len(exchange.answers) < quorum.minimum_sites:
        attempt += 1
        again = [n for n in roster.nodes if _worth_asking(exchange, n)]
        if not again:
            attempt -= 1
            break
        exchange.send(again)
        exchange.wait(time.monotonic() + quorum.deadline_seconds, quorum.minimum_sites)
        exchange.refuse_namesakes()
    absent = sorted(exchange.absent.values(), key=lambda absence: absence.site)
    answers = {roster.name(node): answer for node, answer in exchange.answers.items()}
    if len(answers) < quorum.minimum_sites:
        raise _failure(absent, len(answers), quorum)
    return Asked(
        answers={name: answers[name] for name in sorted(answers)},
        absent=absent,
        attempts=attempt,
        seconds=time.monotonic() - started,
        bytes_down=exchange.bytes_down,
        bytes_up=exchange.bytes_up,
    )


def wait_for_nodes(grid: Grid, expected: int, minimum: int, seconds: float) -> Roster:
    """Wait until all expected nodes are there, or at the deadline at least the minimum.

    Raises
    ------
    QuorumError
        If fewer than the minimum came.
    """
    deadline = time.monotonic() + seconds
    nodes: Iterable[int] = ()
    while time.monotonic() < deadline:
        nodes = sorted(grid.get_node_ids())
        if len(nodes) >= expected:
            break
        time.sleep(POLL_SECONDS)
    nodes = tuple(nodes)
    if len(nodes) < minimum:
        raise QuorumError(
            f"{len(nodes)} sites are connected after {seconds:g} seconds (quorum.minimum_sites: "
            f"{minimum}); start the others or lower the quorum"
        )
    return Roster(nodes)


def _worth_asking(exchange: _Exchange[Any], node: int) -> bool:
    absence = exchange.absent.get(node)
    return node not in exchange.answers and (absence is None or absence.kind != "refused")


def _failure(absent: list[Absence], answered: int, quorum: Quorum) -> RunFailedError:
    reasons = "; ".join(f"{one.site} {one.kind}: {one.reason}" for one in absent)
    if answered == 0 and absent and all(one.kind == "refused" for one in absent):
        return RunFailedError(f"no site takes part ({reasons})")
    return QuorumError(
        f"{answered} sites answered (quorum.minimum_sites: {quorum.minimum_sites}; {reasons})"
    )
