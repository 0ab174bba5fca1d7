"""Whom a coordinator admits, and who may look into its home."""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from typer.testing import CliRunner

from server.cli.main import app
from server.deployment import readiness
from server.deployment import superlink as up
from server.deployment.members import admit
from server.deployment.pki import make_home
from server.state.home import Home
from shared.errors import (
    ConfigValueError,
    HomeExistsError,
    HomeMissingError,
    RuntimeUnavailableError,
)
from shared.protocol.signatures import ENROLMENT
from tests.server.jobs import signing_key


def pem(key: ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey) -> bytes:
    return key.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )


def enrolment(folder: Path, node_key: str) -> Path:
    key = signing_key("alpha")
    content = {
        "site": "alpha", "signing_key": key.public, "node_key": node_key, "most_patients": 40
    }  # fmt: skip
    path = folder / "enrolment.json"
    path.write_text(json.dumps(content | {"signature": key.sign(ENROLMENT, content)}))
    return path


GOOD = pem(ec.generate_private_key(ec.SECP384R1()))
NO_KEYS = {
    "any digits": "ab" * 60,
    "half a digit": "abc",
    "another curve": pem(ec.generate_private_key(ec.SECP256K1())).hex(),
    "another kind": pem(ed25519.Ed25519PrivateKey.generate()).hex(),
    "written otherwise": (GOOD + b"\n").hex(),
}


def test_an_enrolment_that_was_changed_after_it_was_signed_is_not_admitted(tmp_path: Path) -> None:
    home = tmp_path / "home"
    make_home(home, "localhost")
    path = enrolment(tmp_path, GOOD.hex())
    path.write_text(path.read_text().replace('"most_patients": 40', '"most_patients": 4000'))
    with pytest.raises(ConfigValueError, match="signature is not that of its content"):
        admit(home, path)


@pytest.mark.parametrize("what", NO_KEYS)
def test_a_node_key_that_is_none_is_not_admitted(tmp_path: Path, what: str) -> None:
    home = tmp_path / "home"
    make_home(home, "localhost")
    with pytest.raises(ConfigValueError, match="node_key: is not"):
        admit(home, enrolment(tmp_path, NO_KEYS[what]))
    assert Home(home).members() == ()


def test_a_node_key_is_admitted(tmp_path: Path) -> None:
    home = tmp_path / "home"
    make_home(home, "localhost")
    assert admit(home, enrolment(tmp_path, GOOD.hex())).site == "alpha"
    assert [one.site for one in Home(home).members()] == ["alpha"]


@pytest.fixture
def open_umask() -> Iterator[None]:
    before = os.umask(0)
    yield
    os.umask(before)


@pytest.mark.usefixtures("open_umask")
def test_a_home_and_what_it_serves_are_its_owners_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = tmp_path / "home"
    home.mkdir(mode=0o755)
    make_home(home, "localhost")
    monkeypatch.setattr(up, "until_stopped", lambda step: None)
    monkeypatch.setattr("shutil.which", lambda *_, **__: "/usr/sbin/nginx")
    up.up(home)
    for path in (home, home / "superlink", home / "nginx"):
        assert stat.S_IMODE(path.stat().st_mode) == 0o700, path
    (home / "superlink").chmod(0o755)  # as an older version left it
    up.up(home)
    assert stat.S_IMODE((home / "superlink").stat().st_mode) == 0o700


def test_a_home_that_is_there_is_never_made_anew(tmp_path: Path) -> None:
    make_home(tmp_path, "localhost")
    before = {path: path.read_bytes() for path in tmp_path.iterdir() if path.is_file()}
    with pytest.raises(HomeExistsError, match="home already; name a new folder") as error:
        make_home(tmp_path, "elsewhere")
    assert error.value.exit_code == 14
    assert {path: path.read_bytes() for path in tmp_path.iterdir() if path.is_file()} == before


def test_a_folder_that_is_no_home_is_said_with_what_makes_one(tmp_path: Path) -> None:
    with pytest.raises(HomeMissingError, match="osteofed server pki") as error:
        up.up(tmp_path)
    assert error.value.exit_code == 15


def test_a_home_that_is_up_is_not_said_to_be_served_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_home(tmp_path, "localhost")
    monkeypatch.setattr(up, "until_stopped", lambda step: None)
    monkeypatch.setattr("shutil.which", lambda *_, **__: "/usr/sbin/nginx")
    served = CliRunner().invoke(app, ["up", str(tmp_path)], catch_exceptions=False)
    assert "serving" in served.output
    (tmp_path / readiness.UP).write_text(json.dumps({"pid": os.getpid()}))
    refused = CliRunner().invoke(app, ["up", str(tmp_path)])
    assert isinstance(refused.exception, RuntimeUnavailableError)
    assert refused.output == ""
