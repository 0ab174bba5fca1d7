"""The pages: what each address shows. `client.browse.gate` decides who gets here."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, Final
from urllib.parse import urlencode

import jinja2
import numpy as np
from fastapi import APIRouter, Depends, FastAPI, Form, HTTPException, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import FileResponse, HTMLResponse, RedirectResponse, Response
from sqlalchemy import Engine, create_engine, event, select
from sqlalchemy.orm import Session
from sqlalchemy.pool import NullPool
from starlette.exceptions import HTTPException as StarletteHTTPException

from client.browse import one_study, overview, pictures, studies
from client.browse.budget import Budget
from client.browse.contracts import contracts
from client.browse.gate import Gate, Keys, cookie_name
from client.browse.slices import PLANES, cut_slice, slices_through_spine
from client.identity.chain import site_chain
from client.store.catalogue import Image, Study, Volume
from client.store.exclusions import leave_out, left_out, take_back
from client.store.site_store import SiteStore
from shared.errors import OsteofedError
from shared.phrases import counted

HERE: Final = Path(__file__).parent
PNG: Final = "image/png"

#: Sentences by status; none says what was looked for.
FAILURES: Final = {
    400: "The address holds something that this page does not understand.",
    403: "This was not sent by a form of this page; go back, reload and try again.",
    404: "There is no such page, study or picture.",
    405: "This address cannot be asked in that way.",
    500: "This is a fault of OsteoFed's own; the terminal says more.",
}


class Pages:
    """What every page needs: the store, a session that can only read, the templates."""

    def __init__(self, store: SiteStore, keys: Keys, port: int, tell: Callable[[str], None]):
        self.store = store
        self.keys = keys
        self.port = port
        self.tell = tell
        self.budget = Budget(store.folder)
        self.engine = _reading_engine(store.engine)
        self.templates = jinja2.Environment(
            loader=jinja2.FileSystemLoader(HERE / "templates"),
            autoescape=True,  # every value: makers and models are text from outside
            undefined=jinja2.StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        self.templates.filters["sentence"] = lambda text: text[:1].upper() + text[1:]
        self.templates.filters["counted"] = counted

    @contextmanager
    def reading(self) -> Iterator[Session]:
        """Open a session of the catalogue that refuses to write."""
        with Session(self.engine) as session:
            yield session

    def render(
        self, request: Request, name: str, status: int = 200, /, **facts: Any
    ) -> HTMLResponse:
        """Fill a template; `form_token` is there for its forms."""
        opened = request.scope["session"]
        html = self.templates.get_template(f"{name}.html.j2").render(
            site=self.store.config.site,
            folder=self.store.folder.name,
            here=name,
            signed_in=opened is not None,
            form_token=self.keys.form_token(opened) if opened is not None else "",
            **facts,
        )
        return HTMLResponse(html, status)


def _reading_engine(engine: Engine) -> Engine:
    """Connect to the same catalogue anew; SQLite itself refuses every write."""
    reading = create_engine(engine.url, poolclass=NullPool)  # nothing is left open

    @event.listens_for(reading, "connect")
    def _only_read(connection: Any, record: Any) -> None:
        cursor = connection.cursor()
        cursor.execute("PRAGMA query_only=ON")
        cursor.execute("PRAGMA busy_timeout=10000")
        cursor.close()

    return reading


def make_app(store: SiteStore, keys: Keys, port: int, tell: Callable[[str], None]) -> Gate:
    """Put the pages of one site behind their gate.

    Parameters
    ----------
    store : SiteStore
        The open store; the caller closes it.
    keys : Keys
        Who is let in.
    port : int
        Port that the browser sees; requests that name another are refused.
    tell : callable
        Called with a new link when somebody asks to be let in and none is on offer.

    Returns
    -------
    Gate
        An ASGI application; behind it, `FastAPI` with the pages.
    """
    pages = Pages(store, keys, port, tell)
    # No generated documentation: its pages load scripts from elsewhere.
    app = FastAPI(title="OsteoFed site", docs_url=None, redoc_url=None, openapi_url=None)
    app.state.pages = pages
    pages.budget.read(0.0)  # begins to add up while the browser is still closed
    app.include_router(door)
    app.include_router(shown)
    app.include_router(drawn)
    app.include_router(actions)
    app.add_exception_handler(StarletteHTTPException, _failure)
    app.add_exception_handler(RequestValidationError, _failure)
    app.add_exception_handler(OsteofedError, _failure)
    app.add_exception_handler(Exception, _failure)
    return Gate(app, keys, port)


def _pages(request: Request) -> Pages:
    pages: Pages = request.app.state.pages
    return pages


def _failure(request: Request, error: Exception) -> Response:
    """One page for every failure; only sentences of ours are shown."""
    status = 400 if isinstance(error, RequestValidationError) else 500
    if isinstance(error, StarletteHTTPException):
        status = error.status_code
    sentence = str(error) if isinstance(error, OsteofedError) else FAILURES.get(status, "")
    return _pages(request).render(request, "failure", status, sentence=sentence)


def _form_of_this_page(request: Request, form_token: Annotated[str, Form()] = "") -> None:
    """Refuse a form that was not made for this session."""
    if not _pages(request).keys.form_is_ours(request.scope["session"] or "", form_token):
        raise HTTPException(403)


ThePages = Annotated[Pages, Depends(_pages)]

#: Open to whoever reaches the port.
door = APIRouter()
#: Pages and pictures; behind the gate.
shown = APIRouter()
drawn = APIRouter()
#: What changes anything; behind the gate, by POST, with the token of a form.
actions = APIRouter(dependencies=[Depends(_form_of_this_page)])


# --- the door -------------------------------------------------------------------


@door.get("/door")
def closed_door(request: Request, pages: ThePages) -> Response:
    """Say how to get in; the terminal shows a new link if the last one was used."""
    token = pages.keys.offer()
    if token is not None:
        pages.tell(link(pages.port, token))
    return pages.render(request, "door", 403)


@door.get("/enter")
def enter(request: Request, pages: ThePages, token: str = "") -> Response:
    """Exchange the link for a session cookie."""
    if request.scope["session"] is not None:
        return RedirectResponse("/", 303)
    session = pages.keys.exchange(token)
    if session is None:
        return closed_door(request, pages)
    # A page and not a redirect: after a click in another program's window a browser
    # withholds a strict cookie from the redirect, but not from what this page opens.
    response = pages.render(request, "enter")
    response.set_cookie(
        cookie_name(pages.port), session, httponly=True, samesite="strict", path="/"
    )
    return response


@door.get("/static/style.css")
def style() -> Response:
    """The one style sheet."""
    return FileResponse(HERE / "static" / "style.css", media_type="text/css")


@door.get("/static/mark.svg")
def mark() -> Response:
    """The icon."""
    return FileResponse(HERE / "static" / "mark.svg", media_type="image/svg+xml")


def link(port: int, token: str) -> str:
    """Address by which a browser is let in."""
    return f"http://127.0.0.1:{port}/enter?{urlencode({'token': token})}"


# --- pages ----------------------------------------------------------------------


@shown.get("/")
def show_overview(request: Request, pages: ThePages) -> Response:
    """What came in."""
    with pages.reading() as session:
        facts = overview.overview(session, pages.store.folder)
    return pages.render(
        request,
        "overview",
        **facts,
        budget=pages.budget.read(),
        contracts=contracts(pages.store.folder),
    )


@shown.get("/studies")
def show_studies(request: Request, pages: ThePages) -> Response:
    """The list of studies; what is asked and does not exist is ignored."""
    asked = dict(request.query_params)
    number = asked.get("page", "1")
    page = int(number) if number.isascii() and number.isdigit() and len(number) < 9 else 1
    with pages.reading() as session:
        choices = studies.choices(session)
        wanted = choices.clean(asked)
        unused = left_out(pages.store.folder)
        facts = studies.list_studies(session, wanted, page, unused)

    def address(to: int) -> str:
        return "/studies?" + urlencode(wanted.query() | {"page": str(to)})

    return pages.render(
        request, "studies", **facts, choices=choices, wanted=wanted, address=address
    )


@shown.get("/studies/{uid}")
def show_study(request: Request, pages: ThePages, uid: str) -> Response:
    """One study."""
    with pages.reading() as session:
        facts = one_study.one_study(session, pages.store, uid)
    if facts is None:
        raise HTTPException(404)
    unused = uid in left_out(pages.store.folder)
    return pages.render(request, "study", study=facts, left_out=unused)


@shown.get("/set-aside")
def show_set_aside(request: Request, pages: ThePages) -> Response:
    """What was quarantined or refused, and what to do."""
    with pages.reading() as session:
        facts = overview.set_aside(session)
    return pages.render(request, "set_aside", set_aside=facts)


# --- pictures -------------------------------------------------------------------


@drawn.get("/studies/{uid}/images/{view}/{what}.png")
def show_image(pages: ThePages, uid: str, view: str, what: str) -> Response:
    """One projection: ``pixels``, ``regions`` (an overlay) or ``small`` (both)."""
    with pages.reading() as session:
        image = session.get(Image, (uid, view))
    if image is None or what not in ("pixels", "regions", "small"):
        raise HTTPException(404)
    path = pages.store.array_path
    if what == "pixels":
        content = pictures.grey_png(_loaded(path(image.study, image.view, "pixels")))
        return Response(content, media_type=PNG)
    masked = image.mask_digest is not None
    regions = _loaded(path(image.study, image.view, "regions")) if masked else None
    if what == "small":
        pixels = _loaded(path(image.study, image.view, "pixels"))
        spacing = (image.row_mm, image.column_mm)
        return Response(pictures.thumbnail_png(pixels, regions, spacing), media_type=PNG)
    if regions is None:
        raise HTTPException(404)
    return Response(pictures.regions_png(regions), media_type=PNG)


@drawn.get("/studies/{uid}/volumes/{number}/{plane}/{what}.png")
def show_slice(pages: ThePages, uid: str, number: int, plane: str, what: str) -> Response:
    """A slice of a CT series, through the spine: ``pixels`` (bone window) or ``regions``."""
    with pages.reading() as session:
        ordered = select(Volume).where(Volume.study == uid).order_by(Volume.series)
        volumes = list(session.scalars(ordered))
    if not 0 <= number < len(volumes) or plane not in PLANES:
        raise HTTPException(404)
    volume = volumes[number]
    if what != "pixels" and (what != "regions" or volume.mask_digest is None):
        raise HTTPException(404)
    hu = _loaded(pages.store.array_path(volume.study, volume.series, "hu"))
    spacing = (volume.slice_mm, volume.row_mm, volume.column_mm)
    where = slices_through_spine(hu, spacing)[plane]
    if what == "pixels":
        cut = pictures.bone_window(cut_slice(hu, plane, where))
        return Response(pictures.grey_png(cut), media_type=PNG)
    regions = _loaded(pages.store.array_path(volume.study, volume.series, "regions"))
    return Response(pictures.regions_png(cut_slice(regions, plane, where)), media_type=PNG)


def _loaded(path: Path) -> Any:
    """Map an array into memory; one that is missing or damaged is no picture."""
    try:
        return np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError):
        raise HTTPException(404) from None


# --- actions --------------------------------------------------------------------


@actions.post("/log-out")
def log_out(request: Request, pages: ThePages) -> Response:
    """End the session."""
    pages.keys.close(request.scope["session"] or "")
    response = RedirectResponse("/door", 303)
    response.delete_cookie(cookie_name(pages.port), path="/", httponly=True, samesite="strict")
    return response


@actions.post("/studies/{uid}/use")
def change_use(pages: ThePages, uid: str, use: Annotated[str, Form()]) -> Response:
    """Leave a study out of what learns (``left_out``), or use it again (``used``)."""
    with pages.reading() as session:
        known = session.get(Study, uid) is not None
    if not known or use not in ("used", "left_out"):
        raise HTTPException(404)
    folder = pages.store.folder
    chain = site_chain(folder, pages.store.config.site)
    if use == "left_out":
        chain.append("study left out", left_out=leave_out(folder, uid))
    else:
        chain.append("study used again", left_out=take_back(folder, uid))
    return RedirectResponse(f"/studies/{uid}", 303)
