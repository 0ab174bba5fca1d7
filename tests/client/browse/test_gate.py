"""The door of the hospital's pages: who gets in, and which forms are taken."""

from __future__ import annotations

import re

import pytest

from client.browse.gate import IDLE_SECONDS, LARGEST_FORM_BYTES
from client.store.exclusions import left_out
from tests.client.browse.doors import Door, a_study

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
