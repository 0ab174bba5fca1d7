"""A hospital with pages, a browser at their door, and what a page asks a browser for."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import httpx
import numpy as np
import pydicom
from fastapi import FastAPI
from sqlalchemy import select
from sqlalchemy.orm import Session
from starlette.types import ASGIApp, Receive, Scope, Send

from client.browse.app import Pages, link, make_app
from client.browse.gate import Keys
from client.browse.serve import listen
from client.store.catalogue import Image, Label, Quality, Study, Volume
from client.store.site_store import SiteStore, origin_text
from shared.records import PADDING_HU

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
