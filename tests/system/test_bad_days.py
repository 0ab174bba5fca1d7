"""Bad lines, full disks, wrong clocks, copies and old stores, on real nodes.

In each case: nothing hangs past its deadline, whoever is missing is named with the
reason, no ledger counts twice or misses anything, and what is trained has the bits of a
run that had a good day.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from client.node.ledger_summary import ledger_statement
from shared.audit.chain import verify_chain
from shared.audit.keys import read_key
from shared.settings.files import Quorum
from tests.server.tiny_sites import TINY_TASK
from tests.suite.waiting import HANG_SECONDS, wait_for
from tests.system.bad_line import BadLine, line_to
from tests.system.real_federation import (
    MISSING_NGINX,
    NAMES,
    Federation,
    has_nginx,
    real_federation,
    write_agreement,
)

pytestmark = [
    pytest.mark.system,
    pytest.mark.timeout(1500),
    pytest.mark.skipif(not has_nginx(), reason=MISSING_NGINX),
]

SMALL: Final = "size=48m"
needs_root = pytest.mark.skipif(
    os.geteuid() != 0, reason="mounts a small file system, which takes root"
)
FAKETIME: Final = next(Path("/usr/lib").glob("*/faketime/libfaketime.so.1"), None)
needs_faketime = pytest.mark.skipif(
    FAKETIME is None, reason="faketime is not installed: apt-get install faketime"
)


@contextmanager
def small_disk(folder: Path) -> Iterator[None]:
    """A file system of its own at a folder, while the block runs; only for root."""
    folder.mkdir(parents=True, exist_ok=True)
    if os.geteuid() == 0:
        subprocess.run(["mount", "-t", "tmpfs", "-o", SMALL, "none", folder], check=True)
    try:
        yield
    finally:
        if os.geteuid() == 0:
            subprocess.run(["umount", "--lazy", folder], check=True)


@contextmanager
def full(folder: Path) -> Iterator[None]:
    """No room on the file system of a folder, while the block runs."""
    filler = folder / "filler"
    with filler.open("wb") as file:
        try:
            # Others delete and write meanwhile: what they free is taken too.
            while free := shutil.disk_usage(folder).free:
                with suppress(OSError):
                    os.posix_fallocate(file.fileno(), file.seek(0, os.SEEK_END), free)
            yield
        finally:
            filler.unlink()


def copy_site(site: Path, to: Path) -> None:
    """Copy a site but for its node's own folder, as a backup does."""

    def own(folder: str, names: list[str]) -> set[str]:
        return {"node"} & set(names) if Path(folder) == site else set()

    shutil.copytree(site, to, ignore=own)


@dataclass
class BadDays(Federation):
    """A federation whose sites call through a line of their own."""

    lines: dict[str, BadLine] = field(default_factory=dict)

    def join(self, name: str, *options: object) -> None:
        super().join(name, "--superlink", f"127.0.0.1:{self.lines[name].listen}", *options)


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[BadDays]:
    folder = tmp_path_factory.mktemp("bad-days")
    with ExitStack() as stack:
        plain = stack.enter_context(real_federation(folder))
        lines = {name: stack.enter_context(line_to("127.0.0.1", plain.port)) for name in NAMES}
        made = BadDays(folder, plain.token, plain.port, plain.running, lines)
        for name in NAMES:
            shutil.copytree(made.site(name), folder / "good" / name)
            (folder / "good" / name / "coordinator.json").unlink()
        kept = made.site("gamma").rename(folder / "gamma-kept")
        for disk in ("gamma", "work"):
            stack.enter_context(small_disk(folder / disk))
        shutil.copytree(kept, made.site("gamma"), dirs_exist_ok=True, symlinks=True)
        yield made
        made.end()  # before its disks go


def all_connected(federation: BadDays) -> None:
    """Join whoever is not there, and wait until all three are connected."""
    for name in NAMES:
        process = federation.running.get(f"join-{name}")
        if process is None or process.poll() is not None:
            federation.join(name)
    federation.connected(*NAMES)


@pytest.fixture
def federation(served: BadDays) -> BadDays:
    """The federation with all three sites connected, whatever came before."""
    all_connected(served)
    return served


@pytest.fixture(scope="module")
def copied(served: BadDays) -> Path:
    """A copy of alpha, tried beside it and refused, while alpha trained in the run "copy"."""
    all_connected(served)
    copy = served.folder / "alpha-copy"
    copy_site(served.site("alpha"), copy)
    served.start("join-alpha-copy", "site", "join", copy)
    wait_for(lambda: served.status("alpha-copy").get("state") == "refused")
    path = write_agreement(served.folder, rounds=2, name="copy", quorum=quorum())
    served.run("server", "run", path, "--home", served.home)
    served.leave("alpha-copy")
    return copy


def quorum(**changes: Any) -> Quorum:
    return Quorum(**{"minimum_sites": 3, "deadline_seconds": 60, "attempts": 4} | changes)


def good_day(federation: Federation, name: str, rounds: int) -> str:
    """Digest of the same agreement on sites that have seen nothing of all this."""
    folder = federation.folder / "good"
    federation.run("server", "run", write_agreement(folder, rounds=rounds, name=name))
    result = json.loads((folder / "work" / "result.json").read_text())
    return str(result["tasks"][TINY_TASK.task]["digest"])


def check_books(federation: Federation, run: str, rounds: dict[str, int]) -> None:
    """Ledgers have one line a run with the rounds that were answered; chains are whole."""
    for name, number in rounds.items():
        site = federation.site(name)
        lines = [one for one in ledger_statement(site)["lines"] if one["run"].startswith(f"{run}-")]
        assert [one["rounds"] for one in lines] == [number], name
        verify_chain(site / "audit.jsonl", read_key(site / "identity.key").public)
    key = read_key(federation.home / "identity.key").public
    verify_chain(federation.home / "audit.jsonl", key)


def test_lines_that_are_cut_or_slow_change_nothing(federation: BadDays) -> None:
    """Every third connection of alpha is cut, beta has 64 kB/s."""
    cut, slow = federation.lines["alpha"], federation.lines["beta"]
    before = slow.carried
    cut.cut_every, cut.life_seconds = 3, 2.0
    slow.bytes_per_second = 64_000
    try:
        path = write_agreement(federation.folder, rounds=3, name="line", quorum=quorum())
        federation.run("server", "run", path, "--home", federation.home)
        assert cut.cuts >= 3, f"{cut.connections} connections, {cut.cuts} cut"
        assert slow.carried - before > 1_000_000
    finally:
        cut.cut_every, cut.life_seconds, slow.bytes_per_second = 0, 0.0, 0
    digest = federation.result()["tasks"][TINY_TASK.task]["digest"]
    assert digest == good_day(federation, "line", 3)
    assert [sorted(one["patients"]) for one in federation.rounds("line")] == [list(NAMES)] * 3
    check_books(federation, "line", dict.fromkeys(NAMES, 3))


@needs_root
def test_a_site_whose_disk_is_full_says_so_and_comes_back(federation: Federation) -> None:
    path = write_agreement(
        federation.folder, rounds=3, name="full-site", quorum=quorum(minimum_sites=2)
    )
    with full(federation.site("gamma")):
        run = federation.start("full-site", "server", "run", path, "--home", federation.home)
        wait_for(lambda: len(federation.rounds("full-site")) >= 1, federation.log("full-site"))
    assert run.wait(HANG_SECONDS) == 0, federation.log("full-site").read_text()
    first, *_, last = federation.rounds("full-site")
    [absent] = first["absent"]
    assert absent["site"] == "gamma"
    assert "disk is full" in absent["reason"]
    assert sorted(last["patients"]) == sorted(NAMES)
    answered = sum("gamma" in one["patients"] for one in federation.rounds("full-site"))
    check_books(federation, "full-site", {"alpha": 3, "beta": 3, "gamma": answered})


@needs_root
def test_a_coordinator_whose_disk_is_full_pauses_and_goes_on(federation: Federation) -> None:
    path = write_agreement(federation.folder, rounds=4, name="full-server", quorum=quorum())
    run = federation.start("full-server", "server", "run", path, "--home", federation.home)
    wait_for(lambda: len(federation.rounds("full-server")) >= 1)
    with full(federation.folder / "work"):
        assert run.wait(HANG_SECONDS) != 0
        said = " ".join(federation.log("full-server").read_text().split())
        assert "disk is full" in said
        assert "Traceback" not in said
        status = federation.run("server", "status", federation.folder / "work", "--json")
        assert json.loads(status)["run"]["state"] == "paused"
    [folder] = (federation.folder / "work" / "runs").glob("full-server-*")
    federation.run("server", "resume", folder)
    digest = federation.result()["tasks"][TINY_TASK.task]["digest"]
    assert digest == good_day(federation, "full-server", 4)
    check_books(federation, "full-server", dict.fromkeys(NAMES, 4))


@needs_faketime
def test_a_clock_one_hour_off_is_named_and_the_others_go_on(federation: Federation) -> None:
    federation.leave("beta")
    federation.start(
        "join-beta", "site", "join", federation.site("beta"),
        environment={"LD_PRELOAD": str(FAKETIME), "FAKETIME": "+1h"},
    )  # fmt: skip
    wait_for(lambda: "clock" in federation.status("beta").get("reason", ""))
    assert "60 minutes ahead" in federation.status("beta")["reason"]
    path = write_agreement(
        federation.folder, rounds=1, name="clock",
        quorum=quorum(minimum_sites=2, deadline_seconds=60, attempts=5),
    )  # fmt: skip
    federation.run("server", "run", path, "--home", federation.home)
    [one] = federation.rounds("clock")
    assert [(a["site"], a["kind"]) for a in one["absent"]] == [("beta", "unreachable")]
    check_books(federation, "clock", {"alpha": 1, "gamma": 1})
    federation.leave("beta")
    federation.join("beta")
    federation.connected("beta")


def test_a_copy_of_a_site_stays_out_while_the_site_lives(
    federation: Federation, copied: Path
) -> None:
    assert [sorted(one["patients"]) for one in federation.rounds("copy")] == [list(NAMES)] * 2
    check_books(federation, "copy", dict.fromkeys(NAMES, 2))
    runs = [one["run"] for one in ledger_statement(copied)["lines"]]
    assert not any(run.startswith("copy-") for run in runs)


def test_a_site_that_is_back_with_an_old_store_is_refused(
    federation: Federation, copied: Path
) -> None:
    """The copy made before a run takes the site's place: it is older than what was said."""
    federation.leave("alpha")
    federation.start("join-alpha-copy", "site", "join", copied)
    federation.connected("alpha-copy")
    path = write_agreement(
        federation.folder, rounds=1, name="old", quorum=quorum(minimum_sites=2, attempts=1)
    )
    federation.run("server", "run", path, "--home", federation.home)
    [one] = federation.rounds("old")
    [absent] = one["absent"]
    assert (absent["site"], absent["kind"]) == ("alpha", "refused")
    assert "older" in absent["reason"]
    assert not any(line["run"].startswith("old-") for line in ledger_statement(copied)["lines"])
    federation.leave("alpha-copy")
    federation.join("alpha")
    federation.connected("alpha")


def test_a_node_with_another_key_is_refused(federation: Federation) -> None:
    stranger = federation.folder / "stranger"
    copy_site(federation.site("beta"), stranger)
    federation.leave("beta")  # so that it is not refused for being there twice
    own = ec.generate_private_key(ec.SECP384R1()).private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.OpenSSH,
        serialization.NoEncryption(),
    )
    (stranger / "node.key").write_bytes(own)
    federation.start("join-stranger", "site", "join", stranger)
    wait_for(lambda: federation.status("stranger").get("state") == "refused")
    assert "not admitted" in federation.status("stranger")["reason"]
    federation.leave("stranger")


@pytest.mark.last(1)
def test_everything_ends_with_its_command(federation: Federation) -> None:
    assert federation.end() == []
