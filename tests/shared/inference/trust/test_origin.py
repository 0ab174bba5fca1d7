"""Only what the coordinator's key signed is read where a key is known."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from shared.audit.keys import SigningKey
from shared.errors import ConfigError, ConfigValueError, PassportInvalidError
from shared.inference.champions import load_champions
from shared.inference.trust.origin import trusted_key, unverified
from shared.protocol.invitation import COORDINATOR
from shared.protocol.signatures import SIMULATION
from shared.settings.task import NetworkSettings, TaskSettings
from shared.training.weights import Arrays, load_weights, save_weights
from tests.shared.signed_versions import coordinator, signed_version

TASK = "dxa-bmd"
SETTINGS = TaskSettings(task=TASK)


def arrays(value: float = 1.0) -> Arrays:
    return {"head.weight": np.full((2, 3), value, dtype=np.float32)}


@pytest.fixture
def key(tmp_path: Path) -> SigningKey:
    return coordinator(tmp_path / "home")


@pytest.fixture
def models(tmp_path: Path, key: SigningKey) -> Path:
    signed_version(tmp_path / "models", SETTINGS, arrays(), key)
    return tmp_path / "models"


def refused(models: Path, key: SigningKey) -> str:
    with pytest.raises(PassportInvalidError) as caught:
        load_champions([TASK], models=models, trust=key.public)
    assert TASK in str(caught.value)
    return str(caught.value)


def test_what_the_coordinator_signed_is_read_and_names_the_key(
    models: Path, key: SigningKey
) -> None:
    facts = load_champions([TASK], models=models, trust=key.public).found[TASK].facts
    assert (facts.verified_with, facts.origin) == (key.public, "federated run run-1")
    assert load_champions([TASK], models=models).found[TASK].facts.verified_with == ""


def test_edited_weights_are_refused_though_their_file_agrees_with_itself(
    models: Path, key: SigningKey
) -> None:
    path = models / f"{TASK}.safetensors"
    save_weights(path, replace(load_weights(path), arrays=arrays(1.0001)))
    assert "its weights are not what the coordinator signed" in refused(models, key)


def test_a_forged_origin_or_other_settings_are_refused(models: Path, key: SigningKey) -> None:
    path = models / f"{TASK}.safetensors"
    honest = load_weights(path)
    save_weights(path, replace(honest, origin="federated run of the whole world"))
    assert "its origin is not what" in refused(models, key)
    other = SETTINGS.model_copy(update={"network": NetworkSettings(image_size=(48, 32))})
    save_weights(path, replace(honest, settings=other))
    assert "its settings are not what" in refused(models, key)


def test_a_passport_of_the_attackers_own_key_is_refused(
    models: Path, key: SigningKey, tmp_path: Path
) -> None:
    signed_version(models, SETTINGS, arrays(7.0), coordinator(tmp_path / "attacker"))
    assert "signed by another key" in refused(models, key)


def test_a_passport_that_names_the_key_without_its_signature_is_refused(
    models: Path, key: SigningKey
) -> None:
    path = models / f"{TASK}.passport.json"
    told = json.loads(path.read_text())
    path.write_text(json.dumps(told | {"run": "run-2"}))
    assert "its signature is not that of its content" in refused(models, key)


def test_without_a_passport_or_with_another_tasks_nothing_is_read(
    models: Path, key: SigningKey
) -> None:
    path = models / f"{TASK}.passport.json"
    path.unlink()
    assert "has no passport" in refused(models, key)
    other = TaskSettings(task="vfa-fracture")
    signed_version(models, other, arrays(), key)
    path.write_bytes((models / "vfa-fracture.passport.json").read_bytes())
    assert "its task is not what" in refused(models, key)


def test_the_key_is_the_sites_own_or_one_that_a_person_gave(
    tmp_path: Path, key: SigningKey
) -> None:
    site = tmp_path / "site"
    site.mkdir()
    assert trusted_key(None, site) is None
    assert trusted_key(key.public, None) == key.public
    invitation = {"address": "h:1", "ca": "x", "coordinator": key.public}
    (site / COORDINATOR).write_text(json.dumps(invitation))
    assert trusted_key(None, site) == key.public == trusted_key(key.public, site)
    with pytest.raises(ConfigValueError, match="is another key than that of"):
        trusted_key("0" * 64, site)
    with pytest.raises(ConfigValueError, match="no public key"):
        trusted_key("models/key.txt", None)
    simulated = invitation | {"address": SIMULATION, "ca": ""}
    (site / COORDINATOR).write_text(json.dumps(simulated))
    assert trusted_key(None, site) is None
    assert trusted_key("0" * 64, site) == "0" * 64
    (site / COORDINATOR).write_text("{}")
    with pytest.raises(ConfigError, match="not an invitation"):
        trusted_key(None, site)


def test_what_was_not_verified_is_named() -> None:
    assert unverified({TASK: "a" * 64}) == []
    [said] = unverified({TASK: "", "vfa-fracture": "a" * 64})
    assert said.startswith("Where the version was made is not verified (dxa-bmd)")
