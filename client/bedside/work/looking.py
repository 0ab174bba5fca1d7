"""The work list for a person: what it says, what a person may decide, and who looked."""

from __future__ import annotations

import getpass
from collections import Counter
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import func, select, update
from sqlalchemy.orm import Session

from shared.errors import InputMissingError

from .corrections import is_anothers
from .database import WorkInstance, WorkLook, WorkResult, WorkSending, WorkStudy
from .retention import remove_struck, strike
from .rooms import BedsideRooms
from .states import SendingState, StudyEvent, StudyState, may
from .work_list import WorkList, move

LEFT_BY_A_PERSON = "a person left it unanswered"


def note_look(work_list: WorkList, what: str, who: str = "") -> None:
    """Write down who looks at patients' names, or changes something, before it is done."""
    with work_list.writing() as session:
        session.add(WorkLook(when=work_list.clock(), who=(who or _user())[:80], what=what[:200]))


def _user() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError):
        return "unknown"


def show(work_list: WorkList, who: str = "") -> dict[str, Any]:
    """Give the whole list as JSON can hold it; that it was looked at is written down first.

    Returns
    -------
    dict
        ``studies``: number, patient, state, reason, since (UTC), instances, results by
        destination and state. ``counts``: studies by state.
    """
    note_look(work_list, "the work list", who)
    with Session(work_list.engine) as session:
        studies = session.scalars(select(WorkStudy).order_by(WorkStudy.id)).all()
        rows = [_row(session, study) for study in studies]
    return {"studies": rows, "counts": dict(Counter(row["state"] for row in rows))}


def _row(session: Session, study: WorkStudy) -> dict[str, Any]:
    instances = session.execute(
        select(WorkInstance.kind, func.count())
        .where(WorkInstance.study == study.id)
        .group_by(WorkInstance.kind)
    ).all()
    sendings = session.execute(
        select(WorkSending.destination, WorkSending.state, func.count())
        .join(WorkResult, WorkSending.result == WorkResult.id)
        .where(WorkResult.study == study.id, WorkResult.revision == study.revision)
        .group_by(WorkSending.destination, WorkSending.state)
    ).all()
    return {
        "number": study.id,
        "patient_id": study.patient_id,
        "patient_name": study.patient_name,
        "accession": study.accession,
        "study_uid": study.uid,
        "state": study.state,
        "reason": study.reason,
        "since": datetime.fromtimestamp(study.since, UTC).isoformat(timespec="seconds"),
        "wanted": sum(count for kind, count in instances if kind),
        "dropped": sum(count for kind, count in instances if not kind),
        "answers": study.revision,
        "sent": [
            {"destination": where, "state": state, "results": count}
            for where, state, count in sorted(sendings)
        ],
    }


def looks(work_list: WorkList) -> list[dict[str, str]]:
    """Who looked at the list or changed it, the first first."""
    with Session(work_list.engine) as session:
        return [
            {
                "when": datetime.fromtimestamp(one.when, UTC).isoformat(timespec="seconds"),
                "who": one.who,
                "what": one.what,
            }
            for one in session.scalars(select(WorkLook).order_by(WorkLook.id))
        ]


def go_on(work_list: WorkList, number: int, who: str = "") -> StudyState:
    """Let a study go on that was held or refused.

    One whose results a destination refused is sent again, by the same UIDs. Any other is looked
    at anew: what its files contradict each other in still stops it, but neither the archive's
    count nor another study of the same patient id does.

    Raises
    ------
    InputMissingError
        If there is no such study, it waits for nobody, or an instance of it came again as
        another patient's or order's: what is here is of the wrong one.
    """
    note_look(work_list, f"study {number}: go on", who)
    with work_list.writing() as session:
        study = _study(session, number)
        if is_anothers(session, number):
            raise InputMissingError(
                f"study {number}: an instance came again as another patient's or order's, and "
                "only the first copy is here, which must not be answered (give it up with "
                f"--give-up {number}, which removes it here, then send the study again)"
            )
        refused = [
            one
            for one in session.scalars(
                select(WorkSending)
                .join(WorkResult, WorkSending.result == WorkResult.id)
                .where(WorkResult.study == number, WorkResult.revision == study.revision)
            )
            if one.state == SendingState.REFUSED
        ]
        event = StudyEvent.SEND_AGAIN if refused else StudyEvent.GO_ON
        _require(study, event)
        for one in refused:
            one.state, one.next_try = SendingState.WAITING, 0.0
        move(study, event, work_list.clock())
        study.confirmed, study.told = True, None
        return StudyState(study.state)


def give_up(work_list: WorkList, rooms: BedsideRooms, number: int, who: str = "") -> None:
    """Leave a study unanswered that was held, and forget it and its files at once.

    What is sent of it from then on is a new study: nothing of what was here is in its way.

    Raises
    ------
    InputMissingError
        If there is no such study, or it is not held.
    """
    note_look(work_list, f"study {number}: give up", who)
    with work_list.writing() as session:
        study = _study(session, number)
        _require(study, StudyEvent.GIVE_UP)
        mine = select(WorkResult.id).where(WorkResult.study == number)
        session.execute(
            update(WorkSending)
            .where(WorkSending.result.in_(mine), WorkSending.state == SendingState.WAITING)
            .values(state=SendingState.SUPERSEDED)
        )
        move(study, StudyEvent.GIVE_UP, work_list.clock(), LEFT_BY_A_PERSON)
        name = study.name
        strike(session, study)
    remove_struck(work_list, rooms, [name])


def _study(session: Session, number: int) -> WorkStudy:
    study = session.get(WorkStudy, number)
    if study is None or study.forgotten:
        raise InputMissingError(
            f"study {number}: the work list has none of that number (osteofed site worklist SITE "
            "shows them)"
        )
    return study


def _require(study: WorkStudy, event: StudyEvent) -> None:
    if not may(StudyState(study.state), event):
        raise InputMissingError(
            f"study {study.id}: is {study.state} and waits for nobody's decision (must be held, "
            "or refused to be gone on with)"
        )
