"""What of a site's own settings would refuse a task is said by the check, and is what refuses."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from typer.testing import CliRunner

from client.cli.main import app
from client.contract.data_contract import check
from client.contract.own_rules import AgreedTask, own_refusals
from client.contract.true_counts import usable_patients_here, warnings
from client.round.answer import answer_train
from client.round.open_site import open_site
from client.store.catalogue import Image
from client.store.site_store import SiteStore
from shared.errors import CohortTooSmallError, OsteofedError, PolicyRefusedError
from shared.settings.files import SiteConfig, load_settings, save_settings
from shared.settings.task import TaskSettings
from shared.training.arrays import get_arrays
from shared.training.initial_weights import start_network
from tests.server.jobs import job, train_message
from tests.server.tiny_sites import TINY_TASK, tiny_site

TASK = TINY_TASK.task


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """16 training patients."""
    save_settings(TINY_TASK, tmp_path / "task.yaml")
    return tiny_site(tmp_path / "alpha", "alpha")


def agreement(folder: Path, mode: str = "private") -> Path:
    path = folder.parent / "federation.yaml"
    runs = [{"settings": "task.yaml"}]
    path.write_text(
        json.dumps({"name": "north", "workspace": "w", "privacy": {"mode": mode}, "tasks": runs})
    )
    return path


def change(folder: Path, part: str, **values: Any) -> None:
    config = load_settings(folder / "site.yaml", SiteConfig)
    changed = getattr(config, part).model_copy(update=values)
    save_settings(config.model_copy(update={part: changed}), folder / "site.yaml")


CASES: list[tuple[str, dict[str, Any], str, type[OsteofedError]]] = [
    ("policy", {"tasks": ("dxa-bmd",)}, f"policy.tasks in site.yaml does not name {TASK}",
     PolicyRefusedError),
    ("policy", {"minimum_patients": 17}, f"15 patients are declared to train {TASK}",
     CohortTooSmallError),
    ("policy", {"maximum_steps_per_round": 1}, "maximum_steps_per_round in site.yaml is 1",
     PolicyRefusedError),
    ("privacy", {"delta": 0.009}, "privacy.delta in site.yaml is 0.009", PolicyRefusedError),
]  # fmt: skip


@pytest.mark.parametrize(("part", "values", "sentence", "error"), CASES)
def test_a_setting_that_would_refuse_is_said_in_one_line_and_does_refuse(
    folder: Path, part: str, values: dict[str, Any], sentence: str, error: type[OsteofedError]
) -> None:
    assert check(folder, TASK, agreement(folder)).own_refusals == []
    change(folder, part, **values)
    [said] = check(folder, TASK, agreement(folder)).own_refusals
    assert sentence in said
    done = CliRunner().invoke(
        app, ["check", str(folder), TASK, "--agreement", str(agreement(folder))]
    )
    assert said in done.stdout.splitlines()
    assert isinstance(done.exception, PolicyRefusedError)
    site = open_site(folder)
    with pytest.raises(error):
        answer_train(site, train_message(get_arrays(start_network(TINY_TASK, None)[0]), job()))
    site.close()


def test_plain_training_that_the_site_does_not_allow_is_said(folder: Path) -> None:
    [said] = check(folder, TASK, agreement(folder, mode="plain")).own_refusals
    assert "allow_plain_runs" in said
    change(folder, "privacy", allow_plain_runs=True)
    assert check(folder, TASK, agreement(folder, mode="plain")).own_refusals == []


def test_without_the_agreement_the_kept_contract_is_enough(folder: Path) -> None:
    check(folder, TASK, agreement(folder))
    change(folder, "policy", tasks=(), minimum_patients=17)
    said = check(folder, TASK, None).own_refusals
    assert len(said) == 2
    done = CliRunner().invoke(app, ["check", str(folder), TASK, "--json"])
    assert json.loads(done.stdout)["own_refusals"] == said


def test_what_a_version_prepares_counts_its_task_and_its_patients(folder: Path) -> None:
    """A fracture model reads vertebrae that somebody drew, or that a version finds.

    Only a person's check and declaration count them; what would refuse follows from settings.
    """
    store = SiteStore.open(folder)
    with store.engine.begin() as connection:  # nobody drew any
        lateral = sa.update(Image).where(Image.view == "spine_lateral")
        connection.execute(lateral.values(mask_digest=None))
    settings = TaskSettings(task="vfa-fracture")
    source = store.source("train")
    counts = [usable_patients_here(store, "vfa-fracture", source, one) for one in ((), (TASK,))]
    assert counts == [0, 16]
    assert any("0 patients can train" in one for one in warnings(store, "vfa-fracture", ()))
    assert warnings(store, "vfa-fracture", (TASK,)) == []
    assert own_refusals(store, AgreedTask(settings, None, "private", {})) == []
    prepared = AgreedTask(settings, None, "private", {TASK: "0" * 64})
    assert own_refusals(store, prepared) == []
    change(folder, "policy", tasks=("vfa-fracture",))
    store.close()
    store = SiteStore.open(folder)
    assert any(f"does not name {TASK}" in one for one in own_refusals(store, prepared))
    store.close()
