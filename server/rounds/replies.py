"""What a node's reply is: an answer that may be used, or the reason why it is none."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Generic

from server.rounds.node_state import Happening
from server.rounds.request import A, Answer, Question
from server.rounds.roster import Roster
from server.state.home import Home
from shared.errors import AggregationRefusedError, OsteofedError
from shared.phrases import counted
from shared.protocol.codec import count_bytes, plain_text
from shared.protocol.messages import Refusal
from shared.settings.files import Quorum

if TYPE_CHECKING:
    from flwr.app import Message

#: Exit code of a fault of the site's program, as a refusal names it.
FAULT = 1
LONGEST_REASON = 300


@dataclass(frozen=True)
class Reply(Generic[A]):
    """What a reply is.

    Attributes
    ----------
    happening : Happening
        What it means for the node.
    reason : str
        Why it is no answer; empty if it is one.
    size : int
        Bytes of its content; 0 if it has none.
    answer : object or None
        The answer.
    refusal : Refusal or None
        The hospital's refusal.
    """

    happening: Happening
    reason: str = ""
    size: int = 0
    answer: A | None = None
    refusal: Refusal | None = None


@dataclass(frozen=True)
class ReplyReader(Generic[A]):
    """Reads replies; nothing that a site sends raises here.

    Parameters
    ----------
    question : Question
        What was asked.
    roster : Roster
        Members; learns which node is whose.
    quorum : Quorum
        How many patients a site may claim.
    home : Home
        What the coordinator has seen of the sites' audit chains.
    has_answered : callable
        Tells whether another node than this one has answered as a site.
    """

    question: Question[A]
    roster: Roster
    quorum: Quorum
    home: Home
    has_answered: Callable[[str, int], bool]

    def read(self, node: int, message: Message) -> Reply[A]:
        """Read one reply of a node.

        Raises
        ------
        OsteofedError, OSError
            Of the coordinator's own files only.
        """
        if message.has_error():
            reason = plain_text(str(message.error.reason))[:LONGEST_REASON]
            if "unavailable" in reason.lower():
                return Reply(Happening.NODE_GONE, "its node is gone")
            return Reply(Happening.BREAKDOWN, f"the site's program broke: {reason}")
        size = 0
        try:
            size = count_bytes(message.content)
            answer = self.question.read(message.content, partial(self._check_sender, node))
        except AggregationRefusedError as error:
            return Reply(Happening.UNUSABLE, str(error), size)
        except (OsteofedError, OSError):  # of the coordinator's own files
            raise
        except Exception as error:  # nothing that a site sends may end a run
            name = type(error).__name__
            return Reply(Happening.UNUSABLE, f"its answer could not be read ({name})", size)
        if isinstance(answer, Refusal):
            happening = Happening.BREAKDOWN if answer.code == FAULT else Happening.REFUSAL
            return Reply(happening, answer.reason, size, refusal=answer)
        return Reply(Happening.ANSWER, "", size, answer)

    def _check_sender(self, node: int, answer: Answer) -> None:
        """Hold who says it is answering against whose node answered, and its contract."""
        site = answer.account.site
        member = self.roster.member(site)
        known = self.roster.names.get(node)
        if member is None or (known is not None and known != site):
            raise AggregationRefusedError(
                f"{known or f'node {node}'} answers as {site}, which it was not admitted as"
            )
        if self.has_answered(site, node):
            raise AggregationRefusedError(f"another node has answered as {site} already")
        most = member.most_patients or self.quorum.maximum_patients_per_site
        if answer.patients > most:
            raise AggregationRefusedError(
                f"{site} claims {counted(answer.patients, 'patient')} (its contract allows {most})"
            )
        if self.home.is_fork(member, answer.statement.head):
            raise AggregationRefusedError(
                f"{site}: line {answer.statement.head.line} of its audit chain is not the one "
                "that it told before: two copies of the site are running, or an old one"
            )
        self.roster.names[node] = site
