"""A node is joined only with what is its own."""

from __future__ import annotations

from pathlib import Path

import pytest

from client.enrol import NODE_KEY
from client.join import join
from client.trust import COORDINATOR
from shared.errors import CodeNotApprovedError, PlaceholderSecretError
from shared.trust import Invitation


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
