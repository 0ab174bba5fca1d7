"""One exchange: ask the sites, wait until the deadline, say who answered and who did not."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, Final, Generic, Literal

from server.rounds.reply_fetcher import AT_ONCE, Puller
from server.rounds.request import A, Answer, Asked, MessageMaker, Question
from server.rounds.roster import Roster
from server.state.home import Home
from server.state.journal import Journal
from server.state.result import Absence
from shared.audit.chain import Head
from shared.errors import (
    AggregationRefusedError,
    ModelNotKeptError,
    OsteofedError,
    QuorumError,
    RunFailedError,
)
from shared.protocol.codec import count_bytes, plain_text
from shared.protocol.messages import Refusal
from shared.protocol.signatures import ANY_SITE, sign_ticket
from shared.settings.files import Quorum

if TYPE_CHECKING:
    from flwr.app import Message

    from server.rounds.grid import Grid

POLL_SECONDS: Final = 0.2
#: Every look for an answer is a request to the SuperLink, which takes its processor, and on
#: a shared machine the sites'. So looks are rare between the first moments, when a site may
#: refuse, and the time when the sites are nearly as far as they were last time; beyond that
#: they become rarer again by this share of what it takes longer. Never rarer than the longest.
LONGEST_POLL_SECONDS: Final = 2.0
POLL_SHARE: Final = 0.05
NEARLY: Final = 0.9
REFUSAL_SHARE: Final = 0.5
#: With more sites than are looked for at once they take turns, at most this fast.
SHORTEST_TURN_SECONDS: Final = 0.05
#: How often the nodes that are there are looked up during an exchange.
LOOK_SECONDS: Final = 2.0
#: How long an announced answer may take to arrive, at least; then it is asked for again.
UPLOAD_SECONDS: Final = 20.0
#: How long the last sites may still say their reasons when a quorum is out of reach.
HOPELESS_SECONDS: Final = 10.0
#: How often one node is sent the same request in one exchange, whatever becomes of it.
MOST_SENDS: Final = 6


@dataclass
class _Exchange(Generic[A]):
    grid: Grid
    roster: Roster
    quorum: Quorum
    question: Question[A]
    make: MessageMaker
    journal: Journal
    resting: Mapping[str, str]
    puller: Puller
    answers: dict[int, A] = field(default_factory=dict)
    absent: dict[int, Absence] = field(default_factory=dict)
    waiting: dict[str, int] = field(default_factory=dict)
    connected: dict[int, str] = field(default_factory=dict)
    sends: dict[int, int] = field(default_factory=dict)
    sent_at: dict[int, float] = field(default_factory=dict)
    lacking: set[int] = field(default_factory=set)
    attempt: int = 0
    bytes_down: int = 0
    bytes_up: int = 0

    @property
    def home(self) -> Home:
        return self.journal.home

    def send(self, node: int) -> None:
        """Ask one node, with a ticket of its own."""
        question = self.question
        site = self.roster.names.get(node)
        member = None if site is None else self.roster.member(site)
        ticket = sign_ticket(
            self.home.key(),
            site=site or ANY_SITE,
            run=question.run,
            asked=question.asked,
            own=self.home.chain().head(),
            seen=Head() if member is None else self.home.seen(member),
        )
        content = question.build(ticket, node in self.lacking or site not in question.holders)
        self.absent.pop(node, None)
        self.connected[node] = self.roster.nodes.get(node, "")
        self.sends[node] = self.sends.get(node, 0) + 1
        self.sent_at[node] = time.monotonic()
        self.journal.asked(question.task, question.kind, question.round, self.attempt, ticket)
        identifiers = [
            i for i in self.grid.push_messages([self.make(content, node, question.kind)]) if i
        ]
        if identifiers:
            self.waiting[identifiers[0]] = node
            self.bytes_down += count_bytes(content)
        else:
            self.miss(node, "unreachable", "the message could not be given to the site")

    def wait(self, deadline: float) -> None:
        """Take answers until all are there, time is up, or a quorum is out of reach."""
        minimum = self.quorum.minimum_sites
        began = time.monotonic()
        grace = began + HOPELESS_SECONDS
        looked = began
        while True:
            self._pull()
            now = time.monotonic()
            if now - looked >= LOOK_SECONDS:
                looked = now
                self._look_again()
            pending = self.pending()
            enough = self.enough()
            # A member whose node is not there may still come, if there is need of it.
            awaited = self.roster.pinned and not enough and self._missing_members()
            hopeless = not awaited and len(self.answers) + len(pending) < minimum
            if now >= deadline or (not pending and not awaited) or (hopeless and now >= grace):
                break
            if not hopeless:
                grace = now + HOPELESS_SECONDS
            turns = math.ceil(len(self.waiting) / AT_ONCE) or 1
            whole = pause(now - began, self.question.expected_seconds)
            turn = max(whole / turns, SHORTEST_TURN_SECONDS)
            self.puller.wait(min(turn, max(deadline - now, 0.0)))
        waited = f"no answer within {self.quorum.deadline_seconds:g} seconds"
        if hopeless and now < deadline:
            waited = "not waited for: too few sites could still answer"
        for node in pending:
            self.miss(node, "late", waited)

    def pending(self) -> set[int]:
        """Nodes that were asked and have neither answered nor said why not."""
        return set(self.waiting.values()) - set(self.answers) - set(self.absent)

    def enough(self) -> bool:
        """Whether the answers make a quorum."""
        claimed = sum(answer.patients for answer in self.answers.values())
        return (
            len(self.answers) >= self.quorum.minimum_sites
            and claimed >= self.quorum.minimum_patients
        )

    def may_ask(self, node: int) -> bool:
        """Whether a node is worth asking (again)."""
        absence = self.absent.get(node)
        return (
            node not in self.answers
            and self.roster.name(node) not in self.resting
            and self.sends.get(node, 0) < MOST_SENDS
            and (absence is None or absence.kind != "refused")
        )

    def miss(self, node: int, kind: Any, reason: str) -> None:
        """Write down that a site is absent, and why; it may have chosen the words itself."""
        site, reason = self.roster.name(node), plain_text(reason)
        question = self.question
        self.absent[node] = Absence(site=site, kind=kind, reason=reason)
        self.journal.absent(question.task, question.kind, question.round, site, kind, reason)

    def _missing_members(self) -> bool:
        there = {self.roster.name(node) for node in [*self.answers, *self.absent]}
        there |= set(self.resting)
        failed = {a.site for a in self.absent.values() if a.kind != "refused"}
        return any(m.site not in there or m.site in failed for m in self.roster.members)

    def _pull(self) -> None:
        for reply in self.puller.poll(self.waiting):
            node = self.waiting.pop(reply.metadata.reply_to_message_id, None)
            if node is not None and node not in self.answers:
                self._take(node, reply)
        for identifier, kind in self.puller.broken().items():
            node = self.waiting.pop(identifier, None)
            if node is not None and node not in self.answers:
                self.miss(node, "failed", f"its answer could not be fetched ({kind})")
        patience = max(UPLOAD_SECONDS, self.quorum.deadline_seconds / 3)
        for identifier, node in list(self.waiting.items()):
            if self.puller.seconds(identifier) > patience:
                del self.waiting[identifier]
                if node not in self.answers and node not in self.absent:
                    self.miss(node, "failed", "its answer broke off on the way")

    def _look_again(self) -> None:
        """Ask nodes that came, or came back since they were asked, and those that broke."""
        self.roster.look(self.grid)
        asked = {self.roster.name(node) for node in self.connected}
        for node, connected in self.roster.nodes.items():
            if not self.may_ask(node):
                continue
            came_back = node in self.connected and self.connected[node] != connected
            is_new = self.roster.pinned and self.roster.name(node) not in asked
            absence = self.absent.get(node)
            broke = absence is not None and absence.kind in ("failed", "unreachable")
            tries = self.sends.get(node, 0) <= self.quorum.attempts
            if came_back or is_new or (broke and self.roster.pinned and tries):
                self.send(node)

    def _take(self, node: int, reply: Message) -> None:
        self.absent.pop(node, None)
        if reply.has_error():
            reason = plain_text(str(reply.error.reason))[:300]
            gone = "unavailable" in reason.lower()
            said = "its node is gone" if gone else f"the site's program broke: {reason}"
            self.miss(node, "unreachable" if gone else "failed", said)
            return
        try:
            size = count_bytes(reply.content)
            self.bytes_up += size
            answer = self.question.read(reply.content, partial(self._check_sender, node))
        except AggregationRefusedError as error:
            self.miss(node, "rejected", str(error))
            return
        except (OsteofedError, OSError):  # of the coordinator's own files
            raise
        except Exception as error:  # nothing that a site sends may end a run
            name = type(error).__name__
            self.miss(node, "rejected", f"its answer could not be read ({name})")
            return
        if isinstance(answer, Refusal):
            self.roster.names.setdefault(node, answer.site)
            if self._lacks(node, answer):
                self.send(node)
                return
            kind: Literal["refused", "failed"] = "failed" if answer.code == 1 else "refused"
            self.miss(node, kind, answer.reason)
            return
        self.answers[node] = answer
        member = self.roster.member(answer.account.site)
        if member is not None:
            self.home.note_seen(member, answer.statement.head)
        seconds = time.monotonic() - self.sent_at[node]
        self.journal.answered(self.question.kind, answer.statement, seconds, size)

    def _lacks(self, node: int, refusal: Refusal) -> bool:
        """Whether a site does not hold what it was not sent; it can say so once an exchange.

        That is no failing of the site's, and does not count as one of its tries.
        """
        said = refusal.kind == ModelNotKeptError.__name__
        if not said or node in self.lacking or not self.question.holders:
            return False
        self.lacking.add(node)
        self.sends[node] -= 1
        return True

    def _check_sender(self, node: int, answer: Answer) -> None:
        """Hold who says it is answering against whose node answered, and its contract."""
        site = answer.account.site
        member = self.roster.member(site)
        known = self.roster.names.get(node)
        if member is None or (known is not None and known != site):
            raise AggregationRefusedError(
                f"{known or f'node {node}'} answers as {site}, which it was not admitted as"
            )
        if any(self.roster.names.get(other) == site for other in self.answers if other != node):
            raise AggregationRefusedError(f"another node has answered as {site} already")
        most = member.most_patients or self.quorum.maximum_patients_per_site
        if answer.patients > most:
            raise AggregationRefusedError(
                f"{site} claims {answer.patients} patients (its contract allows {most})"
            )
        if self.home.is_fork(member, answer.statement.head):
            raise AggregationRefusedError(
                f"{site}: line {answer.statement.head.line} of its audit chain is not the one "
                "that it told before: two copies of the site are running, or an old one"
            )
        self.roster.names[node] = site


def pause(waited: float, expected: float) -> float:
    """Seconds until every answer is looked for again.

    Parameters
    ----------
    waited : float
        Seconds since they were asked for.
    expected : float
        Seconds that the quickest site took last time; 0 if there was none.
    """
    beyond = waited - NEARLY * expected
    wanted = min(-beyond, REFUSAL_SHARE * waited) if beyond < 0 else POLL_SHARE * beyond
    return min(max(wanted, POLL_SECONDS), LONGEST_POLL_SECONDS)


def ask(
    grid: Grid,
    roster: Roster,
    quorum: Quorum,
    question: Question[A],
    make: MessageMaker,
    journal: Journal,
    resting: Mapping[str, str] | None = None,
) -> Asked[A]:
    """Ask every member that is there the same, and wait for the answers.

    Whoever comes while there is time is asked too, and whoever came back is asked again.
    While too few have answered, the whole is repeated as often as the quorum says; one
    that refused is not asked again. An answer to an earlier attempt counts: sites answer
    the same question with the same bytes.

    Parameters
    ----------
    grid : Grid
        Flower's way to the nodes.
    roster : Roster
        Members; learns their nodes.
    quorum : Quorum
        How many, how long, how often.
    question : Question
        What is asked.
    make : callable
        Makes a Flower message from content, node and kind.
    journal : Journal
        Told what happens.
    resting : mapping of str to str, optional
        Sites that are not asked, and why.

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
    exchange = _Exchange(grid, roster, quorum, question, make, journal, resting or {}, Puller(grid))
    while exchange.attempt < quorum.attempts and not exchange.enough():
        roster.look(grid)
        again = [node for node in sorted(roster.nodes) if exchange.may_ask(node)]
        if not again and not roster.pinned:
            break
        exchange.attempt += 1
        for node in again:
            exchange.send(node)
        exchange.wait(time.monotonic() + quorum.deadline_seconds)
    absent = _absent(exchange)
    answers = {roster.name(node): answer for node, answer in exchange.answers.items()}
    if not exchange.enough():
        raise _failure(absent, exchange, quorum)
    return Asked(
        answers={name: answers[name] for name in sorted(answers)},
        absent=absent,
        attempts=exchange.attempt,
        seconds=time.monotonic() - started,
        bytes_down=exchange.bytes_down,
        bytes_up=exchange.bytes_up,
    )


def _absent(exchange: _Exchange[Any]) -> list[Absence]:
    """Everybody who is not among the answers, by name, also those whose node never came."""
    found = {absence.site: absence for absence in exchange.absent.values()}
    silent = [
        Absence(site=site, kind="quarantined", reason=reason)
        for site, reason in exchange.resting.items()
    ]
    if exchange.roster.pinned:
        answered = {exchange.roster.name(node) for node in exchange.answers}
        for member in exchange.roster.members:
            if member.site not in {*answered, *found, *exchange.resting}:
                silent.append(
                    Absence(
                        site=member.site, kind="unreachable", reason="its node is not connected"
                    )
                )
    question = exchange.question
    for one in silent:
        found[one.site] = one
        exchange.journal.absent(
            question.task, question.kind, question.round, one.site, one.kind, one.reason
        )
    return [found[site] for site in sorted(found)]


def _failure(absent: list[Absence], exchange: _Exchange[Any], quorum: Quorum) -> RunFailedError:
    answered = len(exchange.answers)
    reasons = "; ".join(f"{one.site} {one.kind}: {one.reason}" for one in absent)
    if answered == 0 and absent and all(one.kind == "refused" for one in absent):
        return RunFailedError(f"no site takes part ({reasons})")
    needed = f"quorum.minimum_sites: {quorum.minimum_sites}"
    if answered >= quorum.minimum_sites:
        claimed = sum(answer.patients for answer in exchange.answers.values())
        needed = f"with {claimed} patients; quorum.minimum_patients: {quorum.minimum_patients}"
    return QuorumError(f"{answered} sites answered ({needed}; {reasons})")
