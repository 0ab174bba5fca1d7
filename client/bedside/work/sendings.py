"""Results and their way to each destination, in the work list."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from .database import WorkResult, WorkSending, WorkStudy
from .identities import WhoseObject
from .states import SendingState, StudyEvent, StudyState
from .work_list import ToRead, WorkList, move, who_of

ANOTHER_STUDYS: Final = (
    "its answer has the UIDs of one that was made before, to a study that was forgotten since or "
    "given up: it cannot be told from that one (look whether the destinations have it, then give "
    "this one up)"
)


@dataclass(frozen=True)
class ResultEntry:
    """One object of an answer, as the list has it. `file` is its name in the study's folder."""

    kind: str
    part: str
    sop_uid: str
    sop_class_uid: str
    series_uid: str
    file: str


@dataclass(frozen=True)
class DueSending:
    """One result that is to be sent now."""

    id: int
    sop_uid: str
    kind: str
    file: str


@dataclass(frozen=True)
class DueStudy:
    """What is to be sent of one study to one destination now, and whose it must be."""

    id: int
    name: str
    study_uid: str
    who: WhoseObject
    sendings: tuple[DueSending, ...]


def store_results(
    work_list: WorkList,
    work: ToRead,
    results: Sequence[ResultEntry],
    destinations: Sequence[str],
) -> bool:
    """Enter an answer, whose files are on the disk: from here on it is sent, by these UIDs.

    What is not sent yet of an earlier answer to the study is superseded. Without a destination
    the study is answered. Objects of an answer to another study, forgotten or not, stop it.

    Returns
    -------
    bool
        False if more of the study came meanwhile, or it is stopped: then nothing is entered.
    """
    now = work_list.clock()
    with work_list.writing() as session:
        study = work_list.still(session, work)
        if study is None:
            return False
        uids = [one.sop_uid for one in results]
        another = select(WorkResult.id).where(
            WorkResult.sop_uid.in_(uids), WorkResult.study != study.id
        )
        if session.scalars(another.limit(1)).first() is not None:
            move(study, StudyEvent.CONFLICT, now, ANOTHER_STUDYS)
            return False
        _supersede(session, study.id)
        study.revision, study.attempts = work.revision, 0
        for one in results:
            known = session.scalars(
                select(WorkResult).where(WorkResult.sop_uid == one.sop_uid)
            ).first()
            if known is not None:  # the same sources and versions: the same object
                known.revision, known.file = work.revision, one.file
                _wait_again(session, known.id)
                continue
            row = WorkResult(study=study.id, revision=work.revision, **vars(one))
            session.add(row)
            session.flush()
            session.add_all(
                WorkSending(result=row.id, destination=name, state=SendingState.WAITING)
                for name in destinations
            )
        move(study, StudyEvent.MADE, now)
        session.flush()
        _settle(session, study, now)
    return True


def _supersede(session: Session, study_id: int) -> None:
    mine = select(WorkResult.id).where(WorkResult.study == study_id)
    session.execute(
        update(WorkSending)
        .where(
            WorkSending.result.in_(mine),
            WorkSending.state.in_((SendingState.WAITING, SendingState.REFUSED)),
        )
        .values(state=SendingState.SUPERSEDED)
    )


def _wait_again(session: Session, result_id: int) -> None:
    session.execute(
        update(WorkSending)
        .where(WorkSending.result == result_id, WorkSending.state == SendingState.SUPERSEDED)
        .values(state=SendingState.WAITING, next_try=0.0)
    )


def due_for(work_list: WorkList, destination: str) -> DueStudy | None:
    """The oldest study of which something is to be sent to a destination now; None if none."""
    now = work_list.clock()
    with Session(work_list.engine) as session:
        waiting = (
            select(WorkSending, WorkResult, WorkStudy)
            .join(WorkResult, WorkSending.result == WorkResult.id)
            .join(WorkStudy, WorkResult.study == WorkStudy.id)
            .where(
                WorkSending.destination == destination,
                WorkSending.state == SendingState.WAITING,
                WorkSending.next_try <= now,
                WorkStudy.state == StudyState.SENDING,
            )
            .order_by(WorkStudy.since, WorkStudy.id, WorkSending.id)
        )
        first = session.execute(waiting.limit(1)).first()
        if first is None:
            return None
        study = first[2]
        rows = session.execute(waiting.where(WorkStudy.id == study.id)).all()
        return DueStudy(
            study.id,
            study.name,
            study.uid,
            who_of(study),
            tuple(DueSending(one.id, r.sop_uid, r.kind, r.file) for one, r, _ in rows),
        )


def still_sends(work_list: WorkList, study_id: int) -> bool:
    """Whether a study's results may still be sent: nothing stopped or reopened it meanwhile."""
    with Session(work_list.engine) as session:
        return session.get_one(WorkStudy, study_id).state == StudyState.SENDING


def was_sent(work_list: WorkList, sending_id: int, said: str = "") -> None:
    """Note that a destination has a result."""
    _note(work_list, sending_id, SendingState.SENT, said)


def was_refused(work_list: WorkList, sending_id: int, said: str) -> None:
    """Note that a destination does not take a result."""
    _note(work_list, sending_id, SendingState.REFUSED, said)


def _note(work_list: WorkList, sending_id: int, state: SendingState, said: str) -> None:
    now = work_list.clock()
    with work_list.writing() as session:
        one = session.get_one(WorkSending, sending_id)
        one.state, one.said, one.when, one.attempts = state, said, now, one.attempts + 1
        result = session.get_one(WorkResult, one.result)
        study = session.get_one(WorkStudy, result.study)
        session.flush()
        if study.state == StudyState.SENDING:
            _settle(session, study, now)


def try_later(work_list: WorkList, sending_ids: Sequence[int], said: str, until: float) -> None:
    """Note why a destination could not be sent to, and when that is tried again."""
    now = work_list.clock()
    with work_list.writing() as session:
        for one in session.scalars(select(WorkSending).where(WorkSending.id.in_(sending_ids))):
            one.attempts, one.said, one.when = one.attempts + 1, said, now
            one.next_try = until
            study = session.get_one(WorkStudy, session.get_one(WorkResult, one.result).study)
            if study.state == StudyState.SENDING:
                study.reason = f"{one.destination}: {said}"


def attempts_of(work_list: WorkList, sending_ids: Sequence[int]) -> int:
    """How often the most tried of some sendings was tried."""
    with Session(work_list.engine) as session:
        counts = session.scalars(
            select(WorkSending.attempts).where(WorkSending.id.in_(sending_ids))
        )
        return max(counts, default=0)


def _settle(session: Session, study: WorkStudy, now: float) -> None:
    """End a study of which nothing waits to be sent."""
    ended = session.execute(
        select(WorkSending.state, WorkSending.destination, WorkSending.said)
        .join(WorkResult, WorkSending.result == WorkResult.id)
        .where(WorkResult.study == study.id, WorkResult.revision == study.revision)
    ).all()
    if any(state == SendingState.WAITING for state, _, _ in ended):
        return
    refused = [(where, said) for state, where, said in ended if state == SendingState.REFUSED]
    if refused:
        where, said = refused[0]
        move(study, StudyEvent.DECLINED, now, f"{where} refused the results: {said}")
    else:
        move(study, StudyEvent.DELIVERED, now)


def sent_before(work_list: WorkList, study_id: int) -> list[ResultEntry]:
    """Results of a study that some destination has, of its latest answer that was sent."""
    with Session(work_list.engine) as session:
        sent = session.scalars(
            select(WorkResult)
            .where(
                WorkResult.study == study_id,
                WorkResult.id.in_(
                    select(WorkSending.result).where(WorkSending.state == SendingState.SENT)
                ),
            )
            .order_by(WorkResult.revision, WorkResult.id)
        ).all()
        newest = {(one.kind, one.part): one for one in sent}
        return [
            ResultEntry(
                one.kind, one.part, one.sop_uid, one.sop_class_uid, one.series_uid, one.file
            )
            for one in newest.values()
        ]
