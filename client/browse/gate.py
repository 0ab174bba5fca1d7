"""Who may look: one browser of this machine, let in by a link from the terminal.

==================================== ===============================================
what could go wrong                  what stops it
==================================== ===============================================
another machine connects             the socket is bound to loopback (`serve`)
another user of this machine         a link that works once, then a session cookie
a web page elsewhere sends its       the Host header must name loopback and the port;
name here (DNS rebinding)            any other is refused
a web page elsewhere posts a form    SameSite=Strict cookie, Origin, Sec-Fetch-Site,
                                     and a token in each form (HMAC of the session)
a script in a value of a scanner     templates escape; no script may run at all
something is kept by the browser     Cache-Control: no-store
==================================== ===============================================

Cookies know no ports: a browser shows this one to every web server of this machine's
loopback that it visits. A session therefore ends after an hour without use.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
import threading
import time
from collections.abc import Callable
from http.cookies import CookieError, SimpleCookie
from typing import Final

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

TOKEN_BYTES: Final = 32
#: Without a click for so long, a session ends.
IDLE_SECONDS: Final = 3600.0
#: No form of ours is larger.
LARGEST_FORM_BYTES: Final = 4096

#: Served to anybody who reaches the port; nothing in them is of the site.
DOOR: Final = "/door"
OPEN_PATHS: Final = frozenset({"/enter", DOOR, "/static/style.css", "/static/mark.svg"})

HEADERS: Final = {
    "Content-Security-Policy": (
        "default-src 'none'; img-src 'self'; style-src 'self'; form-action 'self'; "
        "frame-ancestors 'none'; base-uri 'none'"
    ),
    "Cache-Control": "no-store",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    # Not "no-referrer": with it a browser sends no Origin with a form.
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), microphone=(), geolocation=()",
}


class Keys:
    """The link that is on offer, and the sessions that were opened with earlier ones.

    Everything lives in memory only: with the program, every session ends.

    Parameters
    ----------
    clock : callable
        Seconds that only go forward.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._secret = secrets.token_bytes(TOKEN_BYTES)
        self._offered: str | None = None
        self._seen: dict[str, float] = {}

    def offer(self) -> str | None:
        """Make a link token, unless one is on offer that nobody has used."""
        with self._lock:
            if self._offered is not None:
                return None
            self._offered = secrets.token_urlsafe(TOKEN_BYTES)
            return self._offered

    def exchange(self, token: str) -> str | None:
        """Take the token of a link and open a session; None if it is not the one on offer.

        A token works once: whoever finds the link later (history, a screenshot) has nothing.
        """
        with self._lock:
            if self._offered is None or not _same(self._offered, token):
                return None
            self._offered = None
            session = secrets.token_urlsafe(TOKEN_BYTES)
            self._seen[_digest(session)] = self._clock()
            return session

    def knows(self, session: str) -> bool:
        """Tell whether a session is open, and count this as use."""
        digest, now = _digest(session), self._clock()
        with self._lock:
            last = self._seen.get(digest)
            if last is None or now - last > IDLE_SECONDS:
                self._seen.pop(digest, None)
                return False
            self._seen[digest] = now
            return True

    def close(self, session: str) -> None:
        """End a session."""
        with self._lock:
            self._seen.pop(_digest(session), None)

    def form_token(self, session: str) -> str:
        """What every form of a session carries: HMAC-SHA256 of the session."""
        return hmac.new(self._secret, b"form\x1f" + session.encode(), hashlib.sha256).hexdigest()

    def form_is_ours(self, session: str, token: str) -> bool:
        """Tell whether a form was made for this session."""
        return _same(self.form_token(session), token)


class Gate:
    """Stands before the pages: refuses, or lets through with the session in the scope.

    Parameters
    ----------
    app : ASGI application
        The pages.
    keys : Keys
        Link and sessions.
    port : int
        Port that the browser sees.
    """

    def __init__(self, app: ASGIApp, keys: Keys, port: int) -> None:
        self.app = app
        self.keys = keys
        self.hosts = frozenset({f"127.0.0.1:{port}", f"localhost:{port}"})
        self.cookie = cookie_name(port)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            return  # no web sockets; nothing starts with the pages
        headers = Headers(scope=scope)
        closing = _with_headers(send)
        refusal = self._refusal(scope, headers)
        if refusal is not None:
            status, sentence = refusal
            await PlainTextResponse(sentence + "\n", status)(scope, receive, closing)
            return
        session = self._session(headers)
        scope["session"] = session
        if session is None and scope["path"] not in OPEN_PATHS:
            # The same page whatever was asked: who is not let in learns no path.
            scope.update(path=DOOR, raw_path=DOOR.encode(), method="GET")
        await self.app(scope, receive, closing)

    def _refusal(self, scope: Scope, headers: Headers) -> tuple[int, str] | None:
        """Status and sentence, if the request is none of this page's browser."""
        hosts = headers.getlist("host")
        if len(hosts) != 1 or hosts[0].lower() not in self.hosts:
            return 400, "This page answers only to 127.0.0.1 and localhost with its own port."
        # "none" is a person who typed or opened the link; a browser too old to say
        # sends nothing, and then cookie, Origin and form token have to do.
        comes_from = headers.get("sec-fetch-site", "none")
        opens_link = scope["path"] in OPEN_PATHS and scope["method"] == "GET"
        if comes_from not in ("none", "same-origin") and not opens_link:
            return 403, "Another page asked for this; open it from the address bar."
        if scope["method"] in ("GET", "HEAD"):
            return None
        if scope["method"] != "POST":
            return 405, "Only GET and POST are answered."
        origin = headers.get("origin")
        if origin is None or origin.lower() not in {f"http://{host}" for host in self.hosts}:
            return 403, "A form must come from this page itself."
        if origin.lower() != f"http://{hosts[0].lower()}":
            return 403, "A form must come from this page itself."
        length = headers.get("content-length", "")
        if not length.isascii() or not length.isdigit() or int(length) > LARGEST_FORM_BYTES:
            return 413, "The form is larger than any of this page, or does not say how large."
        return None

    def _session(self, headers: Headers) -> str | None:
        """The open session that the request's cookie names."""
        for text in headers.getlist("cookie"):
            try:
                found = SimpleCookie(text).get(self.cookie)
            except CookieError:
                continue
            if found is not None and self.keys.knows(found.value):
                return found.value
        return None


def cookie_name(port: int) -> str:
    """Name of the session cookie: one per port, so that two sites can be open at once."""
    return f"osteofed-{port}"


def _with_headers(send: Send) -> Send:
    async def closing(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            for name, value in HEADERS.items():
                headers[name] = value
        await send(message)

    return closing


def _digest(session: str) -> str:
    """What is kept of a session: it cannot be turned back, and comparing leaks nothing."""
    return hashlib.sha256(session.encode()).hexdigest()


def _same(ours: str, theirs: str) -> bool:
    return hmac.compare_digest(ours.encode(), theirs.encode())
