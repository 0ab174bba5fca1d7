"""A model that comes in part is put together only if the whole is what was signed."""

from __future__ import annotations

from pathlib import Path

import pytest
from flwr.app import RecordDict

from client.round.answer import answer_train
from client.round.answer_cache import RUNS_KEPT, kept_rest
from client.round.open_site import Site, open_site
from client.round.refusals import refusal_of
from shared.errors import (
    BudgetExceededError,
    FirewallRefusedError,
    ModelNotKeptError,
    TicketRefusedError,
)
from shared.protocol import messages as protocol
from shared.protocol.codec import Arrays, array_record
from shared.protocol.half_precision import halved
from shared.protocol.messages import Job
from shared.settings.files import SitePrivacy
from shared.tasks import make_task
from shared.training.arrays import trainable_names
from shared.training.initial_weights import start_network
from shared.training.weights import digest_arrays
from tests.client.round.test_site_training import MODEL, change
from tests.server.jobs import job, ticket_for, train_message
from tests.server.tiny_sites import TINY_TASK, tiny_site

TRAINED = trainable_names(
    make_task(TINY_TASK), start_network(TINY_TASK, None)[0], TINY_TASK.private.trainable
)


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return open_site(tiny_site(tmp_path / "alpha", "alpha"))


def part(asked: Job, names: tuple[str, ...] = TRAINED, model: Arrays = MODEL) -> RecordDict:
    """Some tensors of a model, with a ticket over the whole."""
    sent = {name: model[name] for name in names}
    return protocol.train_message(array_record(sent), asked, ticket_for(asked, {"model": model}))


def test_what_came_before_makes_a_part_the_whole(site: Site) -> None:
    first = answer_train(site, train_message(MODEL, job(round=1)))
    whole = answer_train(open_site(site.store.folder), part(job(round=2)))
    assert len(site.ledger.entries()) == 2
    # Asked by a whole message, it is the same question, and the same answer.
    again = answer_train(open_site(site.store.folder), train_message(MODEL, job(round=2)))
    assert again.statement == whole.statement
    assert digest_arrays(again.update) != digest_arrays(first.update)
    assert len(site.ledger.entries()) == 2


def test_a_part_without_the_rest_is_refused_in_words_and_costs_nothing(site: Site) -> None:
    with pytest.raises(ModelNotKeptError, match="send the whole model") as said:
        answer_train(site, part(job()))
    refusal = refusal_of(said.value, site.store.folder, site, job())
    assert (refusal.code, refusal.kind) == (35, "ModelNotKeptError")
    assert "send the whole model" in refusal.reason
    assert site.ledger.entries() == []
    assert not (site.store.folder / "answers").exists()


def test_a_part_of_another_model_or_another_request_is_not_trained_on(site: Site) -> None:
    answer_train(site, train_message(MODEL, job()))
    other = halved({name: value + 1 for name, value in MODEL.items()})
    swapped = part(job(round=2))
    swapped["model"] = array_record({name: other[name] for name in TRAINED})
    for content in (part(job(round=2), model=other), swapped):
        with pytest.raises(ModelNotKeptError):
            answer_train(open_site(site.store.folder), content)
    assert len(site.ledger.entries()) == 1


def test_only_exactly_what_is_trained_may_come_alone(site: Site) -> None:
    answer_train(site, train_message(MODEL, job()))
    other = next(name for name in sorted(MODEL) if name not in TRAINED)
    for names in (TRAINED[1:], (*TRAINED, other), (other,), ()):
        with pytest.raises(FirewallRefusedError, match="missing"):
            answer_train(open_site(site.store.folder), part(job(round=2), names))
    assert len(site.ledger.entries()) == 1


def test_nothing_is_kept_of_a_model_without_a_good_ticket(site: Site) -> None:
    other = halved({name: value + 1 for name, value in MODEL.items()})
    content = train_message(MODEL, job())
    content["model"] = array_record(other)
    with pytest.raises(TicketRefusedError):
        answer_train(site, content)
    assert kept_rest(site.store.folder, job()) == {}


def test_a_plain_round_that_trains_everything_keeps_nothing_twice(site: Site) -> None:
    every = job(TINY_TASK.model_copy(update={
        "private": TINY_TASK.private.model_copy(update={"trainable": "all"})
    }))  # fmt: skip
    answer_train(site, train_message(MODEL, every))
    assert kept_rest(site.store.folder, every) == {}


def test_what_was_kept_goes_with_the_answers_of_its_run(site: Site) -> None:
    answer_train(site, train_message(MODEL, job()))
    assert sorted(kept_rest(site.store.folder, job())) == sorted(set(MODEL) - set(TRAINED))
    runs = site.store.folder / "answers"
    for number in range(RUNS_KEPT):
        (runs / f"newer-{number}").mkdir()
    answer_train(open_site(site.store.folder), train_message(MODEL, job(run="last")))
    assert kept_rest(site.store.folder, job()) == {}


def test_refused_requests_of_new_runs_leave_what_is_kept_alone(site: Site) -> None:
    answer_train(site, train_message(MODEL, job()))
    folder = site.store.folder
    kept = sorted(path.name for path in (folder / "answers" / "run-1").iterdir())
    change(folder, privacy=SitePrivacy(epsilon_budget=1e-3, delta=1e-3))
    for number in range(RUNS_KEPT):
        with pytest.raises(BudgetExceededError):
            answer_train(open_site(folder), train_message(MODEL, job(run=f"new-{number}")))
    assert [path.name for path in (folder / "answers").iterdir()] == ["run-1"]
    assert sorted(path.name for path in (folder / "answers" / "run-1").iterdir()) == kept
    assert len(kept) == 3


def test_a_lost_rest_is_kept_again_with_an_answer_that_was_kept(site: Site) -> None:
    answer_train(site, train_message(MODEL, job()))
    folder = site.store.folder
    [rest] = (folder / "answers").rglob("*-model.safetensors")
    rest.unlink()
    answer_train(open_site(folder), train_message(MODEL, job()))
    answer_train(open_site(folder), part(job(round=2)))
    assert len(open_site(folder).ledger.entries()) == 2
