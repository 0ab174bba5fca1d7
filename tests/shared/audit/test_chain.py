"""An audit chain: whatever is done to its file is found, with the line's number."""

from __future__ import annotations

import contextlib
import json
import pkgutil
import re
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from client.identity.chain import make_identity, show_identity, site_chain
from server.state.home import Home
from shared.audit.chain import LINE, Anchor, Chain, Head, head_path, verify_chain
from shared.audit.keys import canonical, make_key, read_key, verify
from shared.audit.provisioning import begun, unfinished
from shared.errors import ChainBrokenError, PlaceholderSecretError
from shared.protocol.account import Account
from shared.protocol.chain_cross_check import (
    Other,
    released_facts,
    verify_coordinator_chain,
    verify_site_chain,
)
from shared.protocol.signatures import sign_statement, sign_ticket
from tests.suite.waiting import HANG_SECONDS

LINES = 9


def make_chain(folder: Path, lines: int = LINES) -> Chain:
    with begun(folder / "audit.jsonl", "alpha", folder / "identity.key") as chain:
        pass
    for number in range(lines):
        chain.append("counted", number=number, text='ä\n"', nested={"b": [1, 2.5], "a": None})
    return chain


def broken_line(chain: Chain) -> int:
    """The line that the verifier names."""
    with pytest.raises(ChainBrokenError) as caught:
        verify_chain(chain.path, chain.key.public)
    found = re.search(r"line (\d+)", str(caught.value))
    assert found, str(caught.value)
    return int(found.group(1))


def test_a_whole_chain_is_good_and_read_in_order(tmp_path: Path) -> None:
    chain = make_chain(tmp_path)
    lines = verify_chain(chain.path, chain.key.public)
    assert [line.facts["number"] for line in lines] == list(range(LINES))
    assert chain.head() == Head(line=LINES, digest=lines[-1].digest())
    assert all(chain.holds(Head(line=one.line, digest=one.digest())) for one in lines)
    assert not chain.holds(Head(line=3, digest=lines[3].digest()))
    assert not chain.holds(Head(line=LINES + 1, digest=lines[-1].digest()))
    assert (chain.path.stat().st_mode & 0o777, head_path(chain.path).stat().st_mode & 0o777) == (
        0o600,
        0o600,
    )


@given(data=st.data())
@settings(max_examples=60, deadline=None)
def test_any_changed_byte_is_found_in_its_line(data: st.DataObject) -> None:
    with TemporaryDirectory() as folder:
        chain = make_chain(Path(folder), 4)
        raw = bytearray(chain.path.read_bytes())
        at = data.draw(st.integers(0, len(raw) - 1))
        raw[at] ^= data.draw(st.integers(1, 255))
        line = bytes(chain.path.read_bytes()).count(b"\n", 0, at) + 1
        chain.path.write_bytes(bytes(raw))
        named = broken_line(chain)
        # A newline that goes joins two lines; one that comes makes two of one.
        assert line - 1 <= named <= line + 1


def changes() -> dict[str, tuple[Callable[[list[bytes]], list[bytes]], int]]:
    return {
        "the first deleted": (lambda one: one[1:], 1),
        "one deleted": (lambda one: one[:3] + one[4:], 4),
        "two swapped": (lambda one: [*one[:2], one[3], one[2], *one[4:]], 3),
        "one doubled": (lambda one: [*one[:5], one[4], *one[5:]], 6),
        "the last cut off": (lambda one: one[:-1], LINES),
        "all cut off": (lambda one: [], 1),
        "the end torn": (lambda one: [*one[:-1], one[-1][:20]], LINES),
        "the last newline gone": (lambda one: [*one[:-1], one[-1][:-1]], LINES),
        "an empty line": (lambda one: [*one[:2], b"\n", *one[2:]], 3),
        "another kind of text": (lambda one: [*one[:2], b"[1]\n", *one[2:]], 3),
    }


@pytest.mark.parametrize("what", changes())
def test_lines_that_are_moved_or_missing_are_found(tmp_path: Path, what: str) -> None:
    chain = make_chain(tmp_path)
    change, line = changes()[what]
    chain.path.write_bytes(b"".join(change(chain.path.read_bytes().splitlines(keepends=True))))
    assert broken_line(chain) == line


@given(data=st.data())
@settings(max_examples=40, deadline=None)
def test_any_changed_byte_of_the_head_is_found(data: st.DataObject) -> None:
    with TemporaryDirectory() as folder:
        chain = make_chain(Path(folder), 2)
        path = head_path(chain.path)
        raw = bytearray(path.read_bytes().rstrip())
        at = data.draw(st.integers(0, len(raw) - 1))
        raw[at] ^= data.draw(st.integers(1, 127))
        path.write_bytes(bytes(raw))
        with pytest.raises(ChainBrokenError):
            verify_chain(chain.path, chain.key.public)


def test_not_even_white_space_can_be_changed(tmp_path: Path) -> None:
    chain = make_chain(tmp_path)
    for path in (chain.path, head_path(chain.path)):
        raw = path.read_bytes()
        path.write_bytes(raw.replace(b": ", b":\t", 1))
        with pytest.raises(ChainBrokenError, match="not as it was written"):
            verify_chain(chain.path, chain.key.public)
        path.write_bytes(raw)


def test_a_deleted_head_is_found(tmp_path: Path) -> None:
    chain = make_chain(tmp_path)
    head_path(chain.path).unlink()
    with pytest.raises(ChainBrokenError, match=r"audit\.head: no such file"):
        verify_chain(chain.path, chain.key.public)


@pytest.mark.parametrize("left", [0, 1, 5, LINES])
def test_a_chain_without_its_head_is_not_continued(tmp_path: Path, left: int) -> None:
    chain = make_chain(tmp_path)
    head_path(chain.path).unlink()
    lines = chain.path.read_bytes().splitlines(keepends=True)
    chain.path.write_bytes(b"".join(lines[:left]))
    with pytest.raises(ChainBrokenError, match=r"audit\.head: no such file.* newest backup"):
        chain.append("as if nothing had happened")
    with pytest.raises(ChainBrokenError):
        chain.head()
    assert chain.path.read_bytes() == b"".join(lines[:left])
    assert not head_path(chain.path).exists()


@pytest.mark.parametrize("head", [True, False], ids=["head left", "head gone"])
def test_a_chain_that_is_gone_is_not_begun_anew(tmp_path: Path, head: bool) -> None:
    chain = make_chain(tmp_path)
    chain.path.unlink()
    if not head:
        head_path(chain.path).unlink()
    with pytest.raises(ChainBrokenError, match=r"audit\.jsonl.*: no such file"):
        chain.append("as if nothing had happened")
    with pytest.raises(ChainBrokenError, match=r"audit\.jsonl.*: no such file"):
        verify_chain(chain.path, chain.key.public)
    assert not chain.path.exists()
    with pytest.raises(FileExistsError):
        make_chain(tmp_path)


CHAIN, MAKING = "shared.audit.chain", "shared.audit.provisioning"
STEPS = (f"{MAKING}.make_key", f"{CHAIN}.Chain._write_head", f"{CHAIN}.Chain._line",
         f"{CHAIN}._line_bytes", f"{CHAIN}._head_text", f"{CHAIN}.settle",
         f"{MAKING}.settle")  # fmt: skip


@pytest.mark.parametrize("done", range(9))
def test_a_party_that_was_being_made_in_a_crash_is_made_by_the_next_call(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, done: int
) -> None:
    """However far it came: the crash is before or after any write, the first line's too."""
    taken = 0

    def counted(step: Callable[..., object]) -> Callable[..., object]:
        def call(*arguments: object, **named: object) -> object:
            nonlocal taken
            taken += 1
            if taken > done:
                raise KeyboardInterrupt
            return step(*arguments, **named)

        return call

    with monkeypatch.context() as patch:
        for name in STEPS:
            patch.setattr(name, counted(pkgutil.resolve_name(name)))
        with contextlib.suppress(KeyboardInterrupt):
            make_identity(tmp_path, "alpha")
    show_identity_of(tmp_path)
    chain = site_chain(tmp_path, "alpha")
    chain.append("went on")
    assert [line.event for line in verify_chain(chain.path, chain.key.public)] == [
        "site made", "went on"
    ]  # fmt: skip
    assert not unfinished(tmp_path / "identity.key").exists()


def show_identity_of(folder: Path) -> str:
    """What `osteofed site identity` says of a site of an older version, or a half-made one."""
    (folder / "site.yaml").write_text("site: alpha\n")
    return show_identity(folder)["signing_key"]


def test_a_site_of_an_older_version_is_given_its_key_and_chain_once(tmp_path: Path) -> None:
    (tmp_path / "site.yaml").write_text("site: alpha\n")
    with pytest.raises(PlaceholderSecretError, match="osteofed site identity"):
        site_chain(tmp_path, "alpha")
    key = show_identity_of(tmp_path)
    assert show_identity_of(tmp_path) == key
    assert len(verify_chain(tmp_path / "audit.jsonl", key)) == 1


def test_a_key_that_is_gone_is_not_replaced_beside_its_chain(tmp_path: Path) -> None:
    chain = make_chain(tmp_path)
    (tmp_path / "identity.key").unlink()
    for _ in range(2):
        with pytest.raises(PlaceholderSecretError, match="restore it from your backup"):
            show_identity_of(tmp_path)
    assert len(verify_chain(chain.path, chain.key.public)) == LINES


def test_a_home_with_a_key_is_given_no_second_chain(tmp_path: Path) -> None:
    home = Home(tmp_path)
    key = home.make()
    home.chain().append("home made")
    assert home.make().public == key.public
    home.chain().path.unlink()
    head_path(home.chain().path).unlink()
    assert home.make().public == key.public
    with pytest.raises(ChainBrokenError, match="no such file"):
        home.chain().append("run started")


def test_a_chain_of_another_key_is_none(tmp_path: Path) -> None:
    chain = make_chain(tmp_path)
    other = make_key(tmp_path / "other.key")
    with pytest.raises(ChainBrokenError):
        verify_chain(chain.path, other.public)


def test_half_a_line_after_a_power_cut_is_mended_by_the_next(tmp_path: Path) -> None:
    chain = make_chain(tmp_path)
    with chain.path.open("ab") as file:
        file.write(b'{"line": 10, "half')
    assert broken_line(chain) == LINES + 1
    assert chain.append("went on").line == LINES + 1
    assert len(verify_chain(chain.path, chain.key.public)) == LINES + 1


def test_a_line_whose_head_was_not_written_yet_is_good(tmp_path: Path) -> None:
    chain = make_chain(tmp_path)
    before = head_path(chain.path).read_bytes()
    chain.append("one more")
    head_path(chain.path).write_bytes(before)
    assert len(verify_chain(chain.path, chain.key.public)) == LINES + 1
    assert chain.append("and on").line == LINES + 2


def test_a_shortened_chain_is_not_continued(tmp_path: Path) -> None:
    chain = make_chain(tmp_path)
    lines = chain.path.read_bytes().splitlines(keepends=True)
    chain.path.write_bytes(b"".join(lines[:-2]))
    with pytest.raises(ChainBrokenError, match=f"line {LINES - 1} is missing"):
        chain.append("as if nothing had happened")


def test_a_chain_rewritten_with_its_own_key_contradicts_what_was_told(tmp_path: Path) -> None:
    chain = make_chain(tmp_path)
    told = Anchor(chain.head(), "the coordinator")
    chain.path.unlink()
    head_path(chain.path).unlink()
    chain.begin()
    for number in range(LINES):
        chain.append("counted", number=number + 1)
    verify_chain(chain.path, chain.key.public)
    with pytest.raises(ChainBrokenError, match=f"line {LINES} differs from what was told to the"):
        verify_chain(chain.path, chain.key.public, [told])


def test_a_line_that_its_own_key_exchanged_is_not_followed_by_the_next(tmp_path: Path) -> None:
    """Number, signature, head and last line are right; only the next line knows the old one."""
    chain = make_chain(tmp_path)
    lines = chain.path.read_bytes().splitlines(keepends=True)
    content = json.loads(lines[3])
    content.pop("signature")
    content["facts"]["number"] = 99
    signed = content | {"signature": chain.key.sign(LINE, content)}
    lines[3] = json.dumps(signed).encode("ascii") + b"\n"
    chain.path.write_bytes(b"".join(lines))
    assert broken_line(chain) == 5


def test_processes_that_write_at_once_lose_no_line(tmp_path: Path) -> None:
    chain = make_chain(tmp_path, 1)
    script = (
        "import sys; from pathlib import Path; from shared.audit.chain import Chain; "
        "from shared.audit.keys import read_key; f = Path(sys.argv[1]); "
        "c = Chain(f / 'audit.jsonl', 'alpha', read_key(f / 'identity.key')); "
        "[c.append('counted', who=sys.argv[2], n=n) for n in range(25)]"
    )
    writers = [
        subprocess.Popen([sys.executable, "-c", script, str(tmp_path), str(who)])
        for who in range(3)
    ]
    assert [writer.wait(HANG_SECONDS) for writer in writers] == [0, 0, 0]
    lines = verify_chain(chain.path, chain.key.public)
    assert len(lines) == 76


def both_sides(folder: Path, times: int = 3) -> tuple[Chain, Chain]:
    """A site and a coordinator that asked and answered some times."""
    (folder / "site").mkdir(parents=True)
    (folder / "home").mkdir()
    site = make_chain(folder / "site", 1)
    coordinator = make_chain(folder / "home", 1)
    talk(site, coordinator, times)
    return site, coordinator


def talk(site: Chain, coordinator: Chain, times: int, **chained: Any) -> None:
    """Ask and answer; the site's chain says `chained` of a release instead of what it signed."""
    for number in range(1, times + 1):
        ticket = sign_ticket(
            coordinator.key, site="alpha", run="r", asked="1" * 64, own=coordinator.head(),
            seen=site.head(),
        )  # fmt: skip
        coordinator.append("asked", ticket=ticket.model_dump())
        site.append("asked", ticket=ticket.model_dump())
        account = Account(
            site="alpha", run="r", round=number, task="t", mode="plain", request="2" * 64
        )
        signed = partial(
            sign_statement, site.key, account, asked="1" * 64, update="3" * 64, patients=10,
            statistics={"": {}}, mechanism=(0.0, 0.0, 0),
        )  # fmt: skip
        facts = released_facts(signed(head=Head())) | chained
        statement = signed(head=site.append("released", **facts))
        coordinator.append("answered", statement=statement.model_dump())


def test_both_chains_hold_each_other(tmp_path: Path) -> None:
    site, coordinator = both_sides(tmp_path)
    told = Other(coordinator.path, coordinator.key.public)
    assert len(verify_site_chain(site.path, site.key.public, told)) == 7
    others = [Other(site.path, site.key.public)]
    assert len(verify_coordinator_chain(coordinator.path, coordinator.key.public, others)) == 7


@pytest.mark.parametrize("chained", [{"noise_multiplier": 2.0}, {"steps": 1}, {"update": "4" * 64}])
def test_a_site_whose_chain_says_otherwise_than_it_signed_is_found(
    tmp_path: Path, chained: dict[str, Any]
) -> None:
    site, coordinator = both_sides(tmp_path)
    talk(site, coordinator, 1, **chained)
    told = Other(coordinator.path, coordinator.key.public)
    with pytest.raises(ChainBrokenError, match="line 9 is not what alpha signed to the coord"):
        verify_site_chain(site.path, site.key.public, told)


@pytest.mark.parametrize("who", ["site", "coordinator"])
def test_who_rewrites_his_own_chain_is_found_by_the_other_sides(tmp_path: Path, who: str) -> None:
    site, coordinator = both_sides(tmp_path)
    mine = site if who == "site" else coordinator
    lines = verify_chain(mine.path, mine.key.public)
    mine.path.unlink()
    head_path(mine.path).unlink()
    mine.begin()
    for line in lines[:-1]:
        facts = line.facts | ({"number": 99} if line.line == 1 else {})
        mine.append(line.event, **facts)
    verify_chain(mine.path, mine.key.public)  # by itself it is good
    told = Other(coordinator.path, coordinator.key.public)
    with pytest.raises(ChainBrokenError, match=rf"{re.escape(str(mine.path))}: line \d+ differs"):
        verify_site_chain(site.path, site.key.public, told)
    with pytest.raises(ChainBrokenError, match=rf"{re.escape(str(mine.path))}: line \d+ differs"):
        verify_coordinator_chain(
            coordinator.path, coordinator.key.public, [Other(site.path, site.key.public)]
        )


def test_a_key_that_others_may_read_or_that_is_none_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "identity.key"
    key = make_key(path)
    assert read_key(path).public == key.public
    assert "private" not in repr(key).lower()
    path.chmod(0o640)
    with pytest.raises(PlaceholderSecretError, match="0640"):
        read_key(path)
    path.chmod(0o600)
    for text in ("0" * 64, "changeme", "ab" * 31):
        path.write_text(text)
        with pytest.raises(PlaceholderSecretError, match="not a signing key"):
            read_key(path)
    with pytest.raises(FileExistsError):
        make_key(path)
    assert path.stat().st_mode & 0o777 == 0o600


def test_a_signature_holds_for_one_kind_and_one_content_only(tmp_path: Path) -> None:
    key = make_key(tmp_path / "k")
    signature = key.sign("ticket", {"a": 1, "b": 2.0})
    assert verify(key.public, "ticket", {"b": 2.0, "a": 1}, signature)
    assert not verify(key.public, "statement", {"a": 1, "b": 2.0}, signature)
    assert not verify(key.public, "ticket", {"a": 1, "b": 2.5}, signature)
    assert not verify("00", "ticket", {"a": 1, "b": 2.0}, signature)
    for spelt in (signature.upper(), f"{signature[:64]} {signature[64:]}"):
        assert not verify(key.public, "ticket", {"a": 1, "b": 2.0}, spelt)
    with pytest.raises(ValueError):
        canonical({"a": float("nan")})
