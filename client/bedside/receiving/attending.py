"""Looks again and again when studies are complete, and whether the archive agrees."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from client.bedside.work.completeness import HowComplete, WhenComplete, came, judge_complete
from client.bedside.work.database import WorkInstance, WorkResult, WorkSending, WorkStudy
from client.bedside.work.identities import two_of
from client.bedside.work.states import SendingState, StudyState
from client.bedside.work.work_list import WorkList, who_of
from client.sources.retry import TryAgainError
from shared.errors import OsteofedError
from shared.settings.bedside import BedsideSettings

from .archive import ArchivedStudy


class AsksArchive(Protocol):
    """Says what an archive has of a study."""

    name: str

    def find(self, study_uid: str) -> ArchivedStudy | None:
        """Ask for one study."""


@dataclass
class Attendant:
    """Decides when what came of a study is all of it.

    Attributes
    ----------
    work_list : WorkList
    settings : BedsideSettings
    archive : AsksArchive or None
        Asked before a study is believed to be complete; None = nobody is asked.
    """

    work_list: WorkList
    settings: BedsideSettings
    archive: AsksArchive | None = None

    def look(self) -> float:
        """Look at every study that is being received.

        Returns
        -------
        float
            Seconds until it is worth looking again, if nothing comes meanwhile.
        """
        now = self.work_list.clock()
        soonest = self.settings.listen.quiet_seconds
        with Session(self.work_list.engine) as session:
            studies = session.scalars(
                select(WorkStudy).where(
                    WorkStudy.state == StudyState.RECEIVING, WorkStudy.next_try <= now
                )
            ).all()
        for study in studies:
            soonest = min(soonest, self._look_at(study, now))
        return max(soonest, 0.01)

    def _look_at(self, study: WorkStudy, now: float) -> float:
        """Look at one study; return in how many seconds it is worth another look."""
        quiet = now - study.last_heard
        least = self.settings.listen.quiet_seconds
        if study.told is None and not study.released and quiet < least:
            return least - quiet  # nothing that is known could make it complete
        judged = self._judge(study, quiet, study.told)
        may_be_whole = judged.verdict is not WhenComplete.WAIT or self._is_time_to_ask(study, quiet)
        if self.archive is not None and not study.confirmed and may_be_whole:
            answer = self._ask(self.archive, study, quiet, now)
            if answer is None:
                return self.settings.listen.quiet_seconds
            judged = answer
        if judged.verdict is WhenComplete.COMPLETE:
            self.work_list.complete(study.id, study.generation)
            return self.settings.listen.quiet_seconds
        if judged.verdict is WhenComplete.ASK:
            self.work_list.hold(study.id, judged.why)
            return self.settings.listen.quiet_seconds
        if judged.why != study.reason:
            self.work_list.wait(study.id, judged.why, 0.0)
        return judged.seconds - quiet

    def _is_time_to_ask(self, study: WorkStudy, quiet: float) -> bool:
        """The archive is asked once the sender has left, and again after each quiet time."""
        return study.released or quiet >= self.settings.listen.quiet_seconds

    def _judge(self, study: WorkStudy, quiet: float, told: int | None) -> HowComplete:
        with Session(self.work_list.engine) as session:
            lines = session.scalars(
                select(WorkInstance).where(WorkInstance.study == study.id)
            ).all()
            # What we sent is among the instances that an archive counts.
            sent = session.scalar(
                select(func.count(func.distinct(WorkResult.id)))
                .join(WorkSending, WorkSending.result == WorkResult.id)
                .where(WorkResult.study == study.id, WorkSending.state == SendingState.SENT)
            )
        return judge_complete(
            came(lines, sent or 0),
            self.settings,
            quiet=quiet,
            released=study.released,
            told=None if study.confirmed else told,
        )

    def _ask(
        self, archive: AsksArchive, study: WorkStudy, quiet: float, now: float
    ) -> HowComplete | None:
        """Ask the archive; None if the study now waits for it, or was held."""
        later = now + self.settings.listen.quiet_seconds
        try:
            found = archive.find(study.uid)
        except (TryAgainError, OsteofedError) as error:
            self.work_list.wait(study.id, f"{archive.name}: {error}", later)
            return None
        if found is None or found.instances is None:
            return self._judge(study, quiet, None)
        conflict = who_of(study).contradicts(found.who)
        if conflict:
            self.work_list.hold(study.id, f"here and in the archive it has {two_of(conflict)}")
            return None
        judged = self._judge(study, quiet, found.instances)
        if judged.verdict is WhenComplete.WAIT:
            self.work_list.wait(study.id, judged.why, later, found.instances)
            return None
        return judged
