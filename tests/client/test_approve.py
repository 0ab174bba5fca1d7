"""Code runs in a hospital from its approval until that is withdrawn, and no longer."""

from __future__ import annotations

import hashlib
import io
import stat
import zipfile
from pathlib import Path

import pytest
from typer.testing import CliRunner

from client import start_app
from client.approve import approve, approved_digests, read_bundle
from client.audit import AUDIT, make_identity, site_key
from client.cli import app
from shared.chain import verify_chain
from shared.errors import CodeNotApprovedError

SETTINGS = """\
[project]
name = "tiny"
version = "{version}"
license = "MIT"
dependencies = []
[tool.flwr.app]
publisher = "osteofed"
[tool.flwr.app.components]
serverapp = "a:app"
clientapp = "a:app"
[tool.flwr.app.config]
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    site = tmp_path / "site"
    site.mkdir()
    (site / "site.yaml").write_text("site: alpha\n")
    make_identity(site, "alpha")
    return site


def bundle(folder: Path, version: str) -> Path:
    """Write a bundle in Flower's form."""
    files = {"pyproject.toml": SETTINGS.format(version=version).encode(), "a.py": b"app = 1\n"}
    content = "\n".join(
        f"{name},{hashlib.sha256(data).hexdigest()},{8 * len(data)}" for name, data in files.items()
    )
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for name, data in {**files, ".info/CONTENT": content.encode()}.items():
            archive.writestr(name, data)
    path = folder / f"{version}.fab"
    path.write_bytes(packed.getvalue())
    return path


def unpacked(folder: Path) -> set[str]:
    return {path.name.rpartition(".")[2] for path in (folder / "approved" / "apps").iterdir()}


def test_a_withdrawn_bundle_is_gone_and_the_others_stay(folder: Path) -> None:
    old, new = (read_bundle(bundle(folder.parent, version)) for version in ("1.0.0", "1.0.1"))
    approve(folder, old)
    approve(folder, new)
    assert unpacked(folder) == {old.digest[:8], new.digest[:8]}
    done = CliRunner().invoke(app, ["disapprove", str(folder), old.digest])
    assert done.exit_code == 0, done.output
    assert start_app._approved(folder) == {new.digest}
    assert unpacked(folder) == {new.digest[:8]}
    last = verify_chain(folder / AUDIT, site_key(folder).public)[-1]
    assert (last.event, last.facts) == ("disapproved", {"digest": old.digest})
    for path in (folder / "approved").rglob("*"):
        assert not stat.S_IMODE(path.stat().st_mode) & 0o222, path
    approve(folder, old)  # it can be approved anew
    assert [one["digest"] for one in approved_digests(folder)] == [new.digest, old.digest]


def test_what_is_not_approved_cannot_be_withdrawn(folder: Path) -> None:
    done = CliRunner().invoke(app, ["disapprove", str(folder), "0" * 64])
    assert isinstance(done.exception, CodeNotApprovedError)
    assert "approved: nothing" in str(done.exception)
