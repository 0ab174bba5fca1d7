"""What takes long to make of a study is made once in a training, and kept as the store is."""

from __future__ import annotations

import errno
import os
import shutil
import stat
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import sqlalchemy as sa
import torch
from safetensors.torch import load_file
from sqlalchemy.orm import Session

from client.contract.declaring import Proposal, declare
from client.round.answer import answer_train
from client.round.kept_patients import patients_of
from client.round.open_site import Site, open_site
from client.store.catalogue import Label, Patient, Study, Volume
from client.store.exclusions import leave_out
from client.store.kept_samples import ENDING
from client.store.prepared_room import GIGABYTE, Holding, keep_samples_in_room
from client.store.prepared_source import PreparedSource
from client.store.preparing_version import HOLDING, PreparingVersion
from client.store.site_store import SiteStore, init_site, origin_text
from shared.protocol.preparation import Preparation
from shared.runtime.files import ROOM_TO_LEAVE
from shared.settings.files import SiteCompute, SiteConfig, SitePolicy, SitePrivacy
from shared.settings.task import NetworkSettings, PrivateSettings, TaskSettings
from shared.tasks import make_task
from shared.tasks.base import Task
from shared.tasks.ct import localisation, segmentation, slabs
from shared.tasks.ct.slabs import FRAME
from shared.training.arrays import get_arrays
from shared.training.compute import Compute
from shared.training.initial_weights import start_network
from tests.server.jobs import job, train_message
from tests.server.tiny_sites import invited
from tests.shared import ct_standins

#: Everybody is drawn into the one step of a round.
SETTINGS = TaskSettings(
    task="ct-localisation",
    private=PrivateSettings(steps_per_round=1, sample_rate=1.0, learning_rate=0.1, augment=False),
)
OUTLINES = SETTINGS.model_copy(
    update={"task": "ct-segmentation", "network": NetworkSettings(image_size=(32, 24))}
)
SPLITS = ("train", "train", "validation")
#: Slices that are taken of a stand-in, and what they are.
TAKEN = slice(24, 60)
SHAPE = (36, *ct_standins.SHAPE[1:])
TRAINED = SPLITS.count("train")
PERMITTED = SitePolicy(
    minimum_patients=1, smallest_cell=1, tasks=("ct-localisation", "ct-segmentation")
)


def ct_site(folder: Path, policy: SitePolicy = PERMITTED) -> Site:
    """Three patients with a CT each, of whom two train."""
    privacy = SitePrivacy(epsilon_budget=50.0, delta=5e-3)
    init_site(
        folder,
        SiteConfig(site="alpha", privacy=privacy, policy=policy, compute=SiteCompute(device="cpu")),
    )
    invited(folder)
    store = SiteStore.open(folder)
    with Session(store.engine) as session, session.begin():
        for number, split in enumerate(SPLITS):
            add_series(session, store, number, split)
    store.close()
    declare(folder, [Proposal(task, "train", TRAINED, None, 2) for task in policy.tasks or ()])
    return open_site(folder)


def add_series(session: Session, store: SiteStore, number: int, split: str) -> None:
    one = ct_standins.lumbar_ct(np.random.default_rng(number))
    study, series = f"2.25.1{number}", f"2.25.2{number}"
    session.add(Patient(pseudonym=f"p{number}", split=split))
    session.flush()
    session.add(Study(uid=study, patient=f"p{number}", vendor="other", day=1))
    session.flush()
    for what, array in (("hu", one.hu), ("regions", one.regions)):
        path = store.array_path(study, series, what)  # type: ignore[arg-type]
        path.parent.mkdir(parents=True, exist_ok=True)
        np.save(path, np.asarray(array)[TAKEN])
    session.add(
        Volume(
            study=study, series=series, slices=SHAPE[0], rows=SHAPE[1], columns=SHAPE[2],
            slice_mm=one.spacing_mm[0], row_mm=one.spacing_mm[1], column_mm=one.spacing_mm[2],
            origin=origin_text(one.origin_mm), kvp=one.kvp, kernel=one.kernel, resampled="",
            thickness_mm=one.slice_thickness_mm, digest="0" * 64, mask_digest="0" * 64,
        )
    )  # fmt: skip


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return ct_site(tmp_path / "alpha")


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """How often slabs, projections and pictures of a patient were made."""
    counts: Counter[str] = Counter()

    def count(name: str, module: Any, function: str, shape_of: Callable[[Any], Any]) -> None:
        real: Callable[..., Any] = getattr(module, function)

        def counted(*given: Any) -> Any:
            counts[name] += shape_of(given[0]) in (SHAPE, FRAME)  # and not of an example
            return real(*given)

        monkeypatch.setattr(module, function, counted)

    count("slabs", slabs, "_made", lambda volume: volume.hu.shape)
    count("projections", localisation, "draw_canvas", lambda made: made.placed.original)
    count("pictures", segmentation, "picture", lambda hu: hu.shape)
    return counts


def train(site: Site, *rounds: int) -> None:
    """Train rounds under privacy, each measured first."""
    model = get_arrays(start_network(SETTINGS, None)[0])
    for number in rounds:
        asked = job(SETTINGS, round=number, noise_multiplier=1.0, epsilon=50.0, delta=1e-3)
        answer_train(site, train_message(model, asked))


def prepare(site: Site, task: Task | None = None) -> None:
    """Prepare every patient that trains, as a round does."""
    task = task or make_task(SETTINGS)
    source = site.store.source("train")
    patients = patients_of(task, source, [(site.store, source)])
    for name in patients.names:
        patients.newest(name)


def samples(site: Site) -> list[Path]:
    return sorted((site.store.arrays.parent / "prepared").rglob(f"*{ENDING}"))


def study_of(sample: Path) -> str:
    return sample.stem.rpartition(".")[0]


def counted(site: Site) -> int:
    """Bytes that the only folder of samples may take."""
    [holding] = (site.store.arrays.parent / "prepared").glob(f"*/*/{HOLDING}")
    return Holding.model_validate_json(holding.read_text()).bytes


def with_room(site: Site, gigabytes: float) -> Site:
    """Give the site as it is with other room for what is kept."""
    config = site.store.config
    policy = config.policy.model_copy(update={"maximum_prepared_gigabytes": gigabytes})
    store = replace(site.store, config=config.model_copy(update={"policy": policy}))
    return replace(site, store=store)


def test_two_rounds_make_slabs_and_projections_of_a_series_once(
    site: Site, made: Counter[str]
) -> None:
    """Of the patients that train and of the one that is measured."""
    train(site, 1, 2)
    assert made == {"slabs": len(SPLITS), "projections": len(SPLITS)}


def test_the_pictures_of_a_series_are_made_once(site: Site, made: Counter[str]) -> None:
    task = make_task(OUTLINES)
    prepare(site, task)
    once = made["pictures"]
    assert once > 0
    prepare(site, task)
    assert made == {"slabs": TRAINED, "pictures": once}


def test_what_is_kept_is_the_sample_bit_for_bit(site: Site) -> None:
    prepare(site)
    task, source = make_task(SETTINGS), site.store.source("train")
    for patient in source.patients:
        [study] = source.studies(patient)
        [path] = [one for one in samples(site) if study_of(one) == study.study]
        kept, sample = load_file(path), task.sample(study)
        assert kept.keys() == sample.keys()
        assert all(torch.equal(kept[name], value) for name, value in sample.items())


def test_only_the_owner_of_the_store_reads_what_is_kept(site: Site) -> None:
    prepare(site)
    assert len(samples(site)) == TRAINED
    for path in samples(site):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


CHANGES = {
    "series": sa.update(Volume).values(digest="1" * 64),
    "outlines": sa.update(Volume).values(mask_digest="1" * 64),
    "spacing": sa.update(Volume).values(row_mm=Volume.row_mm + 0.1),
    "covariate": sa.update(Study).values(age_years=50.0),
    "voltage": sa.update(Volume).values(kvp=80.0),
    "contrast": sa.update(Volume).values(contrast=True),
    "kernel": sa.update(Volume).values(kernel="another"),
    "thickness": sa.update(Volume).values(thickness_mm=4.5),
}


def test_a_study_that_changed_is_made_anew(site: Site, made: Counter[str]) -> None:
    for number, change in enumerate(CHANGES.values(), start=1):
        prepare(site)
        assert made["projections"] == number * TRAINED
        with site.store.engine.begin() as connection:
            connection.execute(change)
    prepare(site)
    assert made["projections"] == (len(CHANGES) + 1) * TRAINED


def test_what_another_program_made_is_not_used(
    site: Site, made: Counter[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    prepare(site)
    monkeypatch.setattr("client.store.kept_samples.code_digest", lambda: "of other code")
    prepare(site)
    assert made["projections"] == 2 * TRAINED


def test_what_is_damaged_is_made_anew(site: Site, made: Counter[str]) -> None:
    prepare(site)
    samples(site)[0].write_bytes(b"half of a")
    prepare(site)
    assert made["projections"] == TRAINED + 1


def test_nothing_of_a_study_that_is_left_out_stays(site: Site) -> None:
    prepare(site)
    [gone, *others] = samples(site)
    part = gone.with_name(f"{gone.name}.{os.getpid()}.part")  # of a round that was killed
    of_other_code = gone.parent.with_name("other") / gone.name
    of_other_task = gone.parents[2] / "ct-segmentation" / "key" / gone.name
    for path in (part, of_other_code, of_other_task):
        path.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(gone, path)
        (path.parent / HOLDING).write_text(Holding(digest="0" * 64, bytes=1).model_dump_json())
    stays = of_other_task.with_name(others[0].name)
    shutil.copy(others[0], stays)
    leave_out(site.store.folder, study_of(gone))
    prepare(site)
    assert samples(site) == sorted([*others, stays])
    assert list(gone.parents[2].rglob(f"*{ENDING}.*")) == []


def test_what_is_left_out_goes_where_there_is_no_room(site: Site) -> None:
    prepare(site)
    [gone, *others] = samples(site)
    leave_out(site.store.folder, study_of(gone))
    prepare(with_room(site, 1e-4))
    assert samples(site) == others


def test_the_sample_of_a_study_as_it_was_goes(site: Site) -> None:
    """Somebody retracted its label, or left out the DXA that it was paired with."""
    label = {"study": "2.25.10", "kind": "bmd", "name": "L1", "value": 0.9, "disputed": False}
    with Session(site.store.engine) as session, session.begin():
        session.add(Label(**label))
    prepare(site)
    before = samples(site)
    with site.store.engine.begin() as connection:
        connection.execute(sa.delete(Label))
    assert keep_samples_in_room(
        site.store, make_task(SETTINGS), site.store.source("train"), frozenset()
    )
    assert [study_of(path) for path in before if not path.exists()] == [label["study"]]


@pytest.mark.parametrize("spare", [-1, 1 << 20])
def test_samples_leave_room_on_the_disk(
    site: Site, monkeypatch: pytest.MonkeyPatch, spare: int
) -> None:
    free = SimpleNamespace(free=ROOM_TO_LEAVE + spare)
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: free)
    prepare(site)
    assert len(samples(site)) == (TRAINED if spare > 0 else 0)


FAILING = ("make_private_folder", "alone_with", "write_text_atomically", "os.utime")


@pytest.mark.parametrize("failing", FAILING)
def test_a_full_disk_costs_no_round(
    site: Site, made: Counter[str], monkeypatch: pytest.MonkeyPatch, failing: str
) -> None:
    def full(*given: Any, **named: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(f"client.store.prepared_room.{failing}", full)
    prepare(site)
    assert made["projections"] == TRAINED
    assert samples(site) == []


def test_room_is_counted_for_series_alone(site: Site) -> None:
    prepare(site)
    before = counted(site)
    with Session(site.store.engine) as session, session.begin():
        session.add(Study(uid="2.25.99", patient="p0", vendor="other", day=2))
    shutil.rmtree(site.store.arrays.parent / "prepared")
    prepare(site)
    assert counted(site) == before


def test_a_version_in_use_is_not_kept_twice_for_samples(site: Site) -> None:
    """Of one that a contract names, a copy by other programs goes where samples need its room."""
    task, named = make_task(OUTLINES), Preparation(settings=SETTINGS, digest="d" * 64)
    one = PreparingVersion(site.store.arrays.parent, named, Compute(), {})
    source = PreparedSource(site.store.source("train"), task.inputs, (one,))
    names = frozenset({(one.task.name, "d" * 64)})
    assert keep_samples_in_room(site.store, task, source, names)
    large = with_room(site, 1.5 * counted(site) / GIGABYTE)
    copy = one.folder.with_name("copy")
    copy.mkdir(parents=True)
    (copy / HOLDING).write_text(
        Holding(digest="d" * 64, bytes=10 * counted(site)).model_dump_json()
    )
    assert keep_samples_in_room(large.store, task, source, names)
    assert not copy.exists()


def test_without_room_nothing_is_kept(tmp_path: Path, made: Counter[str]) -> None:
    small = PERMITTED.model_copy(update={"maximum_prepared_gigabytes": 1e-4})
    site = ct_site(tmp_path / "alpha", small)
    prepare(site)
    prepare(site)
    assert samples(site) == []
    assert made["projections"] == 2 * TRAINED


def test_nothing_is_kept_once_its_room_is_gone(site: Site) -> None:
    """Another process may make room while this one trains."""
    task, source = make_task(SETTINGS), site.store.source("train")
    patients = patients_of(task, source, [(site.store, source)])
    [folder] = (site.store.arrays.parent / "prepared").glob("*/*")
    (folder / HOLDING).unlink()
    for name in patients.names:
        patients.newest(name)
    assert samples(site) == []


def test_what_is_kept_takes_no_more_than_is_counted(site: Site) -> None:
    prepare(site)
    [folder] = (site.store.arrays.parent / "prepared").glob("*/*")
    assert sum(path.stat().st_size for path in folder.iterdir()) <= counted(site)
