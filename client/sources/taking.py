"""One study that is being fetched: what comes is of it, and no more than any study has."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from shared.phrases import counted

from .nodes import MOST_INSTANCES, Deliver, NotWantedError
from .query import FoundStudy
from .retry import StudyFailedError


@dataclass
class Taking:
    """Takes the files of one study.

    Attributes
    ----------
    study : FoundStudy
        That was asked for.
    deliver : callable
        Takes each file.
    heard : callable
        Told what is waited for next, each time that a new file came.
    came, others : int
        Files that came, each once; files of other studies, which are not taken.
    """

    study: FoundStudy
    deliver: Deliver
    heard: Callable[[str], None] = lambda what: None
    came: int = 0
    others: int = 0
    _seen: int = 0

    def take(self, study_uid: str, data: bytes) -> bool:
        """Take one file.

        Raises
        ------
        NotWantedError
            If it is of another study.
        OSError
            If it is one of more than `MOST_INSTANCES`, or cannot be put down.
        """
        if study_uid != self.study.study_uid:
            self.others += 1
            raise NotWantedError
        self._seen += 1
        if self._seen > MOST_INSTANCES:
            raise OSError(f"more than {counted(MOST_INSTANCES, 'file')} of one study")
        new = self.deliver(study_uid, data)
        if new:
            self.came += 1
            self.heard(self.waits_for)
        return new

    @property
    def waits_for(self) -> str:
        """What is waited for now, as it follows "waits for"."""
        which = "the first file" if not self.came else f"more files ({self.came} came)"
        return f"{which} of a study"  # which one stands in no log

    def require_whole(self) -> None:
        """Refuse a study of which less came than the archive says that there is.

        Raises
        ------
        StudyFailedError
            If so; its text says what came.
        """
        if self.came >= (self.study.instances or 1):
            return
        said = f"gave {counted(self.came, 'file')} of a study of {self.study.instances or 'some'}"
        if self.others:
            said += (
                f", and {counted(self.others, 'file')} of another study than was asked for, "
                "which are not taken (its index does not fit its files: tell the PACS team)"
            )
        raise StudyFailedError(said)
