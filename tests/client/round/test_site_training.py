"""A hospital's round with a real store: what it answers, keeps, spends and refuses."""

from __future__ import annotations

import shutil
import sqlite3
from pathlib import Path

import numpy as np
import pytest
import sqlalchemy as sa
from flwr.app import RecordDict

from client.app import site_folder
from client.contract.declaring import propose
from client.privacy.ledger import Ledger
from client.round import answer as training
from client.round.answer import answer_evaluate, answer_train
from client.round.local_training import evaluate_at_site, train_at_site
from client.round.open_site import Site, open_site
from client.round.refusals import refusal_of
from client.store.catalogue import Image, Label, Study
from shared.errors import (
    BudgetExceededError,
    CohortTooSmallError,
    ConfigError,
    FirewallRefusedError,
    PolicyRefusedError,
    StoreOutdatedError,
)
from shared.protocol.codec import Arrays
from shared.protocol.half_precision import halved
from shared.protocol.messages import EvaluateJob, Job
from shared.settings.files import SiteConfig, SitePolicy, SitePrivacy, load_settings, save_settings
from shared.training.accounting import Mechanism, gaussian_epsilon
from shared.training.arrays import get_arrays
from shared.training.initial_weights import start_network
from shared.training.local_round import RoundKey
from shared.training.weights import digest_arrays, save_weights
from tests.server.jobs import evaluate_message, job, train_message
from tests.server.tiny_sites import TINY_TASK, tiny_site

MODEL: Arrays = halved(get_arrays(start_network(TINY_TASK, None)[0]))


def change(folder: Path, **parts: SitePrivacy | SitePolicy) -> None:
    config = load_settings(folder / "site.yaml", SiteConfig)
    changed = {
        name: getattr(config, name).model_copy(update=part.model_dump(exclude_unset=True))
        for name, part in parts.items()
    }
    save_settings(config.model_copy(update=changed), folder / "site.yaml")


def message(asked: Job | None = None, model: Arrays = MODEL) -> RecordDict:
    return train_message(model, asked or job())


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return open_site(tiny_site(tmp_path / "alpha", "alpha"))


def test_a_private_round_spends_exactly_its_mechanism(site: Site) -> None:
    answer = answer_train(site, message())
    work = job()
    mechanism = Mechanism(work.sample_rate, work.noise_multiplier, work.steps)
    assert answer.account.epsilon_run == pytest.approx(
        gaussian_epsilon(mechanism.steps / mechanism.noise_multiplier**2, 1e-3)
    )
    assert [entry.state for entry in site.ledger.entries()] == ["committed"]
    assert answer.statistics["patients"] == 4


def test_the_seconds_of_an_answer_leave_as_whole_ones(site: Site) -> None:
    asked = EvaluateJob(run="run-1", task=TINY_TASK.task, models={"final": TINY_TASK})
    measured = answer_evaluate(site, evaluate_message({"final": MODEL}, asked))
    for account in (answer_train(site, message()).account, measured.account):
        assert account.seconds >= 1.0
        assert account.seconds.is_integer()


def test_only_what_is_trained_leaves_and_it_has_changed(site: Site) -> None:
    update = answer_train(site, message()).update
    assert 0 < len(update) < len(MODEL)
    assert any(value.any() for value in update.values())
    assert digest_arrays(halved(update)) == digest_arrays(update)


def test_asked_the_same_again_a_site_sends_the_same_bytes_and_spends_nothing(site: Site) -> None:
    first = answer_train(site, message())
    again = answer_train(site, message())
    assert digest_arrays(again.update) == digest_arrays(first.update)
    assert again.account == first.account
    assert len(site.ledger.entries()) == 1


@pytest.mark.parametrize("noise", [1e308, 1e5, 0.05])
def test_noise_outside_the_hospitals_range_is_refused_before_anything_is_spent(
    site: Site, noise: float
) -> None:
    with pytest.raises(PolicyRefusedError, match=r"noise multiplier of .* was asked \(site\.yaml"):
        answer_train(site, message(job(noise_multiplier=noise)))
    assert not site.ledger.entries()


def damage_answers(site: Site) -> None:
    for file in (site.store.folder / "answers").rglob("*.json"):
        file.write_text("{ damaged")


def test_a_release_whose_answer_is_lost_counts_again_with_other_noise(site: Site) -> None:
    first = answer_train(site, message())
    damage_answers(site)
    again = answer_train(site, message())
    assert digest_arrays(again.update) != digest_arrays(first.update)
    assert [entry.attempt for entry in site.ledger.entries()] == [1, 2]
    assert again.account.epsilon_spent > first.account.epsilon_spent


CHANGES = {
    "label": sa.update(Label).values(value=Label.value + 0.1),
    "dispute": sa.update(Label).values(disputed=True),
    "image": sa.update(Image).values(digest="1" * 64),
    "mask": sa.update(Image).values(mask_digest="1" * 64),
    "spacing": sa.update(Image).values(row_mm=Image.row_mm + 1),
    "covariate": sa.update(Study).values(age_years=50.0),
}


@pytest.mark.parametrize("what", CHANGES)
def test_changed_data_of_the_same_patients_is_another_request(site: Site, what: str) -> None:
    before = training.cohort_digest([site.store.source("train")])
    assert training.cohort_digest([site.store.source("train")]) == before
    with site.store.engine.begin() as connection:
        connection.execute(CHANGES[what])
    assert training.cohort_digest([site.store.source("train")]) != before


def test_changed_data_are_never_trained_on_with_the_noise_of_before(site: Site) -> None:
    first = answer_train(site, message())
    with site.store.engine.begin() as connection:
        connection.execute(CHANGES["covariate"])
    again = answer_train(site, message())
    assert digest_arrays(again.update) != digest_arrays(first.update)
    assert len(site.ledger.entries()) == 2


def test_other_versions_of_the_programs_are_another_request(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = training.cohort_digest([site.store.source("train")])
    monkeypatch.setattr(training, "versions_of", lambda *programs: ("torch 99",))
    assert training.cohort_digest([site.store.source("train")]) != before


def test_attempt_device_and_a_fresh_key_reach_the_key_of_the_noise(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys = []

    def spy(*arguments: object, **_: object) -> None:
        keys.append(next(a for a in arguments if isinstance(a, RoundKey)))
        raise RuntimeError("seen")

    monkeypatch.setattr("shared.training.local_round.train_private", spy)
    real = Ledger.reserve
    monkeypatch.setattr(Ledger, "reserve", lambda *a, **k: real(*a, **{**k, "repeatable": False}))
    for _ in range(2):
        with pytest.raises(RuntimeError, match="seen"):
            answer_train(site, message())
    assert [(key.attempt, key.device) for key in keys] == [(1, "cpu"), (2, "cpu")]
    assert len({key.fresh for key in keys}) == 2
    assert {len(key.fresh) for key in keys} == {32}


@pytest.mark.parametrize("erased", [True, False])
def test_only_with_keys_of_their_own_do_two_copies_of_a_site_have_other_noise(
    tmp_path: Path, erased: bool
) -> None:
    privacy = SitePrivacy(delta=1e-3, erase_noise_keys=erased)
    first = tiny_site(tmp_path / "alpha", "alpha", privacy=privacy)
    shutil.copytree(first, tmp_path / "copy")
    updates = {
        digest_arrays(answer_train(open_site(folder), message()).update)
        for folder in (first, tmp_path / "copy")
    }
    assert len(updates) == (2 if erased else 1)


def test_a_crash_during_training_leaves_the_cost_standing(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    def crash(*_: object) -> None:
        raise RuntimeError("power cut")

    with monkeypatch.context() as broken:
        broken.setattr(training, "_train", crash)
        with pytest.raises(RuntimeError):
            answer_train(site, message())
    assert [entry.state for entry in site.ledger.entries()] == ["reserved"]
    spent = site.ledger.epsilon()
    answer_train(site, message())
    assert site.ledger.epsilon() == spent


def test_another_question_is_another_release_with_other_noise(site: Site) -> None:
    first = answer_train(site, message(job(round=1)))
    other = answer_train(site, message(job(round=2)))
    assert digest_arrays(first.update) != digest_arrays(other.update)
    assert len(site.ledger.entries()) == 2


def test_a_round_over_the_budget_is_refused_with_spent_asked_left(site: Site) -> None:
    change(site.store.folder, privacy=SitePrivacy(epsilon_budget=0.5, delta=1e-3))
    poor = open_site(site.store.folder)
    with pytest.raises(BudgetExceededError) as said:
        answer_train(poor, message())
    refusal = refusal_of(said.value, poor.store.folder, poor, job())
    assert (refusal.code, refusal.spent, refusal.left) == (40, 0.0, 0.5)
    assert refusal.asked > 0.5
    assert poor.ledger.entries() == []


def test_training_without_privacy_needs_the_hospitals_permission(site: Site) -> None:
    with pytest.raises(PolicyRefusedError):
        answer_train(site, message(job(mode="plain")))
    privacy = SitePrivacy(delta=1e-3, allow_plain_runs=True)
    change(site.store.folder, privacy=privacy)
    willing = open_site(site.store.folder)
    answer = answer_train(willing, message(job(mode="plain")))
    assert (answer.account.plain_rounds, answer.account.epsilon_spent) == (1, 0.0)


def test_a_crafted_model_is_refused_before_anything_is_spent(site: Site) -> None:
    name = sorted(MODEL)[0]
    for wrong in (
        {**MODEL, "backdoor.weight": MODEL[name]},
        {n: v for n, v in MODEL.items() if n != name},
        {**MODEL, name: MODEL[name] * np.float32("nan")},
    ):
        with pytest.raises(FirewallRefusedError):
            answer_train(site, message(model=wrong))
    assert site.ledger.entries() == []


def test_a_small_hospital_does_not_train(site: Site) -> None:
    change(site.store.folder, policy=SitePolicy(minimum_patients=17))
    with pytest.raises(CohortTooSmallError, match="15 patients"):
        answer_train(open_site(site.store.folder), message())


def test_patients_that_the_task_cannot_use_do_not_count(site: Site) -> None:
    """They are counted when a person declares, and refuse nothing in between."""
    [patient, *_] = site.store.source("train").patients
    with site.store.engine.begin() as connection:
        of_patient = sa.select(Study.uid).where(Study.patient == patient)
        connection.execute(
            sa.update(Image).where(Image.study.in_(of_patient)).values(mask_digest=None)
        )
    today = {one.task: one.today for one in propose(site.store.folder) if one.place == "train"}
    assert today == {TINY_TASK.task: 15, "dxa-bmd": 16, "vfa-fracture": 15}
    assert answer_train(site, message()).patients == 15


def test_a_kept_answer_passes_the_rules_of_today(site: Site) -> None:
    first = answer_train(site, message())
    assert first.statistics
    change(site.store.folder, policy=SitePolicy(minimum_patients=5, release_metrics=False))
    again = answer_train(open_site(site.store.folder), message())
    assert (again.statistics, again.account.metrics_withheld) == ({}, "release_metrics_off")
    assert digest_arrays(again.update) == digest_arrays(first.update)


def test_models_are_measured_only_so_often(site: Site) -> None:
    change(
        site.store.folder,
        policy=SitePolicy(minimum_patients=5, smallest_cell=1, maximum_evaluations_per_run=2),
    )
    asked = EvaluateJob(run="r", task=TINY_TASK.task, models={"final": TINY_TASK})
    other = [{name: value + n for name, value in MODEL.items()} for n in range(3)]
    contents = [evaluate_message({"final": model}, asked) for model in other]
    for content in contents[:2]:
        answer_evaluate(open_site(site.store.folder), content)
    with pytest.raises(PolicyRefusedError, match="maximum_evaluations_per_run"):
        answer_evaluate(open_site(site.store.folder), contents[2])
    # What was answered is answered again with the same bytes, and counts once.
    first, again = (answer_evaluate(open_site(site.store.folder), contents[0]) for _ in range(2))
    assert first == again


def test_models_of_rounds_are_measured_only_so_often(site: Site) -> None:
    """A round can cost next to nothing; past the limit the site trains, and its sums stay."""
    change(
        site.store.folder,
        policy=SitePolicy(minimum_patients=5, smallest_cell=1, maximum_evaluations_per_month=2),
    )
    answers = [
        answer_train(open_site(site.store.folder), message(job(round=number)))
        for number in (1, 2, 3)
    ]
    assert [bool(one.statistics) for one in answers] == [True, True, False]
    assert answers[2].account.metrics_withheld == "measured_too_often"
    assert len(site.ledger.entries()) == 3


def test_a_ledger_older_than_the_chain_is_spent_from_no_more(site: Site, tmp_path: Path) -> None:
    answer_train(site, message())
    path = site.store.folder / "ledger.sqlite"
    kept = tmp_path / "kept.sqlite"
    with sqlite3.connect(path) as new, sqlite3.connect(kept) as old:
        new.backup(old)
    answer_train(open_site(site.store.folder), message(job(round=2)))
    with sqlite3.connect(path) as new, sqlite3.connect(kept) as old:
        old.backup(new)
    with pytest.raises(StoreOutdatedError, match="ledger lacks"):
        answer_train(open_site(site.store.folder), message(job(round=3)))
    assert len(site.ledger.entries()) == 1


def test_small_validation_sets_release_no_metrics(site: Site) -> None:
    change(site.store.folder, policy=SitePolicy(minimum_patients=5, smallest_cell=10))
    answer = answer_train(open_site(site.store.folder), message())
    assert (answer.statistics, answer.account.metrics_withheld) == ({}, "too_few_patients")


def test_models_are_measured_without_spending(site: Site) -> None:
    asked = EvaluateJob(
        run="r", task=TINY_TASK.task, models={"final": TINY_TASK, "champion": TINY_TASK}
    )
    content = evaluate_message({"final": MODEL, "champion": MODEL}, asked)
    answer = answer_evaluate(site, content)
    assert answer.statistics["final"] == answer.statistics["champion"]
    assert site.ledger.entries() == []


def test_a_node_finds_its_own_site(tmp_path: Path) -> None:
    plan = tmp_path / "plan.json"
    plan.write_text('{"sites": ["/a", "/b"]}')
    assert site_folder({"site": "/own", "partition-id": 0}, {"federation": str(plan)}) == Path(
        "/own"
    )
    assert site_folder({"partition-id": 1}, {"federation": str(plan)}) == Path("/b")
    with pytest.raises(ConfigError, match="node-config"):
        site_folder({}, {"federation": ""})


def test_training_alone_and_pooled_needs_permission_of_every_site(tmp_path: Path) -> None:
    allowed = SitePrivacy(delta=1e-3, allow_plain_runs=True)
    alpha = tiny_site(tmp_path / "alpha", "alpha", privacy=allowed)
    beta = tiny_site(tmp_path / "beta", "beta", seed=2)
    with pytest.raises(PolicyRefusedError):
        train_at_site([alpha, beta], TINY_TASK, None, 1)
    change(beta, privacy=allowed)
    weights, facts = train_at_site([alpha, beta], TINY_TASK, None, 1)
    assert (facts["patients"], facts["steps"], facts["sites"]) == (32, 1, ["alpha", "beta"])
    path = tmp_path / "w.safetensors"
    save_weights(path, weights)
    found = evaluate_at_site(alpha, {"pooled": path}, "all")["models"]["pooled"]
    assert found["patients"] == 24
    assert found["loss"] > 0


def test_training_alone_gives_the_same_bits_again(tmp_path: Path) -> None:
    allowed = SitePrivacy(delta=1e-3, allow_plain_runs=True)
    alpha = tiny_site(tmp_path / "alpha", "alpha", privacy=allowed)
    digests = {
        digest_arrays(train_at_site([alpha], TINY_TASK, None, 1)[0].arrays) for _ in range(2)
    }
    assert len(digests) == 1
    assert open_site(alpha).ledger.plain_rounds() == 2


def test_a_copy_of_a_site_trains_beside_what_the_site_has_spent(site: Site, tmp_path: Path) -> None:
    answer_train(site, message())
    site.close()
    copy = tmp_path / "copy"
    shutil.copytree(site.store.folder, copy)
    change(copy, privacy=SitePrivacy(delta=1e-3, allow_plain_runs=True))
    train_at_site([copy], TINY_TASK, None, 1)
    answer_train(open_site(copy), message(job(mode="plain")))
    assert [e.mode for e in open_site(copy).ledger.entries()] == ["private", "plain", "plain"]
    assert [e.mode for e in site.ledger.entries()] == ["private"]


def test_training_alone_with_other_settings_stands_apart_in_the_ledger(tmp_path: Path) -> None:
    allowed = SitePrivacy(delta=1e-3, allow_plain_runs=True)
    alpha = tiny_site(tmp_path / "alpha", "alpha", privacy=allowed)
    other = TINY_TASK.plain.model_copy(update={"learning_rate": 0.01})
    for settings in (TINY_TASK, TINY_TASK.model_copy(update={"plain": other})):
        train_at_site([alpha], settings, None, 1)
    assert len({entry.model_digest for entry in open_site(alpha).ledger.entries()}) == 2


def test_test_patients_are_never_trained_on(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[str] = []
    real = type(site.store).source

    def spy(store: object, split: str) -> object:
        seen.append(split)
        return real(store, split)  # type: ignore[arg-type]

    monkeypatch.setattr(type(site.store), "source", spy)
    answer_train(site, message())
    assert set(seen) == {"train", "validation"}
