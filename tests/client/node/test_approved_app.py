"""Code that was not approved does not run, and the refusal tells nothing of the hospital."""

from __future__ import annotations

from pathlib import Path

import pytest

from client.identity.chain import AUDIT, make_identity, site_key
from client.node import approved_app
from shared.audit.chain import head_path, verify_chain
from shared.errors import OsteofedError


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    # The tests' own modules stay as they are.
    monkeypatch.setattr(approved_app, "_forget_ours", lambda: None)
    (tmp_path / "site.yaml").write_text("site: alpha\n")
    (tmp_path / "node").mkdir()
    make_identity(tmp_path, "alpha")
    return tmp_path


def refused(folder: Path) -> str:
    with pytest.raises(OsteofedError) as said:
        approved_app._check(b"unknown", {"0" * 64: {}}, folder)
    assert type(said.value).__name__ == "CodeNotApprovedError"
    assert said.value.__context__ is None
    return str(said.value)


def test_a_bundle_that_was_not_approved_is_refused_and_written_down(folder: Path) -> None:
    assert str(folder) not in refused(folder)
    lines = verify_chain(folder / AUDIT, site_key(folder).public)
    assert lines[-1].event == "bundle refused"


@pytest.mark.parametrize("broken", ["chain", "key", "settings", "log"])
def test_a_refusal_that_cannot_be_written_down_names_no_path(folder: Path, broken: str) -> None:
    if broken in ("chain", "log"):
        head_path(folder / AUDIT).write_text("damaged")
    elif broken == "key":
        (folder / "identity.key").chmod(0o644)
    else:
        (folder / "site.yaml").write_text("site: [")
    if broken == "log":
        (folder / "node").rmdir()
    assert str(folder) not in refused(folder)
    if broken != "log":
        assert str(folder) in (folder / "node" / "start_app.log").read_text()
