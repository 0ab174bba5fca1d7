"""What version 0.1.0 wrote opens, verifies and goes on (tests/older/README.md)."""

from __future__ import annotations

import json
import tarfile
from pathlib import Path
from typing import Any

import pytest
import torch
from typer.testing import CliRunner

from client.cli.main import app as site_app
from client.identity.chain import AUDIT, site_key
from client.node.ledger_summary import ledger_statement
from client.privacy.declared import training_number
from client.store.site_store import SiteStore
from server.cli.main import app as server_app
from server.registry.passport import verify_passport
from server.state.home import Home
from shared.audit.chain import verify_chain
from shared.errors import PolicyRefusedError
from shared.inference.champions import load_champions
from shared.protocol.chain_cross_check import Other, verify_site_chain
from shared.settings.files import SiteConfig, load_settings
from shared.tasks import make_task
from shared.training.arrays import set_arrays
from shared.training.weights import digest_arrays, load_weights
from tests.server.real_sites import node_of, plan_of, train

ARCHIVE = Path(__file__).resolve().parents[1] / "older" / "0.1.0.tar.xz"
TASK = "dxa-segmentation"


@pytest.fixture(scope="module")
def older(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("older")
    with tarfile.open(ARCHIVE) as archive:
        archive.extractall(folder, filter="data")
    (folder / "sites" / "alpha").chmod(0o700)
    return folder


@pytest.fixture
def alpha(older: Path) -> Path:
    return older / "sites" / "alpha"


@pytest.fixture
def told(older: Path) -> Any:
    """What the version itself said of its run."""
    text = (older / "runs" / "run-1" / "result.json").read_text(encoding="utf-8")
    return json.loads(text)["tasks"][TASK]


def test_its_store_and_ledger_open(alpha: Path, told: Any) -> None:
    store = SiteStore.open(alpha)
    counts, split = store.counts(), len(store.source("train").patients)
    store.close()
    assert (counts["patients"], split) == (12, 8)
    statement = ledger_statement(alpha)
    lines = [line for line in statement["lines"] if line["run"] == "run-1"]
    # The rule of today is exact, the one of then was an upper bound.
    then = told["rounds"][-1]["epsilon"]["alpha"]
    assert 0.85 * then < lines[0]["epsilon_after"] < then
    assert (statement["filter"], statement["order"]) == ("gaussian", 0)
    for command in (["status", str(alpha)], ["studies", str(alpha)]):
        done = CliRunner().invoke(site_app, [*command, "--json"])
        assert done.exit_code == 0, done.output


def test_its_audit_trails_and_passport_verify(older: Path, alpha: Path, told: Any) -> None:
    home, run = Home(older / "coordinator"), older / "runs" / "run-1" / TASK
    coordinator = Other(home.chain().path, home.key().public)
    assert len(verify_chain(coordinator.path, coordinator.key)) > 5
    assert len(verify_site_chain(alpha / AUDIT, site_key(alpha).public, coordinator)) > 5
    checked = verify_passport(
        older / "export" / "passport.json", home.key().public,
        weights=older / "export" / f"{TASK}.safetensors", chain=coordinator.path,
        sites={"alpha": Other(alpha / AUDIT, site_key(alpha).public)},
        updates=run / "updates", start=run / "start.safetensors",
    )  # fmt: skip
    assert checked[-1] == "every round, aggregated again from the updates"


def test_its_version_is_read_and_computes_the_same(older: Path, told: Any) -> None:
    weights = load_weights(older / "export" / f"{TASK}.safetensors")
    assert digest_arrays(weights.arrays) == told["digest"]
    champion = load_champions([TASK], models=older / "export").found[TASK]
    task = make_task(champion.weights.settings)
    network = task.network().eval()
    set_arrays(network, champion.weights.arrays, strict=True)
    program = torch.export.load(older / "export" / "program.pt2").module()
    generator = torch.Generator().manual_seed(1)
    image = torch.rand((2, 1, 48, 32), generator=generator)
    [covariates] = [
        one.meta["val"] for one in program.graph.nodes
        if one.op == "placeholder" and one.meta["val"].dim() == 2
    ]  # fmt: skip
    facts = torch.rand((2, covariates.shape[1]), generator=generator)
    with torch.no_grad():
        assert torch.allclose(program(image, facts), network(image, facts), atol=1e-6)


def test_its_registry_lists_the_version(older: Path) -> None:
    uri = f"sqlite:///{older / 'mlflow.db'}"
    done = CliRunner().invoke(server_app, ["versions", "--uri", uri, "--json"])
    assert done.exit_code == 0, done.output
    assert TASK in done.output


@pytest.mark.last(1)
def test_a_hospital_and_a_coordinator_of_it_go_on(older: Path, alpha: Path) -> None:
    # It declared nothing, is asked to in one sentence, and its engineer does.
    before, home = ledger_statement(alpha), Home(older / "coordinator")
    with pytest.raises(PolicyRefusedError, match="runs `osteofed site declare`"):
        training_number(load_settings(alpha / "site.yaml", SiteConfig), TASK)
    done = CliRunner().invoke(site_app, ["declare", str(alpha), "--yes"])
    assert done.exit_code == 0, done.output
    written = len(verify_chain(home.chain().path, home.key().public))
    work = plan_of(older, [alpha], "private", 1)
    quorum = work.quorum.model_copy(update={"minimum_sites": 1})
    trained, _ = train(
        older, [node_of(alpha)], work.model_copy(update={"run": "run-2", "quorum": quorum})
    )
    assert trained.rounds
    after = ledger_statement(alpha)
    assert after["epsilon_spent"] > before["epsilon_spent"]
    assert [line["run"] for line in after["lines"]] == ["run-1", "run-2"]
    coordinator = Other(home.chain().path, home.key().public)
    assert len(verify_chain(coordinator.path, coordinator.key)) > written
    verify_site_chain(alpha / AUDIT, site_key(alpha).public, coordinator)
