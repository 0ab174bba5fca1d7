"""What prepares a task's input is exactly what the signed job names, or nothing is made of it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sqlalchemy as sa
from flwr.app import RecordDict

from client.contract.data_contract import check, contract_digest, kept_contract
from client.round.answer import answer_evaluate, answer_train, cohort_digest
from client.round.open_site import Site, open_site
from client.round.received_preparation import (
    keep_preparations,
    prepared_source,
    receive_preparations,
)
from client.store.catalogue import Image
from client.store.prepared_source import PreparedSource
from shared.errors import (
    BudgetExceededError,
    ContractNotMetError,
    FirewallRefusedError,
    ModelNotKeptError,
    OsteofedError,
    PolicyRefusedError,
    TicketRefusedError,
    VersionMissingError,
)
from shared.findings.findings import Findings
from shared.protocol import messages as protocol
from shared.protocol.codec import Arrays, array_record
from shared.protocol.half_precision import halved
from shared.protocol.messages import EvaluateJob, Job
from shared.protocol.preparation import Preparation
from shared.records import View
from shared.settings.files import SitePolicy, SitePrivacy
from shared.tasks import make_task
from shared.tasks.dxa_segmentation import DxaSegmentation
from shared.training.arrays import get_arrays
from shared.training.batches import Patients
from shared.training.initial_weights import start_network
from shared.training.weights import Weights, digest_arrays, save_weights
from tests.client.round.test_site_training import change
from tests.server.jobs import job, ticket_for
from tests.server.rounds.test_prepared_rounds import (
    FRACTURE,
    PREPARATION,
    PREPARING,
    WEIGHTS,
    agree,
)
from tests.server.tiny_sites import TINY_TASK, tiny_site

MODEL: Arrays = halved(get_arrays(start_network(FRACTURE, None)[0]))
NAMED = {TINY_TASK.task: PREPARATION}
NAME = sorted(WEIGHTS)[0]


def of(arrays: Arrays) -> dict[str, Preparation]:
    """What a job says that names other weights."""
    return {TINY_TASK.task: Preparation(settings=TINY_TASK, digest=digest_arrays(arrays))}


@pytest.fixture
def site(tmp_path: Path) -> Site:
    """8 training patients, of whom nobody's vertebrae were drawn."""
    made = open_site(tiny_site(tmp_path / "alpha", "alpha", patients=12))
    lateral = sa.update(Image).where(Image.view == "spine_lateral")
    with made.store.engine.begin() as connection:
        connection.execute(lateral.values(mask_digest=None))
    agree(made.store.folder, NAMED)
    return made


def asked(prepared_with: dict[str, Preparation] = NAMED, **changes: Any) -> Job:
    return job(FRACTURE, prepared_with=prepared_with, **changes)


def message(work: Job, preparing: dict[str, Arrays] = PREPARING) -> RecordDict:
    """A train message with a ticket that fits its job and model, whatever else it brings."""
    records = {name: array_record(halved(arrays)) for name, arrays in preparing.items()}
    ticket = ticket_for(work, {"model": MODEL})
    return protocol.train_message(array_record(MODEL), work, ticket, records)


EVALUATION = EvaluateJob(
    run="run-1", task=FRACTURE.task, models={"final": FRACTURE}, prepared_with=NAMED
)


def evaluation(
    preparing: dict[str, Arrays] = PREPARING, work: EvaluateJob = EVALUATION
) -> RecordDict:
    records = {name: array_record(halved(arrays)) for name, arrays in preparing.items()}
    models = {"final": array_record(MODEL)}
    ticket = ticket_for(work, {"model:final": MODEL})
    return protocol.evaluate_message(models, work, ticket, records)


def source(site: Site, named: dict[str, Preparation] = NAMED, **brought: Arrays) -> PreparedSource:
    content = message(asked(named), {TINY_TASK.task: brought.get("weights", WEIGHTS)})
    versions = receive_preparations(site.store, content, FRACTURE.task, named)
    keep_preparations(site.store, versions)
    found = prepared_source(site.store.source("train"), FRACTURE.task, versions)
    assert isinstance(found, PreparedSource)
    return found


OTHER = {**WEIGHTS, NAME: WEIGHTS[NAME] + np.float32(1)}
NOT_FINITE = {**WEIGHTS, NAME: np.full_like(WEIGHTS[NAME], np.nan)}
NO_FINDING = {"dxa-bmd": Preparation(settings=TINY_TASK.model_copy(update={"task": "dxa-bmd"}),
                                     digest="0" * 64)}  # fmt: skip


@pytest.mark.parametrize(
    ("make", "error", "reason"),
    [
        (lambda: message(asked(), {TINY_TASK.task: OTHER}), FirewallRefusedError, "must be"),
        (lambda: message(asked(of(OTHER)), PREPARING), FirewallRefusedError, "must be"),
        (lambda: message(asked(), {}), ModelNotKeptError, "send the whole model"),
        (
            lambda: message(asked(), {TINY_TASK.task: {NAME: WEIGHTS[NAME]}}),
            FirewallRefusedError, "missing",
        ),
        (
            lambda: message(asked(of(NOT_FINITE)), {TINY_TASK.task: NOT_FINITE}),
            FirewallRefusedError, "NaN or infinity",
        ),
        (lambda: message(asked({})), FirewallRefusedError, "the message holds records"),
        (
            lambda: message(asked(NO_FINDING), {"dxa-bmd": WEIGHTS}),
            FirewallRefusedError, "whose findings it does not need",
        ),
    ],
)  # fmt: skip
def test_what_the_job_does_not_name_prepares_nothing(
    site: Site, make: Callable[[], RecordDict], error: type[OsteofedError], reason: str
) -> None:
    content = make()
    said = json.loads(str(content["job"].get("prepared_with", "{}")))
    agree(site.store.folder, {name: Preparation(**one) for name, one in said.items()})
    with pytest.raises(error, match=reason):
        answer_train(site, content)
    assert site.ledger.entries() == []
    assert not (site.store.arrays.parent / "prepared").exists()


def test_without_a_good_ticket_nothing_is_prepared(site: Site) -> None:
    content = message(asked())
    content["ticket"] = message(asked(round=2))["ticket"]
    with pytest.raises(TicketRefusedError):
        answer_train(site, content)
    assert not (site.store.arrays.parent / "prepared").exists()


def test_the_hospital_must_take_part_in_the_task_that_prepares(site: Site) -> None:
    change(site.store.folder, policy=SitePolicy(tasks=(FRACTURE.task,), minimum_patients=5))
    strict = open_site(site.store.folder)
    for ask in (lambda: answer_train(strict, message(asked())),
                lambda: answer_evaluate(strict, evaluation())):  # fmt: skip
        with pytest.raises(PolicyRefusedError, match="does not take part in task 'dxa-seg"):
            ask()


def test_another_preparation_than_the_kept_contract_says_is_refused(
    site: Site, tmp_path: Path
) -> None:
    save_weights(tmp_path / "w.safetensors", Weights(TINY_TASK, WEIGHTS, "test"))
    agreement = tmp_path / "federation.yaml"

    def keep(more: str) -> str:
        task = f"{{settings: vfa-fracture.yaml, contract: {{}}{more}}}"
        agreement.write_text(f"name: n\nworkspace: w\ntasks: [{task}]\n")
        return check(site.store.folder, FRACTURE.task, agreement).kept.digest

    bare = keep("")
    with pytest.raises(ContractNotMetError, match="says no version of another task; its eng"):
        answer_train(site, message(asked()))
    assert keep(", prepare_with: {dxa-segmentation: w.safetensors}") != bare
    kept = kept_contract(site.store.folder, FRACTURE.task)
    assert kept is not None
    assert kept.prepared_with == {TINY_TASK.task: PREPARATION.digest}
    for other in ({}, of(OTHER)):
        with pytest.raises(
            ContractNotMetError, match=rf"says dxa-seg\S+ {PREPARATION.digest[:12]}"
        ):
            answer_train(site, message(asked(other), {}))
    assert site.ledger.entries() == []
    answer_train(site, message(asked()))
    with pytest.raises(VersionMissingError):
        keep(", prepare_with: {dxa-segmentation: gone.safetensors}")


def settled(**changes: Any) -> dict[str, Preparation]:
    """What a job says that names the same weights under other settings."""
    settings = TINY_TASK.model_copy(update=changes)
    return {TINY_TASK.task: Preparation(settings=settings, digest=PREPARATION.digest)}


def test_the_agreed_weights_prepare_under_the_agreed_network_settings_alone(site: Site) -> None:
    """Else a coordinator could have every study read anew each round, in images of any size."""
    larger = settled(network=TINY_TASK.network.model_copy(update={"image_size": (4096, 4096)}))
    other = EVALUATION.model_copy(update={"prepared_with": larger})
    for ask in (lambda: answer_train(site, message(asked(larger))),
                lambda: answer_evaluate(site, evaluation(work=other))):  # fmt: skip
        with pytest.raises(ContractNotMetError, match="under other network settings"):
            ask()
    assert not (site.store.arrays.parent / "prepared").exists()


def test_settings_that_no_finding_follows_from_make_no_other_version(site: Site) -> None:
    answer_train(site, message(asked()))
    [kept] = (site.store.arrays.parent / "prepared").glob("*/*")
    made = {path: path.stat().st_mtime_ns for path in kept.rglob("*.npy")}
    plain = TINY_TASK.plain.model_copy(update={"steps_per_round": 7})
    answer_train(site, message(asked(settled(plain=plain), round=2)))
    assert list(kept.parent.parent.glob("*/*")) == [kept]
    assert {path: path.stat().st_mtime_ns for path in kept.rglob("*.npy")} == made


def test_a_contract_of_an_earlier_version_is_to_be_agreed_on_again(site: Site) -> None:
    """It did not keep the network settings, and opens all the same."""
    kept = kept_contract(site.store.folder, FRACTURE.task)
    assert kept is not None
    old = kept.model_copy(
        update={
            "prepared_networks": {},
            "digest": contract_digest(kept.contract, kept.prepared_with, {}),
        }
    )
    path = site.store.folder / "contracts" / f"{FRACTURE.task}.json"
    path.write_text(old.model_dump_json())
    assert "prepared_networks" not in path.read_text()
    said = "of an earlier version, which did not keep the network settings"
    with pytest.raises(ContractNotMetError, match=said):
        answer_train(site, message(asked()))
    assert any(said in one for one in check(site.store.folder, FRACTURE.task, None).own_refusals)
    edited = old.model_copy(update={"prepared_networks": kept.prepared_networks})
    path.write_text(edited.model_dump_json())
    with pytest.raises(ContractNotMetError, match="is not as it was kept"):
        answer_train(site, message(asked()))


def test_a_preparation_is_part_of_the_request(site: Site) -> None:
    """Else two trainings on other inputs would share their noise."""
    bare = site.store.source("train")
    digests = {
        cohort_digest([bare]),
        cohort_digest([source(site)]),
        cohort_digest([source(site, of(OTHER), weights=OTHER)]),
    }
    assert len(digests) == 3
    assert cohort_digest([source(site)]) in digests
    assert prepared_source(bare, FRACTURE.task, ()) is bare


def test_what_was_drawn_is_used_where_it_exists(site: Site) -> None:
    bare, prepared = site.store.source("train"), source(site)
    patient = bare.patients[0]
    [before], [after] = bare.studies(patient), prepared.studies(patient)
    assert before.images[View.SPINE_LATERAL].regions is None
    assert after.images[View.SPINE_LATERAL].regions is not None
    # Only what the task reads is completed, and labels stay the hospital's.
    assert after.labels == before.labels
    drawn = before.images[View.SPINE_PA].regions
    np.testing.assert_array_equal(after.images[View.SPINE_PA].regions, drawn)
    with site.store.engine.begin() as connection:
        connection.execute(sa.update(Image).values(mask_digest="1" * 64))
    [again] = source(site).studies(patient)
    drawn = np.load(site.store.array_path(before.study, "spine_lateral", "regions"))
    np.testing.assert_array_equal(again.images[View.SPINE_LATERAL].regions, drawn)


def test_who_is_counted_does_not_follow_from_what_is_found(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The number of patients is public: else weights could be made to ask about one of them."""
    reads: list[object] = []

    def nothing(task: DxaSegmentation, reading: Any) -> Any:
        reads.append(reading)
        return Findings()

    monkeypatch.setattr(DxaSegmentation, "find", nothing)
    task = make_task(FRACTURE)
    for _ in range(2):
        patients = Patients(task, source(site))
        assert len(patients) == 8
        assert not any(patients.newest(name)["weight"].any() for name in patients.names)
    assert len(reads) == 8


def test_a_version_that_fails_on_a_study_finds_nothing_in_it(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else weights whose arithmetic overflows could ask which patients a hospital has."""
    real, seen = DxaSegmentation.find, [0]

    def find(task: DxaSegmentation, reading: Any) -> Any:
        seen[0] += 1
        if seen[0] == 2:
            raise ValueError("zero-size array")
        found = real(task, reading)
        wrong: Any = {view: map_.astype(np.float32) for view, map_ in found.region_maps.items()}
        return Findings(region_maps=wrong) if seen[0] == 3 else found

    monkeypatch.setattr(DxaSegmentation, "find", find)
    answer_train(site, message(asked()))
    maps = sorted((site.store.arrays.parent / "prepared").rglob("*.npy"))
    assert seen[0] == len(maps) >= 8
    assert sum(not np.load(path).any() for path in maps) >= 2


def test_no_patient_is_read_before_privacy_is_reserved(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """How long a version takes, or that it fails, would answer questions at no ε."""
    reads: list[object] = []
    monkeypatch.setattr(DxaSegmentation, "find", lambda task, reading: reads.append(reading))
    change(site.store.folder, privacy=SitePrivacy(epsilon_budget=1e-6))
    with pytest.raises(BudgetExceededError):
        answer_train(open_site(site.store.folder), message(asked()))
    change(site.store.folder, policy=SitePolicy(release_metrics=False))
    answer_evaluate(open_site(site.store.folder), evaluation())
    assert reads == []


def test_an_evaluation_is_held_to_the_contract_too(site: Site) -> None:
    bare = EvaluateJob(run="run-1", task=FRACTURE.task, models={"final": FRACTURE})
    ticket = ticket_for(bare, {"model:final": MODEL})
    content = protocol.evaluate_message({"final": array_record(MODEL)}, bare, ticket, {})
    with pytest.raises(ContractNotMetError, match="with no version of another task"):
        answer_evaluate(site, content)
    agree(site.store.folder, {})
    with pytest.raises(ContractNotMetError, match="says no version of another task"):
        answer_evaluate(site, evaluation())
    (site.store.folder / "contracts" / f"{FRACTURE.task}.json").unlink()
    with pytest.raises(ContractNotMetError, match="says no version of another task"):
        answer_evaluate(site, evaluation())


def test_a_map_that_is_not_whole_is_made_again(site: Site) -> None:
    prepared = source(site)
    [before] = prepared.studies(prepared.patients[0])
    first = np.array(before.images[View.SPINE_LATERAL].regions)
    [folder] = (site.store.arrays.parent / "prepared").glob("*/*")
    path = folder / before.study / "spine_lateral.regions.npy"
    for damaged in (path.read_bytes()[:-1], b"", path.read_bytes().replace(b"(440,", b"(44, ")):
        path.write_bytes(damaged)
        [again] = prepared.studies(prepared.patients[0])
        np.testing.assert_array_equal(again.images[View.SPINE_LATERAL].regions, first)


def test_an_evaluation_always_brings_what_prepares_the_input(site: Site) -> None:
    with pytest.raises(FirewallRefusedError, match="the message holds records"):
        answer_evaluate(site, evaluation({}))
    measured = answer_evaluate(site, evaluation())
    assert measured.statistics["final"]["patients"] == 2
