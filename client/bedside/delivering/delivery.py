"""What is due at a destination is sent; what it said is in the work list before the next goes.

A result is sent by the UID that it was stored with, however often it has to be tried: a
destination that has it already knows it again.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

from client.bedside.answering.answering import WRONG_RESULT, is_of
from client.bedside.receiving.archive import ArchivedStudy
from client.bedside.work.identities import two_of
from client.bedside.work.rooms import BedsideRooms
from client.bedside.work.sendings import (
    DueStudy,
    attempts_of,
    due_for,
    still_sends,
    try_later,
    was_refused,
    was_sent,
)
from client.bedside.work.work_list import WorkList
from client.sources.retry import TryAgainError
from shared.errors import OsteofedError, SourceRefusedError
from shared.settings.pacs import RetrySettings

from .outcome import Outcome

#: A wait doubles so often and no more, so that it stays a number.
MOST_DOUBLINGS: Final = 30
GONE: Final = "its file is gone from the disk (give the study again)"


class Destination(Protocol):
    """Takes results."""

    name: str

    def send(self, objects: Sequence[bytes], became: Callable[[int, Outcome], bool]) -> None:
        """Send objects in order; see `client.bedside.delivering.peer.PeerDestination.send`."""


class KnowsStudies(Protocol):
    """Says whose a study is, in an archive."""

    name: str

    def find(self, study_uid: str) -> ArchivedStudy | None:
        """Ask for one study."""


@dataclass
class Delivery:
    """Brings results to one destination.

    Attributes
    ----------
    work_list : WorkList
    rooms : BedsideRooms
    destination : Destination
    retry : RetrySettings
        How long is waited after a failure: from `first_wait_seconds`, doubled each time, to
        `longest_wait_seconds`; it is never given up, unless it was refused.
    archive : KnowsStudies or None
        Asked whose the study is before anything of it is sent.
    """

    work_list: WorkList
    rooms: BedsideRooms
    destination: Destination
    retry: RetrySettings
    archive: KnowsStudies | None = None

    def send_next(self) -> bool:
        """Send what is due of one study; False if nothing is."""
        due = due_for(self.work_list, self.destination.name)
        if due is None:
            return False
        if self._is_of_another(due):
            return True
        try:
            objects = [self.rooms.result(due.name, one.file).read_bytes() for one in due.sendings]
        except FileNotFoundError:
            for one in due.sendings:
                was_refused(self.work_list, one.id, GONE)
            return True
        if not all(is_of(data, due.study_uid, due.who) for data in objects):
            self.work_list.hold(due.id, WRONG_RESULT)
            return True
        self._send(due, objects)
        return True

    def _send(self, due: DueStudy, objects: Sequence[bytes]) -> None:
        waiting = [one.id for one in due.sendings]

        def became(number: int, outcome: Outcome) -> bool:
            sending = due.sendings[number].id
            if outcome.became == "later":
                self._later(waiting, outcome.said)
                return False
            waiting.remove(sending)
            note = was_sent if outcome.became == "kept" else was_refused
            note(self.work_list, sending, outcome.said)
            # More of the study may have come, or somebody may have stopped it.
            return not waiting or still_sends(self.work_list, due.id)

        try:
            self.destination.send(objects, became)
        except TryAgainError as error:
            self._later(waiting, str(error))
        except SourceRefusedError as error:
            for sending in list(waiting):
                was_refused(self.work_list, sending, str(error))

    def _later(self, sendings: Sequence[int], said: str) -> None:
        """Try some again, after a wait that doubles."""
        tried = min(attempts_of(self.work_list, sendings), MOST_DOUBLINGS)
        wait = min(self.retry.first_wait_seconds * 2**tried, self.retry.longest_wait_seconds)
        until = self.work_list.clock() + wait
        words = f"{said}; tried {tried + 1} times, again in {wait:g} s"
        try_later(self.work_list, sendings, words, until)

    def _is_of_another(self, due: DueStudy) -> bool:
        """Whether the archive says so, or cannot be asked: then nothing is sent now."""
        if self.archive is None:
            return False
        sendings = [one.id for one in due.sendings]
        try:
            found = self.archive.find(due.study_uid)
        except (TryAgainError, OsteofedError) as error:
            self._later(sendings, f"{self.archive.name}, which knows whose it is: {error}")
            return True
        differing = [] if found is None else due.who.contradicts(found.who)
        if differing:
            self.work_list.hold(
                due.id,
                f"here and in the archive it has {two_of(differing)}: merged or corrected since",
            )
        return bool(differing)
