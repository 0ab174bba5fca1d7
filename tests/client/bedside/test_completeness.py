"""When a study is complete: by count, by views, by what its slices say, or by quiet."""

from __future__ import annotations

from pathlib import Path

import pytest

from client.bedside.receiving.archive import ArchivedStudy
from client.bedside.receiving.attending import Attendant
from client.bedside.work.arrival import Arrival
from client.bedside.work.completeness import CameSoFar, WhenComplete, judge_complete
from client.bedside.work.database import open_work_database
from client.bedside.work.identities import WhoseObject
from client.bedside.work.looking import go_on, show
from client.bedside.work.states import (
    ENDS,
    TRANSITIONS,
    StudyEvent,
    StudyState,
    after,
    may,
)
from client.bedside.work.work_list import WorkList
from client.sources.retry import TryAgainError
from shared.settings.bedside import BedsideSettings

SETTINGS = BedsideSettings.model_validate(
    {
        "listen": {"quiet_seconds": 10, "quiet_seconds_ct": 180},
        "patience_seconds": 600,
        "expected": [{"model": "iDXA", "views": ["spine_pa", "hip_left"]}],
    }
)
DXA = CameSoFar(2, frozenset({"spine_pa", "hip_left"}), maker="GE", model="Lunar iDXA")
FILM = CameSoFar(1, frozenset({"lumbar_ap"}), maker="GE", model="Lunar iDXA")


def ct(came: int, said: int) -> CameSoFar:
    return CameSoFar(came, slices={("1.2", 1): (came, said)})


@pytest.mark.parametrize(
    ("came", "quiet", "released", "told", "verdict"),
    [
        (DXA, 0, True, None, "complete"),
        (DXA, 0, False, None, "wait"),  # its association is open still
        (DXA, 10, False, None, "complete"),
        (CameSoFar(1, frozenset({"spine_pa"}), model="iDXA"), 1, True, None, "wait"),
        (CameSoFar(1, frozenset({"spine_pa"}), model="iDXA"), 10, True, None, "complete"),
        (CameSoFar(2, DXA.views, model="Prodigy"), 1, True, None, "wait"),  # nobody said which
        (FILM, 1, True, None, "wait"),
        (ct(180, 180), 10, True, None, "complete"),
        (ct(90, 180), 90, True, None, "wait"),  # a gap of 90 s where more is known to come
        (ct(90, 180), 599, True, None, "wait"),
        (ct(90, 180), 600, True, None, "complete"),
        (ct(90, 0), 179, True, None, "wait"),
        (ct(90, 0), 180, True, None, "complete"),
        (ct(180, 0), 0, True, 180, "complete"),
        (ct(90, 90), 599, True, 180, "wait"),  # the archive's count is above all else
        (ct(90, 90), 600, True, 180, "ask a person"),
        (DXA, 0, True, 3, "wait"),
    ],
)
def test_a_study_is_complete_when_it_is_known_to_be(
    came: CameSoFar, quiet: float, released: bool, told: int | None, verdict: str
) -> None:
    judged = judge_complete(came, SETTINGS, quiet=quiet, released=released, told=told)
    assert judged.verdict == WhenComplete(verdict)


def test_every_state_has_a_way_to_an_end_and_ends_are_left_only_for_a_reason() -> None:
    reach = set(ENDS)
    while more := {s for (s, _), becomes in TRANSITIONS.items() if becomes in reach} - reach:
        reach |= more
    assert reach == set(StudyState)
    leaving = {e for (s, e), becomes in TRANSITIONS.items() if s in ENDS and becomes not in ENDS}
    assert leaving == {
        StudyEvent.MORE, StudyEvent.CONFLICT, StudyEvent.GO_ON, StudyEvent.SEND_AGAIN,
    }  # fmt: skip
    assert not may(StudyState.ANSWERED, StudyEvent.DELIVERED)
    with pytest.raises(KeyError):
        after(StudyState.HELD, StudyEvent.DELIVERED)


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


class Archive:
    """Says of every study the same; raises what it is given."""

    name = "PACS"

    def __init__(self) -> None:
        self.answer: ArchivedStudy | None = None
        self.error: Exception | None = None
        self.asked = 0

    def find(self, study_uid: str) -> ArchivedStudy | None:
        self.asked += 1
        if self.error is not None:
            raise self.error
        return self.answer


WHO = WhoseObject("P1", "", "19500101", "F", "A1")


class Desk:
    """A work list, its attendant and an archive, without a network."""

    def __init__(self, folder: Path, *, archive: bool = True) -> None:
        self.clock, self.archive = Clock(), Archive()
        self.list = WorkList(open_work_database(folder), self.clock)
        self.attendant = Attendant(self.list, SETTINGS, self.archive if archive else None)

    def comes(self, number: int, said: int | None = None, who: WhoseObject = WHO) -> None:
        arrival = Arrival(
            "1.2.3", "1.2.3.1", f"1.2.3.1.{number}", who, "", f"{number:064x}", 10, "slice",
            acquisition=1, said=said,
        )  # fmt: skip
        assert self.list.take(arrival, lambda name: None) == "new"

    def after(self, seconds: float) -> tuple[str, str]:
        """What is said of the study then."""
        self.clock.now += seconds
        self.attendant.look()
        [row] = show(self.list, "test")["studies"]
        return row["state"], row["reason"]


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path)


def test_slices_over_four_associations_with_gaps_are_one_study(tmp_path: Path) -> None:
    desk = Desk(tmp_path, archive=False)
    for part in range(4):
        for number in range(45):
            desk.comes(part * 45 + number, said=180)
        desk.list.release({"1.2.3"})
        if part < 3:
            state, reason = desk.after(90)
            assert (state, reason) == (
                "receiving", f"{45 * (part + 1)} of 180 slices of an acquisition came",
            )  # fmt: skip
    assert desk.after(10)[0] == "ready"
    [row] = show(desk.list, "test")["studies"]
    assert row["wanted"] == 180


def test_the_archives_count_ends_the_waiting_at_once(desk: Desk) -> None:
    desk.archive.answer = ArchivedStudy(2, WHO)
    desk.comes(1)
    desk.list.release({"1.2.3"})
    assert desk.after(1) == ("receiving", "1 of 2 instances came, as the archive counts them")
    desk.comes(2)
    desk.list.release({"1.2.3"})
    assert desk.after(1)[0] == "ready"


def test_what_never_comes_is_asked_about_and_a_person_may_go_on(desk: Desk) -> None:
    desk.archive.answer = ArchivedStudy(2, WHO)
    desk.comes(1)
    assert desk.after(300)[0] == "receiving"
    state, reason = desk.after(300)
    assert state == "held"
    assert reason.startswith("1 of 2 instances came")
    go_on(desk.list, 1, "test")
    assert desk.after(1)[0] == "ready"


def test_an_archive_that_does_not_answer_is_waited_for_and_named(desk: Desk) -> None:
    desk.archive.error = TryAgainError("cannot be reached")
    desk.comes(1)
    assert desk.after(200) == ("receiving", "PACS: cannot be reached")
    assert desk.after(1000)[0] == "receiving"
    desk.archive.error = None
    assert desk.after(10)[0] == "ready"  # which does not know the study


def test_a_study_that_is_anothers_in_the_archive_is_held(desk: Desk) -> None:
    desk.archive.answer = ArchivedStudy(1, WhoseObject("P2", "", "19500101", "F", "A1"))
    desk.comes(1)
    assert desk.after(200) == ("held", "here and in the archive it has two patient ids")


def test_a_study_that_ends_the_program_again_and_again_is_given_up(tmp_path: Path) -> None:
    desk = Desk(tmp_path, archive=False)
    desk.comes(1)
    desk.after(200)
    for _ in range(5):
        assert desk.list.begin() is not None
        assert desk.list.begin() is None
        assert desk.list.restart() == 1
    assert desk.list.begin() is None
    assert desk.after(0) == (
        "refused", "reading it ended the program 5 times; it is not read again by itself",
    )  # fmt: skip
