"""A refusal tells the coordinator as little as it can, whatever went wrong."""

from __future__ import annotations

import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NoReturn

import pytest
from flwr.app import RecordDict

from client import app
from client.identity.chain import AUDIT, site_key
from client.round import refusals
from client.round.answer import answer_train
from client.round.open_site import Site, open_site
from client.round.refusals import least_refusal, log_failure, refusal_of
from shared import errors
from shared.audit.chain import verify_chain
from shared.errors import FirewallRefusedError, PolicyRefusedError
from shared.protocol import messages
from shared.protocol.signatures import Ticket
from shared.settings.files import SiteConfig, SitePolicy, SitePrivacy, load_settings, save_settings
from shared.training.arrays import get_arrays
from shared.training.initial_weights import start_network
from tests.server.jobs import job, train_message
from tests.server.tiny_sites import TINY_TASK, tiny_site

PRIVATE = "patient Maria Muster, 2.25.123456, /data/pacs/maria.dcm, 1950-01-01, 17 patients"
MODEL = get_arrays(start_network(TINY_TASK, None)[0])


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tiny_site(tmp_path / "secret-name-of-a-folder", "alpha")


def every_error() -> list[type[Exception]]:
    found = [ValueError, KeyError, FileNotFoundError, MemoryError]
    waiting: list[type[Exception]] = [errors.OsteofedError]
    while waiting:
        kind = waiting.pop()
        found.append(kind)
        waiting += kind.__subclasses__()
    # The demo runs at no hospital; whether its errors are known depends on what was imported.
    found = [kind for kind in found if not kind.__module__.startswith("shared.demo")]
    return [kind for kind in found if kind not in refusals.OUTSPOKEN]


@pytest.mark.parametrize("kind", every_error(), ids=lambda kind: kind.__name__)
def test_only_its_kind_and_code_leave_of_an_error(kind: type[Exception], folder: Path) -> None:
    refusal = refusal_of(kind(PRIVATE), folder, None, job())
    sent = refusal.model_dump_json()
    for secret in ("Maria", "2.25", "/data", "1950", "17", str(folder), folder.name):
        assert secret not in sent
    assert refusal.kind == kind.__name__
    assert refusal.code == getattr(kind, "exit_code", 1)


@pytest.mark.parametrize("kind", refusals.OUTSPOKEN, ids=lambda kind: kind.__name__)
def test_what_may_be_said_is_said_without_paths(kind: type[Exception], folder: Path) -> None:
    said = f"{folder}/store: no more than 1/(10·patients) (site.yaml: policy.tasks)"
    reason = refusal_of(kind(said), folder, None, None).reason
    assert reason == "(a path): no more than 1/(10·patients) (site.yaml: policy.tasks)"


@pytest.mark.parametrize(
    "part",
    [{"privacy": SitePrivacy(delta=9e-3)}, {"policy": SitePolicy(minimum_patients=1000)}],
    ids=["delta", "minimum_patients"],
)
def test_no_count_of_patients_is_in_a_refusal(part: dict[str, Any], folder: Path) -> None:
    config = load_settings(folder / "site.yaml", SiteConfig)
    save_settings(config.model_copy(update=part), folder / "site.yaml")
    site = open_site(folder)
    with pytest.raises(errors.OsteofedError) as said:
        answer_train(site, train_message(MODEL, job()))
    reason = refusal_of(said.value, folder, site, job()).reason
    assert "16" not in reason  # that are there; 15 are declared


def test_a_site_that_cannot_be_opened_is_named_by_its_settings(folder: Path) -> None:
    (folder / "secret.key").unlink()
    with pytest.raises(errors.StoreMissingError) as said:
        open_site(folder)
    assert refusal_of(said.value, folder, None, None).site == "alpha"
    (folder / "site.yaml").unlink()
    assert refusal_of(said.value, folder, None, None).site == "unknown-site"


# --- nothing reaches Flower ---------------------------------------------------------------


def fail(*_: object, **__: object) -> NoReturn:
    raise RuntimeError(PRIVATE)


def attempt(folder: Path) -> RecordDict:
    context: Any = SimpleNamespace(node_config={"site": str(folder)}, run_config={})
    message: Any = SimpleNamespace(content=train_message(MODEL, job()))
    return app._attempt(fail, message, context)


def refused(content: RecordDict) -> messages.Refusal:
    refusal = messages.read_refusal(content, FirewallRefusedError)
    assert refusal is not None
    assert "Maria" not in refusal.model_dump_json()
    return refusal


def test_a_failure_is_refused_and_its_details_stay_in_the_hospital(folder: Path) -> None:
    assert refused(attempt(folder)).kind == "RuntimeError"
    assert "Maria" in (folder / "failures.log").read_text()


@pytest.mark.parametrize(
    "broken",
    ["client.app.log_failure", "client.app.refusal_of", "client.round.open_site.Site.close"],
)
def test_a_failure_of_the_refusal_itself_stays_inside(
    broken: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(broken, fail)
    assert refused(attempt(folder)).kind == "RuntimeError"


def refused_line(folder: Path, content: RecordDict) -> dict[str, Any]:
    """What stands in the chain of a request that the policy refuses before it is admitted."""
    config = load_settings(folder / "site.yaml", SiteConfig)
    policy = config.policy.model_copy(update={"tasks": ("dxa-bmd",)})
    save_settings(config.model_copy(update={"policy": policy}), folder / "site.yaml")
    context: Any = SimpleNamespace(node_config={"site": str(folder)}, run_config={})
    message: Any = SimpleNamespace(content=content)
    said = app._attempt(lambda site: answer_train(site, content), message, context)
    assert refused(said).code != 0
    chain = folder / AUDIT
    last = verify_chain(chain, site_key(folder).public)[-1]
    assert last.event == "refused"
    return last.facts


def test_who_asked_what_was_refused_stands_in_the_chain(folder: Path) -> None:
    content = train_message(MODEL, job())
    facts = refused_line(folder, content)
    assert facts["kind"] == "PolicyRefusedError"
    ticket = Ticket.model_validate(facts["ticket"])
    assert ticket == messages.read_ticket(content, FirewallRefusedError)
    assert ticket.is_signed()


def test_a_request_without_a_ticket_is_refused_in_the_chain_all_the_same(folder: Path) -> None:
    content = train_message(MODEL, job())
    del content["ticket"]
    assert "ticket" not in refused_line(folder, content)


def test_a_message_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    context: Any = SimpleNamespace(node_config={}, run_config={})
    message: Any = SimpleNamespace(content=None)
    assert refused(app._attempt(fail, message, context)).kind == "ConfigError"


def test_the_least_refusal_is_valid() -> None:
    assert least_refusal(ValueError(PRIVATE)).code == 1


# --- the hospital's log ---------------------------------------------------------------------


def test_the_log_is_its_owners_alone_and_bounded(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(refusals, "LARGEST_LOG_BYTES", 5000)
    before = os.umask(0)
    try:
        for number in range(60):
            log_failure(folder, PolicyRefusedError(f"{number} " + "x" * 400))
    finally:
        os.umask(before)
    logs = sorted(folder.glob("failures.log*"))
    assert [log.name for log in logs] == ["failures.log", "failures.log.1"]
    assert all(log.stat().st_size < 6000 for log in logs)
    assert logs[0].stat().st_mode & 0o777 == 0o600
    assert "59 xx" in logs[0].read_text()


def test_one_failure_never_fills_the_log(folder: Path) -> None:
    log_failure(folder, ValueError("y" * 10_000_000))
    assert (folder / "failures.log").stat().st_size < 100_000


def test_the_log_says_what_the_coordinator_is_not_told(folder: Path) -> None:
    site: Site = open_site(folder)
    config = load_settings(folder / "site.yaml", SiteConfig)
    save_settings(
        config.model_copy(update={"privacy": SitePrivacy(delta=9e-3)}), folder / "site.yaml"
    )
    site = open_site(folder)
    with pytest.raises(PolicyRefusedError) as said:
        answer_train(site, train_message(MODEL, job()))
    log_failure(folder, said.value)
    assert "15 patients" in (folder / "failures.log").read_text()
