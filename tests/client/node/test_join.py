"""A node is joined only with what is its own."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from typer.testing import CliRunner

from client.cli.main import app
from client.node import join as joining
from client.node.enrol import NODE_KEY
from client.node.join import NODE, STATUS, join
from shared.errors import CodeNotApprovedError, PlaceholderSecretError, RuntimeUnavailableError
from shared.protocol.invitation import COORDINATOR
from shared.protocol.signatures import Invitation

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """An enrolled site that has approved no code: a join goes no further than its checks."""
    (tmp_path / "site.yaml").write_text("site: alpha\n")
    invitation = Invitation(address="127.0.0.1:1", ca="", coordinator="0" * 64)
    (tmp_path / COORDINATOR).write_text(invitation.model_dump_json())
    (tmp_path / NODE_KEY).write_text("a key")
    (tmp_path / NODE_KEY).chmod(0o600)
    return tmp_path


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620])
def test_a_node_key_that_others_may_use_is_refused(folder: Path, mode: int) -> None:
    (folder / NODE_KEY).chmod(mode)
    with pytest.raises(PlaceholderSecretError, match=f"{mode:04o} lets others read the node's key"):
        join(folder)


def test_a_node_key_of_its_owner_alone_is_taken(folder: Path) -> None:
    with pytest.raises(CodeNotApprovedError):
        join(folder)


def test_a_site_that_is_joined_is_not_said_to_join_anew(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(joining, "approved_digests", lambda _: [{"digest": "ab"}])
    monkeypatch.setattr(joining, "until_stopped", lambda step: None)
    joined = CliRunner().invoke(app, ["join", str(folder)], catch_exceptions=False)
    assert "joining" in joined.output
    (folder / NODE / STATUS).write_text(json.dumps({"pid": os.getpid()}))
    refused = CliRunner().invoke(app, ["join", str(folder)])
    assert isinstance(refused.exception, RuntimeUnavailableError)
    assert refused.output == ""


@pytest.mark.parametrize("declared", [False, True])
def test_who_joins_a_site_that_never_declared_declares_for_it(
    folder: Path, monkeypatch: pytest.MonkeyPatch, declared: bool
) -> None:
    if declared:
        (folder / "site.yaml").write_text("site: alpha\ndeclared: {dxa-bmd: {train: 50}}\n")
    calls: list[Path] = []
    monkeypatch.setattr(joining, "approved_digests", lambda _: [{"digest": "ab"}])
    monkeypatch.setattr(joining, "until_stopped", lambda step: None)
    monkeypatch.setattr("client.contract.declaring.declare_if_never", calls.append)
    join(folder)
    assert calls == ([] if declared else [folder.resolve()])


def test_a_nodes_programs_are_taken_from_this_installation_only(folder: Path) -> None:
    """Not from the folder in which the command was typed, where others may write."""
    (folder / "node" / "bin").mkdir(parents=True, exist_ok=True)
    node = joining._prepare(folder, "127.0.0.1:1", folder)
    for program in (node.warm, node.supernode):
        assert program.command[1:3] == ["-P", "-m"]
        assert program.environment["PYTHONPATH"] == str(ROOT)
    assert (
        "-P -m client.node.approved_app" in (folder / "node" / "bin" / "flwr-clientapp").read_text()
    )
