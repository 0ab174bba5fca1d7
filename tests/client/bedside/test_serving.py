"""What is sent is answered once, or refused with a reason, or waits; and whose it is stays so."""

from __future__ import annotations

import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from client.bedside.work.looking import give_up, go_on, looks
from client.bedside.work.retention import purge
from client.sources.nodes import CANNOT_UNDERSTAND, OUT_OF_RESOURCES
from shared.errors import InputMissingError
from shared.runtime import files
from tests.suite.waiting import wait_for

from .ward import StandInPacs, StandInReader, Ward, make_ward, remove, scan, whole_study

EXPECTED = [{"maker": "GE", "model": "iDXA", "views": ["spine_pa", "hip_left"]}]


@pytest.fixture
def ward(tmp_path: Path) -> Iterator[Ward]:
    ward = make_ward(tmp_path, expected=EXPECTED)
    with ward.pacs.running():
        yield ward


def test_a_study_is_answered_when_its_views_are_there_and_nothing_is_readable_by_others(
    ward: Ward,
) -> None:
    with ward.serving() as node:
        association = ward.associate(whole_study())
        assert association.send_c_echo().Status == 0
        association.release()
        assert ward.send(whole_study()) == [0, 0]
        row = ward.waits_for("1.2.3", "answered")
        assert row["sent"] == [{"destination": "pacs", "state": "sent", "results": 2}]
        assert ward.pacs.results("1.2.3") == ["sc", "sr"]
        assert set(ward.pacs.came.values()) == {1}
        modes = {
            stat.S_IMODE(path.stat().st_mode)
            for path in node.rooms.folder.rglob("*")
            if path.is_file()
        }
        assert modes == {0o600}
        assert looks(node.work_list)[0]["who"] == "test"


def test_what_came_again_changes_nothing_and_what_comes_later_is_answered_anew(
    ward: Ward,
) -> None:
    reader = StandInReader()
    with ward.serving(reader) as node:
        ward.send(whole_study())
        ward.waits_for("1.2.3", "answered")
        assert ward.send(whole_study()) == [0, 0]
        assert node.arrivals.counts["known"] == 2
        assert ward.state("1.2.3") == "answered"
        ward.send([scan("1.2.3", "LVA", number=3)])
        wait_for(lambda: ward.rows()["1.2.3"]["answers"] == 2)
        ward.waits_for("1.2.3", "answered")
        assert reader.read == [2, 3]
        assert ward.pacs.results("1.2.3") == ["sc", "sc", "sr", "sr"]
        assert set(ward.pacs.came.values()) == {1}


def test_our_own_results_are_acknowledged_and_dropped(ward: Ward) -> None:
    with ward.serving() as node:
        ward.send(whole_study())
        ward.waits_for("1.2.3", "answered")
        own = list(ward.pacs.kept.values())
        for one in own:
            remove(one, "Manufacturer")  # known by their UIDs, too
        assert ward.send(own) == [0, 0]
        assert node.arrivals.counts["ours"] == 2
        row = ward.rows()["1.2.3"]
        assert (row["state"], row["wanted"], row["dropped"]) == ("answered", 2, 0)


def test_a_study_of_which_nothing_is_read_is_refused_with_the_reason(ward: Ward) -> None:
    with ward.serving(reader := StandInReader()):
        knees = [
            scan("1.2.4", "Left Knee"),
            scan("1.2.4", "Right Knee", number=2),
        ]
        assert ward.send(knees) == [0, 0]
        row = ward.waits_for("1.2.4", "refused")
        assert row["reason"] == "no series of it is read (2 × view_not_used)"
        assert (row["dropped"], reader.read) == (2, [])


def test_two_patients_in_one_association_stay_apart(ward: Ward) -> None:
    first, second = whole_study("1.2.5", "P1"), whole_study("1.2.6", "P2", born="19600101")
    with ward.serving():
        assert ward.send([first[0], second[0], first[1], second[1]]) == [0] * 4
        ward.waits_for("1.2.5", "answered")
        ward.waits_for("1.2.6", "answered")
    whose = {(str(one.StudyInstanceUID), str(one.PatientID)) for one in ward.pacs.kept.values()}
    assert whose == {("1.2.5", "P1"), ("1.2.6", "P2")}


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"PatientID": "P2"}, "two patient ids"),
        ({"PatientID": ""}, "two patient ids"),
        ({"PatientBirthDate": "19510101"}, "two birth dates"),
        ({"PatientSex": "M"}, "two sexes"),
        ({"AccessionNumber": "other"}, "two accession numbers"),
    ],
)
def test_a_mismatch_inside_a_study_stops_it_and_going_on_does_not_help(
    ward: Ward, changes: dict[str, str], named: str
) -> None:
    first, second = whole_study()
    for keyword, value in changes.items():
        setattr(second, keyword, value)
    with ward.serving() as node:
        assert ward.send([first, second]) == [0, 0]
        row = ward.waits_for("1.2.3", "held")
        assert row["reason"] == f"the study has {named}"
        go_on(node.work_list, row["number"], "test")
        assert ward.waits_for("1.2.3", "held")["reason"] == f"the study has {named}"
        give_up(node.work_list, node.rooms, row["number"], "test")
        assert [one["state"] for one in ward.rows().values()] == ["refused"]
        with pytest.raises(InputMissingError, match="has none of that number"):
            give_up(node.work_list, node.rooms, row["number"], "test")
        assert ward.pacs.came == {}


def test_one_patient_id_with_two_birth_dates_stops_until_a_person_says_so(ward: Ward) -> None:
    with ward.serving() as node:
        ward.send(whole_study("1.2.7", "P7"))
        ward.waits_for("1.2.7", "answered")
        ward.send(whole_study("1.2.8", "P7", born="19700101"))
        row = ward.waits_for("1.2.8", "held")
        assert row["reason"] == "one patient id has two birth dates in two studies"
        assert ward.pacs.results("1.2.8") == []
        go_on(node.work_list, row["number"], "dr who")
        ward.waits_for("1.2.8", "answered")
        assert looks(node.work_list)[-2]["what"] != ""
        assert any(one["who"] == "dr who" for one in looks(node.work_list))


def test_an_instance_that_comes_again_with_other_content_is_a_correction_and_asks(
    ward: Ward,
) -> None:
    with ward.serving():
        ward.send(whole_study())
        ward.waits_for("1.2.3", "answered")
        changed = scan("1.2.3", "AP Spine", PatientName="Roe^Jane")
        assert ward.send([changed]) == [0]
        row = ward.waits_for("1.2.3", "held")
        assert "came again with another content" in row["reason"]


@pytest.mark.parametrize("wanted", [True, False])
def test_what_comes_again_as_another_patients_is_never_answered_for_the_first(
    ward: Ward, *, wanted: bool
) -> None:
    view = "AP Spine" if wanted else "Left Knee"
    first = [scan("1.2.3", view, number=3), *whole_study()] if not wanted else whole_study()
    with ward.serving() as node:
        ward.send(first)
        ward.waits_for("1.2.3", "answered")
        wrong = set(ward.pacs.kept)
        assert ward.send([scan("1.2.3", view, number=1 if wanted else 3, patient="P2")]) == [0]
        row = ward.waits_for("1.2.3", "held")
        assert "the study has two patient ids" in row["reason"]
        assert ward.send([scan("1.2.3", "Left Femur", number=2, PatientName="Roe^Jane")]) == [0]
        with pytest.raises(InputMissingError, match="another patient's or order's"):
            go_on(node.work_list, row["number"], "test")
        assert ward.state("1.2.3") == "held"
        give_up(node.work_list, node.rooms, row["number"], "test")
        assert not list(node.rooms.folder.glob("*/*/*"))
        assert b"P1" not in b"".join(p.read_bytes() for p in node.rooms.folder.glob("*.sqlite"))
        ward.send(whole_study(patient="P2"))
        ward.waits_for("1.2.3", "answered")
        right = set(ward.pacs.kept) - wrong
        assert {str(ward.pacs.kept[uid].PatientID) for uid in right} == {"P2"}
        assert len(right) == 2


def test_an_answer_by_the_uids_of_a_forgotten_one_is_never_said_to_be_sent(ward: Ward) -> None:
    with ward.serving() as node:
        ward.send(whole_study())
        ward.waits_for("1.2.3", "answered")
        assert purge(node.work_list, node.rooms, -1.0) == 1  # as if its days were over
        ward.send(whole_study())
        row = ward.waits_for("1.2.3", "held")
        assert "UIDs of one that was made before" in row["reason"]
        assert row["sent"] == []


@pytest.mark.parametrize(
    "keyword", ["PatientID", "PatientBirthDate", "AccessionNumber", "PatientSex"]
)
def test_an_answer_of_another_patient_is_never_sent(ward: Ward, keyword: str) -> None:
    def spoil(result: object) -> None:
        setattr(result, keyword, "")

    with ward.serving(StandInReader(changed=spoil)):
        ward.send(whole_study())
        row = ward.waits_for("1.2.3", "held")
        assert "not of this patient" in row["reason"]
        assert ward.pacs.came == {}


def test_a_peer_that_refuses_is_named_and_nothing_is_said_to_be_sent(ward: Ward) -> None:
    ward.pacs.status = 0xA900
    with ward.serving() as node:
        ward.send(whole_study())
        row = ward.waits_for("1.2.3", "refused")
        assert row["reason"].startswith("pacs refused the results: status 0xA900")
        assert row["sent"] == [{"destination": "pacs", "state": "refused", "results": 2}]
        ward.pacs.status = 0
        first = set(ward.pacs.came)
        go_on(node.work_list, row["number"], "test")
        ward.waits_for("1.2.3", "answered")
        assert set(ward.pacs.kept) == first  # by the same UIDs


def test_a_peer_without_room_is_tried_again_and_that_is_shown(ward: Ward) -> None:
    ward.pacs.status = 0xA700
    with ward.serving():
        ward.send(whole_study())
        wait_for(lambda: "0xA700" in ward.rows().get("1.2.3", {}).get("reason", ""))
        assert ward.state("1.2.3") == "sending"
        wait_for(lambda: max(ward.pacs.came.values()) > 1)
        ward.pacs.status = 0
        ward.waits_for("1.2.3", "answered")
    assert len(ward.pacs.kept) == 2


def test_a_peer_that_is_gone_and_comes_back_gets_everything_once(tmp_path: Path) -> None:
    ward = make_ward(tmp_path, expected=EXPECTED)
    with ward.serving():
        ward.send(whole_study("1.2.9"))
        wait_for(lambda: "cannot be reached" in ward.rows().get("1.2.9", {}).get("reason", ""))
        with ward.pacs.running():
            ward.waits_for("1.2.9", "answered")
    assert ward.pacs.results("1.2.9") == ["sc", "sr"]
    assert set(ward.pacs.came.values()) == {1}


def test_a_peer_that_does_not_take_a_kind_of_object_is_named(tmp_path: Path) -> None:
    ward = make_ward(tmp_path, StandInPacs(refuses=("1.2.840.10008.5.1.4.1.1.7",)),
                     expected=EXPECTED)  # fmt: skip
    with ward.pacs.running(), ward.serving():
        ward.send(whole_study())
        row = ward.waits_for("1.2.3", "refused")
    assert "does not take Secondary Capture Image Storage" in row["reason"]


def test_a_full_disk_refuses_with_a700_says_so_and_loses_none(
    ward: Ward, monkeypatch: pytest.MonkeyPatch
) -> None:
    with ward.serving():
        first, second = whole_study()
        assert ward.send([first]) == [0]
        with monkeypatch.context() as full:
            full.setattr(files, "ROOM_TO_LEAVE", 10**18)
            assert ward.send([second]) == [OUT_OF_RESOURCES]
        assert "No space left" in ward.said[0]
        assert ward.send([second]) == [0]
        ward.waits_for("1.2.3", "answered")


def test_a_disk_that_is_full_when_an_answer_is_made_lets_the_study_wait(
    ward: Ward, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("client.bedside.answering.answering.LATER_SECONDS", 0.1)
    full = pytest.MonkeyPatch()

    def fill(folder: Path) -> None:
        full.setattr(files, "ROOM_TO_LEAVE", 10**18)

    try:
        with ward.serving(StandInReader(before=fill)):
            ward.send(whole_study())
            wait_for(lambda: ward.rows().get("1.2.3", {}).get("reason") == "the disk is full")
            assert ward.state("1.2.3") in ("ready", "reading")
    finally:
        full.undo()
    with ward.serving():
        ward.waits_for("1.2.3", "answered")
    assert set(ward.pacs.came.values()) == {1}


def test_what_is_no_object_is_not_understood_and_strangers_are_not_let_in(ward: Ward) -> None:
    with ward.serving():
        assert ward.send([remove(scan(), "StudyInstanceUID")]) == [CANNOT_UNDERSTAND]
        with pytest.raises(AssertionError):
            ward.associate([scan()], "STRANGER")


def test_more_than_a_study_may_have_is_refused(tmp_path: Path) -> None:
    ward = make_ward(tmp_path, most_study_bytes=1500)
    with ward.serving():
        assert ward.send(whole_study()) == [0, OUT_OF_RESOURCES]


def test_an_unreadable_study_is_refused_and_a_fault_names_no_patient(ward: Ward) -> None:
    def fail(folder: Path) -> None:
        raise ValueError("Doe^Jane")

    with ward.serving(StandInReader(before=fail)):
        ward.send(whole_study())
        assert ward.waits_for("1.2.3", "refused")["reason"] == "reading failed: ValueError"


def test_more_that_comes_while_a_study_is_read_is_in_its_answer(ward: Ward) -> None:
    third = scan("1.2.3", "LVA", number=3)
    once: list[int] = []

    def more(folder: Path) -> None:
        if not once:
            once.append(ward.send([third])[0])

    reader = StandInReader(before=more)
    with ward.serving(reader):
        ward.send(whole_study())
        ward.waits_for("1.2.3", "answered")
    assert reader.read[-1] == 3
    assert ward.pacs.results("1.2.3") == ["sc", "sr"]


def test_what_ended_long_ago_is_forgotten_and_what_waits_is_not(ward: Ward) -> None:
    with ward.serving() as node:
        ward.send(whole_study("1.2.3", "SECRET-ID"))
        ward.send(whole_study("1.2.4", "HELD-ID")[:1])
        ward.send([scan("1.2.4", "Left Femur", number=2, patient="OTHER")])
        ward.waits_for("1.2.3", "answered")
        ward.waits_for("1.2.4", "held")
        assert purge(node.work_list, node.rooms, 1.0) == 0
        node.work_list.clock = lambda: 4e9
        assert purge(node.work_list, node.rooms, 1.0) == 1
        assert ward.state("1.2.4") == "held"
        left = b"".join(path.read_bytes() for path in node.rooms.folder.rglob("*.*"))
        assert b"SECRET-ID" not in left
        assert b"HELD-ID" in left
        own = list(ward.pacs.kept.values())
        assert set(ward.send([remove(one, "Manufacturer") for one in own])) == {0}
        assert node.arrivals.counts["ours"] == len(own)


def test_a_watch_folder_is_as_good_as_a_sender(tmp_path: Path) -> None:
    ward = make_ward(tmp_path, watch="watched")
    watched = ward.site / "watched"
    with ward.pacs.running(), ward.serving():
        for number, one in enumerate(whole_study()):
            (watched / "export").mkdir(parents=True, exist_ok=True)
            one.save_as(watched / "export" / f"{number}.dcm", enforce_file_format=True)
        (watched / "letter.txt").write_text("no object")
        ward.waits_for("1.2.3", "answered")
        wait_for(lambda: (watched / "refused").is_dir())
    [aside] = (watched / "refused").iterdir()
    assert aside.name.endswith("letter.txt")
    assert not list((watched / "export").iterdir())
