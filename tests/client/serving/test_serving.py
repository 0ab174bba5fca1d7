"""What `osteofed serve` checks and says before it answers anybody."""

from __future__ import annotations

import json
import os
import signal
import socket
import threading
from pathlib import Path

import pytest
import yaml

from client.serving.check import check_site
from client.serving.doors import serve
from client.serving.served_site import INCOMING, ROOM, TEST_STUDY, ServedSite, served_site
from shared.errors import ConfigError, ConfigValueError
from shared.inference.service.client import InferenceClient
from shared.protocol.signatures import SIMULATION
from shared.runtime.flower import free_port
from tests.shared.inference.runtime.held_samples import SignedFolder, small_room
from tests.shared.inference.service.running_service import Authority


@pytest.fixture(scope="module")
def versions(tmp_path_factory: pytest.TempPathFactory) -> SignedFolder:
    return SignedFolder(tmp_path_factory.mktemp("versions"))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, versions: SignedFolder) -> Path:
    """A site that is enrolled with the coordinator who signed the versions."""
    made = tmp_path_factory.mktemp("site")
    invitation = {"address": "h:1", "ca": "x", "coordinator": versions.key.public}
    (made / "coordinator.json").write_text(json.dumps(invitation))
    settle(made, versions)
    small_room(made / ROOM / TEST_STUDY)
    return made


def settle(folder: Path, versions: SignedFolder, **grpc: object) -> ServedSite:
    """Write site.yaml, and read it."""
    told = {"models": str(versions.folder), "device": "cpu", "grpc": {"port": free_port()} | grpc}
    (folder / "site.yaml").write_text(yaml.safe_dump({"site": "riverside", "serve": told}))
    return served_site(folder, None)


def test_nothing_is_served_without_a_key_or_a_place_of_versions(tmp_path: Path) -> None:
    (tmp_path / "site.yaml").write_text("site: riverside\n")
    with pytest.raises(ConfigError, match="no coordinator's key is known"):
        served_site(tmp_path, None)
    simulated = {"address": SIMULATION, "ca": "", "coordinator": "0" * 64}
    (tmp_path / "coordinator.json").write_text(json.dumps(simulated))
    with pytest.raises(ConfigError, match="no coordinator's key is known"):
        served_site(tmp_path, None)
    with pytest.raises(ConfigError, match=r"must name either `models`.*or `registry`"):
        served_site(tmp_path, "0" * 64)


def test_who_is_not_on_this_machine_needs_a_certificate_and_a_name(
    folder: Path, versions: SignedFolder, tmp_path: Path
) -> None:
    with pytest.raises(ConfigValueError, match="has no TLS"):
        settle(folder, versions, host="0.0.0.0")  # noqa: S104  # what must be refused
    with pytest.raises(ConfigValueError, match="authority, certificate and key"):
        settle(folder, versions, tls={"certificate": "a.pem"})
    tls = Authority(tmp_path).tls().model_dump(mode="json")
    with pytest.raises(ConfigValueError, match="peers is empty"):
        settle(folder, versions, tls=tls)
    with pytest.raises(ConfigValueError, match="peers"):
        settle(folder, versions, tls=tls, peers={"scanner": ["everything"]})


def test_check_names_what_is_good_and_every_thing_that_is_not(
    folder: Path, versions: SignedFolder, tmp_path: Path
) -> None:
    authority = Authority(tmp_path)
    tls = authority.tls().model_dump(mode="json")
    site = settle(folder, versions, tls=tls, peers={"scanner": ["predict"]})
    found = {one.what: one for one in check_site(site)}
    assert all(one.good for one in found.values()), found
    assert "verified and tried" in found["versions"].words
    assert "scanner may predict" in found["certificates"].words
    assert f"are free in {folder}" in found["disk"].words
    ended, key = authority.give("ended", days=-1)
    tls |= {"certificate": str(ended), "key": str(key)}
    (versions.folder / "dxa-segmentation.passport.json").rename(tmp_path / "kept")
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        site = settle(folder, versions, tls=tls, peers={"scanner": ["predict"]}, port=port)
        bad = {one.what: one.words for one in check_site(site) if not one.good}
    (tmp_path / "kept").rename(versions.folder / "dxa-segmentation.passport.json")
    assert set(bad) == {"versions", "certificates", "address"}
    assert "has no passport" in bad["versions"]
    assert "ended on" in bad["certificates"]


def test_it_answers_until_it_is_stopped(folder: Path, versions: SignedFolder) -> None:
    site = settle(folder, versions)
    left = folder / ROOM / INCOMING / "of-a-killed-one" / "000001.dcm"
    left.parent.mkdir(parents=True)
    left.write_bytes(b"Doe^Jane")
    numbers: list[int] = []

    def ask(address: str) -> None:
        with InferenceClient(address) as client:
            numbers.append(client.models().number)
        os.kill(os.getpid(), signal.SIGTERM)

    serve(site, lambda at, runtime: threading.Thread(target=ask, args=(at["grpc"],)).start())
    assert numbers == [1]
    for room in (folder / ROOM, folder / ROOM / INCOMING):
        assert room.stat().st_mode & 0o777 == 0o700
    assert list((folder / ROOM / INCOMING).iterdir()) == []
