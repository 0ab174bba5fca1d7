"""Reads study after study with warm networks, and follows the champion between two of them.

One thread reads, so a swap is always between two studies: nobody waits for it and none is lost.
Another looks for new champions; one is verified and tried before it reads, and if it fails the
versions that were held go on. Those before the last swap stay ready.
"""

from __future__ import annotations

import logging
import queue
import threading
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from shared.errors import OsteofedError, ReadersBusyError, RegistryUnavailableError
from shared.inference.runtime.held import (
    HeldVersions,
    ReadingManner,
    VersionSource,
    hold,
    marks_of,
)
from shared.inference.runtime.self_test import self_test, stored_study
from shared.inference.runtime.study_reading import Progress, ReadStudyAnswer, answer_study

log = logging.getLogger("osteofed.runtime")
#: Called with what is held after a swap.
OnSwap = Callable[[HeldVersions], None]
_CLOSED: Final = None


@dataclass(frozen=True)
class _Job:
    folder: Path
    progress: Progress | None
    answer: Future[ReadStudyAnswer]


class InferenceRuntime:
    """Verified versions, and one bounded queue of studies.

    Parameters
    ----------
    source : VersionSource
        Where champions are, and the key that signed them.
    manner : ReadingManner
        How studies are read.
    room : Path
        Folder of the runtime's own, where the digital test study is kept.
    waiting : int
        Most studies that may wait. Waiting costs no memory here: a study stays on the disk until
        it is its turn, and one is read at a time.
    """

    def __init__(
        self,
        source: VersionSource,
        manner: ReadingManner,
        room: Path,
        waiting: int = 16,
    ) -> None:
        self._source, self._manner, self._room = source, manner, room
        self._queue: queue.Queue[_Job | None] = queue.Queue(waiting)
        self._reader = threading.Thread(target=self._read_all, name="reader", daemon=True)
        self._follower: threading.Thread | None = None
        self._ended = threading.Event()
        self._swapping = threading.Lock()
        self._watchers: list[OnSwap] = []
        self._marks: dict[str, str] = {}
        self.current: HeldVersions
        self.previous: HeldVersions | None = None
        #: Why the newest champion does not read; empty if it does.
        self.kept_because = ""

    def start(self, follow_seconds: float | None = None) -> None:
        """Load, verify and try the champions, then read.

        Parameters
        ----------
        follow_seconds : float, optional
            How often it is looked for new champions; None: never.

        Raises
        ------
        PassportInvalidError, NoChampionError, RegistryUnavailableError, ModelIncompatibleError
            See `hold`.
        SelfTestFailedError
            If a version cannot be used: then nothing is served.
        """
        self._marks = marks_of(self._source)
        first = hold(self._source, self._manner.device, 1)
        self_test(first, self._manner, stored_study(self._room))
        self.current = first
        self._reader.start()
        if follow_seconds is not None:
            self._follower = threading.Thread(
                target=self._follow_all, args=(follow_seconds,), name="follower", daemon=True
            )
            self._follower.start()

    def submit(self, folder: Path, progress: Progress | None = None) -> Future[ReadStudyAnswer]:
        """Let a study be read; the folder must stay until there is an answer.

        Parameters
        ----------
        folder : Path
            Its DICOM files.
        progress : callable, optional
            Called from the reading thread; what it raises ends this reading.

        Returns
        -------
        Future of ReadStudyAnswer
            Its errors are those of `answer_study`. Cancelled before its turn, nothing is read.

        Raises
        ------
        ReadersBusyError
            If as many wait as may.
        """
        answer: Future[ReadStudyAnswer] = Future()
        if self._ended.is_set():
            raise ReadersBusyError("the service is being stopped; ask again when it runs")
        try:
            self._queue.put_nowait(_Job(folder, progress, answer))
        except queue.Full:
            raise ReadersBusyError(
                f"{self._queue.maxsize} studies wait to be read, which is as many as may; ask "
                "again in a while"
            ) from None
        return answer

    @property
    def waiting(self) -> int:
        """How many studies wait."""
        return self._queue.qsize()

    def watch(self, told: OnSwap) -> Callable[[], None]:
        """Call a function after every swap; returns what ends that."""
        self._watchers.append(told)
        return lambda: self._watchers.remove(told)

    def follow(self) -> bool:
        """Look for new champions once; True if others read from now on.

        A version that is refused, or fails its test, is named in `kept_because` and not tried
        again until something about the champions changes.
        """
        with self._swapping:
            try:
                marks = marks_of(self._source)
                if marks == self._marks:
                    return False
                found = hold(self._source, self._manner.device, self.current.number + 1)
                if found.digests() == self.current.digests():
                    self._marks, self.kept_because = marks, ""
                    return False
                self_test(found, self._manner, stored_study(self._room))
            except RegistryUnavailableError as error:
                self._keep(error)
                return False
            except OsteofedError as error:
                self._marks = marks
                self._keep(error)
                return False
            self._marks, self.kept_because = marks, ""
            self.previous, self.current = self.current, found
        log.info("swapped to %s", _named(found))
        for told in list(self._watchers):
            told(found)
        return True

    def back(self) -> bool:
        """Read with the versions before the last swap again; False if there are none."""
        with self._swapping:
            if self.previous is None:
                return False
            self.previous, self.current = self.current, self.previous
            self.kept_because = "a person went back to the versions before"
        return True

    def close(self) -> None:
        """Finish the study that is being read; those that wait are cancelled."""
        self._ended.set()
        while True:
            try:
                job = self._queue.get_nowait()
            except queue.Empty:
                break
            if job is not None:
                job.answer.cancel()
        self._queue.put(_CLOSED)
        for thread in (self._reader, self._follower):
            if thread is not None and thread.is_alive():
                thread.join(timeout=60)

    def _keep(self, error: OsteofedError) -> None:
        if str(error) != self.kept_because:
            log.warning("the versions that are held go on: %s", error)
        self.kept_because = str(error)

    def _read_all(self) -> None:
        while (job := self._queue.get()) is not _CLOSED:
            if not job.answer.set_running_or_notify_cancel():
                continue
            try:
                found = answer_study(job.folder, self.current, self._manner, job.progress)
            except BaseException as error:
                job.answer.set_exception(error)
            else:
                job.answer.set_result(found)

    def _follow_all(self, seconds: float) -> None:
        while not self._ended.wait(seconds):
            try:
                self.follow()
            except Exception as error:  # a fault of ours must not end the following for ever
                log.warning("looking for champions failed: %s", type(error).__name__)


def _named(versions: HeldVersions) -> str:
    return ", ".join(f"{one.task} {one.version} ({one.digest[:12]})" for one in versions.facts())
