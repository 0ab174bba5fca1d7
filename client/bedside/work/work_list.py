"""The work list: every study that came, and how it stands. Each change is one transaction.

It survives a kill at any point: a file is on the disk before the list names it, the list names it
before the sender has its success, and results are in the list before the first is sent.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final, Literal

from sqlalchemy import Engine, func, select, update
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from .arrival import READ, Arrival
from .bell import Bell
from .database import WRITES, WorkInstance, WorkResult, WorkStudy
from .identities import WhoseObject, two_of
from .states import OPEN, StudyEvent, StudyState, after

#: A study whose reading so often ended the program is not read again.
MOST_ATTEMPTS: Final = 5
NAME_BYTES: Final = 16
ENDED_THE_PROGRAM: Final = (
    f"reading it ended the program {MOST_ATTEMPTS} times; it is not read again by itself"
)

#: What became of an instance: new to the list, known before, or known with another content.
Taken = Literal["new", "known", "other"]


@dataclass(frozen=True)
class ToRead:
    """A study that is to be read now, as it stood when that began."""

    id: int
    name: str
    study_uid: str
    generation: int
    revision: int
    who: WhoseObject


class WorkList:
    """The studies of one bedside node.

    Parameters
    ----------
    engine : Engine
        Made by `client.bedside.work.database.open_work_database`.
    clock : callable
        Seconds since 1970.
    """

    def __init__(self, engine: Engine, clock: Callable[[], float] = time.time) -> None:
        self.engine = engine
        self._writer = engine.execution_options(**{WRITES: True})
        self.clock = clock
        self.bell = Bell()

    @contextmanager
    def writing(self) -> Iterator[Session]:
        """Hold one transaction: all of it is durable after the block, or none.

        Raises
        ------
        OSError
            If the database cannot be written, as where its disk is full.
        """
        try:
            with Session(self._writer, expire_on_commit=False) as session, session.begin():
                yield session
        except DBAPIError as error:
            raise OSError(f"the work list cannot be written: {error.orig}") from error
        self.bell.ring()

    def take(self, arrival: Arrival, place: Callable[[str], None]) -> Taken:
        """Enter an instance.

        Parameters
        ----------
        arrival : Arrival
            What came.
        place : callable
            Puts its file into the folder of the study of that name; only called for what is
            wanted and new. What it raises undoes the entry.

        Returns
        -------
        str
            ``new``, ``known``, or ``other`` where the instance is known with another content:
            then nothing was entered.
        """
        now = self.clock()
        with self.writing() as session:
            study = _study_of(session, arrival, now)
            known = session.scalars(
                select(WorkInstance).where(
                    WorkInstance.study == study.id, WorkInstance.sop_uid == arrival.sop_uid
                )
            ).first()
            if known is not None:
                return "known" if known.digest == arrival.digest else "other"
            session.add(_instance_of(arrival, study.id))
            self._hear(session, study, arrival, now)
            if arrival.kind:
                place(study.name)
        return "new"

    def _hear(self, session: Session, study: WorkStudy, arrival: Arrival, now: float) -> None:
        """Let what came change how a study stands."""
        study.last_heard = now
        study.released = False
        who = who_of(study)
        conflict = who.contradicts(arrival.who)
        if conflict:
            move(study, StudyEvent.CONFLICT, now, f"the study has {two_of(conflict)}")
            return
        _put_who(study, who.joined(arrival.who))
        study.patient_name = study.patient_name or arrival.patient_name
        if not arrival.kind:
            return  # what no rule wants changes no answer
        study.generation += 1
        study.told = None
        study.confirmed = False
        move(study, StudyEvent.MORE, now, study.reason if study.state == StudyState.HELD else "")
        hold_two_of_one_id(session, study, now)

    def hold(self, study_id: int, reason: str) -> None:
        """Stop a study until a person has looked."""
        with self.writing() as session:
            study = session.get_one(WorkStudy, study_id)
            move(study, StudyEvent.CONFLICT, self.clock(), reason)

    def release(self, study_uids: set[str]) -> None:
        """Note that an association that brought some of these studies ended in order."""
        with self.writing() as session:
            session.execute(
                update(WorkStudy)
                .where(WorkStudy.uid.in_(study_uids), WorkStudy.state == StudyState.RECEIVING)
                .values(released=True)
            )

    def complete(self, study_id: int, generation: int) -> None:
        """Let a study be read, if nothing of it came meanwhile."""
        with self.writing() as session:
            study = session.get_one(WorkStudy, study_id)
            if study.generation != generation or study.state != StudyState.RECEIVING:
                return
            why = _why_nothing(session, study_id)
            if why:
                move(study, StudyEvent.NOTHING, self.clock(), why)
            else:
                move(study, StudyEvent.COMPLETE, self.clock())

    def wait(self, study_id: int, reason: str, until: float, told: int | None = None) -> None:
        """Say what a study waits for, and when it is looked at next."""
        with self.writing() as session:
            study = session.get_one(WorkStudy, study_id)
            study.reason, study.next_try = reason, until
            study.told = told if told is not None else study.told

    def begin(self) -> ToRead | None:
        """Take the study that has waited longest to be read; None if none is."""
        now = self.clock()
        ready = (
            select(WorkStudy)
            .where(WorkStudy.state == StudyState.READY, WorkStudy.next_try <= now)
            .order_by(WorkStudy.since, WorkStudy.id)
            .limit(1)
            .with_for_update(skip_locked=True)
        )
        with self.engine.connect() as looking:  # most looks find nothing and need no lock
            if looking.execute(ready.with_only_columns(WorkStudy.id)).first() is None:
                return None
        with self.writing() as session:
            study = session.scalars(ready).first()
            if study is None:
                return None
            move(study, StudyEvent.BEGIN, now)
            study.attempts += 1
            if study.attempts > MOST_ATTEMPTS:
                move(study, StudyEvent.UNREADABLE, now, ENDED_THE_PROGRAM)
                return None
            return ToRead(
                study.id, study.name, study.uid, study.generation, study.revision + 1,
                who_of(study),
            )  # fmt: skip

    def end(self, work: ToRead, event: StudyEvent, reason: str = "", later: float = 0.0) -> None:
        """Say that a reading ended without results; one that was overtaken changes nothing."""
        with self.writing() as session:
            study = self.still(session, work)
            if study is None:
                return
            move(study, event, self.clock(), reason)
            if event is StudyEvent.AGAIN:
                study.attempts -= 1  # it ended in order
                study.next_try = self.clock() + later

    def still(self, session: Session, work: ToRead) -> WorkStudy | None:
        """The study that is being read, if it stands as when that began."""
        study = session.get_one(WorkStudy, work.id)
        same = study.generation == work.generation and study.state == StudyState.READING
        return study if same else None

    def restart(self) -> int:
        """Let what a node that ended was reading be read again; return how many there were.

        What was being received is given its quiet time anew: nobody could send meanwhile.
        """
        with self.writing() as session:
            session.execute(
                update(WorkStudy)
                .where(WorkStudy.state == StudyState.RECEIVING)
                .values(last_heard=self.clock())
            )
            studies = session.scalars(
                select(WorkStudy).where(WorkStudy.state == StudyState.READING)
            ).all()
            for study in studies:
                move(study, StudyEvent.AGAIN, self.clock())
            return len(studies)

    def files(self) -> list[tuple[str, str]]:
        """Folder and name of every file that the list names."""
        with Session(self.engine) as session:
            instances = session.execute(
                select(WorkStudy.name, WorkInstance.digest)
                .join(WorkInstance, WorkInstance.study == WorkStudy.id)
                .where(WorkInstance.kind != "")
            )
            results = session.execute(
                select(WorkStudy.name, WorkResult.file).join(
                    WorkResult, WorkResult.study == WorkStudy.id
                )
            )
            files = [(name, f"{digest}.dcm") for name, digest in instances]
            return files + [(name, file) for name, file in results]

    def bytes_of(self, study_uid: str) -> int:
        """Bytes of the wanted instances of a study."""
        with Session(self.engine) as session:
            total = session.scalar(
                select(func.sum(WorkInstance.size))
                .join(WorkStudy, WorkInstance.study == WorkStudy.id)
                .where(
                    WorkStudy.uid == study_uid,
                    WorkStudy.forgotten.is_(False),
                    WorkInstance.kind != "",
                )
            )
            return int(total or 0)

    def digest_of(self, study_uid: str, sop_uid: str) -> tuple[str, str]:
        """Folder of a known study, and the digest of one of its wanted instances, else empty."""
        with Session(self.engine) as session:
            found = session.execute(
                select(WorkStudy.name, WorkInstance.digest)
                .join(WorkInstance, WorkInstance.study == WorkStudy.id)
                .where(
                    WorkStudy.uid == study_uid,
                    WorkStudy.forgotten.is_(False),
                    WorkInstance.sop_uid == sop_uid,
                    WorkInstance.kind != "",
                )
            ).first()
            return ("", "") if found is None else (found[0], found[1])

    def is_result(self, sop_uid: str) -> bool:
        """Whether an instance is one that this node made."""
        with Session(self.engine) as session:
            return bool(
                session.scalar(select(WorkResult.id).where(WorkResult.sop_uid == sop_uid).limit(1))
            )


def move(study: WorkStudy, event: StudyEvent, now: float, reason: str = "") -> None:
    """Let something happen to a study, by the table of states."""
    state = after(StudyState(study.state), event)
    if state != study.state:
        study.since = now
    study.state, study.reason = state, reason
    if event in (StudyEvent.MORE, StudyEvent.GO_ON):
        study.next_try, study.attempts = 0.0, 0


def who_of(study: WorkStudy) -> WhoseObject:
    """Whose a study is, as all of its instances together say."""
    return WhoseObject(study.patient_id, study.issuer, study.birth_date, study.sex, study.accession)


def _put_who(study: WorkStudy, who: WhoseObject) -> None:
    study.issuer, study.birth_date = who.issuer, who.birth_date
    study.sex, study.accession = who.sex, who.accession


def hold_two_of_one_id(session: Session, study: WorkStudy, now: float) -> None:
    """Stop studies of one patient id that cannot be of one patient."""
    if study.confirmed or not study.patient_id:
        return
    others = session.scalars(
        select(WorkStudy).where(
            WorkStudy.patient_id == study.patient_id,
            WorkStudy.id != study.id,
            WorkStudy.forgotten.is_(False),
        )
    )
    mine = who_of(study)
    for other in others:
        theirs = who_of(other)
        if mine.issuer and theirs.issuer and mine.issuer != theirs.issuer:
            continue  # ids of two hospitals may be equal
        differing = [one for one in mine.contradicts(theirs) if one in ("birth date", "sex")]
        if not differing:
            continue
        reason = f"one patient id has {two_of(differing)} in two studies"
        for one in (study, other):
            if StudyState(one.state) in OPEN and not one.confirmed:
                move(one, StudyEvent.CONFLICT, now, reason)


def known_of(session: Session, study_uid: str) -> list[WorkStudy]:
    """The study of a UID, if it is known and not forgotten."""
    return list(
        session.scalars(
            select(WorkStudy).where(WorkStudy.uid == study_uid, WorkStudy.forgotten.is_(False))
        )
    )


def _study_of(session: Session, arrival: Arrival, now: float) -> WorkStudy:
    """The study of an instance, made if it is the first."""
    for study in known_of(session, arrival.study_uid):
        return study
    who = arrival.who
    study = WorkStudy(
        name=secrets.token_hex(NAME_BYTES), uid=arrival.study_uid, patient_id=who.patient_id,
        issuer=who.issuer, patient_name=arrival.patient_name, birth_date=who.birth_date,
        sex=who.sex, accession=who.accession, state=StudyState.RECEIVING, first_heard=now,
        last_heard=now, since=now, attempts=0, generation=0, revision=0, told=None, reason="",
        next_try=0.0, released=False, confirmed=False, forgotten=False,
    )  # fmt: skip
    session.add(study)
    session.flush()
    return study


def _instance_of(arrival: Arrival, study_id: int) -> WorkInstance:
    return WorkInstance(
        study=study_id, sop_uid=arrival.sop_uid, series_uid=arrival.series_uid,
        digest=arrival.digest, size=arrival.size, kind=arrival.kind, reason=arrival.reason,
        view=arrival.view, acquisition=arrival.acquisition, said=arrival.said,
        maker=arrival.maker, model=arrival.model,
    )  # fmt: skip


def _why_nothing(session: Session, study_id: int) -> str:
    """Why nothing of a study is read; empty if something is."""
    instances = session.scalars(select(WorkInstance).where(WorkInstance.study == study_id)).all()
    if any(one.kind in READ for one in instances):
        study = session.get_one(WorkStudy, study_id)
        return "" if study.patient_id else "it has no patient id, so no answer would be anybody's"
    series: dict[str, str] = {one.series_uid: one.reason or one.kind for one in instances}
    counts: dict[str, int] = {}
    for reason in series.values():
        counts[reason] = counts.get(reason, 0) + 1
    said = ", ".join(f"{count} × {reason}" for reason, count in sorted(counts.items()))
    return f"no series of it is read ({said})"
