"""What the hospital answers, and to whom: tickets, old stores, repeated requests."""

from __future__ import annotations

import shutil
import sqlite3
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from flwr.app import ConfigRecord, RecordDict
from hypothesis import given, settings
from hypothesis import strategies as st

from client.identity.chain import IDENTITY
from client.privacy.chain_check import check_ledger
from client.privacy.ledger import DEFAULT_COHORT
from client.round import answer as answers
from client.round.answer import answer_train
from client.round.open_site import Site, open_site
from client.round.signing import not_proven_on, spent_of
from shared.audit.chain import Head, head_path, verify_chain
from shared.audit.keys import read_key
from shared.errors import (
    BudgetExceededError,
    ChainBrokenError,
    FirewallRefusedError,
    OsteofedError,
    PolicyRefusedError,
    StoreOutdatedError,
    TicketRefusedError,
)
from shared.protocol import messages as protocol
from shared.protocol.chain_cross_check import released_as_signed
from shared.protocol.codec import Arrays, array_record
from shared.protocol.half_precision import halved
from shared.protocol.invitation import COORDINATOR as PINNED
from shared.protocol.messages import Job
from shared.protocol.signatures import Invitation, Ticket, sign_statement, sign_ticket
from shared.settings.files import SitePrivacy
from shared.training.weights import digest_arrays
from tests.client.round.test_site_training import MODEL
from tests.server.jobs import COORDINATOR, job, signing_key, ticket, ticket_for, train_message
from tests.server.tiny_sites import tiny_site

#: Copies of a site have the same noise.
SAME_BITS = SitePrivacy(delta=1e-3, erase_noise_keys=False)


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return open_site(tiny_site(tmp_path / "alpha", "alpha"))


def pin(site: Site, key: str = COORDINATOR.public) -> None:
    invitation = Invitation(address="127.0.0.1:1", ca="", coordinator=key)
    (site.store.folder / PINNED).write_text(invitation.model_dump_json())


def with_ticket(**changes: Any) -> RecordDict:
    return train_message(MODEL, job(), **changes)


def test_an_answer_is_signed_and_both_lines_stand_in_the_chain(site: Site) -> None:
    answer = answer_train(site, with_ticket())
    statement = answer.statement
    assert statement.is_signed()
    assert statement.key == read_key(site.store.folder / IDENTITY).public
    assert statement.update == digest_arrays(answer.update)
    lines = verify_chain(site.chain.path, site.chain.key.public)
    events = ["site made", "declared", "asked", "reserved", "released"]
    assert [line.event for line in lines] == events
    assert lines[-1].digest() == statement.head_digest
    assert lines[-1].facts["update"] == statement.update


def refused_tickets(site: Site) -> dict[str, tuple[RecordDict, str]]:
    asked = job()
    good = ticket_for(asked, {"model": MODEL}, site="alpha")
    forged = good.model_copy(update={"own_line": 7})
    other = {name: value + 1 for name, value in MODEL.items()}
    stranger = sign_ticket(
        signing_key("stranger"), site="alpha", run="run-1", asked=good.asked, own=Head(),
        seen=Head(),
    )  # fmt: skip

    def message(model: Arrays, asked: Job, ticket: Ticket) -> RecordDict:
        return protocol.train_message(array_record(halved(model)), asked, ticket)

    return {
        "of another coordinator": (message(MODEL, asked, stranger), "another coordinator"),
        "changed after signing": (message(MODEL, asked, forged), "not that of the request"),
        "for another site": (with_ticket(site="beta"), "for beta, not for this site"),
        "for any site": (with_ticket(site="any-site"), "for any-site, not for this site"),
        "for another run": (
            message(MODEL, asked, ticket(good.asked, "alpha", "run-2")), "another run"
        ),
        "for another model": (message(other, asked, good), "another request than the one"),
        "for another round": (message(MODEL, job(round=2), good), "another request than the one"),
    }  # fmt: skip


@pytest.mark.parametrize(
    "what",
    ["of another coordinator", "changed after signing", "for another site", "for any site",
     "for another run", "for another model", "for another round"],
)  # fmt: skip
def test_a_request_without_the_right_ticket_is_refused_and_costs_nothing(
    site: Site, what: str
) -> None:
    pin(site)
    content, reason = refused_tickets(site)[what]
    with pytest.raises(TicketRefusedError, match=reason):
        answer_train(site, content)
    assert site.ledger.entries() == []


def test_what_was_done_otherwise_than_asked_is_not_signed_and_stays(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = answers._train

    def fewer(*arguments: Any) -> Any:
        return replace(real(*arguments), steps=1)

    monkeypatch.setattr(answers, "_train", fewer)
    with pytest.raises(PolicyRefusedError, match="is not the privacy mechanism that was asked"):
        answer_train(site, with_ticket())
    assert [entry.state for entry in site.ledger.entries()] == ["reserved"]
    lines = verify_chain(site.chain.path, site.chain.key.public)
    assert "released" not in [line.event for line in lines]


def test_job_statement_ledger_and_chain_say_the_same_and_are_held_against_each_other(
    site: Site,
) -> None:
    said = answer_train(site, with_ticket()).statement
    [entry] = site.ledger.entries()
    assert said.mechanism == job().mechanism == spent_of(entry.mechanism)
    assert said.not_proven == ""
    lines = verify_chain(site.chain.path, site.chain.key.public)
    assert released_as_signed(lines[-1], said)
    assert not released_as_signed(lines[-1], said.model_copy(update={"noise_multiplier": 9.0}))
    assert check_ledger(site.chain.path, lines, [entry]) == 1
    for other in (replace(entry, noise_multiplier=9.0), replace(entry, steps=1)):
        with pytest.raises(ChainBrokenError, match="another privacy mechanism than the ledger"):
            check_ledger(site.chain.path, lines, [other])
    with pytest.raises(ChainBrokenError, match="a reservation that the ledger does not have"):
        check_ledger(site.chain.path, lines, [])


def test_a_private_round_on_a_gpu_says_that_it_is_not_proven(site: Site) -> None:
    answer = answer_train(site, with_ticket())
    assert not_proven_on("cpu", job()) == not_proven_on("cuda", job(mode="plain")) == ""
    statement = sign_statement(
        site.chain.key, answer.account, asked="0" * 64, update="0" * 64, patients=10,
        statistics={}, mechanism=job().mechanism, head=Head(),
        not_proven=not_proven_on("cuda", job()),
    )  # fmt: skip
    assert statement.is_signed()
    assert statement.not_proven == "not proven on a GPU"
    assert not statement.model_copy(update={"not_proven": ""}).is_signed()


def test_the_pinned_coordinator_is_answered(site: Site) -> None:
    pin(site)
    answer_train(site, with_ticket(site="alpha"))
    assert len(site.ledger.entries()) == 1


def test_a_site_from_an_old_backup_refuses_before_it_spends(site: Site) -> None:
    folder = site.store.folder
    backup = folder.with_name("backup")
    shutil.copytree(folder, backup)
    told = answer_train(site, with_ticket()).statement.head
    old = open_site(backup)
    with pytest.raises(StoreOutdatedError, match="old backup"):
        answer_train(old, train_message(MODEL, job(round=2), seen=told))
    assert old.ledger.entries() == []
    answer_train(site, train_message(MODEL, job(round=2), seen=told))


def test_a_repeated_request_gives_the_same_bytes_signed_as_before(site: Site) -> None:
    first = answer_train(site, with_ticket())
    again = answer_train(open_site(site.store.folder), with_ticket())
    assert again.statement == first.statement
    assert digest_arrays(again.update) == digest_arrays(first.update)
    assert len(site.ledger.entries()) == 1


def interrupt(monkeypatch: pytest.MonkeyPatch, where: str) -> None:
    def stop(*arguments: object, **named: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(where, stop)


@pytest.mark.parametrize(
    "where",
    ["client.round.answer._train", "client.privacy.firewall.release_update",
     "client.round.answer.release",
     "client.round.answer.keep_answer", "client.privacy.ledger.Ledger.commit"],
)  # fmt: skip
def test_killed_anywhere_a_site_answers_with_the_same_bits_and_spends_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    whole = open_site(tiny_site(tmp_path / "alpha", "alpha", privacy=SAME_BITS))
    shutil.copytree(whole.store.folder, tmp_path / "copy")
    expected = answer_train(whole, with_ticket())
    killed = open_site(tmp_path / "copy")
    with monkeypatch.context() as patch:
        interrupt(patch, where)
        with pytest.raises(KeyboardInterrupt):
            answer_train(killed, with_ticket())
    site = open_site(tmp_path / "copy")
    assert site.ledger.epsilon() == whole.ledger.epsilon()  # reserved counts as spent
    answer = answer_train(site, with_ticket())
    assert digest_arrays(answer.update) == digest_arrays(expected.update)
    assert [(e.state, e.attempt) for e in site.ledger.entries()] == [("committed", 1)]
    assert answer.account.epsilon_spent == expected.account.epsilon_spent
    verify_chain(site.chain.path, site.chain.key.public)


@pytest.mark.parametrize(
    "where", ["client.round.answer._train", "client.privacy.ledger.Ledger.commit"]
)
def test_killed_anywhere_the_key_of_the_noise_is_kept_until_the_commit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    site = open_site(tiny_site(tmp_path / "alpha", "alpha"))
    with monkeypatch.context() as patch:
        interrupt(patch, where)
        with pytest.raises(KeyboardInterrupt):
            answer_train(site, with_ticket())
    assert _keys_of_noise(site) == 1
    shutil.copytree(site.store.folder, tmp_path / "copy")
    updates = set()
    for folder in (tmp_path / "alpha", tmp_path / "copy"):
        again = open_site(folder)
        updates.add(digest_arrays(answer_train(again, with_ticket()).update))
        assert _keys_of_noise(again) == 0
    assert len(updates) == 1


def _keys_of_noise(site: Site) -> int:
    with closing(sqlite3.connect(site.ledger.path)) as ledger:
        return int(ledger.execute("SELECT count(*) FROM noise_keys").fetchone()[0])


def test_a_kept_answer_that_the_ledger_forgot_is_counted_before_it_leaves(site: Site) -> None:
    """An older ledger was put back under newer answers."""
    folder = site.store.folder
    ledger = folder / "ledger.sqlite"
    site.ledger.close()
    backup = ledger.read_bytes()
    answer_train(open_site(folder), with_ticket())
    for file in folder.glob("ledger.sqlite*"):
        file.unlink()
    ledger.write_bytes(backup)
    ledger.chmod(0o600)
    again = open_site(folder)
    assert again.ledger.entries() == []
    answer_train(again, with_ticket())
    assert [entry.state for entry in again.ledger.entries()] == ["committed"]
    assert again.ledger.entries()[0].cohort == DEFAULT_COHORT


def test_a_site_whose_chain_was_cut_answers_nothing(site: Site) -> None:
    answer_train(site, with_ticket())
    lines = site.chain.path.read_bytes().splitlines(keepends=True)
    site.chain.path.write_bytes(b"".join(lines[:-1]))
    with pytest.raises(ChainBrokenError, match=f"line {len(lines)} is missing"):
        answer_train(open_site(site.store.folder), train_message(MODEL, job(round=2)))
    assert len(site.ledger.entries()) == 1
    head_path(site.chain.path).unlink()


def crafted(change: str) -> tuple[dict[str, Any], str]:
    model: dict[str, Any] = dict(MODEL)
    name = sorted(model)[0]
    if change == "renamed layer":
        model["layers.0"] = model.pop(name)
        return model, "not known: layers.0"
    if change == "added layer":
        return model | {"extra": np.zeros(3, np.float32)}, "not known: extra"
    if change == "changed shape":
        return model | {name: np.zeros((9, 9), np.float32)}, "shape"
    return model | {name: np.full(model[name].shape, np.nan, np.float32)}, "NaN or infinity"


@pytest.mark.parametrize("change", ["renamed layer", "added layer", "changed shape", "not finite"])
def test_a_crafted_model_is_refused_for_its_own_reason(site: Site, change: str) -> None:
    model, reason = crafted(change)
    with pytest.raises(FirewallRefusedError, match=reason):
        answer_train(site, train_message(model, job()))
    assert site.ledger.entries() == []


def test_a_round_after_the_budget_is_gone_and_an_unknown_task_are_refused(site: Site) -> None:
    hungry = job(noise_multiplier=0.11, epsilon=1000.0)
    with pytest.raises(BudgetExceededError, match=r"spent .* asked .* left"):
        answer_train(site, train_message(MODEL, hungry))
    unknown: Job = job(TASK_UNKNOWN)
    with pytest.raises(PolicyRefusedError, match="mri-knee"):
        answer_train(site, train_message(MODEL, unknown))


TASK_UNKNOWN = job().settings.model_copy(update={"task": "mri-knee"})

SCALARS = st.one_of(
    st.booleans(), st.integers(-(2**62), 2**62), st.floats(), st.text(max_size=30),
    st.binary(max_size=30),
)  # fmt: skip


@given(key=st.sampled_from(["protocol", "site", "run", "asked", "own_line", "seen_line",
                            "seen_digest", "signature", "coordinator", "more"]),
       value=SCALARS)  # fmt: skip
@settings(max_examples=150, deadline=None)
def test_no_changed_ticket_breaks_the_site(key: str, value: Any) -> None:
    content = train_message(MODEL, job())
    record = content["ticket"]
    assert isinstance(record, ConfigRecord)
    original = protocol.read_ticket(content, FirewallRefusedError)
    record[key] = value
    try:
        read = protocol.read_ticket(content, FirewallRefusedError)
    except OsteofedError:
        return
    assert read.is_signed() == (read == original)
