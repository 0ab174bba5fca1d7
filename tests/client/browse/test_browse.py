"""The hospital's pages: who gets in, what they never show, what an action really does."""

from __future__ import annotations

import http.client
import re
import shutil
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import httpx
import numpy as np
import pydicom
import pytest
import uvicorn
from fastapi import FastAPI
from sqlalchemy import insert, select
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session
from starlette.types import ASGIApp, Receive, Scope, Send

from client.browse.app import Pages, link, make_app
from client.browse.budget import Budget
from client.browse.gate import HEADERS, IDLE_SECONDS, LARGEST_FORM_BYTES, Keys
from client.browse.serve import LOOPBACK, listen
from client.ingest.folder import ingest
from client.round.answer import cohort_digest
from client.store.catalogue import Image, Label, Marking, Patient, Quality, Study, Volume
from client.store.exclusions import EXCLUSIONS, leave_out, left_out, take_back
from client.store.site_store import SiteStore, init_site, origin_text
from client.store.split import SPLITS
from shared.errors import InputUnreadableError
from shared.phantom.make import make_hospital
from shared.phantom.writers import write_study
from shared.records import PADDING_HU
from shared.settings.files import SiteConfig
from tests.shared.rendered_samples import sample_study

#: What a scanner, a table or a hostile sender could write where text is kept.
HOSTILE = "<script>alert(1)</script>"
HOSTILE_ATTRIBUTE = '"><img src=x onerror=alert(2)>'


@dataclass(frozen=True)
class Hospital:
    """A site, and everything in its export that could tell who a patient is."""

    site: Path
    identifiers: frozenset[str]


@dataclass
class Door:
    """A browser at the pages; `offered` are the links that the terminal showed."""

    browser: httpx.Client
    pages: Pages
    offered: list[str]
    now: list[float]

    @property
    def store(self) -> SiteStore:
        return self.pages.store

    @property
    def keys(self) -> Keys:
        return self.pages.keys

    @property
    def base(self) -> str:
        return f"http://127.0.0.1:{self.pages.port}"

    def token(self) -> str:
        return token_of(self.offered[-1])

    def enter(self) -> Door:
        assert self.browser.get("/enter", params={"token": self.token()}).status_code == 200
        return self

    def form_token(self) -> str:
        found = re.search(r'name="form_token" value="(\w+)"', self.browser.get("/").text)
        assert found is not None
        return found[1]

    def post(self, path: str, **form: str) -> int:
        return self.browser.post(path, data=form, headers={"origin": self.base}).status_code


def token_of(address: str) -> str:
    return parse_qs(urlsplit(address).query)["token"][0]


@pytest.fixture(scope="module")
def hospital(tmp_path_factory: pytest.TempPathFactory) -> Hospital:
    base = tmp_path_factory.mktemp("hospital")
    for scanner, patients, seed in (("lunar", 4, 7), ("hologic", 2, 8)):
        make_hospital(base / scanner, scanner, patients, seed, render=sample_study)
    (base / "lunar" / "DICOM" / "Kellermann_MRN1234567.dcm").write_bytes(b"no DICOM")
    # the same patient again, 1,000 days later
    folder = base / "later" / write_study(sample_study(0), base / "later").folder
    for path in folder.iterdir():
        dataset = pydicom.dcmread(path)
        dataset.StudyInstanceUID += ".9"
        dataset.SOPInstanceUID += ".9"
        dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
        dataset.StudyDate = "20300101"
        if dataset.Modality == "SEG":
            path.unlink()
        else:
            dataset.save_as(path)
    init_site(base / "site", SiteConfig(site="riverside"))
    for source in ("lunar", "hologic", "later"):
        ingest(base / "site", base / source)
    add_hostile_text(base / "site")
    found = {"Kellermann", "MRN1234567", str(base)}
    for path in base.rglob("*.dcm"):
        if path.stat().st_size > 100:
            found |= identifiers_of(pydicom.dcmread(path, stop_before_pixels=True))
    return Hospital(base / "site", frozenset(found - {""}))


def identifiers_of(dataset: pydicom.Dataset) -> set[str]:
    born, scanned = str(dataset.get("PatientBirthDate", "")), str(dataset.StudyDate)
    return {
        str(dataset.PatientID),
        dataset.PatientName.family_name,
        dataset.PatientName.given_name,
        str(dataset.get("AccessionNumber", "")),
        str(dataset.StudyInstanceUID),
        str(dataset.SOPInstanceUID),
        str(dataset.get("InstitutionName", "")),
        born,
        scanned,
        *(f"{d[:4]}-{d[4:6]}-{d[6:]}" for d in (born, scanned) if d),
    }


def add_hostile_text(site: Path) -> None:
    """Put text from outside wherever the catalogue has room for text, and a CT series."""
    store = SiteStore.open(site)
    with Session(store.engine) as session, session.begin():
        study = session.scalars(select(Study).order_by(Study.uid)).first()
        assert study is not None
        study.maker, study.model, study.ethnic_group = HOSTILE, HOSTILE_ATTRIBUTE, HOSTILE
        study.method = "113100," + HOSTILE
        view = session.scalars(select(Image.view).where(Image.study == study.uid)).first()
        assert view is not None
        session.add(
            Quality(study=study.uid, view=view, flag=HOSTILE_ATTRIBUTE, strength=0.9, code=1)
        )
        session.add(Label(study=study.uid, kind="bmd", name=HOSTILE[:24], value=0.9))
        session.add(
            Volume(
                study=study.uid, series="2.25.77", slices=6, slice_mm=2.0, row_mm=1.0,
                column_mm=1.0, origin=origin_text((0.0, 0.0, 0.0)), kvp=120.0, kernel=HOSTILE,
                thickness_mm=2.0,
                contrast=False, lossy=False, resampled="", digest="d" * 64, mask_digest="m" * 64,
            )
        )  # fmt: skip
        folder = store.arrays / study.uid
    hu = np.full((6, 20, 24), 100, np.int16)
    hu[:, :3] = PADDING_HU
    regions = np.zeros(hu.shape, np.uint8)
    regions[2:5, 8:14, 8:16] = 20
    np.save(folder / "2.25.77.hu.npy", hu)
    np.save(folder / "2.25.77.regions.npy", regions)
    store.close()


class Served:
    """A real server on loopback, whose application each test sets."""

    def __init__(self) -> None:
        self.app: ASGIApp | None = None
        self.socket = listen(0)
        self.port = int(self.socket.getsockname()[1])

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        assert self.app is not None
        await self.app(scope, receive, send)


@pytest.fixture(scope="module")
def served() -> Iterator[Served]:
    here = Served()
    server = uvicorn.Server(
        uvicorn.Config(here, http="h11", ws="none", lifespan="off", log_level="critical")
    )
    thread = threading.Thread(target=server.run, kwargs={"sockets": [here.socket]})
    thread.start()
    try:
        while not server.started:
            assert thread.is_alive()
            time.sleep(0.01)
        yield here
    finally:
        server.should_exit = True
        thread.join()


@pytest.fixture
def door(hospital: Hospital, served: Served) -> Iterator[Door]:
    with opened(hospital.site, served) as found:
        yield found


@contextmanager
def opened(site: Path, served: Served) -> Iterator[Door]:
    store = SiteStore.open(site)
    now = [0.0]
    keys = Keys(clock=lambda: now[0])
    offered = [link(served.port, keys.offer() or "")]
    gate = make_app(store, keys, served.port, offered.append)
    served.app = gate
    with httpx.Client(base_url=f"http://127.0.0.1:{served.port}", timeout=60) as browser:
        assert isinstance(gate.app, FastAPI)
        yield Door(browser, gate.app.state.pages, offered, now)
    store.close()


def a_study(door: Door) -> str:
    with door.pages.reading() as session:
        return str(session.scalars(select(Study.uid).order_by(Study.uid)).first())


class Reader(HTMLParser):
    """What a page asks a browser to fetch or run."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.attributes: set[str] = set()
        self.addresses: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        for name, value in attrs:
            self.attributes.add(name)
            if name in ("href", "src", "action", "srcset", "data", "poster"):
                self.addresses.add(value or "")


def read(html: str) -> Reader:
    reader = Reader()
    reader.feed(html)
    return reader


def crawl(door: Door) -> dict[str, bytes]:
    """Everything that can be reached from the overview: address -> content."""
    seen: dict[str, bytes] = {}
    waiting = ["/", "/studies?flag=any", "/no-such-page"]
    while waiting:
        address = waiting.pop()
        if address in seen:
            continue
        answer = door.browser.get(address)
        seen[address] = answer.content
        if answer.headers["content-type"].startswith("text/html"):
            found = read(answer.text).addresses
            waiting += [one for one in found if one.startswith("/") and one != "/log-out"]
    return seen


# --- who gets in ----------------------------------------------------------------


@pytest.mark.parametrize(
    "host",
    [
        "osteofed.example", "osteofed.example:PORT", "127.0.0.1", "localhost", "127.0.0.1:80",
        "127.0.0.2:PORT", "0.0.0.0:PORT", "[::1]:PORT", "127.0.0.1:PORT.example",
        "localhost.:PORT", "127.0.0.1:PORT@osteofed.example", "",
    ],
)  # fmt: skip
def test_another_host_is_refused_even_with_the_session(door: Door, host: str) -> None:
    host = host.replace("PORT", str(door.pages.port))
    door.enter()
    for path in ("/", "/enter", "/static/style.css"):
        answer = door.browser.get(path, headers={"host": host})
        assert answer.status_code == 400
        assert "riverside" not in answer.text


def test_localhost_is_the_same_place(door: Door) -> None:
    answer = door.browser.get("/", headers={"host": f"localhost:{door.pages.port}"})
    assert answer.status_code == 403
    assert "needs its link" in answer.text


def test_without_a_session_every_address_says_the_same_and_nothing_of_the_site(door: Door) -> None:
    uid = a_study(door)
    said = {
        door.browser.get(path).text
        for path in (
            "/", "/studies", f"/studies/{uid}", "/studies/1", "/set-aside", "/nothing",
            f"/studies/{uid}/images/spine_pa/pixels.png", "/docs", "/openapi.json",
        )
    }  # fmt: skip
    assert len(said) == 1
    assert "riverside" not in said.pop()
    assert door.post(f"/studies/{uid}/use", use="left_out") == 403
    assert left_out(door.store.folder) == frozenset()


def test_a_link_works_once(door: Door) -> None:
    token = door.token()
    door.enter()
    assert door.browser.get("/").status_code == 200
    door.browser.cookies.clear()
    answer = door.browser.get("/enter", params={"token": token})
    assert answer.status_code == 403
    assert "set-cookie" not in answer.headers
    assert len(door.offered) == 2  # the terminal shows the next one
    door.enter()
    assert door.browser.get("/").status_code == 200


@pytest.mark.parametrize("token", ["", "0", "x" * 43, "é", "../" * 9])
def test_a_guessed_link_opens_nothing_and_leaves_the_real_one_good(door: Door, token: str) -> None:
    assert door.browser.get("/enter", params={"token": token}).status_code == 403
    assert len(door.offered) == 1
    door.enter()


def test_the_cookie_is_out_of_reach_of_scripts_and_of_other_sites(door: Door) -> None:
    answer = door.browser.get("/enter", params={"token": door.token()})
    cookie = answer.headers["set-cookie"].lower()
    assert "httponly" in cookie
    assert "samesite=strict" in cookie
    assert "domain" not in cookie
    assert "expires" not in cookie  # the browser forgets it when it is closed
    assert "max-age" not in cookie


def test_logging_out_ends_the_session_at_the_server(door: Door) -> None:
    cookies = dict(door.enter().browser.cookies)
    assert door.post("/log-out", form_token=door.form_token()) == 303
    door.browser.cookies.update(cookies)
    assert door.browser.get("/").status_code == 403


def test_a_session_that_nobody_uses_ends(door: Door) -> None:
    door.enter()
    for _ in range(3):
        door.now[0] += IDLE_SECONDS - 1
        assert door.browser.get("/").status_code == 200
    door.now[0] += IDLE_SECONDS + 1
    assert door.browser.get("/").status_code == 403


@pytest.mark.parametrize("site", ["cross-site", "same-site"])
def test_another_page_cannot_ask_with_the_cookie(door: Door, site: str) -> None:
    answer = door.enter().browser.get("/studies", headers={"sec-fetch-site": site})
    assert answer.status_code == 403
    assert "riverside" not in answer.text


# --- forms ----------------------------------------------------------------------


def test_a_form_without_the_sessions_token_changes_nothing(door: Door) -> None:
    uid = a_study(door.enter())
    other = door.keys.form_token("another session")
    for token in ("", "0" * 64, other, "é"):
        assert door.post(f"/studies/{uid}/use", use="left_out", form_token=token) == 403
        assert door.post("/log-out", form_token=token) == 403
    assert door.browser.get("/").status_code == 200
    assert left_out(door.store.folder) == frozenset()


def test_every_address_that_takes_a_form_wants_its_token(door: Door) -> None:
    door.enter()
    with_forms = {
        address
        for page in ("/", f"/studies/{a_study(door)}")
        for address in re.findall(r'method="post" action="([^"]+)"', door.browser.get(page).text)
    }
    assert len(with_forms) == 2
    for address in with_forms:
        assert door.post(address) == 403


@pytest.mark.parametrize(
    "origin",
    [
        None, "null", "http://osteofed.example", "http://127.0.0.1:80", "https://127.0.0.1:PORT",
        "http://localhost:PORT",
    ],
)  # fmt: skip
def test_a_form_from_another_origin_is_refused(door: Door, origin: str | None) -> None:
    uid, token = a_study(door.enter()), door.form_token()
    headers = {} if origin is None else {"origin": origin.replace("PORT", str(door.pages.port))}
    form = {"use": "left_out", "form_token": token}
    answer = door.browser.post(f"/studies/{uid}/use", data=form, headers=headers)
    assert answer.status_code == 403
    assert left_out(door.store.folder) == frozenset()


def test_a_form_larger_than_any_is_refused_before_it_is_read(door: Door) -> None:
    door.enter()
    form = {"form_token": door.form_token(), "more": "x" * LARGEST_FORM_BYTES}
    answer = door.browser.post("/log-out", data=form, headers={"origin": door.base})
    assert answer.status_code == 413
    assert door.browser.put("/", content=b"").status_code == 405


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
    hospital: Hospital, served: Served, tmp_path: Path
) -> None:
    site = tmp_path / "site"
    shutil.copytree(hospital.site, site)
    with opened(site, served) as door:
        with Session(door.store.engine) as session, session.begin():
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
        door.enter()
        page = door.browser.get(f"/studies/{uid}").text
    box = f'<rect x="{10 * column_mm:.2f}" y="{20 * row_mm:.2f}" width="{30 * column_mm:.2f}"'
    assert page.count(box) == 1
    assert page.count(f'<circle cx="{30 * column_mm:.2f}" cy="{60.5 * row_mm:.2f}"') == 1
    assert page.count("Show boxes and points of tables") == 1
    assert page.count("<title>L2</title>") == page.count("<title>L3</title>") == 1
