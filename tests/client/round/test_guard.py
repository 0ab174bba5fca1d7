"""Every kind of request is held against the same list, before anything is spent or written."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from flwr.app import RecordDict

from client.round import answer
from client.round.answer import answer_evaluate, answer_train
from client.round.open_site import Site, open_site
from client.round.request_size import bytes_of_request
from client.round.train_request import CHECKS
from shared.errors import (
    CohortTooSmallError,
    ContractNotMetError,
    FirewallRefusedError,
    OsteofedError,
    PolicyRefusedError,
    TicketRefusedError,
)
from shared.protocol.invitation import COORDINATOR as PINNED
from shared.protocol.messages import EvaluateJob
from shared.settings.files import SiteConfig, load_settings, save_settings
from shared.settings.task import NetworkSettings, TaskSettings
from tests.client.round.test_site_training import MODEL
from tests.server.jobs import evaluate_message, job, train_message
from tests.server.tiny_sites import TINY_TASK, tiny_site

Ask = Callable[..., Any]


def trains(site: Site, settings: TaskSettings = TINY_TASK, **changes: Any) -> Any:
    model, to = changes.get("model", MODEL), changes.get("to", "alpha")
    content: RecordDict = train_message(model, job(settings), site=to)
    return answer_train(site, content)


def measures(site: Site, settings: TaskSettings = TINY_TASK, **changes: Any) -> Any:
    model, to = changes.get("model", MODEL), changes.get("to", "alpha")
    asked = EvaluateJob(run="run-1", task=settings.task, models={"final": settings})
    return answer_evaluate(site, evaluate_message({"final": model}, asked, site=to))


KINDS: dict[str, Ask] = {"train": trains, "evaluate": measures}


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return open_site(tiny_site(tmp_path / "alpha", "alpha"))


def change(site: Site, part: str, **values: Any) -> Site:
    path = site.store.folder / "site.yaml"
    config = load_settings(path, SiteConfig)
    changed = getattr(config, part).model_copy(update=values)
    save_settings(config.model_copy(update={part: changed}), path)
    return open_site(site.store.folder)


def written(site: Site) -> tuple[set[str], int]:
    """What stands in the site's folder and its ledger; SQLite's own files come and go."""
    files = {
        str(path.relative_to(site.store.folder))
        for path in site.store.folder.rglob("*")
        if not path.name.endswith(("-wal", "-shm"))
    }
    return files, len(site.ledger.entries())


def refused(site: Site, ask: Ask, error: type[OsteofedError], says: str, **changes: Any) -> None:
    before = written(site)
    with pytest.raises(error, match=says):
        ask(site, **changes)
    assert written(site) == before


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_passes_the_whole_list_in_order(
    site: Site, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    passed: list[str] = []

    def noted(check: Callable[[Any], None]) -> Callable[[Any], None]:
        def hold(request: Any) -> None:
            check(request)
            passed.append(check.__name__)

        return hold

    monkeypatch.setattr(answer, "CHECKS", tuple(map(noted, CHECKS)))
    KINDS[kind](site)
    assert passed == [check.__name__ for check in CHECKS]


@pytest.mark.parametrize("kind", KINDS)
def test_no_kind_is_answered_where_one_check_fails(
    site: Site, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    def fails(request: Any) -> None:
        raise PolicyRefusedError("no")

    for check in CHECKS:
        others = tuple(fails if one is check else one for one in CHECKS)
        monkeypatch.setattr(answer, "CHECKS", others)
        refused(site, KINDS[kind], PolicyRefusedError, "no")


RULES: list[tuple[dict[str, Any], type[OsteofedError], str]] = [
    ({"tasks": ("dxa-bmd",)}, PolicyRefusedError, "does not take part"),
    ({"hours": "03:00-03:00"}, PolicyRefusedError, "trains only at"),
    ({"require_contract": True}, ContractNotMetError, "contract"),
    ({"minimum_patients": 1000}, CohortTooSmallError, "minimum_patients: 1000"),
    ({"maximum_memory_gigabytes": 1e-6}, PolicyRefusedError, "GB of memory"),
]


@pytest.mark.parametrize("kind", KINDS)
def test_a_hospitals_rule_holds_for_every_kind(site: Site, kind: str) -> None:
    usual = (site.store.folder / "site.yaml").read_text()
    for values, error, says in RULES:
        refused(change(site, "policy", **values), KINDS[kind], error, says)
        (site.store.folder / "site.yaml").write_text(usual)


def test_a_site_that_knows_no_coordinator_answers_nobody(site: Site) -> None:
    for ask in KINDS.values():
        refused(site, ask, TicketRefusedError, "not for this site", to="any-site")
    (site.store.folder / PINNED).unlink()
    for ask in KINDS.values():
        refused(site, ask, TicketRefusedError, "knows no coordinator")
        refused(site, ask, TicketRefusedError, "knows no coordinator", to="any-site")


def test_what_takes_too_much_memory_or_is_no_model_is_refused(site: Site) -> None:
    huge = TINY_TASK.model_copy(
        update={"network": NetworkSettings(size="published", image_size=(4096, 4096))}
    )
    other = dict(MODEL)
    other["another"] = other.pop(sorted(other)[0])
    for ask in KINDS.values():
        refused(site, ask, PolicyRefusedError, "GB of memory", settings=huge)
        refused(site, ask, FirewallRefusedError, "not known: another", model=other)


def test_what_lasts_too_long_is_given_up(site: Site) -> None:
    late = change(site, "policy", maximum_hours_per_request=1e-9)
    for ask in KINDS.values():
        with pytest.raises(PolicyRefusedError, match="maximum_hours_per_request"):
            ask(late)


def test_memory_follows_images_and_patients() -> None:
    one = bytes_of_request(TINY_TASK, 1, trains=True)
    sides = TINY_TASK.model_copy(update={"network": NetworkSettings(image_size=(384, 256))})
    larger = bytes_of_request(sides, 1, trains=True)
    assert 16 < larger / one < 64
    assert bytes_of_request(sides, 8, trains=True) > 6 * larger
    assert bytes_of_request(sides, 1, trains=False) < larger
