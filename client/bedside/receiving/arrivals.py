"""What becomes of one instance: stored and entered, acknowledged and dropped, or refused."""

from __future__ import annotations

import threading
from collections import Counter
from pathlib import Path
from typing import Final, Literal

from client.bedside.work.arrival import Arrival
from client.bedside.work.corrections import hold_changed
from client.bedside.work.rooms import BedsideRooms
from client.bedside.work.work_list import WorkList
from shared.dicom.scan import LARGEST_FILE
from shared.errors import InputUnreadableError

from .wanted import NotUnderstoodError, Wants, same_but_for_pixels

#: What the sender may know: that it is safe here, or was here, or is of no use here.
Became = Literal["stored", "known", "dropped", "ours"]

TOO_MUCH: Final = "more than is taken of one study or object"


class Arrivals:
    """Takes instances, whoever brings them; several threads may at once.

    Parameters
    ----------
    work_list : WorkList
    rooms : BedsideRooms
    wants : Wants
    most_study_bytes : int
        Of the wanted instances of one study.
    """

    def __init__(
        self, work_list: WorkList, rooms: BedsideRooms, wants: Wants, most_study_bytes: int
    ) -> None:
        self._list = work_list
        self._rooms = rooms
        self._wants = wants
        self._most = most_study_bytes
        self._counting = threading.Lock()
        self.counts: Counter[str] = Counter()

    def take(self, data: bytes) -> tuple[str, Became]:
        """Take one instance; once this returns, it outlives a cut of the power.

        Returns
        -------
        study_uid : str
            Empty of our own results.
        became : str
            Success to the sender, whichever.

        Raises
        ------
        NotUnderstoodError
            If it is no object, or one of no study.
        OSError
            If it cannot be kept, as on a full disk: the sender has to.
        """
        if len(data) > LARGEST_FILE:
            raise OSError(TOO_MUCH)
        arrival = self._wants.look(data)
        if arrival.ours or self._list.is_result(arrival.sop_uid):
            # Routing sends back what we wrote; reading it would answer our own answer.
            return "", self._count("ours")
        if not arrival.kind:
            taken = self._list.take(arrival, _nothing)
            if taken == "other":
                hold_changed(self._list, arrival)
            return arrival.study_uid, self._count("dropped" if taken == "new" else "known")
        return arrival.study_uid, self._count(self._keep(arrival, data))

    def _keep(self, arrival: Arrival, data: bytes) -> Became:
        """Put a wanted instance down, and enter it."""
        name, digest = self._list.digest_of(arrival.study_uid, arrival.sop_uid)
        if digest:
            return self._again(arrival, data, name, digest)
        if self._list.bytes_of(arrival.study_uid) + len(data) > self._most:
            raise OSError(TOO_MUCH)
        path = self._rooms.put_down(data)
        try:
            taken = self._list.take(
                arrival, lambda study: self._rooms.move_in(
                    path, self._rooms.studies, study, arrival.file
                ),
            )  # fmt: skip
        finally:
            path.unlink(missing_ok=True)
        if taken == "other":  # two senders at the same moment
            name, digest = self._list.digest_of(arrival.study_uid, arrival.sop_uid)
            return self._again(arrival, data, name, digest)
        return "stored" if taken == "new" else "known"

    def _again(self, arrival: Arrival, data: bytes, name: str, digest: str) -> Became:
        """Hold an instance that came before against what came then."""
        if digest == arrival.digest:
            return "known"
        if not digest or not self._is_the_same(data, name, digest):
            hold_changed(self._list, arrival)
        return "known"

    def _is_the_same(self, data: bytes, name: str, digest: str) -> bool:
        before = self._rooms.source_of(name) / f"{digest}.dcm"
        return same_but_for_pixels(before.read_bytes(), data)

    def _count(self, became: Became) -> Became:
        with self._counting:
            self.counts[became] += 1
        return became

    def take_file(self, path: Path) -> Became:
        """Take one file of a folder.

        Raises
        ------
        InputUnreadableError
            If it is no object; its sentence says no name.
        OSError
            If it cannot be read or kept.
        """
        try:
            return self.take(path.read_bytes())[1]
        except NotUnderstoodError:
            raise InputUnreadableError("a file that is no DICOM object of a study") from None


def _nothing(name: str) -> None:
    """Place nothing: no rule wants it."""
