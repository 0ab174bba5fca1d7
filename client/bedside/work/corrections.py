"""An instance that comes again with other content: its study waits for a person."""

from __future__ import annotations

from typing import Final

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from .arrival import Arrival
from .database import WorkInstance
from .identities import two_of
from .states import StudyEvent
from .work_list import WorkList, known_of, move, who_of

CORRECTED: Final = (
    "an instance came again with another content, and only the first copy is here: corrected? "
    "(compare with the PACS, then go on with the first, or give it up, which removes it here, and "
    "send the study again)"
)
OF_ANOTHER: Final = (
    "an instance came again with another content, and with it the study has {}: what is here is "
    "not answered (give it up, which removes it here, then send the study again)"
)
#: Reason of an instance that came again as another patient's or order's.
ANOTHERS: Final = "came_again_as_anothers"


def hold_changed(work_list: WorkList, arrival: Arrival) -> None:
    """Stop the study of an instance that came again with another content.

    If no rule wants that, only where it is another patient's or order's now.
    """
    with work_list.writing() as session:
        for study in known_of(session, arrival.study_uid):
            conflict = who_of(study).contradicts(arrival.who)
            if conflict:
                mine = (WorkInstance.study == study.id, WorkInstance.sop_uid == arrival.sop_uid)
                session.execute(update(WorkInstance).where(*mine).values(reason=ANOTHERS))
                reason = OF_ANOTHER.format(two_of(conflict))
                move(study, StudyEvent.CONFLICT, work_list.clock(), reason)
            elif arrival.kind and not is_anothers(session, study.id):
                move(study, StudyEvent.CONFLICT, work_list.clock(), CORRECTED)


def is_anothers(session: Session, study_id: int) -> bool:
    """Whether an instance of a study came again as another patient's or order's."""
    mine = (WorkInstance.study == study_id, WorkInstance.reason == ANOTHERS)
    return session.scalars(select(WorkInstance.id).where(*mine).limit(1)).first() is not None
