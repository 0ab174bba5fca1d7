"""What `osteofed site status` and its metrics tell is what the site wrote down."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from typer.testing import CliRunner

from client.cli.main import app
from client.identity.chain import site_chain
from client.node import status
from client.node.enrol import NODE_KEY
from client.node.metrics import site_metrics
from client.node.status import require_connected, site_status
from client.store.site_store import init_site
from shared.errors import RuntimeUnavailableError
from shared.protocol.invitation import COORDINATOR
from shared.protocol.signatures import Invitation
from shared.settings.files import SiteConfig, SitePrivacy, load_settings, save_settings
from tests.server.tiny_sites import tiny_site


@pytest.fixture
def site(tmp_path: Path) -> Path:
    folder = tmp_path / "alpha"
    tiny_site(folder, "alpha", seed=1, privacy=SitePrivacy(epsilon_budget=8.0, delta=1e-3))
    return folder


def asked(site: Path, number: int) -> None:
    site_chain(site, "alpha").append("asked", task="bmd", round=number, ticket={"run": "tiny-1"})


def node(site: Path, **facts: object) -> None:
    (site / "node").mkdir(exist_ok=True)
    known = {"pid": os.getpid(), "state": "connected", "reason": "", "restarts": 1,
             "superlink": "host:1"}  # fmt: skip
    (site / "node" / "status.json").write_text(json.dumps(known | facts))


def test_a_site_that_never_joined(site: Path) -> None:
    found = site_status(site)
    assert found["node"]["state"] == "not joined"
    assert (found["working_on"], found["coordinator"]) == (None, None)
    assert (found["epsilon_spent"], found["epsilon_left"]) == (0.0, 8.0)


def test_an_empty_store_is_to_be_filled_before_anything_else(tmp_path: Path) -> None:
    folder = tmp_path / "alpha"
    init_site(folder, SiteConfig(site="alpha", privacy=SitePrivacy(delta=1e-3)))
    ingest = f"osteofed site ingest {folder} /path/to/studies"
    shown = CliRunner().invoke(app, ["status", str(folder)]).stdout
    assert shown.splitlines()[-1] == f"the next command is `{ingest}`"
    said = " ".join(shown.split())
    assert "0 studies in the store; epsilon 8.000 of 8 at delta 0.001 left" in said
    node(folder)
    assert site_status(folder)["node"]["state"] == "connected"
    assert site_status(folder)["next"] == ingest


def test_requests_are_a_table_once_there_were_any(site: Path) -> None:
    node(site)
    assert "outcome" not in CliRunner().invoke(app, ["status", str(site)]).stdout
    asked(site, 1)
    site_chain(site, "alpha").append("released", task="bmd", round=1, run="tiny-1")
    shown = CliRunner().invoke(app, ["status", str(site)]).stdout
    assert "outcome" in shown
    assert "tiny-1" in shown
    assert "next command" not in shown


def enrol(site: Path) -> None:
    pinned = Invitation(coordinator="0" * 64, address="host:1", ca="")
    (site / COORDINATOR).write_text(pinned.model_dump_json())
    (site / NODE_KEY).touch()


def test_a_site_that_never_joined_says_so_and_names_the_next_command(
    site: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def said() -> str:
        shown = CliRunner().invoke(app, ["status", str(site)]).stdout
        assert "alpha has not joined the federation yet" in shown
        assert "waiting" not in shown
        return shown.splitlines()[-1]

    config = load_settings(site / "site.yaml", SiteConfig)
    save_settings(config.model_copy(update={"declared": {}}), site / "site.yaml")
    assert said() == f"the next command is `osteofed site declare {site}`"
    save_settings(config, site / "site.yaml")
    assert said() == f"the next command is `osteofed site enrol {site} invitation.json`"
    with pytest.raises(RuntimeUnavailableError, match="not joined: the next command is"):
        require_connected(site)
    enrol(site)
    assert said() == f"the next command is `osteofed site approve {site} osteofed.fab`"
    monkeypatch.setattr(status, "approved_digests", lambda _: [{"digest": "0" * 64}])
    assert said() == f"the next command is `osteofed site join {site}`"


def test_what_it_is_working_on_until_it_is_answered(site: Path) -> None:
    asked(site, 3)
    work = site_status(site)["working_on"]
    assert (work["run"], work["round"], work["task"]) == ("tiny-1", 3, "bmd")
    site_chain(site, "alpha").append("released", task="bmd", round=3, run="tiny-1")
    found = site_status(site)
    assert found["working_on"] is None
    assert [(one["outcome"], one["round"]) for one in found["last"]] == [("released", 3)]


def test_a_refusal_is_told_with_its_reason(site: Path) -> None:
    asked(site, 1)
    site_chain(site, "alpha").append(
        "refused", task="bmd", round=1, run="tiny-1", reason="out of hours"
    )
    [last] = site_status(site)["last"]
    assert (last["outcome"], last["reason"]) == ("refused", "out of hours")


@pytest.mark.parametrize(
    ("written", "told"), [("connected", "gone"), ("refused", "gone"), ("stopped", "stopped")]
)
def test_a_node_whose_program_was_killed_is_gone(site: Path, written: str, told: str) -> None:
    node(site, state=written)
    assert site_status(site)["node"]["state"] == written
    node(site, state=written, pid=2**22 - 7)
    assert site_status(site)["node"]["state"] == told


def test_the_metrics_are_the_same_facts(site: Path) -> None:
    node(site, state="refused")
    asked(site, 1)
    found = {
        (sample.name, tuple(sample.labels.values())): sample.value
        for family in site_metrics(site)
        for sample in family.samples
    }
    assert found["osteofed_node_state", ("refused",)] == 1
    assert found["osteofed_node_restarts_total", ()] == 1
    assert found["osteofed_working", ()] == 1
    assert found["osteofed_epsilon_left", ()] == 8.0
    assert found["osteofed_audit_lines_total", ()] == site_status(site)["chain_lines"]
    assert found["osteofed_disk_free_bytes", ()] > 0
