"""What was answered or refused long enough ago is forgotten: its files, and who it was."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing

from sqlalchemy import delete, select, update
from sqlalchemy.orm import Session

from .database import WorkInstance, WorkResult, WorkStudy
from .rooms import BedsideRooms
from .states import ENDS
from .work_list import WorkList

DAY_SECONDS = 86_400.0


def purge(work_list: WorkList, rooms: BedsideRooms, retention_days: float) -> int:
    """Forget studies that ended longer ago than `retention_days`.

    A line without identity stays, with its state, its times and the UIDs of our own results, by
    which they are known if they are sent back. What waits, for whatever, is never forgotten.

    Returns
    -------
    int
        How many studies were forgotten.
    """
    before = work_list.clock() - retention_days * DAY_SECONDS
    with work_list.writing() as session:
        studies = session.scalars(
            select(WorkStudy).where(
                WorkStudy.state.in_(ENDS),
                WorkStudy.since < before,
                WorkStudy.forgotten.is_(False),
            )
        ).all()
        names = [study.name for study in studies]
        for study in studies:
            strike(session, study)
    remove_struck(work_list, rooms, names)
    return len(names)


def strike(session: Session, study: WorkStudy) -> None:
    """Take a study's identity and instances out of the list; its files are still there."""
    for field in ("uid", "patient_id", "patient_name", "issuer", "birth_date", "sex",
                  "accession"):  # fmt: skip
        setattr(study, field, "")
    study.forgotten = True
    session.execute(delete(WorkInstance).where(WorkInstance.study == study.id))
    session.execute(update(WorkResult).where(WorkResult.study == study.id).values(file="", part=""))


def remove_struck(work_list: WorkList, rooms: BedsideRooms, names: Sequence[str]) -> None:
    """Remove the files of studies that the list has forgotten, by the names of their folders.

    After the list: what a kill leaves of a forgotten study is nobody's and is tidied up.
    """
    for name in names:
        rooms.forget(name)
    if names and work_list.engine.dialect.name == "sqlite":
        with closing(work_list.engine.raw_connection()) as connection:
            # The log still holds the old pages; where somebody reads it, the next purge does it.
            connection.cursor().execute("PRAGMA wal_checkpoint(TRUNCATE)")
