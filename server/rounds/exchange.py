"""One exchange: ask the sites, wait until the deadline, say who answered and who did not."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Generic

from server.rounds.asked_nodes import AskedNodes
from server.rounds.node_state import MAY_BE_ASKED, Happening, State
from server.rounds.replies import ReplyReader
from server.rounds.reply_fetcher import AT_ONCE, ReplyFetcher
from server.rounds.request import A, Asked, MessageMaker, Question
from server.rounds.roster import Roster
from server.state.home import Home
from server.state.journal import Journal
from server.state.result import Absence
from shared.audit.chain import Head
from shared.errors import (
    ModelNotKeptError,
    QuorumError,
    RunFailedError,
)
from shared.phrases import counted
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
    """Asks and waits; how each node stands is in `nodes`, what a reply is says `reader`."""

    grid: Grid
    roster: Roster
    quorum: Quorum
    question: Question[A]
    make: MessageMaker
    journal: Journal
    resting: Mapping[str, str]
    fetcher: ReplyFetcher
    nodes: AskedNodes[A] = field(default_factory=AskedNodes)
    #: Which node each message went to that may still be answered.
    waiting: dict[str, int] = field(default_factory=dict)
    attempt: int = 0
    bytes_down: int = 0
    bytes_up: int = 0

    def __post_init__(self) -> None:
        """Make what reads replies."""
        self.reader = ReplyReader(
            self.question, self.roster, self.quorum, self.home, self.has_answered
        )

    @property
    def home(self) -> Home:
        return self.journal.home

    def send(self, number: int) -> None:
        """Ask one node, with a ticket of its own."""
        question, node = self.question, self.nodes[number]
        site = self.roster.names.get(number)
        member = None if site is None else self.roster.member(site)
        ticket = sign_ticket(
            self.home.key(),
            site=site or ANY_SITE,
            run=question.run,
            asked=question.asked,
            own=self.home.chain().head(),
            seen=Head() if member is None else self.home.seen(member),
        )
        content = question.build(ticket, node.lacks_model or site not in question.holders)
        self.nodes.move(number, Happening.SENT)
        node.connected = self.roster.nodes.get(number, "")
        node.sends += 1
        node.sent_at = time.monotonic()
        self.journal.asked(question.task, question.kind, question.round, self.attempt, ticket)
        identifiers = [
            i for i in self.grid.push_messages([self.make(content, number, question.kind)]) if i
        ]
        if identifiers:
            self.waiting[identifiers[0]] = number
            self.bytes_down += count_bytes(content)
        else:
            self.miss(number, Happening.UNDELIVERED, "the message could not be given to the site")

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
            pending = self.nodes.in_state(State.ASKED)
            enough = self.enough()
            # A member whose node is not there may still come, if there is need of it.
            awaited = self.roster.pinned and not enough and self._missing_members()
            answered = len(self.nodes.in_state(State.ANSWERED))
            hopeless = not awaited and answered + len(pending) < minimum
            if now >= deadline or (not pending and not awaited) or (hopeless and now >= grace):
                break
            if not hopeless:
                grace = now + HOPELESS_SECONDS
            turns = math.ceil(len(self.waiting) / AT_ONCE) or 1
            whole = pause(now - began, self.question.expected_seconds)
            turn = max(whole / turns, SHORTEST_TURN_SECONDS)
            self.fetcher.wait(min(turn, max(deadline - now, 0.0)))
        waited = f"no answer within {self.quorum.deadline_seconds:g} seconds"
        if hopeless and now < deadline:
            waited = "not waited for: too few sites could still answer"
        for number in pending:
            self.miss(number, Happening.TIME_UP, waited)

    def enough(self) -> bool:
        """Whether the answers make a quorum."""
        claimed = [answer.patients for _, answer in self.nodes.answers()]
        return (
            len(claimed) >= self.quorum.minimum_sites
            and sum(claimed) >= self.quorum.minimum_patients
        )

    def may_ask(self, number: int) -> bool:
        """Whether a node is worth asking (again)."""
        node = self.nodes[number]
        return (
            node.state in MAY_BE_ASKED
            and self.roster.name(number) not in self.resting
            and node.sends < MOST_SENDS
        )

    def has_answered(self, site: str, but: int) -> bool:
        """Whether a node other than one has answered as a site."""
        return any(
            self.roster.names.get(number) == site
            for number in self.nodes.in_state(State.ANSWERED)
            if number != but
        )

    def miss(self, number: int, happening: Happening, reason: str) -> None:
        """Write down that a site is absent, and why; it may have chosen the words itself."""
        site, question = self.roster.name(number), self.question
        absence = self.nodes.miss(number, happening, site, plain_text(reason))
        self.journal.absent(
            question.task, question.kind, question.round, site, absence.kind, absence.reason
        )

    def _missing_members(self) -> bool:
        absences = self.nodes.absences()
        answered = self.nodes.in_state(State.ANSWERED)
        there = {self.roster.name(number) for number in answered}
        there |= {absence.site for absence in absences} | set(self.resting)
        failed = {absence.site for absence in absences if absence.kind != "refused"}
        return any(m.site not in there or m.site in failed for m in self.roster.members)

    def _pull(self) -> None:
        for reply in self.fetcher.poll(self.waiting):
            number = self.waiting.pop(reply.metadata.reply_to_message_id, None)
            if number is not None and self.nodes.may(number, Happening.ANSWER):
                self._take(number, reply)
        for identifier, kind in self.fetcher.broken().items():
            number = self.waiting.pop(identifier, None)
            if number is not None and self.nodes.may(number, Happening.LOST):
                said = f"its answer could not be fetched ({kind})"
                self.miss(number, Happening.LOST, said)
        patience = max(UPLOAD_SECONDS, self.quorum.deadline_seconds / 3)
        for identifier, number in list(self.waiting.items()):
            if self.fetcher.seconds(identifier) > patience:
                del self.waiting[identifier]
                if self.nodes[number].state is State.ASKED:
                    self.miss(number, Happening.LOST, "its answer broke off on the way")

    def _look_again(self) -> None:
        """Ask nodes that came, or came back since they were asked, and those that broke."""
        self.roster.look(self.grid)
        asked = {
            self.roster.name(number)
            for number, node in self.nodes.by_number.items()
            if node.state is not State.UNASKED
        }
        for number, connected in self.roster.nodes.items():
            if not self.may_ask(number):
                continue
            node = self.nodes[number]
            came_back = node.state is not State.UNASKED and node.connected != connected
            is_new = self.roster.pinned and self.roster.name(number) not in asked
            broke = node.state in (State.FAILED, State.UNREACHABLE)
            tries = node.sends <= self.quorum.attempts
            if came_back or is_new or (broke and self.roster.pinned and tries):
                self.send(number)

    def _take(self, number: int, message: Message) -> None:
        """Take one reply: keep the answer, ask again, or write down why there is none."""
        reply = self.reader.read(number, message)
        self.bytes_up += reply.size
        if reply.refusal is not None:
            self.roster.names.setdefault(number, reply.refusal.site)
            if self._lacks(number, reply.refusal):
                self.send(number)
                return
        if reply.answer is None:
            # Of a hospital that refused only an answer counts: its refusal stands.
            if self.nodes.may(number, reply.happening):
                self.miss(number, reply.happening, reply.reason)
            return
        self.nodes.move(number, reply.happening)
        node, answer = self.nodes[number], reply.answer
        node.answer = answer
        member = self.roster.member(answer.account.site)
        if member is not None:
            self.home.note_seen(member, answer.statement.head)
        seconds = time.monotonic() - node.sent_at
        self.journal.answered(self.question.kind, answer.statement, seconds, reply.size)

    def _lacks(self, number: int, refusal: Refusal) -> bool:
        """Whether a site does not hold what it was not sent; it can say so once an exchange.

        That is no failing of the site's, and does not count as one of its tries.
        """
        node = self.nodes[number]
        said = refusal.kind == ModelNotKeptError.__name__ and node.state in MAY_BE_ASKED
        if not said or node.lacks_model or not self.question.holders:
            return False
        node.lacks_model = True
        node.sends -= 1
        return True


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
    exchange = _Exchange(
        grid, roster, quorum, question, make, journal, resting or {}, ReplyFetcher(grid)
    )
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
    answers = {roster.name(number): answer for number, answer in exchange.nodes.answers()}
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
    found = {absence.site: absence for absence in exchange.nodes.absences()}
    silent = [
        Absence(site=site, kind="quarantined", reason=reason)
        for site, reason in exchange.resting.items()
    ]
    if exchange.roster.pinned:
        answered = {
            exchange.roster.name(number) for number in exchange.nodes.in_state(State.ANSWERED)
        }
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
    claimed = [answer.patients for _, answer in exchange.nodes.answers()]
    answered = len(claimed)
    reasons = "; ".join(f"{one.site} {one.kind}: {one.reason}" for one in absent)
    if answered == 0 and absent and all(one.kind == "refused" for one in absent):
        return RunFailedError(f"no site takes part ({reasons})")
    needed = f"quorum.minimum_sites: {quorum.minimum_sites}"
    if answered >= quorum.minimum_sites:
        claim = counted(sum(claimed), "patient")
        needed = f"with {claim}; quorum.minimum_patients: {quorum.minimum_patients}"
    return QuorumError(f"{counted(answered, 'site')} answered ({needed}; {reasons})")
