"""The hospital's pages in a real browser: they look right, say nothing wrong, ask nobody else.

With ``OSTEOFED_SCREENSHOTS`` naming a folder, the pictures of the documentation are made
there, of whole digital patients instead of the quick ones.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from PIL import Image as Picture
from sqlalchemy import select
from sqlalchemy.orm import Session

from client.ingest.folder import ingest
from client.privacy.ledger import DEFAULT_COHORT
from client.store.catalogue import Image, Quality, Study
from client.store.exclusions import left_out
from client.store.site_store import SiteStore, init_site
from shared.phantom.make import make_hospital, render_by_name
from shared.settings.files import SiteConfig
from shared.training.accounting import Mechanism
from tests.shared.rendered_samples import sample_study
from tests.suite.waiting import HANG_SECONDS

CHROMIUM = shutil.which("chromium") or "/usr/bin/chromium"
FOR_DOCUMENTATION = os.environ.get("OSTEOFED_SCREENSHOTS")
MAKERS = {"lunar": ("GE Healthcare", "Lunar iDXA"), "hologic": ("Hologic, Inc.", "Horizon W")}

pytestmark = [
    pytest.mark.system,
    pytest.mark.skipif(
        not Path(CHROMIUM).exists(), reason="Chromium is missing: apt-get install chromium"
    ),
]


@dataclass
class Window:
    """A page of the browser, and everything it asked for or complained about."""

    page: Any
    base: str
    link: str
    asked: list[str] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)

    def failed(self, request: Any) -> None:
        # A picture still on its way when the next page is opened is no failure.
        if "ERR_ABORTED" not in (request.failure or ""):
            self.complaints.append(request.url)

    def open(self, path: str) -> Any:
        answer = self.page.goto(self.base + path)
        self.page.wait_for_load_state("networkidle")
        return answer


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    base = tmp_path_factory.mktemp("browse")
    render = render_by_name if FOR_DOCUMENTATION else sample_study
    for scanner, patients, seed in (("lunar", 5, 11), ("hologic", 4, 12)):
        many = 2 if FOR_DOCUMENTATION else 1
        make_hospital(base / scanner, scanner, many * patients, seed, render=render)
    odd = base / "hologic" / "odd"
    odd.mkdir()
    (odd / "notes.txt").write_text("no DICOM")
    (odd / "empty.dcm").write_bytes(b"")
    first = next((base / "lunar").rglob("*.dcm"))
    (odd / "cut.dcm").write_bytes(first.read_bytes()[:2000])
    init_site(base / "site", SiteConfig(site="riverside"))
    for scanner in ("lunar", "hologic"):
        ingest(base / "site", base / scanner)
    assess_and_spend(base / "site")
    return base / "site"


def assess_and_spend(folder: Path) -> None:
    """Give the store what other parts of the site write: scanners, flags, a ledger's lines."""
    store = SiteStore.open(folder)
    with Session(store.engine) as session, session.begin():
        for study in session.scalars(select(Study)):
            study.maker, study.model = MAKERS[study.vendor]
            study.method = "113100,113107,113108,113109"
        order = (Image.study, Image.view)
        for number, image in enumerate(session.scalars(select(Image).order_by(*order))):
            flag, strength = "none", 0.0
            if number % 9 == 1:
                flag, strength = "motion", 0.71
            elif number % 11 == 2:
                flag, strength = "cut_off", 0.36
            session.merge(Quality(study=image.study, view=image.view, flag=flag, strength=strength))
    ledger = store.open_ledger()
    for task in ("dxa-segmentation", "dxa-bmd"):
        for round in (1, 2):
            done = Mechanism(1.0, 4.0, 4)
            digest = f"{task} {round}"
            asked = ledger.reserve("spring", round, task, DEFAULT_COHORT, digest, done)
            ledger.commit(asked, done)
    ledger.close()
    store.close()


@pytest.fixture(scope="module")
def link(site: Path) -> Iterator[str]:
    """The real program, in a process of its own."""
    program = [sys.executable, "-c", "from shared.cli import main; main()"]
    started = subprocess.Popen(
        [*program, "site", "browse", str(site), "--json"], stdout=subprocess.PIPE, text=True
    )
    assert started.stdout is not None
    said = ""
    while "}" not in said:
        line = started.stdout.readline()
        assert line, "the program ended before it gave a link"
        said += line
    yield json.loads(said)["link"]
    started.send_signal(signal.SIGINT)
    assert started.wait(HANG_SECONDS) == 0
    assert started.stdout.read() == ""  # standard output was pure facts
    started.stdout.close()


@pytest.fixture(scope="module")
def window(link: str) -> Iterator[Window]:
    """A browser that came in by the link."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=CHROMIUM,
            args=[
                "--no-sandbox",
                "--disable-background-networking",
                "--disable-component-update",
                "--disable-sync",
                "--no-first-run",
                "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
            ],
        )
        page = browser.new_page(viewport={"width": 1280, "height": 900}, color_scheme="light")
        page.set_default_timeout(120_000)
        address = urlsplit(link)
        found = Window(page, f"{address.scheme}://{address.netloc}", link)
        page.on("request", lambda request: found.asked.append(request.url))
        page.on("console", lambda message: found.complaints.append(message.text))
        page.on("pageerror", lambda error: found.complaints.append(str(error)))
        page.on("requestfailed", lambda request: found.failed(request))
        page.goto(link)
        page.wait_for_url(found.base + "/")  # by itself, without a click
        yield found
        browser.close()
        # whatever the tests below opened
        assert found.complaints == []
        assert all(one.startswith(found.base + "/") for one in found.asked)
        assert len(found.asked) > 20


def keep(window: Window, name: str, tmp_path: Path, tall: int) -> None:
    """Take a picture of the page's top and see that something is on it."""
    folder = Path(FOR_DOCUMENTATION) if FOR_DOCUMENTATION else tmp_path
    path = folder / f"{name}.png"
    window.page.set_viewport_size({"width": 1280, "height": tall})
    window.page.screenshot(path=path)
    window.page.set_viewport_size({"width": 1280, "height": 900})
    with Picture.open(path) as taken:
        assert taken.size == (1280, tall)
        colours = taken.convert("RGB").getcolors(1 << 24) or []
        most = Picture.Quantize.MAXCOVERAGE  # keeps the regions' colours apart
        few = taken.convert("RGB").quantize(256, most, dither=Picture.Dither.NONE)
    assert len(colours) > 100
    if FOR_DOCUMENTATION:  # small enough for a repository
        few.save(path, optimize=True)


def fits(window: Window) -> bool:
    """Nothing of the page is wider than the window."""
    wide = "document.documentElement.scrollWidth <= document.documentElement.clientWidth"
    return bool(window.page.evaluate(wide))


def test_the_overview_shows_what_came_in(window: Window, tmp_path: Path) -> None:
    window.open("/")
    for _ in range(60):  # the accountant may still be loading
        if window.page.locator("#budget ~ .meter").count():
            break
        window.page.wait_for_timeout(1000)
        window.open("/")
    assert window.page.locator("h1").inner_text() == "What your store holds"
    assert "spent" in window.page.locator("section[aria-labelledby=budget]").inner_text()
    charts = window.page.locator(".chart > svg[role=img]")
    assert charts.count() == 5  # age, three of BMD, pixel size
    said = window.page.locator(".charts .unit").all_text_contents()
    assert {text.strip() for text in said} == {"years", "g/cm²", "mm per pixel"}
    box = charts.first.bounding_box()
    assert box is not None
    assert box["height"] > 80
    assert fits(window)
    keep(window, "browse-overview", tmp_path, 1560)


def test_a_study_shows_its_regions_and_takes_them_off(window: Window, tmp_path: Path) -> None:
    window.open("/studies?flag=motion")
    window.page.locator("table.list tbody th a").first.click()
    window.page.wait_for_load_state("networkidle")
    overlay = window.page.locator(".picture .regions").first
    assert overlay.is_visible()
    assert window.page.locator(".picture .regions text").count() >= 20
    keep(window, "browse-study", tmp_path, 1500)
    window.page.get_by_label("Show regions").first.uncheck()
    assert not overlay.is_visible()
    window.page.get_by_label("Show regions").first.check()
    assert overlay.is_visible()
    assert fits(window)


def test_the_refusals_say_why_and_what_to_do(window: Window, tmp_path: Path) -> None:
    window.open("/set-aside")
    said = window.page.locator("main").inner_text()
    assert "The file has no content" in said
    assert "either DICOM, a mask nor a table of labels" in said
    assert "What to do" in said
    assert fits(window)
    keep(window, "browse-refusals", tmp_path, 1060)


def test_the_pages_are_used_by_keyboard_alone(window: Window) -> None:
    window.open("/")
    window.page.keyboard.press("Tab")
    focused = window.page.evaluate("document.activeElement.textContent")
    assert focused == "Skip to the content"
    for wanted in ("OsteoFed", "Overview", "Studies"):
        window.page.keyboard.press("Tab")
        assert wanted in window.page.evaluate("document.activeElement.textContent")
    window.page.keyboard.press("Enter")
    window.page.wait_for_url("**/studies")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_small_window_in_light_and_dark_is_readable(window: Window, scheme: Any) -> None:
    window.page.emulate_media(color_scheme=scheme)
    window.page.set_viewport_size({"width": 390, "height": 800})
    try:
        for path in ("/", "/studies", "/set-aside"):
            window.open(path)
            assert fits(window), path
            paper, ink = window.page.evaluate(
                "(s => [s.backgroundColor, s.color])(getComputedStyle(document.body))"
            )
            assert brightness(paper) > 200 if scheme == "light" else brightness(paper) < 60
            assert abs(brightness(paper) - brightness(ink)) > 150
    finally:
        window.page.emulate_media(color_scheme="light")
        window.page.set_viewport_size({"width": 1280, "height": 900})


def brightness(colour: str) -> float:
    """Of ``rgb(r, g, b)``, 0 to 255."""
    red, green, blue = (float(part) for part in colour[4:-1].split(",")[:3])
    return 0.3 * red + 0.59 * green + 0.11 * blue


def test_a_study_is_left_out_and_taken_back_by_a_click(window: Window, site: Path) -> None:
    window.open("/studies")
    window.page.locator("table.list tbody th a").first.click()
    window.page.get_by_role("button", name="Leave this study out").click()
    window.page.get_by_text("Left out.").wait_for()
    assert left_out(site) == {window.page.url.rsplit("/", 1)[1]}
    window.page.get_by_role("button", name="Use this study again").click()
    window.page.get_by_role("button", name="Leave this study out").wait_for()
    assert left_out(site) == frozenset()


def test_the_used_link_opens_nothing_in_another_browser(window: Window) -> None:
    other = window.page.context.browser.new_context().new_page()
    answer = other.goto(window.link)
    assert answer.status == 403
    assert "needs its link" in other.locator("main").inner_text()
    other.context.close()
