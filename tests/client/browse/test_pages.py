"""The hospital's pages: what they show, what they never show, what an action really does."""

from __future__ import annotations

import http.client
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from sqlalchemy import delete, insert, select
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session

from client.browse.budget import Budget
from client.browse.gate import HEADERS
from client.browse.overview import overview
from client.browse.serve import LOOPBACK
from client.ingest.folder import ingest
from client.round.answer import cohort_digest
from client.store.catalogue import Image, Label, Marking, Patient, Quality, Study
from client.store.exclusions import EXCLUSIONS, leave_out, left_out, take_back
from client.store.site_store import SiteStore, init_site
from client.store.split import SPLITS
from shared.errors import InputUnreadableError
from shared.phantom.make import make_hospital
from shared.regions import BMD_REGIONS
from shared.settings.files import SiteConfig
from tests.client.browse.doors import (
    HOSTILE,
    HOSTILE_ATTRIBUTE,
    Door,
    Hospital,
    Served,
    a_study,
    crawl,
    opened,
    read,
)
from tests.shared.ct_samples import outlined_series
from tests.shared.rendered_samples import sample_study

# --- what is said with every answer, and what never is ---------------------------


def test_every_answer_has_the_protecting_headers(door: Door) -> None:
    closed = [door.browser.get(path) for path in ("/", "/static/style.css", "/static/mark.svg")]
    door.enter()
    uid = a_study(door)
    paths = ("/", "/studies", f"/studies/{uid}", "/nothing", f"/studies/{uid}/images/x/y.png")
    opened = [door.browser.get(path) for path in paths]
    wrong_host = door.browser.get("/", headers={"host": "osteofed.example"})
    for answer in (*closed, *opened, wrong_host, door.browser.post("/log-out")):
        for name, value in HEADERS.items():
            assert answer.headers[name] == value, (answer.url, name)
    assert "default-src 'none'" in HEADERS["Content-Security-Policy"]
    assert "script-src" not in HEADERS["Content-Security-Policy"]
    assert "unsafe" not in HEADERS["Content-Security-Policy"]


def test_no_page_shows_an_identifier_or_asks_for_anything_outside(
    door: Door, hospital: Hospital
) -> None:
    found = crawl(door.enter())
    assert sum("/images/" in address for address in found) > 15
    assert sum(re.fullmatch(r"/studies/[0-9.]+", address) is not None for address in found) == 7
    assert len(hospital.identifiers) > 30
    with door.pages.reading() as session:
        pseudonyms = set(session.scalars(select(Patient.pseudonym)))
        days = {str(day) for day in session.scalars(select(Study.day))}
    for address, content in found.items():
        for text in hospital.identifiers | pseudonyms:
            assert text.encode() not in content, address
            assert text not in address
        if content.startswith(b"\x89PNG"):
            continue
        html = content.decode()
        for day in days:
            assert not re.search(rf"\b{day}\b", html), address  # not even the moved one
        page = read(html)
        assert "script" not in page.tags
        assert not {name for name in page.attributes if name.startswith("on")}
        assert "style" not in page.attributes  # the policy would not apply it
        assert all(one.startswith(("/", "#")) and one[:2] != "//" for one in page.addresses)


def test_text_of_a_scanner_is_shown_and_never_obeyed(door: Door) -> None:
    uid = a_study(door.enter())
    for path in ("/", "/studies", "/studies?flag=any", f"/studies/{uid}"):
        html = door.browser.get(path).text
        assert HOSTILE not in html
        assert HOSTILE_ATTRIBUTE not in html
        page = read(html)
        assert "script" not in page.tags
        assert "onerror" not in page.attributes
    assert "&lt;script&gt;alert(1)" in html


@pytest.mark.parametrize(
    "path",
    [
        "/studies/..", "/studies/%2e%2e", "/studies/..%2f..%2fsecret.key",
        "/studies/{uid}/images/..%2f..%2f..%2f..%2fsecret.key/pixels.png",
        "/studies/{uid}/images/spine_pa/..%2fspine_pa.pixels.npy",
        "/studies/{uid}/images/spine_pa/%2e%2e.png", "/studies/{uid}/images/spine_pa/a.npy",
        "/studies/{uid}/volumes/-1/axial/pixels.png", "/studies/{uid}/volumes/9/axial/pixels.png",
        "/studies/{uid}/volumes/x/axial/pixels.png", "/studies/{uid}/volumes/0/x/pixels.png",
        "/static/..%2fapp.py", "/static/../app.py", "/static/%2e%2e/app.py", "/static/", "/%00",
    ],
)  # fmt: skip
def test_no_address_reaches_a_file_that_is_no_page(door: Door, path: str) -> None:
    uid = a_study(door.enter())
    # Not by httpx, which would tidy the path first.
    connection = http.client.HTTPConnection(LOOPBACK, door.pages.port, timeout=60)
    ((name, value),) = door.browser.cookies.items()
    connection.request("GET", path.replace("{uid}", uid), headers={"cookie": f"{name}={value}"})
    answer = connection.getresponse()
    content = answer.read()
    connection.close()
    assert answer.status in (400, 404)
    assert b"That did not work" in content
    assert (door.store.folder / "secret.key").read_bytes().strip() not in content


def test_the_pages_cannot_write_into_the_catalogue(door: Door) -> None:
    with (
        door.pages.reading() as session,
        pytest.raises(OperationalError, match="readonly"),
    ):
        session.execute(insert(Patient).values(pseudonym="nobody"))


# --- what is shown --------------------------------------------------------------


def test_the_list_shows_what_was_chosen_and_ignores_what_does_not_exist(door: Door) -> None:
    door.enter()

    def found(query: str) -> int:
        html = door.browser.get(f"/studies{query}").text
        counted = re.search(r"of (\d+)\. Patients appear", html)
        return int(counted[1]) if counted else 0

    assert found("") == 7
    assert found("?vendor=hologic") == 2
    assert found("?view=ct") == 1
    assert found("?view=spine_pa&vendor=lunar") == 5
    with door.pages.reading() as session:
        flagged = session.scalars(select(Quality.study).where(Quality.flag != "none"))
        assert 0 < found("?flag=any") == len(set(flagged)) < 7
    assert found("?use=left_out") == 0
    assert found("?vendor=nobody&page=-3&flag=%3Cscript%3E") == 7
    assert found("?page=99999999999999999999") == 7


def test_a_follow_up_is_so_many_days_after_the_first(door: Door) -> None:
    door.enter()
    html = door.browser.get("/studies").text
    days = re.findall(r"(\d+) days after the first", html)
    assert len(days) == 1
    with door.pages.reading() as session:
        by_patient: dict[str, list[int]] = {}
        for patient, day in session.execute(select(Study.patient, Study.day)):
            by_patient.setdefault(patient, []).append(day or 0)
    (pair,) = [found for found in by_patient.values() if len(found) == 2]
    assert int(days[0]) == max(pair) - min(pair)


def test_what_was_set_aside_is_counted_with_what_to_do(door: Door) -> None:
    html = door.enter().browser.get("/set-aside").text
    assert "either DICOM, a mask nor a table of labels" in html
    assert "not_dicom" in html
    assert "What to do" in html


def test_what_can_be_done_with_a_file_that_was_set_aside_is_what_a_command_does(
    door: Door,
) -> None:
    html = door.enter().browser.get("/set-aside").text
    assert "osteofed site ingest site /path/to/studies" in html
    assert "decide" not in html
    assert "1 files" not in html


def test_a_ct_that_nobody_assessed_is_not_called_free_of_flags(door: Door) -> None:
    uid = a_study(door.enter())
    with Session(door.store.engine) as session, session.begin():
        kept = [
            {"study": q.study, "view": q.view, "flag": q.flag, "strength": q.strength,
             "code": q.code}
            for q in session.scalars(select(Quality).where(Quality.study == uid))
        ]  # fmt: skip
        session.execute(delete(Quality).where(Quality.study == uid))
    try:
        page = door.browser.get(f"/studies/{uid}").text
        listed = door.browser.get("/studies?view=ct").text
    finally:
        with Session(door.store.engine) as session, session.begin():
            session.execute(insert(Quality), kept)
    assert "<dd>not assessed</dd>" in page
    assert "not assessed" in listed
    assert "no clear flag" not in page + listed


def test_every_epsilon_of_the_overview_has_its_delta(door: Door) -> None:
    door.enter()
    door.pages.budget.read(60.0)  # until the ledger is added up
    html = door.browser.get("/").text
    assert "privacy budget, at δ 0.0001" in html
    assert "left, at δ 0.0001" in html


def test_a_study_left_out_is_counted_nowhere_and_said_so(door: Door) -> None:
    uid, folder = a_study(door.enter()), door.store.folder

    def facts() -> dict[str, Any]:
        with door.pages.reading() as session:
            return overview(session, folder)

    before = facts()
    with door.pages.reading() as session:
        study = session.get(Study, uid)
        assert study is not None
        views = list(session.scalars(select(Image.view).where(Image.study == uid)))
    leave_out(folder, uid)
    try:
        after, html = facts(), door.browser.get("/").text
    finally:
        take_back(folder, uid)
    assert (before["totals"]["left_out"], after["totals"]["left_out"]) == (0, 1)
    for what, fewer in {"studies": 1, "images": len(views), "volumes": 1}.items():
        assert after["totals"][what] == before["totals"][what] - fewer, what
    assert sum(row["studies"] for row in after["splits"]) == after["totals"]["studies"]
    assert sum(row["studies"] for row in after["scanners"]) == after["totals"]["studies"]
    assert sum(row["patients"] for row in after["splits"]) == after["totals"]["patients"]
    counted = sum(row["all"] for row in after["arrived"]["rows"])
    assert counted == after["totals"]["images"] + after["totals"]["volumes"]
    assert after["labels"]["bmd"] == before["labels"]["bmd"] - 1
    assert after["charts"]["age"].total == before["charts"]["age"].total - 1
    assert "1 left out and not counted here" in html
    assert "1 study is left out by a person" in html


def test_a_site_of_which_everything_is_left_out_is_not_called_empty(
    tmp_path: Path, served: Served
) -> None:
    make_hospital(tmp_path / "export", "lunar", 1, 7, render=sample_study)
    init_site(tmp_path / "site", SiteConfig(site="riverside"))
    ingest(tmp_path / "site", tmp_path / "export")
    with opened(tmp_path / "site", served) as door:
        leave_out(door.store.folder, a_study(door.enter()))
        html = door.browser.get("/").text
    assert "No study is in use" in html
    assert "No study has been taken in yet" not in html


def test_an_empty_site_says_how_to_begin(tmp_path: Path, served: Served) -> None:
    init_site(tmp_path / "site", SiteConfig(site="newhouse"))
    with opened(tmp_path / "site", served) as door:
        door.enter()
        for path in ("/", "/studies", "/set-aside"):
            answer = door.browser.get(path)
            assert answer.status_code == 200
            assert "osteofed site ingest site /path/to/studies" in answer.text


def test_a_missing_array_is_said_and_breaks_no_page(door: Door, tmp_path: Path) -> None:
    uid = a_study(door.enter())
    path = door.store.array_path(uid, "spine_pa", "pixels")
    path.rename(tmp_path / "away")
    try:
        answer = door.browser.get(f"/studies/{uid}")
        picture = door.browser.get(f"/studies/{uid}/images/spine_pa/pixels.png")
    finally:
        (tmp_path / "away").rename(path)
    assert answer.status_code == 200
    assert "missing or damaged" in answer.text
    assert picture.status_code == 404


def test_a_ledger_that_is_gone_is_said_on_the_page(tmp_path: Path) -> None:
    init_site(tmp_path / "site", SiteConfig(site="newhouse"))
    (tmp_path / "site" / "ledger.sqlite").unlink()
    facts = Budget(tmp_path / "site").read(30.0)
    assert facts["state"] == "problem"
    assert "ledger" in facts["sentence"]


# --- leaving a study out ----------------------------------------------------------


def test_a_study_left_out_is_read_by_nothing_that_learns(door: Door) -> None:
    uid, folder = a_study(door.enter()), door.store.folder
    before = {split: door.store.source(split).digest() for split in SPLITS}
    cohort = cohort_digest([door.store.source(split) for split in SPLITS])
    assert uid in studies_read(door.store)
    form = {"use": "left_out", "form_token": door.form_token()}
    assert door.post(f"/studies/{uid}/use", **form) == 303
    try:
        assert left_out(folder) == {uid}
        assert (folder / EXCLUSIONS).stat().st_mode & 0o777 == 0o600
        assert uid not in studies_read(door.store)
        assert {split: door.store.source(split).digest() for split in SPLITS} != before
        assert cohort_digest([door.store.source(split) for split in SPLITS]) != cohort
        assert "Left out." in door.browser.get(f"/studies/{uid}").text
    finally:
        form["use"] = "used"
        assert door.post(f"/studies/{uid}/use", **form) == 303
    assert {split: door.store.source(split).digest() for split in SPLITS} == before
    events = (folder / "audit.jsonl").read_text().splitlines()[-2:]
    assert ["study left out" in events[0], "study used again" in events[1]] == [True, True]
    assert uid not in "".join(events)


def studies_read(store: SiteStore) -> set[str]:
    return {
        record.study
        for split in SPLITS
        for source in [store.source(split)]
        for patient in source.patients
        for record in source.studies(patient)
    }


def test_a_patient_whose_every_study_is_left_out_is_in_no_cohort(tmp_path: Path) -> None:
    make_hospital(tmp_path / "export", "lunar", 2, 7, render=sample_study)
    init_site(tmp_path / "site", SiteConfig(site="riverside"))
    ingest(tmp_path / "site", tmp_path / "export")
    store = SiteStore.open(tmp_path / "site")
    both = sorted(studies_read(store))
    leave_out(store.folder, both[0])
    assert leave_out(store.folder, both[0]) == 1  # again: nothing changes
    assert sum(len(store.source(split).patients) for split in SPLITS) == 1
    assert take_back(store.folder, both[0]) == 0
    assert sorted(studies_read(store)) == both
    store.close()


@pytest.mark.parametrize("content", ["", "[]", '{"studies": ["../x"]}', '{"others": []}'])
def test_a_damaged_list_stops_training_instead_of_forgetting(tmp_path: Path, content: str) -> None:
    init_site(tmp_path / "site", SiteConfig(site="riverside"))
    (tmp_path / "site" / EXCLUSIONS).write_text(content)
    store = SiteStore.open(tmp_path / "site")
    with pytest.raises(InputUnreadableError, match=EXCLUSIONS.replace(".", r"\.")):
        store.source("train")
    store.close()


def test_an_unknown_study_cannot_be_left_out(door: Door) -> None:
    token = door.enter().form_token()
    assert door.post("/studies/2.25.1/use", use="left_out", form_token=token) == 404
    assert door.post(f"/studies/{a_study(door)}/use", use="?", form_token=token) == 404
    assert door.post(f"/studies/{a_study(door)}/use", form_token=token) == 400
    assert left_out(door.store.folder) == frozenset()


def test_marks_of_tables_are_drawn_on_their_image(
    own_door: Door,
) -> None:
    with Session(own_door.store.engine) as session, session.begin():
        image = session.scalars(select(Image).where(Image.view == "spine_pa")).first()
        assert image is not None
        marks = {"box": ("L2", "10 20 40 45"), "point": ("L3", "30 60.5")}
        for kind, (name, numbers) in marks.items():
            session.add(
                Marking(
                    study=image.study, image=image.view, kind=kind, vertebra=name,
                    numbers=numbers,
                )
            )  # fmt: skip
        uid, row_mm, column_mm = image.study, image.row_mm, image.column_mm
    own_door.enter()
    page = own_door.browser.get(f"/studies/{uid}").text
    box = f'<rect x="{10 * column_mm:.2f}" y="{20 * row_mm:.2f}" width="{30 * column_mm:.2f}"'
    assert page.count(box) == 1
    assert page.count(f'<circle cx="{30 * column_mm:.2f}" cy="{60.5 * row_mm:.2f}"') == 1
    assert page.count("Show boxes and points of tables") == 1
    assert page.count("<title>L2</title>") == page.count("<title>L3</title>") == 1


def test_a_study_shows_the_bmd_of_another_visit_that_counts_for_it_or_why_none_does(
    own_door: Door,
) -> None:
    with Session(own_door.store.engine) as session, session.begin():
        bmd = select(Label.study).where(Label.name.in_(BMD_REGIONS), Label.disputed.is_(False))
        other = session.scalars(
            select(Study).where(Study.uid.in_(bmd), Study.day.is_not(None), Study.vendor == "lunar")
        ).first()
        assert other is not None
        assert other.day is not None
        for uid, later in (("2.25.901", 61), ("2.25.902", 800)):
            session.add(
                Study(uid=uid, patient=other.patient, vendor="other", day=other.day + later)
            )
            session.flush()
            session.add(
                Image(
                    study=uid, view="lumbar_ap", row_mm=1.0, column_mm=1.0,
                    spacing_provenance="none", digest="d" * 64, lossy=False,
                )
            )  # fmt: skip
        own = other.uid
        value = session.scalar(
            select(Label.value).where(Label.study == own, Label.name.in_(BMD_REGIONS))
        )
    own_door.enter()
    near, far, itself = (
        own_door.browser.get(f"/studies/{uid}").text for uid in ("2.25.901", "2.25.902", own)
    )
    assert "another visit of the patient, 2.0 months before it" in near
    assert "on the scale of GE Lunar. It counts as this study" in near
    assert f"{value:.3f} g/cm²" in near
    assert "No BMD of another visit counts for it: the nearest BMD is too long" in far
    assert "another visit" not in itself


@contextmanager
def of_somebody(door: Door, uid: str, age_years: float, fractured: str = "") -> Iterator[None]:
    """For a while a study is of somebody of that age, of whose grades only one is a fracture."""
    grades = select(Label).where(Label.study == uid, Label.kind == "genant")
    with Session(door.store.engine) as session, session.begin():
        study = session.get_one(Study, uid)
        before, study.age_years = study.age_years, age_years
        kept = {one.name: one.value for one in session.scalars(grades)}
        for one in session.scalars(grades):
            one.value = 0.0
        if fractured and fractured not in kept:
            session.add(Label(study=uid, kind="genant", name=fractured, value=2.0))
        for one in session.scalars(grades.where(Label.name == fractured)):
            one.value = 2.0
    try:
        yield
    finally:
        with Session(door.store.engine) as session, session.begin():
            session.get_one(Study, uid).age_years = before
            for one in session.scalars(grades):
                if one.name in kept:
                    one.value = kept[one.name]
                else:
                    session.delete(one)


def test_a_ct_with_outlines_tells_its_attenuation_or_why_not(door: Door) -> None:
    uid, browser = a_study(door.enter()), door.browser
    paths = [door.store.arrays / uid / f"2.25.77.{what}.npy" for what in ("hu", "regions")]
    small: list[NDArray[Any]] = [np.load(path) for path in paths]
    volume = outlined_series(L2=120, L1=104)
    assert volume.regions is not None
    try:
        with of_somebody(door, uid, 67):
            tiny = browser.get(f"/studies/{uid}").text
            np.save(paths[0], volume.hu)
            np.save(paths[1], volume.regions)
            page = browser.get(f"/studies/{uid}").text
        with of_somebody(door, uid, 44, "L2"):
            young = browser.get(f"/studies/{uid}").text
    finally:
        for path, array in zip(paths, small, strict=True):
            np.save(path, array)
    why = "L1 has no part of 500 mm³ that lies 5 mm inside its outline"
    assert f"trabecular attenuation of L1, because {why}." in tiny
    assert '<th scope="row">L2</th><td class="n">120 ± 0</td><td class="n">120</td>' in page
    assert "L1 is at most 110 HU." in page
    assert "Not assessed: trabecular" not in page
    assert "L2 is fractured by the hospital" in young
    assert "the patient is under 50" in young
    assert "L1 is at most" not in young
